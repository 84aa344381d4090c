//! The Rollout's spec and operation.
// The derive macro repeats each struct inside a function, where `pub` means nothing.
#![allow(unreachable_pub)]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::{CustomResource, CustomResourceExt, KubeSchema, Resource, api::ObjectMeta};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::RolloutStatus;

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
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"STABLE","type":"string","jsonPath":".status.stable.revision","priority":1}"#,
    printcolumn = r#"{"name":"CANARY","type":"string","jsonPath":".status.run.revision","priority":1}"#,
    printcolumn = r#"{"name":"NEXT","type":"string","jsonPath":".status.next.action","priority":1}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","jsonPath":".status.message","priority":1}"#,
    selectable = ".status.phase",
    validation = Rule::new("!has(oldSelf.operation) || !has(self.operation) || self.operation == oldSelf.operation || self.operation.type == 'Abort'").message("operation is not consumed yet: wait until it is gone from the object (status.lastOperation says what became of it); only Abort may replace it").field_path(".operation"),
    validation = Rule::new("self.metadata.name.size() <= 52").message("metadata.name must be at most 52 characters, so that names derived from it fit")
)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// The workload whose pod template is rolled out. It stays the user's: same name, labels, autoscaler and budgets.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.workload cannot change: delete the Rollout (traffic does not stop) and make a new one"))]
    pub workload: WorkloadRef,
    /// Name of the Service that the routes name as backend. Default: the workload's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub service: Option<String>,
    /// The routes whose weights are stepped: at least one, in the Rollout's own namespace.
    #[schemars(length(min = 1, max = 16))]
    pub routes: Vec<RouteRef>,
    /// How traffic moves.
    pub strategy: Strategy,
    /// How each step is judged. Without metrics a step is over when its `hold.min` is.
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
    /// The CustomResourceDefinition, with `operation` beside `spec`.
    pub fn crd() -> CustomResourceDefinition {
        let mut crd = RolloutBase::crd();
        let operation = operation_schema();
        for version in &mut crd.spec.versions {
            let properties = version
                .schema
                .as_mut()
                .and_then(|schema| schema.open_api_v3_schema.as_mut())
                .and_then(|root| root.properties.as_mut());
            if let Some(properties) = properties {
                properties.insert("operation".to_owned(), operation.clone());
            }
        }
        crd
    }

    /// The Service that the routes name: `spec.service`, or else the workload's name.
    pub fn service_name(&self) -> &str {
        self.spec.service.as_deref().unwrap_or(&self.spec.workload.name)
    }
}

/// The structural schema of [`Operation`], made as kube makes that of a spec.
fn operation_schema() -> JSONSchemaProps {
    let generator = schemars::generate::SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(kube::core::schema::StructuralSchemaRewriter)
        .into_generator();
    let schema = generator.into_root_schema_for::<Operation>();
    serde_json::to_value(schema).and_then(serde_json::from_value).unwrap_or_default()
}

/// A request to act on the current run, once.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Promote goes on to the next step now, or past an approval; after the last step it promotes. Abort rolls back.
    #[serde(rename = "type")]
    pub type_: OperationType,
    /// The revision that it is meant for (`status.run.revision`). When that is no longer the one in the run, the
    /// operation is refused and nothing happens. Default: whatever runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub revision: Option<String>,
    /// Why, in a person's words; kept in the history.
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
    /// Go on to the next step now; after the last step promote.
    Promote,
    /// Roll back to stable.
    Abort,
}

/// The workload.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload, in the Rollout's namespace.
    #[schemars(length(min = 1, max = 63))]
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
    /// Kind of the route.
    pub kind: RouteKind,
    /// Name of the route, in the Rollout's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Names of the rules to step. Default: every rule that names the Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rules: Vec<String>,
}

/// Kinds of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteKind {
    /// gateway.networking.k8s.io/v1 HTTPRoute
    HTTPRoute,
}

/// How traffic moves.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Strategy {
    /// Step the share of the new version up.
    pub canary: Canary,
}

/// The canary strategy.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// The steps, in order. After the last one the revision is promoted.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.all(i, !has(i.weight) || self.all(j, !has(j.weight) || self.indexOf(i) >= self.indexOf(j) || i.weight <= j.weight))").message("weights must not fall from one step to the next"))]
    pub steps: Vec<Step>,
    /// How long the canary's pods, or the promotion of the workload, may take without progress before it counts as
    /// failed. Default: 10m.
    #[serde(default = "Canary::default_progress_deadline")]
    #[schemars(regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub progress_deadline: String,
    /// How long requests in flight on the canary may take to end after its share went to 0, before its pods go.
    /// Default: 10s.
    #[serde(default = "Canary::default_drain")]
    #[schemars(regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub drain: String,
}

impl Canary {
    fn default_progress_deadline() -> String {
        "10m".to_owned()
    }

    fn default_drain() -> String {
        "10s".to_owned()
    }
}

/// One step: exactly one of `weight`, `match` and `approval`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.weight), has(self.match), has(self.approval)].filter(x, x).size() == 1").message("a step has exactly one of weight, match and approval"))]
#[x_kube(validation = Rule::new("!has(self.approval) || !has(self.hold)").message("an approval step waits for a person: it has no hold"))]
pub struct Step {
    /// Share of the traffic for the canary, in percent with at most two decimals. Example: 5, 0.25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 100.0))]
    #[x_kube(validation = Rule::new("double(int(self * 100.0 + 0.5)) / 100.0 == self").message("a weight has at most two decimals: 5, 12.5, 0.25"))]
    pub weight: Option<f64>,
    /// Only requests that match go to the canary. Judged by objective, not by comparison.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub match_: Option<StepMatch>,
    /// Waits for a person: `operation: {type: Promote}` goes on, Abort rolls back. The share stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<StepApproval>,
    /// How long the step lasts. Default: as long as the evidence takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// Which requests go to the canary.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepMatch {
    /// All of these headers must match.
    #[schemars(length(min = 1, max = 16))]
    pub headers: Vec<HttpHeader>,
}

/// A header of a match.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Name of the header, in any case.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+\\-.^_\x60|~]+$"))]
    pub name: String,
    /// Its value.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
    /// How the value is compared. Default: Exact.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<HttpHeaderMatchType>,
}

/// How a header's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpHeaderMatchType {
    /// The whole value.
    Exact,
    /// A regular expression, as the route's implementation reads it.
    RegularExpression,
}

/// Waits for a person. It has no fields yet.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepApproval {}

/// How long a step lasts, counted from the moment that its weight is verified to be live.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// At least this long, even if the evidence suffices earlier. Default: 0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub min: Option<String>,
    /// At most this long; what then happens without a verdict says `onUndecided`. Default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub max: Option<String>,
    /// What happens at `max` while the verdict is Undecided or NoData. Default: Hold.
    #[serde(default)]
    pub on_undecided: OnUndecided,
}

/// What happens at the end of a hold without a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnUndecided {
    /// The weight stays until there is a verdict or a person decides.
    #[default]
    Hold,
    /// Goes on to the next step.
    Promote,
    /// Rolls back.
    RollBack,
}

/// How the steps are judged.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// Every metric must pass; one that fails rolls back.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, a.name == b.name))").message("names of metrics must be unique"))]
    pub metrics: Vec<Metric>,
    /// Probability that a run with a good canary is rolled back all the same, over the whole run, however often it is
    /// looked at, shared by the metrics. Default: 1%.
    #[serde(default = "Analysis::default_alpha")]
    #[schemars(regex(pattern = "^([0-9]{1,2}(\\.[0-9]{1,4})?|100)%$"))]
    pub alpha: String,
}

impl Analysis {
    fn default_alpha() -> String {
        "1%".to_owned()
    }
}

/// One metric.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.compare) || has(self.objective)").message("a metric needs compare, objective or both: how is it to be judged?"))]
#[x_kube(validation = Rule::new("self.builtin != 'Latency' || !has(self.objective) || has(self.objective.slowerThan)").message("the objective of Latency needs slowerThan: from when on is a request slow?"))]
#[x_kube(validation = Rule::new("self.builtin != 'Latency' || !has(self.compare)").message("Latency is judged by objective; compare is for ErrorRate"))]
#[x_kube(validation = Rule::new("self.builtin == 'Latency' || !has(self.objective) || !has(self.objective.slowerThan)").message("slowerThan is for Latency"))]
pub struct Metric {
    /// Name of the metric, unique in the Rollout.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Which of the proxy's own numbers.
    pub builtin: MetricBuiltin,
    /// Is the canary worse than stable, which serves at the same moment? It can only fail a canary; to pass, a metric
    /// with compare alone needs the ceiling of 50% errors not to be in doubt and enough requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    /// Does the canary break the objective?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
}

/// Numbers that the proxy counts for each backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MetricBuiltin {
    /// Requests answered with a 5xx code, or not at all, of all requests.
    ErrorRate,
    /// Requests slower than a bound, of all requests.
    Latency,
}

/// A comparison with stable.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compare {
    /// With whom.
    pub to: CompareTo,
    /// Up to this many times stable's rate is not worse. Default: 1.
    #[serde(default = "Compare::default_tolerance")]
    #[schemars(range(min = 1.0, max = 100.0))]
    pub tolerance: f64,
}

impl Compare {
    fn default_tolerance() -> f64 {
        1.0
    }
}

/// With whom the canary is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CompareTo {
    /// The stable version, which serves at the same moment.
    Stable,
}

/// An objective.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    /// A request that takes longer is slow. One of the bounds at which the proxy counts, so that no request is guessed
    /// to one side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self in ['1ms','2ms','5ms','10ms','25ms','50ms','75ms','100ms','150ms','200ms','250ms','300ms','400ms','500ms','750ms','1s','1500ms','2s','3s','5s','10s','30s']").message("slowerThan must be one of 1ms, 2ms, 5ms, 10ms, 25ms, 50ms, 75ms, 100ms, 150ms, 200ms, 250ms, 300ms, 400ms, 500ms, 750ms, 1s, 1500ms, 2s, 3s, 5s, 10s, 30s"))]
    pub slower_than: Option<String>,
    /// Share of bad requests that is still good. Example: 1%, 0.5%.
    #[schemars(regex(pattern = "^([0-9]{1,2}(\\.[0-9]{1,4})?|100)%$"))]
    pub at_most: String,
}
