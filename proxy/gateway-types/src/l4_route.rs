//! TCPRoute, TLSRoute and UDPRoute, which differ in nothing but what they are for and in the host names of a TLSRoute.

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http_route::HttpBackendRef;
use crate::shared::{ParentReference, Unknown};

/// Where the connections of a listener go.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "gateway.networking.k8s.io", version = "v1", kind = "TCPRoute", plural = "tcproutes", namespaced)]
#[kube(root = "TcpRoute", status = "Value", schema = "disabled", derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct TcpRouteSpec {
    /// Gateways that the route wants to be attached to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// One rule.
    #[serde(default)]
    pub rules: Vec<L4RouteRule>,
}

/// Where the connections of a listener go whose TLS names certain servers.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "gateway.networking.k8s.io", version = "v1", kind = "TLSRoute", plural = "tlsroutes", namespaced)]
#[kube(root = "TlsRoute", status = "Value", schema = "disabled", derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct TlsRouteSpec {
    /// Gateways that the route wants to be attached to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Server names, exact or with a leading `*.`; at least one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// One rule.
    #[serde(default)]
    pub rules: Vec<L4RouteRule>,
}

/// Where the datagrams of a listener go.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "gateway.networking.k8s.io", version = "v1", kind = "UDPRoute", plural = "udproutes", namespaced)]
#[kube(root = "UdpRoute", status = "Value", schema = "disabled", derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct UdpRouteSpec {
    /// Gateways that the route wants to be attached to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// One rule.
    #[serde(default)]
    pub rules: Vec<L4RouteRule>,
}

/// The rule of a route whose rules have nothing to match by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct L4RouteRule {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where everything goes. The references of these routes have no filters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<HttpBackendRef>,
    /// What comes later.
    #[serde(flatten)]
    pub unknown: Unknown,
}
