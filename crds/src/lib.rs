//! The API of `sluice.dev/v1alpha1`: types, validation rules and the generated CustomResourceDefinitions.
//!
//! Nothing else in the workspace knows the wire shape. Field documentation is what `kubectl explain` prints.
#![forbid(unsafe_code)]

mod analysis;
mod backend_traffic_policy;
mod gateway_parameters;
pub mod names;
mod promotion;
pub mod quantity;
mod rollout;
mod schema;
mod status;
mod strategy;

pub use analysis::{Analysis, Compare, CompareTo, Metric, MetricBuiltin, Objective};
pub use backend_traffic_policy::{
    BackendTrafficPolicy, BackendTrafficPolicySpec, BackendTrafficPolicyStatus, Connections, ConsistentHash,
    ConsistentHashType, LoadBalancing, LoadBalancingType, OutlierDetection, PolicyAncestor, ServiceTarget,
};
pub use gateway_parameters::{
    AccessLogParameters, ClientAddressParameters, CollectorReference, GatewayParameters, GatewayParametersSpec,
    LimitParameters, ProxyProtocolParameters, RequestIdParameters, Switch, TracingParameters,
};
pub use promotion::{KnownGood, Promotion, PromotionFailure, PromotionTraffic, Tolerated};
pub use rollout::{Operation, OperationType, Rollout, RolloutSpec, RouteKind, RouteRef, WorkloadKind, WorkloadRef};
pub use schema::{YamlError, crd_yaml, definitions};
pub use status::{
    HistoryEntry, LastOperation, MetricStatus, NextStatus, OperationResult, PauseStatus, Phase, RolloutStatus,
    RunStatus, StableStatus, VerdictStatus,
};
pub use strategy::{
    Canary, Hold, HttpHeader, HttpHeaderMatchType, OnUndecided, Step, StepApproval, StepMatch, Strategy,
};
