//! What TLS needs: certificates with their keys, and whom to trust.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A certificate and its key, which listeners and backends name by its id. By itself, so that a renewed one is one small
/// message and changes nothing that requests are looked up in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// `namespace/secret`
    pub id: String,
    /// The chain, its own certificate first, as PEM.
    pub chain: String,
    /// As PEM.
    pub key: PrivateKey,
}

/// A private key. It is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(String);

impl PrivateKey {
    /// A key as PEM.
    pub fn new(pem: impl Into<String>) -> Self {
        Self(pem.into())
    }

    /// The key as PEM.
    pub fn pem(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

/// How a listener ends its clients' TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// Ids of its certificates. The first that has the client's server name is shown; where none has, the first.
    pub certificates: Vec<String>,
    /// Whether clients show certificates, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientValidation>,
}

/// What is asked of clients' certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientValidation {
    /// Authorities that clients' certificates come from, as PEM.
    pub authorities: String,
    /// Whether a client may show another certificate, or none.
    #[serde(default)]
    pub optional: bool,
}

/// How backends are spoken to in TLS, which they name by its id. By itself, so that many backends share one list of
/// authorities and an endpoint that comes or goes does not bring it along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendTls {
    /// `namespace/policy`
    pub id: String,
    /// The server name that backends are told. Their certificate must be for it, unless there are `names`.
    pub hostname: String,
    /// Of these the certificate must have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<SubjectName>,
    /// Whom the certificate may come from.
    pub authorities: Authorities,
}

/// A name that a certificate can have beside others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value")]
pub enum SubjectName {
    /// A host name; one with a leading `*.` stands for every name under it.
    Hostname(String),
    /// A URI, compared as it is written.
    Uri(String),
}

/// Whom certificates may come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value")]
pub enum Authorities {
    /// Those that the data plane's system trusts.
    System,
    /// These, as PEM.
    Listed(String),
}

#[cfg(test)]
mod tests {
    use super::{Certificate, PrivateKey};

    #[test]
    fn a_key_is_never_shown() {
        let certificate = Certificate { id: "a/b".into(), chain: String::new(), key: PrivateKey::new("secret") };
        assert!(!format!("{certificate:?}").contains("secret"));
        assert!(serde_json::to_string(&certificate).expect("JSON").contains("secret"));
    }
}
