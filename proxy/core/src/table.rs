//! The snapshot: resources compiled into what a request is looked up in. Immutable, and refused whole when one resource
//! of it is bad.
//!
//! ```text
//! port ─► listener (by host) ─► candidates (by host, in order of precedence) ─► rule ─► arms ─► backend ─► endpoints
//! ```
//! A request belongs to the listener with the most specific host name that matches; a miss there is never looked up in
//! another listener. On the listener, rules of more specific host names go first, and a request that matches none of
//! them falls through to the less specific ones.
//!
//! A snapshot shares with the one before it what is the same in both, so that a change costs what it touches and not
//! what is there: a weight edit makes one route anew, and no table.

mod build;
mod compile;
mod place;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request;

use crate::balance::Traffic;
use crate::cells::{CellId, Cells};
use crate::filter::{Cors, Filters, Redirection};
use crate::matching::precedence::Precedence;
use crate::matching::{Hosts, Matcher};
use crate::model::{
    BackendTls, Certificate, Gateway, ListenerProtocol, Protocol, Resource, Sharing, Termination, Transport,
};
use crate::pick::{self, Split};
use crate::retry::Retry;
use crate::session::Session;
use slots::Slots;

pub use build::{Problem, check};
pub use compile::{BuildError, Compiler};

/// Everything that a data plane serves at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    ports: Vec<((Transport, u16), Port)>,
    routes: Slots<[Rule]>,
    backends: Slots<Backend>,
    /// What may get new requests, whichever backend it is of.
    wanted: Arc<HashMap<Target, Readiness>>,
    backend_tls: Arc<BTreeMap<String, Arc<BackendTls>>>,
    certificates: Arc<BTreeMap<String, Arc<Certificate>>>,
    gateways: Arc<BTreeMap<String, Arc<Gateway>>>,
}

/// The listeners of one port.
#[derive(Clone, Debug)]
struct Port {
    sharing: Sharing,
    /// Id of what the Gateway of its listeners asks for.
    gateway: Option<Arc<str>>,
    listeners: Hosts<Arc<ListenerTable>>,
}

/// One listener, and what is looked up on it.
#[derive(Clone, Debug, Default)]
pub struct ListenerTable {
    /// Its id.
    pub id: Arc<str>,
    /// What is spoken.
    pub protocol: ListenerProtocol,
    /// How TLS is ended.
    pub termination: Option<Arc<Termination>>,
    /// Id of the certificate that backends are shown.
    pub identity: Option<Arc<str>>,
    /// Port in the Gateway's spec.
    port: u16,
    hosts: Hosts<Arc<Vec<Candidate>>>,
}

impl ListenerTable {
    fn find(&self, host: &str, path: &str, request: &request::Parts) -> Option<Matched<'_>> {
        let mut candidates = self.hosts.matching(host).flat_map(|candidates| &**candidates);
        let Candidate { condition, route } =
            candidates.find(|candidate| candidate.condition.matcher.matches(path, request))?;
        let prefix = condition.matcher.path.prefix_len();
        let identity = self.identity.as_ref();
        Some(Matched { route: *route, rule: condition.rule, listener_port: self.port, identity, prefix })
    }
}

/// One match of one rule, among others in order of precedence.
#[derive(Clone, Debug)]
struct Candidate {
    condition: Arc<Condition>,
    /// The slot of its route.
    route: u32,
}

/// A compiled match, and which of several wins.
#[derive(Debug)]
struct Condition {
    precedence: Precedence,
    matcher: Matcher,
    /// The place of its rule in the route.
    rule: u32,
}

/// What a request matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched<'a> {
    route: u32,
    rule: u32,
    /// Port of the listener in the Gateway's spec.
    pub listener_port: u16,
    /// Id of the certificate that backends are shown.
    pub identity: Option<&'a Arc<str>>,
    /// Length of the path prefix that the rule matched, if it matched one.
    pub prefix: Option<usize>,
}

/// Why a request has no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Nothing matches it.
    NoRoute,
    /// Its host belongs to another listener than the one that its connection was made to.
    Misdirected,
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    /// Id of its route.
    pub route: Arc<str>,
    /// Its name or index.
    pub name: Arc<str>,
    /// Its filters that change heads.
    pub filters: Filters,
    /// Which web pages of other origins may use it.
    pub cors: Option<Box<Cors>>,
    /// Where copies of its requests go.
    pub mirrors: Box<[Mirror]>,
    /// From the head of a request to the end of its response at most.
    pub request_timeout: Option<Duration>,
    /// The same for one try.
    pub backend_timeout: Option<Duration>,
    /// When a request is sent again.
    pub retry: Option<Box<Retry>>,
    /// How a client comes back to the endpoint that it had.
    pub session: Option<Box<Session>>,
    /// What it does with a request.
    pub action: Action,
}

/// Where copies of requests go.
#[derive(Clone, Copy, Debug)]
pub struct Mirror {
    /// The slot of its backend.
    slot: u32,
    numerator: u32,
    denominator: u32,
}

impl Mirror {
    /// Whether a request is copied, for a uniform random number.
    pub fn takes(&self, random: u64) -> bool {
        pick::scale(random, u64::from(self.denominator)) < u64::from(self.numerator)
    }
}

/// What a rule does with a request.
#[derive(Debug)]
pub enum Action {
    /// Forwards it to one of the arms.
    Forward {
        /// The chances of the arms.
        split: Split,
        /// The arms, in the split's order.
        arms: Box<[Arm]>,
    },
    /// There is no backend with any weight: answered 500.
    NoBackend,
    /// Answers with a redirect.
    Redirect(Redirection),
}

/// One backend of a rule.
#[derive(Debug)]
pub struct Arm {
    /// `namespace/service:port`
    pub backend: Arc<str>,
    /// Where its requests are counted.
    pub cell: CellId,
    /// False when the reference does not resolve: answered 500.
    pub valid: bool,
    /// Applied after the rule's filters.
    pub filters: Filters,
    /// The slot of its backend.
    slot: u32,
}

/// Where requests to a backend can go.
#[derive(Debug, PartialEq, Eq)]
pub struct Backend {
    /// As in the model.
    pub id: Arc<str>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Id of how that is done in TLS.
    pub tls: Option<Arc<str>>,
    /// How its requests are spread over its endpoints, where anything is said of that.
    pub traffic: Option<Box<Traffic>>,
    /// Endpoints for new requests: the ready ones, of which those near by if there are any, or, when none is ready, those that
    /// still serve while they terminate.
    pub endpoints: Box<[SocketAddr]>,
    /// Of all its endpoints.
    readiness: Readiness,
}

impl Backend {
    /// One of its addresses.
    pub fn target(&self, address: SocketAddr) -> Target {
        Target { address, protocol: self.protocol, tls: self.tls.clone() }
    }
}

/// An address, and how it is spoken to: a connection that was made for one way is of no use for another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The address.
    pub address: SocketAddr,
    /// What is spoken.
    pub protocol: Protocol,
    /// Id of how that is done in TLS.
    pub tls: Option<Arc<str>>,
}

/// Where a data plane is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Name of its node.
    pub node: Option<String>,
    /// The zone of that.
    pub zone: Option<String>,
}

/// Whether an address gets new requests because it is ready or because nothing else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// On its way out, and the last resort of its backend.
    Terminating,
    /// Ready.
    Ready,
}

impl Snapshot {
    /// Compiles resources that share nothing with an earlier snapshot.
    pub fn build<'a>(resources: impl IntoIterator<Item = &'a Resource>, cells: &mut Cells) -> Result<Self, BuildError> {
        let mut all = BTreeMap::new();
        for resource in resources {
            if all.insert(resource.key(), resource).is_some() {
                return Err(BuildError { resource: resource.key(), problem: Problem::Duplicate });
            }
        }
        let changes = all.into_iter().map(|(key, resource)| (key, Some(resource)));
        Compiler::default().update(changes, cells)
    }

    /// The ports to bind of this transport.
    pub fn ports(&self, transport: Transport) -> impl Iterator<Item = u16> {
        self.ports.iter().filter(move |((of, _), _)| *of == transport).map(|((_, port), _)| *port)
    }

    fn port(&self, transport: Transport, bind_port: u16) -> Option<&Port> {
        self.ports.iter().find(|(place, _)| *place == (transport, bind_port)).map(|(_, port)| port)
    }

    /// How the listeners of a port for streams are told apart; none when it is not served.
    pub fn sharing(&self, bind_port: u16) -> Option<Sharing> {
        Some(self.port(Transport::Tcp, bind_port)?.sharing)
    }

    /// The listener for a client's server name in lower case, which is empty where it has none.
    pub fn listener<'a>(
        &'a self,
        transport: Transport,
        bind_port: u16,
        server_name: &'a str,
    ) -> Option<&'a ListenerTable> {
        self.port(transport, bind_port)?.listeners.matching(server_name).next().map(|listener| &**listener)
    }

    /// The rule for what comes to a listener of this snapshot and is passed on as it is: of the routes with the most specific
    /// host name that fits, that of the oldest.
    pub fn passing_rule(&self, listener: &ListenerTable, server_name: &str) -> Option<&Rule> {
        let Candidate { condition, route } = listener.hosts.matching(server_name).next()?.first()?;
        self.routes.get(*route)?.get(condition.rule as usize)
    }

    /// Every listener.
    pub fn listeners(&self) -> impl Iterator<Item = &ListenerTable> {
        self.ports.iter().flat_map(|(_, port)| port.listeners.values()).map(|listener| &**listener)
    }

    /// The ports for streams whose Gateway asks for something beyond its listeners, with what that is. What is not there
    /// asks for nothing.
    pub fn gateways(&self) -> impl Iterator<Item = (u16, &Arc<Gateway>)> {
        let streams = self.ports.iter().filter(|((transport, _), _)| *transport == Transport::Tcp);
        streams.filter_map(|((_, number), port)| Some((*number, self.gateways.get(&**port.gateway.as_ref()?)?)))
    }

    /// How backends are spoken to in TLS, by id.
    pub fn backend_tls(&self) -> impl Iterator<Item = &Arc<BackendTls>> {
        self.backend_tls.values()
    }

    /// The certificate of this id.
    pub fn certificate(&self, id: &str) -> Option<&Arc<Certificate>> {
        self.certificates.get(id)
    }

    /// The rule for a request that arrived on `bind_port` for `host` (normalised) and will be forwarded as `path`.
    /// `listener` is the id of that which the client's server name chose, if it chose one: a connection may have been
    /// made for other hosts than those that it is used for.
    pub fn route<'a>(
        &'a self,
        bind_port: u16,
        listener: Option<&str>,
        host: &str,
        path: &str,
        request: &request::Parts,
    ) -> Result<Matched<'a>, Unmatched> {
        let port = self.port(Transport::Tcp, bind_port).ok_or(Unmatched::NoRoute)?;
        let owner = port.listeners.matching(host).next().ok_or(Unmatched::NoRoute)?;
        if listener.is_some_and(|listener| *listener != *owner.id) {
            return Err(Unmatched::Misdirected);
        }
        owner.find(host, path, request).ok_or(Unmatched::NoRoute)
    }

    /// The rule that was matched in this snapshot; none for what was matched in another one.
    pub fn rule(&self, matched: Matched<'_>) -> Option<&Rule> {
        self.routes.get(matched.route)?.get(matched.rule as usize)
    }

    /// The backend of an arm of this snapshot; none when it is not among the resources.
    pub fn backend(&self, arm: &Arm) -> Option<&Backend> {
        self.backends.get(arm.slot)
    }

    /// The backend of this id, which is looked for among all.
    pub fn backend_of(&self, id: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| *backend.id == *id)
    }

    /// The backend that a mirror of this snapshot copies to.
    pub fn mirrored(&self, mirror: Mirror) -> Option<&Backend> {
        self.backends.get(mirror.slot)
    }

    /// Whether and why an address gets new requests in this way.
    pub fn readiness(&self, target: &Target) -> Option<Readiness> {
        self.wanted.get(target).copied()
    }

    /// Every arm of every rule.
    pub fn arms(&self) -> impl Iterator<Item = &Arm> {
        self.routes.iter().flatten().flat_map(|rule| match &rule.action {
            Action::Forward { arms, .. } => &**arms,
            Action::NoBackend | Action::Redirect(_) => &[],
        })
    }

    /// Whether the same addresses get new requests, for the same reasons, as in another snapshot that came before or
    /// after. False when it would take long to find out.
    pub fn has_endpoints_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.wanted, &other.wanted)
    }
}
