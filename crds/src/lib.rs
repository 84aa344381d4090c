//! The Rollout API, `sluice.dev/v1alpha1`: types, validation rules and the generated CustomResourceDefinition.
//!
//! Nothing else in the workspace knows the wire shape. Field documentation is what `kubectl explain` prints.
#![forbid(unsafe_code)]

pub mod names;
pub mod quantity;
mod rollout;
mod status;

pub use rollout::{
    Analysis, Canary, Compare, CompareTo, Hold, HttpHeader, HttpHeaderMatchType, Metric, MetricBuiltin, Objective,
    OnUndecided, Operation, OperationType, Rollout, RolloutSpec, RouteKind, RouteRef, Step, StepApproval, StepMatch,
    Strategy, WorkloadKind, WorkloadRef,
};
pub use status::{
    HistoryEntry, LastOperation, MetricStatus, NextStatus, OperationResult, Phase, RolloutStatus, RunStatus,
    StableStatus, VerdictStatus,
};
