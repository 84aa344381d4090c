//! The operator's memory of one Rollout, kept in its status: small, versioned by serde defaults, enough for any process
//! to go on after any crash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Millis, PROBE_AGAIN_MS, PROBE_RETRY_MS, contest::Contest, plan::Split, world::OperationKind};

/// Memory of one Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// What is known of the admission policy that holds changes of the workload back.
    pub adoption: Adoption,
    /// The version that serves.
    pub stable: Option<Stable>,
    /// The run in progress, or the last one when it was rolled back.
    pub run: Option<Run>,
    /// A revision that rolls out without having been judged, and why.
    pub unjudged: Option<Unjudged>,
    /// Versions of the ConfigMaps that stable's template names.
    pub config: Option<ConfigSeen>,
    /// The last operation.
    pub last_operation: Option<ConsumedOperation>,
    /// Operations, newest first, at most twenty: [`Self::last_operation`] is the first.
    pub operations: Vec<ConsumedOperation>,
    /// A person holds the Rollout where it is, through runs and between them.
    pub pause: Option<Pause>,
    /// The revision that a person took back.
    pub undone: Option<Undone>,
    /// Ended runs, newest first, at most ten.
    pub history: Vec<Ended>,
}

/// A pause that a person asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pause {
    /// Who.
    pub by: String,
    /// Since when.
    pub since: Millis,
    /// Why, in the asker's words.
    pub reason: Option<String>,
}

/// A revision that a person took back. It does not start by itself while the same version is stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Undone {
    /// Hash of its pod template.
    pub revision: String,
    /// Hash of the pod template that it is taken back to: stable's.
    pub stable: String,
    /// Who.
    pub by: String,
    /// Why, in the asker's words.
    pub reason: Option<String>,
    /// Stable's template is to be written back into the workload.
    pub is_pending: bool,
    /// The workload's resourceVersion that it was written over last.
    pub written_at: String,
    /// How often it was written over another one.
    pub writes: u32,
}

/// What is known of the admission policy that holds changes of the workload back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adoption {
    /// The workload carries our label, so that a probe means something.
    pub labelled: bool,
    /// The last answer of the probe. When it was asked is not kept here: nothing is written only because time goes by.
    pub held_back: Option<bool>,
    /// The API server has no such policies, so the workload is paused between runs too.
    pub by_pause: bool,
}

impl Adoption {
    /// A change of the template is held back, by the policy or by a pause that lasts.
    pub fn holds(&self) -> bool {
        self.held_back == Some(true) || self.by_pause
    }

    /// How long its last answer is taken for granted.
    pub(crate) fn ask_again_after(&self) -> Millis {
        if self.holds() { PROBE_AGAIN_MS } else { PROBE_RETRY_MS }
    }
}

/// A revision that rolls out without having been judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unjudged {
    /// Hash of its pod template.
    pub revision: String,
    /// `NoHealthyStable`, `WorkloadRecreated`, `KnownGood`, `Restarted` or `ChangedUnjudged`.
    pub reason: String,
    /// Since when.
    pub since: Millis,
}

/// Versions of the ConfigMaps that a revision names, as they were when it became stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigSeen {
    /// Hash of the pod template.
    pub revision: String,
    /// Version by name.
    pub versions: BTreeMap<String, String>,
    /// Names of those that were changed since.
    pub changed: Vec<String>,
}

/// The version that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stable {
    /// Hash of its pod template.
    pub revision: String,
    /// UID of its ReplicaSet.
    pub uid: String,
    /// Name of its ReplicaSet.
    pub name: String,
}

/// A run. Its fields beside the first three belong to the decision core.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// Hash of the pod template.
    pub revision: String,
    /// The same without the annotations that make no new version.
    pub plain: String,
    /// When it began.
    pub started_at: Millis,
    /// Replicas of the workload when it began; once it was let go, as many as the canary carries the traffic with.
    pub replicas: i32,
    /// Images of its pod template, for the history.
    pub images: Vec<String>,
    /// Where it stands.
    pub stage: Stage,
    /// When it came there.
    pub stage_since: Millis,
    /// Index of the current step.
    pub step: usize,
    /// The split that the current step asks for.
    pub split: Option<Split>,
    /// When the current split was first verified to be live everywhere.
    pub live_since: Option<Millis>,
    /// The share that was verified last, in basis points; 0 while matching requests go to the canary.
    pub verified_share: Option<u16>,
    /// The last sign of progress of the pods that are waited for.
    pub progress: Progress,
    /// Rules that the owner gave a route in the middle of the run; they replace the frozen ones.
    pub base_overrides: BTreeMap<String, Value>,
    /// Other writers of the routes, by route.
    pub contests: BTreeMap<String, Contest>,
    /// Generations of the routes that served a known split, oldest first, at most [`Run::MAX_CONFIGS`].
    pub configs: Vec<Config>,
    /// Evidence: the largest counters seen.
    pub tallies: Vec<Tally>,
    /// What of them was there when the step began, where it goes on with the split of the one before.
    pub baseline: Vec<Tally>,
    /// Counters of routes that were deleted and made again: of the old object, so no evidence.
    pub forgotten: Vec<Tally>,
    /// When a test first was over its bound, by `metric/judge`.
    pub over_since: BTreeMap<String, Millis>,
    /// The window in which disruptions of the canary are counted.
    pub disruptions: Option<DisruptionWindow>,
    /// A person said that it goes without analysis: metrics are told and decide nothing.
    pub skips_analysis: bool,
    /// Who promoted it past the rest of its steps.
    pub promoted_by: Option<String>,
    /// Its clocks stand still since a person paused it.
    pub still_since: Option<Millis>,
    /// The workload was let go: some of stable's pods may be gone.
    pub let_go: bool,
    /// The revision that served when this one was promoted.
    pub replaced: Option<String>,
    /// Since when no pod of the workload is available.
    pub lost_since: Option<Millis>,
    /// Why it ends, once it does. From then on the canary's weight never rises.
    pub end: Option<End>,
    /// How far the routes and temporary objects are taken down, once it ends.
    pub teardown: Option<Teardown>,
}

impl Run {
    /// A route changes its generation a few times per step; more than this is a fight with another writer, and the
    /// status must stay small.
    pub const MAX_CONFIGS: usize = 64;

    /// The run is not over: objects of it may exist.
    pub fn in_progress(&self) -> bool {
        self.stage != Stage::RolledBack
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The revision is frozen, the canary comes up, its ref enters the routes with weight 0.
    #[default]
    Preparing,
    /// A step is live or on its way to be.
    Stepping,
    /// The canary is brought to full size.
    PromotingScale,
    /// All traffic goes to the canary.
    PromotingShift,
    /// The workload itself rolls out.
    PromotingRoll,
    /// The promotion failed when stable's pods were partly replaced: traffic stays on the canary.
    PromotingFailed,
    /// The template was taken back in the middle of the promotion: stable's pods come back under the canary's cover.
    PromotingBack,
    /// The workload had no available pod for so long that the declared template rolls out without being judged, under the
    /// canary's cover.
    StableLost,
    /// All traffic goes to the promoted workload, the canary goes.
    Finishing,
    /// All traffic goes to stable, the canary goes.
    RollingBack,
    /// Rolled back; the memory of it stays until another template comes.
    RolledBack,
}

/// The last sign of progress of the pods that are waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// When.
    pub at: Millis,
    /// Available replicas then.
    pub available: i32,
    /// They were as many as wanted.
    pub is_ready: bool,
}

/// A generation of a route that served a known split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Name of the route.
    pub route: String,
    /// Its generation.
    pub generation: i64,
    /// The canary's share in basis points; None when matching requests go to it.
    pub share: Option<u16>,
    /// The step that it is evidence for; None when it only counts against the canary.
    pub step: Option<usize>,
    /// Names or indices of the rules that are split; empty when all that name the Service are.
    pub rules: Vec<String>,
}

/// The largest counters seen of one side of one config at one data plane: a data plane that vanished takes nothing along.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Pod of the data plane.
    pub pod: String,
    /// Name of the route.
    pub route: String,
    /// Generation of the route.
    pub generation: i64,
    /// The canary's side.
    pub canary: bool,
    /// Requests assigned.
    pub started: u64,
    /// Requests that ended.
    pub ended: u64,
    /// 5xx and connection failures.
    pub errors: u64,
    /// Failed at an endpoint that was leaving.
    pub disruptions: u64,
    /// Per duration bound that a metric names, in the order of the metrics: (slow requests, ended ones and slow ones in
    /// flight).
    pub slow: Vec<(u64, u64)>,
}

/// The window in which disruptions of the canary are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DisruptionWindow {
    /// A disruption was seen since the last window was closed.
    pub is_open: bool,
    /// When it began, or the last one was closed.
    pub since: Millis,
    /// Requests assigned to the canary before.
    pub started: u64,
    /// Disruptions before.
    pub disruptions: u64,
}

/// Why a run ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct End {
    /// Promoted, RolledBack or Superseded.
    pub outcome: String,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Who, when it was an operation.
    pub by: Option<String>,
}

/// How far the routes and temporary objects are taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teardown {
    /// What is done now.
    pub part: TeardownPart,
    /// Since when.
    pub since: Millis,
}

/// Parts of taking a run down, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TeardownPart {
    /// All traffic to the stable Service, with the canary's ref still in place.
    Shift,
    /// The routes get back exactly what the user wrote.
    Restore,
    /// Requests in flight on the canary end.
    Drain,
    /// The temporary objects go.
    Delete,
}

/// An operation that was consumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumedOperation {
    /// Identity of the request.
    pub id: String,
    /// What.
    pub kind: OperationKind,
    /// Who.
    pub by: String,
    /// When.
    pub at: Millis,
    /// The revision that it met: the run's, or without a run the declared one.
    pub revision: Option<String>,
    /// It took effect; otherwise it was refused.
    pub done: bool,
    /// Why it was refused, or the asker's reason.
    pub message: Option<String>,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Hash of the pod template.
    pub revision: String,
    /// When it began.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Millis,
    /// Promoted, RolledBack or Superseded.
    pub outcome: String,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Images.
    pub images: Vec<String>,
    /// Who, when it was an operation.
    pub by: Option<String>,
    /// The revision that served before, when it was promoted.
    #[serde(default)]
    pub replaced: Option<String>,
}
