//! The Rollout's spec and operation.
// The derive macro repeats each struct inside a function, where `pub` means nothing.
#![allow(unreachable_pub)]

use kube::{CustomResource, KubeSchema, Resource, api::ObjectMeta};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Analysis, RolloutStatus, Strategy};

/// What a Rollout steps and how it judges.
///
/// A Rollout watches one workload that stays the user's own. A change of its pod template starts a run: the new version
/// gets a share of the routes' traffic step by step, each step is judged on metrics, and in the end the workload itself
/// is let go on to the new version, or the traffic goes back.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "Rollout",
    root = "RolloutBase",
    namespaced,
    status = "RolloutStatus",
    shortname = "slr",
    category = "sluice",
    doc = "Rollout moves the traffic of Gateway API routes from the old version of a workload to the new one, step by step, and judges each step on metrics.",
    printcolumn = r#"{"name":"PHASE","type":"string","jsonPath":".status.phase","description":"Where the Rollout stands"}"#,
    printcolumn = r#"{"name":"STEP","type":"string","jsonPath":".status.step","description":"Current step of the run"}"#,
    printcolumn = r#"{"name":"WEIGHT","type":"string","jsonPath":".status.weight","description":"Share of the traffic that goes to the canary, verified"}"#,
    printcolumn = r#"{"name":"REASON","type":"string","jsonPath":".status.reason","description":"Why it stands there"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp","description":"Time since it was made"}"#,
    printcolumn = r#"{"name":"STABLE","type":"string","jsonPath":".status.stable.revision","description":"Revision that serves","priority":1}"#,
    printcolumn = r#"{"name":"CANARY","type":"string","jsonPath":".status.run.revision","description":"Revision of the run","priority":1}"#,
    printcolumn = r#"{"name":"NEXT","type":"string","jsonPath":".status.next.action","description":"What happens next","priority":1}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","jsonPath":".status.message","description":"Why it stands there, in a sentence","priority":1}"#,
    selectable = ".status.phase",
    validation = Rule::new("!has(oldSelf.operation) || !has(self.operation) || self.operation == oldSelf.operation || self.operation.type == 'Abort'")
        .message("operation is not consumed yet: wait until it is gone from the object (status.lastOperation says what became of it); only Abort may replace it")
        .field_path(".operation"),
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must be at most 52 characters, so that names derived from it fit")
)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// The workload whose pod template is rolled out. It stays the user's: same name, labels, autoscaler and budgets.
    /// It cannot change. Example: `{kind: Deployment, name: podinfo}`.
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("spec.workload cannot change: delete the Rollout (traffic does not stop) and make a new one")
    )]
    pub workload: WorkloadRef,
    /// Name of the Service that the routes name as backend, at most 56 characters. Default: the workload's name.
    /// Example: podinfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 56), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub service: Option<String>,
    /// The routes whose weights are stepped: at least one, at most 16, in the Rollout's own namespace.
    /// Example: `[{kind: HTTPRoute, name: podinfo}]`.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"])
    )]
    pub routes: Vec<RouteRef>,
    /// How traffic moves.
    pub strategy: Strategy,
    /// How each step is judged. Default: not at all; a step is over when its `hold.min` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
}

/// A Rollout as it is stored: `operation` stands beside `spec`, so that tools that apply the spec do not fight it.
#[derive(Resource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[resource(inherit = RolloutBase)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Type of the object, as written by `kubectl`.
    #[serde(flatten, default)]
    pub types: Option<kube::api::TypeMeta>,
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// What to step and how to judge.
    pub spec: RolloutSpec,
    /// A request of a person or tool, consumed by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// What the operator reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RolloutStatus>,
}

impl Rollout {
    /// The Service that the routes name: `spec.service`, or else the workload's name.
    pub fn service_name(&self) -> &str {
        self.spec.service.as_deref().unwrap_or(&self.spec.workload.name)
    }
}

/// A request to act on the Rollout, once. The operator takes it out of the object when it has acted, and says in
/// `status.lastOperation` what became of it; one that does not apply is refused there and changes nothing. While one waits
/// only Abort may replace it. Who may use a type says RBAC: its name in small letters is a verb on rollouts.sluice.dev
/// (promote, promotefull, abort, pause, resume, retry, undo, skipanalysis).
/// Example: `kubectl patch rollouts.sluice.dev podinfo --type merge -p '{"operation":{"type":"Promote"}}'`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What to do: Promote, PromoteFull, Abort, Pause, Resume, Retry, Undo or SkipAnalysis.
    #[serde(rename = "type")]
    pub type_: OperationType,
    /// The revision that it is meant for, as in `status.run.revision`, or without a run in `status.observedRevision`. When
    /// that is no longer the one, the operation is refused and nothing happens. Default: whatever is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub revision: Option<String>,
    /// Why, in a person's words; kept in the history. Example: looks good on the dashboard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Who asked. Stamped by the API server from the request; what is written here is overwritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub by: Option<String>,
    /// Identity of the request. Stamped by the API server; what is written here is overwritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub id: Option<String>,
}

/// What an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationType {
    /// Goes on to the next step now, or past an approval, out of a pause too; after the last step it promotes. Where the
    /// promotion failed it tries the workload's rollout again.
    Promote,
    /// Goes straight to the promotion, past all steps, holds, approvals and analysis. The canary still gets only the weight
    /// that its ready pods can carry, and each weight is verified.
    PromoteFull,
    /// Rolls back to stable.
    Abort,
    /// Holds the Rollout where it is: weights stay, no step goes on, no clock runs out. The run is still judged, and rolled
    /// back if it fails. No new run starts either; so also where none is in progress. Lasts until Resume, or a Promote,
    /// PromoteFull or Retry.
    Pause,
    /// Ends a pause.
    Resume,
    /// Starts a revision that was rolled back again, from the first step. Where the promotion failed it tries the
    /// workload's rollout again.
    Retry,
    /// Rolls back, if there is a run, and writes stable's pod template back into the workload. While the same version is
    /// stable the undone revision does not start by itself, also if it is declared again: Retry starts it.
    Undo,
    /// Lets this run go on without analysis: through its steps, minimum holds and approvals, whatever the metrics say; they
    /// are still shown. A canary that is not available, or refuses its requests, is still rolled back.
    SkipAnalysis,
}

impl OperationType {
    /// Every type.
    pub const ALL: [Self; 8] = [
        Self::Promote,
        Self::PromoteFull,
        Self::Abort,
        Self::Pause,
        Self::Resume,
        Self::Retry,
        Self::Undo,
        Self::SkipAnalysis,
    ];

    /// The RBAC verb on rollouts.sluice.dev that it takes.
    pub fn verb(self) -> String {
        format!("{self:?}").to_ascii_lowercase()
    }
}

/// The workload.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Kind of the workload: Deployment (of apps/v1).
    pub kind: WorkloadKind,
    /// Name of the workload, in the Rollout's namespace; at most 56 characters. Example: podinfo.
    // Room for the suffix of the temporary objects, whose names are label values and a Service's name too.
    #[schemars(length(min = 1, max = 56), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// Kinds of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// apps/v1 Deployment
    Deployment,
}

/// A route.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRef {
    /// Kind of the route: HTTPRoute (of gateway.networking.k8s.io).
    pub kind: RouteKind,
    /// Name of the route, in the Rollout's namespace. Example: podinfo.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// Names of the rules to step, at most 16. Default: every rule that names the Service. Example: `[api]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub rules: Vec<String>,
}

/// Kinds of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteKind {
    /// gateway.networking.k8s.io/v1 HTTPRoute
    HTTPRoute,
}
