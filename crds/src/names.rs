//! Names that are part of the API: labels, finalizers, field managers, condition types.

/// API group.
pub const GROUP: &str = "sluice.dev";
/// Label on an adopted workload; its value is the Rollout's name. The admission policies select on it.
pub const LABEL_ROLLOUT: &str = "sluice.dev/rollout";
/// Label on everything that the operator makes; the value is the Rollout's name.
pub const LABEL_OWNED_BY: &str = "sluice.dev/owned-by";
/// Label on what selects stable's pods and not the canary's, with the value `ignore`: the canary can do without it.
pub const LABEL_COVERAGE: &str = "sluice.dev/canary-coverage";
/// Finalizer on a Rollout: routes are restored and the canary is gone before it goes.
pub const FINALIZER: &str = "sluice.dev/rollout";
/// Field manager of the operator's writes.
pub const FIELD_MANAGER: &str = "sluice-operator";
/// Suffix of the temporary Deployment and Service.
pub const CANARY_SUFFIX: &str = "-canary";
/// Condition: the workload is adopted and its changes are held back.
pub const CONDITION_ADOPTED: &str = "Adopted";
/// Condition: a ConfigMap that stable's pod template names was changed in place.
pub const CONDITION_CONFIG_CHANGED: &str = "ConfigChangedInPlace";
/// Condition: the last revision was promoted.
pub const CONDITION_PROMOTED: &str = "Promoted";
/// Condition (kstatus): nothing is in flight and stable serves.
pub const CONDITION_READY: &str = "Ready";
/// Condition (kstatus): a run is in progress.
pub const CONDITION_RECONCILING: &str = "Reconciling";
/// Condition (kstatus): rolled back or invalid; a person is needed.
pub const CONDITION_STALLED: &str = "Stalled";
