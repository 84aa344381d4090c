//! What the controller sends to data planes: small resources, one to one with the user's objects, as JSON.
//!
//! A listener knows nothing of routes and a backend nothing of either; a route names its listeners and its backends. So
//! one weight edit is one small message, and one endpoint that comes or goes is one too.

mod gateway;
mod listener;
mod session;
mod tls;
mod traffic;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use gateway::{AccessLog, ClientAddress, Gateway, Limits, ProxyProtocol, RequestId, Tracing};
pub use listener::{Clash, Listener, ListenerProtocol, Sharing, Taken, Transport};
pub use session::{Carrier, Session};
pub use tls::{Authorities, BackendTls, Certificate, ClientValidation, PrivateKey, SubjectName, Termination};
pub use traffic::{Balancing, HashOn, Outliers, Traffic};

/// One resource with its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Resource {
    /// `backend-tls/<id>`
    BackendTls(BackendTls),
    /// `certificate/<id>`
    Certificate(Certificate),
    /// `gateway/<id>`
    Gateway(Gateway),
    /// `listener/<id>`
    Listener(Listener),
    /// `route/<id>`
    Route(Route),
    /// `backend/<id>`
    Backend(Backend),
}

impl Resource {
    /// The key under which it replaces or removes an earlier one.
    pub fn key(&self) -> String {
        match self {
            Self::BackendTls(tls) => format!("backend-tls/{}", tls.id),
            Self::Certificate(certificate) => format!("certificate/{}", certificate.id),
            Self::Gateway(gateway) => format!("gateway/{}", gateway.id),
            Self::Listener(listener) => format!("listener/{}", listener.id),
            Self::Route(route) => format!("route/{}", route.id),
            Self::Backend(backend) => format!("backend/{}", backend.id),
        }
    }
}

/// One route of any kind, as far as it is attached to listeners of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `HTTPRoute/namespace/name`, with the kind of the route
    pub id: String,
    /// `metadata.generation`: the counters of a request are kept under the generation that assigned it.
    pub generation: i64,
    /// `metadata.creationTimestamp` in seconds since the epoch: of equal matches the oldest route wins.
    pub created: i64,
    /// Ids of the listeners that it is attached to.
    pub listeners: Vec<String>,
    /// Lower-case host names, exact or with a leading `*.`; empty means every host of the listener. The intersection
    /// with each listener's host name is taken when the snapshot is built.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// In the user's order.
    pub rules: Vec<Rule>,
}

/// One rule of a route. That of a TCPRoute or UDPRoute has nothing but a name and backends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The rule's name, or its index in the route when it has none.
    pub name: String,
    /// Alternatives; empty means prefix `/`.
    #[serde(default)]
    pub matches: Vec<Match>,
    /// Applied in order to every request of the rule.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// Empty with no redirect filter: answered 500.
    #[serde(default)]
    pub backends: Vec<WeightedBackend>,
    /// How long things may take.
    #[serde(default, skip_serializing_if = "Timeouts::is_default")]
    pub timeouts: Timeouts,
    /// Whether a request is sent again that came to nothing; none leaves it to the data plane, which repeats only what
    /// cannot have had any effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How a client comes back to the endpoint that it had; none where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// How long things may take, in milliseconds; none and 0 have no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// From the head of a request to the end of its response, all tries included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// The same for one try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<u64>,
}

impl Timeouts {
    /// Whether there is no limit.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// When and how often a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Statuses after which it is; connections that fail and tries that take too long do not need to be named.
    #[serde(default)]
    pub codes: Vec<u16>,
    /// How often, beside the first time.
    pub attempts: u32,
    /// Milliseconds to wait before the first time; none leaves it to the data plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<u64>,
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// None means prefix `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// Lower-case names.
    #[serde(default)]
    pub headers: Vec<ValueMatch>,
    /// Case-sensitive names.
    #[serde(default)]
    pub query: Vec<ValueMatch>,
    /// Upper-case method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// How the path is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole path elements from the start.
    Prefix(String),
    /// The whole path by a linear-time regular expression.
    Regex(String),
    /// `/service/method`, part by part.
    Grpc(GrpcMethod),
}

/// A gRPC service and method; at least one of them is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcMethod {
    /// None takes every service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// None takes every method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// True when both are regular expressions for the whole of their part.
    #[serde(default)]
    pub regex: bool,
}

/// A header or query parameter and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueMatch {
    /// Name of the header or parameter.
    pub name: String,
    /// The value, or a regular expression for the whole of it.
    pub value: String,
    /// True when `value` is a regular expression.
    #[serde(default)]
    pub regex: bool,
}

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Filter {
    /// Changes the headers of the request.
    RequestHeaders(HeaderEdit),
    /// Changes the headers of the response.
    ResponseHeaders(HeaderEdit),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Rewrites host and path before forwarding.
    Rewrite(Rewrite),
    /// Answers and marks requests of web pages of other origins.
    Cors(Cors),
    /// Sends a copy to another backend, whose response nobody sees.
    Mirror(Mirror),
}

/// Which web pages may use the responses, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// `*`, or scheme and host with a port where it is not the scheme's; the host may be `*` or begin with `*.`.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Whether they may send credentials.
    #[serde(default)]
    pub credentials: bool,
    /// Methods or `*`.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Headers of requests or `*`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Headers of responses or `*`.
    #[serde(default)]
    pub expose: Vec<String>,
    /// Seconds for which a browser may remember this.
    pub max_age: u32,
}

/// Where copies go, and of how many requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// Id of the backend.
    pub backend: String,
    /// Share of the requests.
    pub numerator: u32,
    /// Of how many; above 0.
    pub denominator: u32,
}

/// Header changes, in the order set, add, remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderEdit {
    /// Replaces every value.
    #[serde(default)]
    pub set: Vec<(String, String)>,
    /// Appends a value.
    #[serde(default)]
    pub add: Vec<(String, String)>,
    /// Removes every value.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// Where a redirect points. Absent parts are taken from the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// `http` or `https`.
    #[serde(default)]
    pub scheme: Option<String>,
    /// Host name without port.
    #[serde(default)]
    pub hostname: Option<String>,
    /// How the path changes.
    #[serde(default)]
    pub path: Option<PathEdit>,
    /// Port; see GEP-726 and the API reference for what applies when it is absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// How a request is rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// The new Host header.
    #[serde(default)]
    pub hostname: Option<String>,
    /// How the path changes.
    #[serde(default)]
    pub path: Option<PathEdit>,
}

/// A change of the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value")]
pub enum PathEdit {
    /// The whole path.
    Full(String),
    /// The prefix that the rule's match matched.
    Prefix(String),
}

/// A backend and its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedBackend {
    /// Id of the backend, also when it cannot be used, so that counters name it.
    pub backend: String,
    /// Share of the rule's sum of weights; 0 gets nothing.
    pub weight: u32,
    /// False when the reference does not resolve: its share is answered 500.
    pub valid: bool,
    /// Applied after the rule's filters.
    #[serde(default)]
    pub filters: Vec<Filter>,
}

/// One port of a Service with its endpoints, as one kind of route uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// `namespace/service:port`, and after a `+` what makes it another backend than the same port has for HTTPRoutes.
    pub id: String,
    /// How requests are sent to it. What TCPRoutes and UDPRoutes send is passed on as it is.
    pub protocol: Protocol,
    /// Id of how it is spoken to in TLS; none means in the clear. Where nothing of this id is there, nobody knows how, and
    /// its share is answered 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// How its requests are spread over its endpoints, where anything is said of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// None ready or serving: its share is answered 503.
    pub endpoints: Vec<Endpoint>,
    /// Of the ready ones, those that data planes at a place are to use: by `node/<name>`, which goes first, and
    /// `zone/<name>`. At a place that is not here all are used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub near: BTreeMap<String, Vec<SocketAddr>>,
}

impl Backend {
    /// A backend in the clear of which nothing else is said.
    pub fn new(id: impl Into<String>, protocol: Protocol, endpoints: Vec<Endpoint>) -> Self {
        Self { id: id.into(), protocol, tls: None, traffic: None, endpoints, near: BTreeMap::new() }
    }
}

/// `namespace/service:port` of a backend's id, as counters and people call it.
pub fn backend_name(id: &str) -> &str {
    id.split_once('+').map_or(id, |(name, _)| name)
}

/// The protocol towards a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2 (`appProtocol: kubernetes.io/h2c`, and every backend of a GRPCRoute): with prior knowledge, in TLS by ALPN.
    H2c,
}

/// One address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Pod address and target port.
    pub address: SocketAddr,
    /// False for an endpoint that is used only when none is ready: it is terminating and still serving (KEP-1669), or it is
    /// not ready after an outage of the API server, which may tell nothing of it.
    pub ready: bool,
}
