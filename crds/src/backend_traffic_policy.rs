//! How the proxy spreads requests over the endpoints of a Service, beyond the Gateway API.
// The derive macro repeats each struct inside a function, where `pub` means nothing.
#![allow(unreachable_pub)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::free_object;

/// How the proxy spreads the requests of a backend over its endpoints, and which endpoints it leaves out.
///
/// It is for the Services that it names, in its own namespace, or for single ports of them. Of several policies for one
/// target the oldest counts, and of equally old ones the first by name; the others are `Accepted=False`, `Conflicted`.
/// During a run of a Rollout a policy for the stable Service is copied for the canary's.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "BackendTrafficPolicy",
    plural = "backendtrafficpolicies",
    namespaced,
    status = "BackendTrafficPolicyStatus",
    shortname = "slbtp",
    category = "sluice",
    derive = "PartialEq",
    doc = "BackendTrafficPolicy says how the proxy spreads requests over the endpoints of Services, and which endpoints it leaves out.",
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp","description":"Time since it was made"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct BackendTrafficPolicySpec {
    /// The Services that it is for: at least one, at most 16, in its own namespace. Example: `[{kind: Service, name: app}]`.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(
        validation = Rule::new("self.all(t, self.exists_one(o, o.name == t.name && (has(o.sectionName) ? o.sectionName : '') == (has(t.sectionName) ? t.sectionName : '')))")
            .message("targetRefs must not name the same Service and port twice")
    )]
    pub target_refs: Vec<ServiceTarget>,
    /// Which endpoint of the backend gets a request. Default: of two drawn at random the less loaded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,
    /// Leaves out endpoints that fail, by how they answer the requests that they get. Default: none is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// Connections to endpoints. Default: as many as are needed, each for as many requests as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// How long an endpoint may take to take a connection, before TLS. A duration from 10ms to 1m. Default: 2s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('10ms') && duration(self) <= duration('1m')")
            .message("connectTimeout is from 10ms to 1m")
    )]
    pub connect_timeout: Option<String>,
}

/// A Service or one of its ports.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTarget {
    /// The group of the object: the core group, which is written as nothing. Default: that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self == ''").message("group must be empty: the core group, which Services are of"))]
    pub group: Option<String>,
    /// The kind of the object: Service. Default: that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self == 'Service'").message("kind must be Service"))]
    pub kind: Option<String>,
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Name of a port of it. Default: every port that no other policy names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub section_name: Option<String>,
}

/// Which endpoint gets a request.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'ConsistentHash') == has(self.consistentHash)")
        .message("consistentHash belongs to type ConsistentHash, and to no other")
)]
pub struct LoadBalancing {
    /// LeastRequest takes the less loaded of two drawn at random; Random any; RoundRobin one after the other; ConsistentHash
    /// the same one for requests that have something in common, as long as it is there.
    #[serde(rename = "type")]
    pub type_: LoadBalancingType,
    /// What requests have in common, with type ConsistentHash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistent_hash: Option<ConsistentHash>,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LoadBalancingType {
    /// The less loaded of two drawn at random.
    LeastRequest,
    /// Any.
    Random,
    /// One after the other.
    RoundRobin,
    /// The same one for what requests have in common.
    ConsistentHash,
}

/// What requests have in common. A request that does not have it goes to the less loaded of two endpoints.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("(self.type == 'SourceAddress') != has(self.name)")
        .message("name belongs to types Header and Cookie, which need it")
)]
pub struct ConsistentHash {
    /// Header, Cookie, or SourceAddress: the client's address.
    #[serde(rename = "type")]
    pub type_: ConsistentHashType,
    /// Name of the header or cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$"))]
    pub name: Option<String>,
}

/// Where what requests have in common is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConsistentHashType {
    /// In a header.
    Header,
    /// In a cookie.
    Cookie,
    /// It is the client's address.
    SourceAddress,
}

/// When an endpoint is left out, and for how long. Each worker of a data plane judges by itself.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// An endpoint is left out after so many answers in a row that are its failure: statuses of 500 and more, gRPC codes that
    /// are the server's fault, connections that break, and tries that take too long. From 0, which is never, to 1000.
    /// Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub consecutive_server_errors: Option<i32>,
    /// The same for answers that say that it does not serve: 502, 503, 504, gRPC's UNAVAILABLE, and no answer at all. From 0,
    /// which is never, to 1000. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub consecutive_gateway_errors: Option<i32>,
    /// Failures that are further apart are not in a row. A duration from 1s to 1h. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')")
            .message("interval is from 1s to 1h")
    )]
    pub interval: Option<String>,
    /// How long an endpoint is left out before it gets requests again; its first failure then leaves it out once more. Kept
    /// to whole seconds. A duration from 1s to 1h. Default: 2s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')")
            .message("baseEjectionTime is from 1s to 1h")
    )]
    pub base_ejection_time: Option<String>,
    /// How many of a backend's endpoints are left out at once at most, in percent, rounded down; one may always be where there
    /// are others, and never are all. From 1 to 100. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_ejection_percent: Option<i32>,
    /// Over how long the share of an endpoint grows that gets requests again. Kept to whole seconds. A duration from 0s to 1h.
    /// Default: 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[x_kube(validation = Rule::new("duration(self) <= duration('1h')").message("recoveryTime is at most 1h"))]
    pub recovery_time: Option<String>,
}

/// Connections to endpoints.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// A connection is not used any more after so many requests, from 1 to 1000000. Default: there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_requests_per_connection: Option<i32>,
}

/// What is said of a policy, as the Gateway API has it for policies (GEP-713).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackendTrafficPolicyStatus {
    /// For each Gateway whose routes lead to one of the Services, by each controller: condition Accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<PolicyAncestor>,
}

/// What one controller says of a policy at one Gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestor {
    /// The Gateway: group, kind, namespace and name.
    #[schemars(schema_with = "free_object")]
    pub ancestor_ref: serde_json::Value,
    /// Name of the controller.
    pub controller_name: String,
    /// Conditions of the policy there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
