//! What a Gateway asks for beyond its listeners.

use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use crate::pick::Share;

/// What the GatewayParameters of a Gateway and its class come to. Its listeners name it; a listener that names none has
/// everything as it is by default. By itself, so that a change of it is one small message and moves no route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// `namespace/gateway`
    pub id: String,
    /// Which proxies in front tell who the client is; none means that the other end of a connection is the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_address: Option<ClientAddress>,
    /// Whether requests have an id; none passes on what there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// Which requests are logged; none logs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// From whom a PROXY header comes; none expects none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Which requests are traced, and where to; none passes on what clients say of traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// Limits that are not the default's.
    #[serde(default)]
    pub limits: Limits,
}

/// Proxies in front.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAddress {
    /// Where they connect from.
    pub trusted: Vec<Cidr>,
    /// How many of them a request comes through, the last one included.
    pub hops: usize,
}

/// Ids of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestId {
    /// Whether the client is told.
    pub echo: bool,
}

/// Which requests are logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// How many of them.
    pub share: Share,
}

/// From whom a PROXY header comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyProtocol {
    /// Where the load balancers connect from. From there every connection begins with a header, from elsewhere none does.
    pub trusted: Vec<Cidr>,
    /// Milliseconds that they have for it.
    pub timeout: u64,
}

/// Which requests are traced, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracing {
    /// How many of those that no trusted parent has decided on.
    pub share: Share,
    /// Id of the backend that takes the spans.
    pub collector: String,
}

/// Limits that are not the default's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Connections of clients that one data plane has open for the Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// Open streams of one HTTP/2 connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
    /// Bytes of the head of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_bytes: Option<usize>,
    /// Seconds for the head of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_seconds: Option<u32>,
    /// Seconds that a connection may be idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u32>,
}
