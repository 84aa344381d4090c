//! How clients come back to the endpoint that they had.

use serde::{Deserialize, Serialize};

/// The session of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// What the key of its tokens is made of: the same wherever the route is served and as long as it is there, and
    /// nothing that a client knows.
    pub seed: String,
    /// Where the token stands.
    pub carrier: Carrier,
    /// Milliseconds after which it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Where the token of a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Carrier {
    /// In a cookie.
    Cookie {
        /// Its name.
        name: String,
        /// For which paths clients send it.
        path: String,
        /// Whether clients keep it until the session is over; else for as long as they please.
        #[serde(default)]
        permanent: bool,
    },
    /// In a header of responses, which clients send with their next requests.
    Header {
        /// Its name.
        name: String,
    },
}
