//! Where the conditions of routes stand: listener by listener and host by host, in order of precedence.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::build::Problem;
use super::compile::BuildError;
use super::{Candidate, Condition, ListenerTable, Port, Snapshot};
use crate::matching::Hosts;
use crate::model::{Listener, Route, Taken, Transport};

/// Listeners by id.
pub(super) type Listeners = BTreeMap<String, Listener>;

/// Refuses listeners that cannot be told apart.
pub(super) fn check_listeners(listeners: &Listeners) -> Result<(), BuildError> {
    let mut taken = Taken::default();
    let mut gateways = BTreeMap::new();
    for listener in listeners.values() {
        let Listener { id, bind_port, protocol, hostname, gateway, .. } = listener;
        let refuse = |problem| BuildError { resource: format!("listener/{id}"), problem };
        taken
            .take(*protocol, *bind_port, hostname.as_deref(), id)
            .map_err(|(clash, other)| refuse(Problem::ListenerConflict(other, clash.what())))?;
        // What is asked for holds from the first byte of a connection on, when only its port is known.
        let (first, of_port) = gateways.entry(place(listener)).or_insert((id, gateway));
        if *of_port != gateway {
            return Err(refuse(Problem::ListenerConflict((*first).clone(), "the same port and other parameters")));
        }
    }
    Ok(())
}

/// Changes of where conditions stand. A list is gone through once and sorted once, however many routes change in it.
#[derive(Debug)]
pub(super) struct Placing<'a> {
    snapshot: &'a mut Snapshot,
    listeners: &'a Listeners,
    /// Lists to look at: id of the listener and host name.
    touched: BTreeSet<(&'a str, Option<String>)>,
}

impl<'a> Placing<'a> {
    pub(super) fn new(snapshot: &'a mut Snapshot, listeners: &'a Listeners) -> Self {
        Self { snapshot, listeners, touched: BTreeSet::new() }
    }

    /// Begins anew: every listener, without any route.
    pub(super) fn clear(&mut self) {
        let mut ports = BTreeMap::<(Transport, u16), Port>::new();
        for listener in self.listeners.values() {
            let free = || Port {
                sharing: listener.protocol.sharing(),
                gateway: listener.gateway.as_deref().map(Arc::from),
                listeners: Hosts::default(),
            };
            let port = ports.entry(place(listener)).or_insert_with(free);
            *port.listeners.entry(listener.hostname.as_deref()) = Arc::new(ListenerTable {
                id: listener.id.as_str().into(),
                protocol: listener.protocol,
                termination: listener.termination.clone().map(Arc::new),
                identity: listener.identity.as_deref().map(Arc::from),
                port: listener.port,
                hosts: Hosts::default(),
            });
        }
        self.snapshot.ports = ports.into_iter().collect();
    }

    /// Takes routes away, each with its slot.
    pub(super) fn remove<'r>(&mut self, routes: impl IntoIterator<Item = (&'r Route, u32)>) {
        let mut slots = HashSet::new();
        for (route, slot) in routes {
            slots.insert(slot);
            self.touch(route);
        }
        self.each_list(|list| list.retain(|candidate| !slots.contains(&candidate.route)));
    }

    /// Adds a route, out of order until [`Placing::finish`].
    pub(super) fn add(&mut self, route: &Route, slot: u32, conditions: &[Arc<Condition>]) {
        for listener in places(self.listeners, route) {
            for hostname in hostnames(route) {
                if let Some(table) = table(self.snapshot, listener) {
                    // Of names that do not intersect with the listener's none will ever be looked up here.
                    let list = Arc::make_mut(table.hosts.entry(hostname));
                    list.extend(
                        conditions.iter().map(|condition| Candidate { condition: Arc::clone(condition), route: slot }),
                    );
                }
            }
        }
        self.touch(route);
    }

    /// Brings every list that changed into order.
    pub(super) fn finish(mut self) {
        self.each_list(|list| {
            list.sort_unstable_by(|one, other| one.condition.precedence.cmp(&other.condition.precedence));
        });
    }

    fn touch(&mut self, route: &Route) {
        for listener in places(self.listeners, route) {
            self.touched.extend(hostnames(route).map(|hostname| (listener.id.as_str(), hostname.map(str::to_owned))));
        }
    }

    /// Changes every list that was touched; one that is empty then is dropped.
    fn each_list(&mut self, change: impl Fn(&mut Vec<Candidate>)) {
        for (listener, hostname) in &self.touched {
            let Some(table) = self.listeners.get(*listener).and_then(|listener| table(self.snapshot, listener)) else {
                continue;
            };
            let list = Arc::make_mut(table.hosts.entry(hostname.as_deref()));
            change(list);
            if list.is_empty() {
                table.hosts.remove(hostname.as_deref());
            }
        }
    }
}

fn table<'s>(snapshot: &'s mut Snapshot, listener: &Listener) -> Option<&'s mut ListenerTable> {
    let position = snapshot.ports.binary_search_by_key(&place(listener), |(place, _)| *place).ok()?;
    Some(Arc::make_mut(snapshot.ports[position].1.listeners.entry(listener.hostname.as_deref())))
}

/// Where a listener is bound.
fn place(listener: &Listener) -> (Transport, u16) {
    (listener.protocol.transport(), listener.bind_port)
}

fn places<'l>(listeners: &'l Listeners, route: &Route) -> impl Iterator<Item = &'l Listener> {
    route.listeners.iter().filter_map(|id| listeners.get(id))
}

fn hostnames(route: &Route) -> impl Iterator<Item = Option<&str>> {
    let every = route.hostnames.is_empty().then_some(None);
    every.into_iter().chain(route.hostnames.iter().map(|name| Some(name.as_str())))
}
