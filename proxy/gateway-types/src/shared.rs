//! What several kinds share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::GROUP;

/// Fields that the proxy does not know, by name: a value in one of them makes the object unsupported, never ignored.
pub type Unknown = BTreeMap<String, serde_json::Value>;

/// The Gateway or ListenerSet that something wants to be attached to. Serialises back to what was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// Default: the group of the Gateway API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Default: `Gateway`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Default: the route's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the parent.
    pub name: String,
    /// One listener of the parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// The listeners of the parent on this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

impl ParentReference {
    /// Its group and kind, with the defaults of what it leaves out.
    pub fn group_and_kind(&self) -> (&str, &str) {
        (self.group.as_deref().unwrap_or(GROUP), self.kind.as_deref().unwrap_or("Gateway"))
    }
}
