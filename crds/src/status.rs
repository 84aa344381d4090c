//! The Rollout's status: what it stands at, why, since when and what comes next.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::free_object;

/// What the operator reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Where the Rollout stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why it stands there: one CamelCase word, stable API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in a sentence, with the numbers and the way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Current step of all steps, as in 2/4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Share of the traffic that verifiably goes to the canary, as in 5%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Generation of the object that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Hash of the pod template that the workload declares now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_revision: Option<String>,
    /// Ready, Reconciling, Stalled (kstatus), Adopted and Promoted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The version that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<StableStatus>,
    /// The run in progress, or the last one when it was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,
    /// What happens next and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextStatus>,
    /// Who holds the Rollout where it is, if somebody does: operation Resume ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseStatus>,
    /// The last operation and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_operation: Option<LastOperation>,
    /// The last twenty operations and what became of them, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub operations: Vec<LastOperation>,
    /// The decision core's own memory of the Rollout: adoption and what else outlives a run. Not an API: read the other
    /// fields.
    #[schemars(schema_with = "free_object")]
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub state: serde_json::Value,
    /// The last ten runs, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<HistoryEntry>,
}

/// Where a Rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The object or what it names is not usable; nothing is touched. `message` names the field.
    Invalid,
    /// The workload is being adopted.
    Adopting,
    /// Nothing is in flight; the stable version serves.
    Stable,
    /// The canary's pods and its place in the routes are being made.
    Preparing,
    /// A step is made live or held.
    Stepping,
    /// The canary carries all traffic while the workload itself goes to the new version.
    Promoting,
    /// The workload is at the new version; traffic goes back to it and the canary goes.
    Finishing,
    /// Traffic goes back to stable and the canary goes.
    RollingBack,
    /// The last revision was rolled back; the stable version serves and the workload stays paused.
    RolledBack,
    /// The Rollout is being deleted: everything is put back.
    Deleting,
}

/// The version that serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StableStatus {
    /// Hash of its pod template.
    pub revision: String,
    /// UID of the ReplicaSet that it is pinned to.
    pub replica_set_uid: String,
    /// Name of the ReplicaSet that it is pinned to.
    pub replica_set: String,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Hash of the pod template that is rolled out; `operation.revision` speaks of it.
    pub revision: String,
    /// When it began.
    pub started_at: Time,
    /// Replicas of the workload when it began; from its own rollout on as many as the canary carries the traffic with.
    pub replicas: i32,
    /// The workload is not scaled below this while the run is in progress, whoever asks for it: there must be something
    /// to roll back to. Absent when the run has ended. To scale lower, abort the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<i32>,
    /// The decision core's own memory of the run: stage, step, times and evidence. Not an API: read the other fields.
    #[schemars(schema_with = "free_object")]
    #[serde(default)]
    pub state: serde_json::Value,
    /// Judgement of each metric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStatus>,
}

/// Judgement of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// Name of the metric.
    pub name: String,
    /// The verdict for the current step; Fail is for the whole run.
    pub verdict: VerdictStatus,
    /// The numbers behind it, in a sentence.
    pub message: String,
}

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerdictStatus {
    /// Positive evidence that it is good.
    Pass,
    /// Evidence that it is bad.
    Fail,
    /// Not enough evidence yet.
    Undecided,
    /// No numbers could be had.
    NoData,
}

/// What happens next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextStatus {
    /// What happens, in words.
    pub action: String,
    /// When, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// An operation that was consumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastOperation {
    /// Identity of the request.
    pub id: String,
    /// What was asked.
    #[serde(rename = "type")]
    pub type_: String,
    /// Who asked, as the API server stamped it; `unknown` where the policy is not installed.
    pub by: String,
    /// When it was consumed.
    pub at: Time,
    /// The revision that it met: the run's, or without a run the declared one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What became of it.
    pub result: OperationResult,
    /// Why it was refused, or the asker's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseStatus {
    /// Who asked for it.
    pub by: String,
    /// Since when.
    pub since: Time,
    /// Why, in the asker's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationResult {
    /// It took effect.
    Done,
    /// It did not apply; nothing happened.
    Refused,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Hash of its pod template.
    pub revision: String,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub ended_at: Time,
    /// Promoted, RolledBack or Superseded.
    pub outcome: String,
    /// Why: one CamelCase word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Images of the pod template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Who asked for it, when it was an operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Hash of the pod template that served before, when this one was promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
}
