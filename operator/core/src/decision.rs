//! What is to be done, and what is to be said about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Millis, State,
    coverage::{Cover, Source},
    plan::Plan,
};

/// The result of one look.
///
/// The shell first writes `state` and `report` to the status (with the resourceVersion that the world was read at), then
/// carries out `actions` in order, stopping at the first that fails. A crash between any two of these is made good by the
/// next look, because actions follow from state and world, never from the last decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use = "a decision that is not carried out is lost"]
pub struct Decision {
    /// Memory for the next look.
    pub state: State,
    /// The state differs only in evidence from the world's: it may be written later.
    pub only_evidence_changed: bool,
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// What to say.
    pub report: Report,
    /// When to look again at the latest; None: when something changes.
    pub wake_at: Option<Millis>,
}

/// One write. Each is idempotent and carries its precondition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Add our finalizer to the Rollout.
    AddFinalizer,
    /// Remove our finalizer from the Rollout: nothing of ours is left.
    RemoveFinalizer,
    /// Remove `operation` from the Rollout if its id still is this one.
    ConsumeOperation {
        /// Identity of the operation.
        id: String,
    },
    /// Set or remove the label `sluice.dev/rollout` on the workload.
    LabelWorkload {
        /// True to set it to the Rollout's name.
        adopt: bool,
        /// Precondition.
        resource_version: String,
    },
    /// Ask by a server-side dry run whether a changed template comes back paused.
    ProbePolicy,
    /// Set `spec.paused` of the workload.
    SetPaused {
        /// The new value.
        paused: bool,
        /// Precondition: the template still is the one that was looked at.
        resource_version: String,
    },
    /// Write stable's pod template back into the paused workload.
    RestoreTemplate {
        /// Its revision hash.
        revision: String,
        /// The pod template.
        template: Value,
        /// Precondition: the template still is the one that was looked at.
        resource_version: String,
    },
    /// Set the replicas of a ReplicaSet of the workload, which is paused.
    ScaleReplicaSet {
        /// Its name.
        name: String,
        /// Precondition: it is this object.
        uid: String,
        /// Precondition: it is as it was looked at.
        resource_version: String,
        /// The new number.
        replicas: i32,
    },
    /// Delete a ReplicaSet of the workload that has no pods.
    DeleteReplicaSet {
        /// Its name.
        name: String,
        /// Precondition: it is this object.
        uid: String,
        /// Precondition: it is as it was looked at.
        resource_version: String,
    },
    /// Make the ControllerRevision.
    Freeze {
        /// Revision hash.
        revision: String,
        /// The pod template.
        template: Value,
        /// The plan.
        plan: Plan,
        /// `spec.rules` of each route.
        base: BTreeMap<String, Value>,
        /// How its canary is told from stable, and what is copied for it.
        cover: Cover,
    },
    /// Make copies for the canary, before its pods.
    ApplyCopies {
        /// Revision hash.
        revision: String,
        /// What is copied.
        copies: Vec<Source>,
    },
    /// Delete copies, after the canary's pods.
    DeleteCopies {
        /// What they are copies of.
        copies: Vec<Source>,
    },
    /// Delete ControllerRevisions of this Rollout other than these.
    PruneRevisions {
        /// Revision hashes to keep.
        keep: Vec<String>,
    },
    /// Make the temporary Deployment from the frozen revision, or scale it.
    ApplyCanaryWorkload {
        /// Revision hash.
        revision: String,
        /// The pod template.
        template: Value,
        /// Replicas.
        replicas: i32,
    },
    /// Make the temporary Service.
    ApplyCanaryService,
    /// Write `spec.rules` of a route.
    WriteRoute {
        /// Name of the route.
        route: String,
        /// The new rules.
        rules: Value,
        /// Precondition.
        resource_version: String,
    },
    /// Give up the ownership of a route's rules, which are what the user wrote again.
    ReleaseRoute {
        /// Name of the route.
        route: String,
        /// Precondition.
        resource_version: String,
    },
    /// Delete the temporary Service.
    DeleteCanaryService,
    /// Delete the temporary Deployment with its pods.
    DeleteCanaryWorkload,
}

/// What is said in status, events, log and metrics alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where the Rollout stands.
    pub phase: Phase,
    /// Why, as one CamelCase word: the name of the `Reason`.
    pub reason: String,
    /// Why, in a sentence that names the field or object and the way out.
    pub message: String,
    /// (current, all), from 1, during a run.
    pub step: Option<(usize, usize)>,
    /// Verified share of the canary in basis points.
    pub weight: Option<u16>,
    /// Share that is wanted, in basis points.
    pub weight_wanted: Option<u16>,
    /// Hash of the template that the workload declares now.
    pub observed_revision: Option<String>,
    /// True, False or unknown per condition type: Ready, Reconciling, Stalled, Adopted, Promoted.
    pub conditions: Vec<(String, Option<bool>, String, String)>,
    /// Judgement of each metric.
    pub metrics: Vec<MetricReport>,
    /// What happens next, and when if it is known.
    pub next: Option<(String, Option<Millis>)>,
    /// Transitions of this look: (is a warning, reason, message), one Event each.
    pub events: Vec<(bool, String, String)>,
}

/// Where a Rollout stands; see the CRD for the meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Phase {
    Invalid,
    #[default]
    Adopting,
    Stable,
    Preparing,
    Stepping,
    Promoting,
    Finishing,
    RollingBack,
    RolledBack,
    Deleting,
}

/// Judgement of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// Name.
    pub name: String,
    /// Verdict.
    pub verdict: Verdict,
    /// Numbers in a sentence.
    pub message: String,
    /// Bad and all requests of the canary in this step.
    pub canary: (u64, u64),
    /// Bad and all requests of stable in this step.
    pub stable: (u64, u64),
    /// ln of the e-value for Fail over the run, and the bound it must reach.
    pub evidence: (f64, f64),
}

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Positive evidence that it is good.
    Pass,
    /// Evidence that it is bad.
    Fail,
    /// Not enough evidence yet.
    Undecided,
    /// No numbers could be had.
    NoData,
}
