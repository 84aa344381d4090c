//! Everything that was observed for one Rollout in one look, validated, as one value.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Millis, Plan, State,
    coverage::{Copied, Cover, Coverage},
};

/// What was observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// When it was observed.
    pub now: Millis,
    /// Name of the Rollout.
    pub name: String,
    /// Its namespace.
    #[serde(default)]
    pub namespace: String,
    /// `metadata.generation` of the Rollout.
    pub generation: i64,
    /// True once the Rollout has a deletion timestamp.
    pub deleting: bool,
    /// The Rollout has our finalizer.
    pub finalizer: bool,
    /// The parsed spec, or the field that is wrong and what would be right.
    pub plan: Result<Plan, String>,
    /// An operation that waits to be consumed.
    pub operation: Option<Operation>,
    /// Our memory, as read from the status.
    pub state: State,
    /// Name of an older Rollout that has the same workload or one of the routes' rules.
    pub claimed_by: Option<String>,
    /// The workload (with a run in progress that of its frozen plan, as for all that follows); None when it does not exist.
    pub workload: Option<Workload>,
    /// The stable Service exists and its selector matches the workload's pod labels; otherwise what is wrong.
    pub service: Result<(), String>,
    /// The temporary Deployment, if there is an object of that name.
    pub canary_workload: Option<CanaryWorkload>,
    /// The temporary Service, if there is an object of that name.
    pub canary_service: Option<Owned>,
    /// Revisions frozen for this Rollout, by revision hash.
    pub frozen: Vec<Frozen>,
    /// What else selects the workload's pods, when it was asked.
    #[serde(default)]
    pub coverage: Coverage,
    /// The copies that frozen revisions ask for.
    #[serde(default)]
    pub copies: Vec<Copied>,
    /// The routes of the plan, in its order, and then those that only the frozen plan of a run in progress names.
    pub routes: Vec<Route>,
    /// What the data planes serve and have counted.
    pub telemetry: Telemetry,
    /// When the policy was probed last: in this look, in an earlier one, or where none is known as the shell spreads it.
    #[serde(default)]
    pub probed_at: Millis,
    /// The API server does not serve MutatingAdmissionPolicy, so nothing can hold a change back but a pause. Asked only
    /// where a probe came back unpaused.
    #[serde(default)]
    pub no_policy_api: bool,
    /// Versions of the ConfigMaps that stable's template names; None: not asked in this look.
    #[serde(default)]
    pub config_maps: Option<ConfigMaps>,
}

/// Versions of the ConfigMaps that a pod template names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMaps {
    /// Hash of the template.
    pub revision: String,
    /// Version by name; of those that exist.
    pub versions: std::collections::BTreeMap<String, String>,
}

/// A person's or tool's request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Identity of the request; the same until it is consumed.
    pub id: String,
    /// What.
    pub kind: OperationKind,
    /// Precondition.
    pub revision: Option<String>,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// What an operation asks for; see the CRD for the meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationKind {
    /// Next step.
    Promote,
    /// Past all steps, straight to the promotion.
    PromoteFull,
    /// Roll back.
    Abort,
    /// Stay where it is, and start no run.
    Pause,
    /// Go on.
    Resume,
    /// Start the revision that was rolled back again.
    Retry,
    /// Roll back, and write stable's template back into the workload.
    Undo,
    /// Go on without analysis.
    SkipAnalysis,
}

/// The user's workload (a Deployment).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Its resourceVersion: every write names it as a precondition.
    pub resource_version: String,
    /// The Deployment controller has seen this generation.
    pub observed: bool,
    /// Value of the label `sluice.dev/rollout`.
    pub label: Option<String>,
    /// `spec.paused`
    pub paused: bool,
    /// `spec.replicas` (1 when absent)
    pub replicas: i32,
    /// Hash of the declared pod template, without what the Deployment controller adds.
    pub revision: String,
    /// The same without the annotations that make no new version.
    #[serde(default)]
    pub plain: String,
    /// The declared pod template.
    pub template: Value,
    /// The pod template of stable's ReplicaSet, without what the Deployment controller adds; None when the ReplicaSet is
    /// gone or is of another revision than it was pinned with.
    #[serde(default)]
    pub stable_template: Option<Value>,
    /// Its images.
    pub images: Vec<String>,
    /// Strategy, volumes or ports that cannot run beside themselves: what and why.
    pub unsupported: Option<String>,
    /// Its ReplicaSets that have or want replicas, plus those of the declared template, of stable and of the run.
    pub replica_sets: Vec<ReplicaSet>,
    /// A server-side dry run with a changed template came back paused: a change is held back. None: not asked in this
    /// look.
    pub held_back: Option<bool>,
}

/// A ReplicaSet of the workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaSet {
    /// UID.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Its resourceVersion: every write names it as a precondition.
    #[serde(default)]
    pub resource_version: String,
    /// Hash of its pod template, comparable to [`Workload::revision`].
    pub revision: String,
    /// The same without the annotations that make no new version, comparable to [`Workload::plain`].
    #[serde(default)]
    pub plain: String,
    /// Wanted replicas.
    pub wanted: i32,
    /// Replicas that exist.
    pub replicas: i32,
    /// Available replicas.
    pub available: i32,
    /// Why its pods are not there or not ready, if a reason is known (crash loop, unschedulable, quota).
    #[serde(default)]
    pub trouble: Option<String>,
}

/// The temporary Deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryWorkload {
    /// Owned by this Rollout (owner reference with its UID); false for a foreign object.
    pub ours: bool,
    /// Revision hash that it was made from.
    pub revision: String,
    /// Its controller has seen this generation.
    pub observed: bool,
    /// Wanted replicas.
    pub wanted: i32,
    /// Available replicas of the current template.
    pub available: i32,
    /// Why its pods are not ready, if a reason is known (crash loop, image pull, unschedulable).
    pub trouble: Option<String>,
    /// It has a deletion timestamp.
    pub deleting: bool,
}

/// An object of a name that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Owned by this Rollout; false for a foreign object.
    pub ours: bool,
    /// It has a deletion timestamp.
    #[serde(default)]
    pub deleting: bool,
}

/// A frozen revision (a ControllerRevision).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    /// Revision hash.
    pub revision: String,
    /// The pod template.
    pub template: Value,
    /// The plan at that time.
    pub plan: Plan,
    /// `spec.rules` of each route at that time, by route name.
    pub base: std::collections::BTreeMap<String, Value>,
    /// How its canary is told from stable, and what is copied for it.
    #[serde(default)]
    pub cover: Cover,
}

/// One route of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Name of the HTTPRoute.
    pub name: String,
    /// None when it does not exist.
    pub live: Option<LiveRoute>,
}

/// A route as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveRoute {
    /// Every write names it as a precondition.
    pub resource_version: String,
    /// `metadata.generation`
    pub generation: i64,
    /// `spec.rules`, unparsed, so that nothing that is not ours is lost.
    pub rules: Value,
    /// What each parent reports.
    pub parents: Vec<Parent>,
    /// The latest field manager of its rules that is not us.
    #[serde(default)]
    pub manager: Option<String>,
    /// Its rules have us as a field manager: who applies others on the server's side gets a conflict.
    #[serde(default)]
    pub is_managed: bool,
}

/// What a parent reports of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Reported by the bundled proxy's controller: its data planes must confirm too.
    pub bundled: bool,
    /// `Accepted` is True at the route's generation.
    pub accepted: bool,
    /// `ResolvedRefs` is True at the route's generation.
    pub resolved: bool,
    /// The generation that both speak of (the lower one).
    pub generation: i64,
    /// Message of the first condition that is not True.
    pub message: String,
}

/// What the data planes serve and have counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Telemetry {
    /// Not asked in this look (no run needs it).
    NotAsked,
    /// It was asked and did not answer.
    Unavailable(String),
    /// Every data plane that may be serving.
    DataPlanes(Vec<DataPlane>),
}

/// One data plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataPlane {
    /// Pod.
    pub pod: String,
    /// It is connected to its controller now.
    pub connected: bool,
    /// Per route name: the generation that every worker of it serves; 0 when not known.
    pub applied: std::collections::BTreeMap<String, i64>,
    /// What it can send requests to.
    #[serde(default)]
    pub ready: Ready,
    /// Cumulative counters.
    pub cells: Vec<Cell>,
}

/// Ready endpoints among which every worker of a data plane chooses; of several ports of a Service the fewest. None when
/// no route names the Service there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Of the stable Service.
    pub stable: Option<u32>,
    /// Of the canary's Service.
    pub canary: Option<u32>,
}

/// Counters of one side of one rule of one route, for requests assigned under one generation of the route. Cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the route.
    pub route: String,
    /// Name of the rule, or its index.
    pub rule: String,
    /// True for the canary's Service, false for stable's.
    pub canary: bool,
    /// Generation of the route.
    pub generation: i64,
    /// Requests assigned.
    pub started: u64,
    /// Requests that ended with a response or a connection failure.
    pub ended: u64,
    /// 5xx and connection failures.
    pub errors: u64,
    /// Failed at an endpoint that was leaving, restarting or refusing; not in `ended`.
    pub disruptions: u64,
    /// In flight now.
    pub in_flight: u64,
    /// Ended requests by duration bucket (not cumulative over buckets); one more than there are bounds.
    pub durations: Vec<u64>,
    /// Requests in flight by age, in the same buckets.
    pub ages: Vec<u64>,
}
