//! What Gateways ask for beyond their listeners, as workers look it up: by port. Where no Gateway asks for anything there is
//! nothing to look through.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sluice_proxy_core::model::Gateway;
use sluice_proxy_core::table::Snapshot;

/// Ports whose Gateway asks for something.
#[derive(Debug, Default)]
pub(crate) struct Edges(Box<[(u16, Arc<Edge>)]>);

/// What the Gateway of a port asks for.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) settings: Arc<Gateway>,
    /// Connections that are open for it, of every worker.
    connections: Arc<AtomicUsize>,
}

/// A connection that counts among those of its Gateway.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<AtomicUsize>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Edges {
    /// Those of a snapshot. What is open goes on counting.
    pub(crate) fn next(&self, snapshot: &Snapshot) -> Self {
        let mut known: HashMap<&str, &Arc<Edge>> = HashMap::new();
        known.extend(self.0.iter().map(|(_, edge)| (edge.settings.id.as_str(), edge)));
        let mut new: HashMap<&str, Arc<Edge>> = HashMap::new();
        let ports = snapshot.gateways().map(|(port, settings)| {
            let edge = new.entry(settings.id.as_str()).or_insert_with(|| {
                let connections = known.get(settings.id.as_str()).map(|edge| Arc::clone(&edge.connections));
                let connections = connections.unwrap_or_default();
                Arc::new(Edge { settings: Arc::clone(settings), connections })
            });
            (port, Arc::clone(edge))
        });
        Self(ports.collect())
    }

    /// What is asked for on a port.
    pub(crate) fn of(&self, port: u16) -> Option<&Arc<Edge>> {
        self.0.iter().find(|(known, _)| *known == port).map(|(_, edge)| edge)
    }
}

impl Edge {
    /// Counts a connection; none where there are as many as there may be.
    pub(crate) fn admit(&self) -> Option<Admitted> {
        let open = self.connections.fetch_add(1, Relaxed);
        let admitted = Admitted(Arc::clone(&self.connections));
        self.settings.limits.connections.is_none_or(|most| open < most).then_some(admitted)
    }

    /// Whether a peer is believed what it says about its clients.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.settings.client_address.as_ref().is_some_and(|asked| asked.trusted.iter().any(|net| net.contains(peer)))
    }
}
