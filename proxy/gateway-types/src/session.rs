//! Session persistence of rules (GEP-1619), of the experimental channel.

use serde::{Deserialize, Serialize};

use crate::shared::Unknown;

/// How a client comes back to the endpoint that it had.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPersistence {
    /// After which a session is over, as a duration of GEP-2257.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_timeout: Option<String>,
    /// `Cookie` (the default) or `Header`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// With type `Cookie`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<SessionCookie>,
    /// With type `Header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<SessionHeader>,
    /// What comes later, and what there was before v1.7: `sessionName`, `idleTimeout`, `cookieConfig`.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The cookie of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionCookie {
    /// Absent: one is made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Default: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `Session` (the default) or `Permanent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_type: Option<String>,
    /// What comes later.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The header of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionHeader {
    /// Its name.
    pub name: String,
    /// What comes later.
    #[serde(flatten)]
    pub unknown: Unknown,
}
