//! How requests to a backend are spread over its endpoints, and which of them get none.

use serde::{Deserialize, Serialize};

/// What a BackendTrafficPolicy says of a backend. Times are in milliseconds; those of endpoints are kept to whole seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Which endpoint gets a request.
    #[serde(default)]
    pub balancing: Balancing,
    /// When an endpoint is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outliers: Option<Outliers>,
    /// How long an endpoint may take to take a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<u64>,
    /// Requests on one connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_connection: Option<u32>,
}

/// Which endpoint gets a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "on")]
pub enum Balancing {
    /// The less loaded of two.
    #[default]
    LeastRequest,
    /// Any.
    Random,
    /// One after the other.
    RoundRobin,
    /// The same for requests that have this in common; as without it where they have it not.
    ConsistentHash(HashOn),
}

/// What requests have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "name")]
pub enum HashOn {
    /// A header.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// The client's address.
    SourceAddress,
}

/// When an endpoint is left out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outliers {
    /// After so many statuses of 500 and more in a row; 0 is never.
    pub server_errors: u32,
    /// After so many times in a row that it does not serve; 0 is never.
    pub gateway_errors: u32,
    /// Failures that are further apart are not in a row.
    pub interval: u64,
    /// For how long.
    pub ejection: u64,
    /// Percentage of a backend's endpoints that are left out at most; never all.
    pub most: u8,
    /// Over how long its share grows again.
    pub recovery: u64,
}
