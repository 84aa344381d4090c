//! How traffic moves: the steps of a canary and how long each lasts.
// The derive macro repeats each struct inside a function, where `pub` means nothing.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{KnownGood, Promotion, Tolerated};

/// How traffic moves.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Strategy {
    /// Steps the new version's share of the traffic up, and judges each step.
    pub canary: Canary,
}

/// The canary strategy.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// The steps, in order: at least one, at most 32. After the last one the revision is promoted.
    /// Example: `[{weight: 5}, {weight: 25}, {approval: {}}, {weight: 50}]`.
    // An approval keeps the share as it is; a match takes the random share back to 0, so it counts as 0 here.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(
        validation = Rule::new("self.filter(s, !has(s.approval)).map(s, has(s.weight) ? s.weight : 0.0).isSorted()")
            .message("weights must not fall from one step to the next, and steps with match come before those with weight: put the steps into rising order")
    )]
    pub steps: Vec<Step>,
    /// How long the canary's pods, or the promotion of the workload, may take without progress before it counts as
    /// failed. A duration; default 10m. Example: 15m.
    #[serde(default = "Canary::default_progress_deadline")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub progress_deadline: String,
    /// How long requests in flight on the canary may take to end after its share went to 0, before its pods go.
    /// A duration; default 10s. Example: 30s.
    #[serde(default = "Canary::default_drain")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub drain: String,
    /// The canary's pods differ from stable's in one label, so a policy that selects stable's pods by it does not select
    /// the canary's. `true` copies such NetworkPolicies for the time of a run; `false` holds the run before anything is
    /// made, with reason CanaryNotCovered and the list. PodDisruptionBudgets, BackendTLSPolicies and
    /// BackendTrafficPolicies are copied in any case.
    /// Default: false.
    #[serde(default)]
    pub mirror_policies: bool,
    /// How the workload itself goes over to the new version, after the last step. Default: under the cover of the canary,
    /// which carries everything meanwhile; a failure half way waits for a person.
    /// Example: `{traffic: Canary, onFailure: RollBack}`.
    #[serde(default)]
    pub promotion: Promotion,
    /// What becomes of a template that was promoted before, as far as `status.history` reaches, and is declared again:
    /// Roll lets the workload roll it out at once, without steps; Analyse takes all steps again. Default: Roll.
    #[serde(default)]
    pub known_good: KnownGood,
    /// Annotations of the pod template that make no new version: a template that differs from stable's in nothing else
    /// rolls out at once, without steps. `kubectl.kubernetes.io/restartedAt` is always one of them. At most 16. Default:
    /// none but that one. Example: `[reloader.stakater.com/last-reloaded-from]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 317),
            regex(pattern = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub ignore_template_annotations: Vec<String>,
    /// What the workload may have although it hardly bears a second set of pods beside the first, and is refused
    /// otherwise: Recreate, HostPorts, ReadWriteOnceVolumes. Default: none. Example: `[HostPorts]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub tolerate: Vec<Tolerated>,
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
#[x_kube(
    validation = Rule::new("[has(self.weight), has(self.match), has(self.approval)].filter(x, x).size() == 1")
        .message("a step has exactly one of weight, match and approval")
)]
#[x_kube(
    validation = Rule::new("!has(self.approval) || !has(self.hold)")
        .message("an approval step waits for a person, however long that takes: remove its hold")
)]
pub struct Step {
    /// Share of the traffic for the canary, in percent from 0.01 to 100 with at most two decimals; each request is drawn
    /// at random. Example: 5, 12.5, 0.25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // The rule beside the range: the API server rounds the minimum of a number that is written without a point.
    #[schemars(range(min = 0.01, max = 100.0))]
    #[x_kube(
        validation = Rule::new("self >= 0.01")
            .message("a weight is at least 0.01: leave the step out, or use match for chosen requests only")
    )]
    #[x_kube(
        validation = Rule::new("double(int(self * 100.0 + 0.5)) / 100.0 == self")
            .message("a weight has at most two decimals: 5, 12.5, 0.25")
    )]
    pub weight: Option<f64>,
    /// Only requests that match go to the canary. Judged by objective, not by comparison: those who match are not like
    /// the others. Example: `{headers: [{name: env, value: canary}]}`.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub match_: Option<StepMatch>,
    /// Waits for a person: `operation: {type: Promote}` goes on, `{type: Abort}` rolls back. The share stays as it is.
    /// Example: `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<StepApproval>,
    /// How long the step lasts, counted from the moment that its share is verified to be live. Default: as long as the
    /// evidence takes. Example: `{min: 1m, max: 10m}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// Which requests go to the canary.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepMatch {
    /// Headers of a request; all of them must match. At least one, at most 16.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub headers: Vec<HttpHeader>,
}

/// A header of a match.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Name of the header, in any case. Example: env.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+\\-.^_\x60|~]+$"))]
    pub name: String,
    /// Its value, or with `type: RegularExpression` the expression. Example: canary.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
    /// How the value is compared: Exact is the whole value; RegularExpression is read as the route's implementation
    /// reads it. Default: Exact.
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

/// How long a step lasts, counted from the moment that its share is verified to be live.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.min) || !has(self.max) || duration(self.min) <= duration(self.max)")
        .message("hold.min must not be longer than hold.max")
)]
#[x_kube(
    validation = Rule::new("has(self.max) || self.onUndecided == 'Hold'")
        .message("onUndecided says what happens at hold.max: set max, or leave onUndecided out")
)]
pub struct Hold {
    /// At least this long, even if the evidence suffices earlier. A duration; default 0s. Example: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub min: Option<String>,
    /// At most this long; what happens then without a verdict says `onUndecided`. A duration; default: no end.
    /// Example: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub max: Option<String>,
    /// What happens at `max` while the verdict is Undecided or NoData: Hold keeps the share until there is a verdict or
    /// a person decides, Promote goes on to the next step, RollBack rolls back. Default: Hold.
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
