//! BackendTLSPolicy. Only what names it must be there: one that could not be read would leave its backends in the clear.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::shared::Unknown;
use crate::tls::ObjectReference;

/// How backends are spoken to in TLS.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "BackendTLSPolicy",
    plural = "backendtlspolicies",
    namespaced
)]
#[kube(root = "BackendTlsPolicy", status = "Value", schema = "disabled", derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    /// What it is for, in its own namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<PolicyTarget>,
    /// Which certificates backends must show.
    #[serde(default)]
    pub validation: BackendValidation,
    /// Settings of an implementation's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// What comes later.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A Service or one of its ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTarget {
    /// None or empty is the core group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Default: Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the object.
    pub name: String,
    /// Name of the Service's port; none or empty means every port that no other policy names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Which certificates are taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendValidation {
    /// ConfigMaps with the authorities that certificates come from.
    #[serde(default, rename = "caCertificateRefs", skip_serializing_if = "Vec::is_empty")]
    pub ca_certificate_refs: Vec<ObjectReference>,
    /// `System`, in place of the references.
    #[serde(default, rename = "wellKnownCACertificates", skip_serializing_if = "Option::is_none")]
    pub well_known_ca_certificates: Option<String>,
    /// The server name that backends are told.
    #[serde(default)]
    pub hostname: String,
    /// Names of which a certificate must have one; without any it must have the server name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
    /// What comes later.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A name that a certificate can have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubjectAltName {
    /// `Hostname` or `URI`.
    #[serde(default, rename = "type")]
    pub type_: String,
    /// With type `Hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// With type `URI`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}
