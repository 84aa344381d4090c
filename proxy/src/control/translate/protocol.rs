//! Protocols of listeners: which there are, which routes each takes, and which listeners of a Gateway and of its
//! ListenerSets exclude each other.

use std::collections::BTreeMap;

use sluice_gateway_types::{GROUP, ListenerAllowedRoutes, RouteGroupKind};
use sluice_proxy_core::model::{Clash, ListenerProtocol, Sharing, Taken, Transport};

use crate::control::translate::{
    conditions::{ACCEPTED, CONFLICTED, Condition, RESOLVED_REFS},
    gateway::ListenerPlan,
};

/// The protocol of this name, or the condition of a listener whose protocol is not served.
pub fn served(name: &str) -> Result<ListenerProtocol, Condition> {
    ListenerProtocol::ALL.into_iter().find(|protocol| protocol.name() == name).ok_or_else(|| {
        let known = ListenerProtocol::ALL.map(ListenerProtocol::name);
        let message = format!("protocol {name} is not supported; supported: {}", known.join(", "));
        Condition::no(ACCEPTED, "UnsupportedProtocol", message)
    })
}

/// Kinds of routes that listeners of a protocol can take.
fn route_kinds(protocol: ListenerProtocol) -> &'static [&'static str] {
    match protocol {
        ListenerProtocol::Http | ListenerProtocol::Https => &["HTTPRoute", "GRPCRoute"],
        ListenerProtocol::Tcp => &["TCPRoute"],
        ListenerProtocol::Udp => &["UDPRoute"],
        ListenerProtocol::Tls => &["TLSRoute"],
    }
}

/// Kinds of routes that may attach to a listener, and whether all that it allows can.
pub fn allowed_kinds(protocol: ListenerProtocol, allowed: &ListenerAllowedRoutes) -> (Vec<&'static str>, Condition) {
    let known = route_kinds(protocol);
    let is =
        |wanted: &RouteGroupKind, kind: &str| wanted.group.as_deref().unwrap_or(GROUP) == GROUP && wanted.kind == kind;
    let resolved = match allowed.kinds.iter().find(|wanted| !known.iter().any(|kind| is(wanted, kind))) {
        None => Condition::resolved(),
        Some(kind) => {
            let message = format!("allowedRoutes.kinds: {} is not a kind that this listener supports", kind.kind);
            Condition::no(RESOLVED_REFS, "InvalidRouteKinds", message)
        }
    };
    let wanted = |kind: &&str| allowed.kinds.is_empty() || allowed.kinds.iter().any(|wanted| is(wanted, kind));
    (known.iter().copied().filter(wanted).collect(), resolved)
}

/// Places of listeners, by their host names.
type SameHost = BTreeMap<Option<String>, Vec<usize>>;

/// The listeners of a Gateway and of its ListenerSets, by precedence.
#[derive(Debug, Default)]
pub struct Merged {
    /// In the order in which they were added.
    pub listeners: Vec<ListenerPlan>,
    taken: Taken<()>,
}

impl Merged {
    /// Adds the listeners of one object: they give way to those of the objects before it. Only valid ones count.
    pub fn add(&mut self, mut listeners: Vec<ListenerPlan>) {
        for listener in &mut listeners {
            let Some(protocol) = listener.protocol.filter(|_| listener.accepted.holds) else { continue };
            if let Err((clash, ())) = self.taken.free(protocol, listener.port, listener.hostname.as_deref()) {
                mark(listener, clash);
            }
        }
        mark_conflicts(&mut listeners);
        for listener in listeners.iter().filter(|listener| listener.accepted.holds) {
            if let Some(protocol) = listener.protocol {
                self.taken.insert(protocol, listener.port, listener.hostname.as_deref(), ());
            }
        }
        self.listeners.append(&mut listeners);
    }
}

/// Listeners of one object that cannot be told apart are all in conflict: none of them wins. Only valid ones count.
fn mark_conflicts(listeners: &mut [ListenerPlan]) {
    let mut ports: BTreeMap<(Transport, u16), BTreeMap<Sharing, SameHost>> = BTreeMap::new();
    for (index, plan) in listeners.iter().enumerate() {
        if let Some(protocol) = plan.protocol.filter(|_| plan.accepted.holds) {
            let port = ports.entry((protocol.transport(), plan.port)).or_default();
            port.entry(protocol.sharing()).or_default().entry(plan.hostname.clone()).or_default().push(index);
        }
    }
    for sharings in ports.into_values() {
        let several = sharings.len() > 1;
        for same in sharings.into_values().flat_map(BTreeMap::into_values) {
            for index in same.iter().filter(|_| several || same.len() > 1) {
                let clash = if several { Clash::Protocol } else { Clash::Hostname };
                mark(&mut listeners[*index], clash);
            }
        }
    }
}

fn mark(listener: &mut ListenerPlan, clash: Clash) {
    let reason = match clash {
        Clash::Protocol => "ProtocolConflict",
        Clash::Hostname => "HostnameConflict",
    };
    let message = format!("another listener has {}", clash.what());
    listener.conflicted = Condition::yes(CONFLICTED, reason, message.clone());
    listener.accepted = Condition::no(ACCEPTED, reason, message);
}
