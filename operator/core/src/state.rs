//! The operator's memory of one Rollout, kept in its status: small, versioned by serde defaults, enough for any process
//! to go on after any crash.

use serde::{Deserialize, Serialize};

use crate::{Millis, world::OperationKind};

/// Memory of one Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The version that serves.
    pub stable: Option<Stable>,
    /// The run in progress, or the last one when it was rolled back.
    pub run: Option<Run>,
    /// The last operation.
    pub last_operation: Option<ConsumedOperation>,
    /// Ended runs, newest first, at most ten.
    pub history: Vec<Ended>,
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

/// A run. Its fields beside these belong to the decision core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Hash of the pod template.
    pub revision: String,
    /// When it began.
    pub started_at: Millis,
    /// Replicas of the workload when it began.
    pub replicas: i32,
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
    /// Revision in the run.
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
}
