//! How the steps are judged: metrics, where their numbers come from and what is still good.
// The derive macro repeats each struct inside a function, where `pub` means nothing.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the steps are judged.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// What is looked at: at least one, at most 16. A step goes on when every metric passes; one that fails rolls back.
    /// Example: `[{name: errors, builtin: ErrorRate, compare: {to: Stable}}]`.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub metrics: Vec<Metric>,
    /// Probability that a run with a good canary is rolled back all the same: over the whole run, however often it is
    /// looked at, shared by the metrics. A percentage above 0% and at most 50%; default 1%. Example: 0.1%.
    #[serde(default = "Analysis::default_alpha")]
    #[schemars(length(max = 8), regex(pattern = "^([0-9]{1,2}(\\.[0-9]{1,4})?|100)%$"))]
    #[x_kube(
        validation = Rule::new("double(self.replace('%', '')) > 0.0 && double(self.replace('%', '')) <= 50.0")
            .message("alpha is a probability above 0% and at most 50%; 1% is usual")
    )]
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
#[x_kube(
    validation = Rule::new("has(self.compare) || has(self.objective)")
        .message("a metric needs compare, objective or both: how is it to be judged?")
)]
#[x_kube(
    validation = Rule::new("self.builtin != 'Latency' || !has(self.objective) || has(self.objective.slowerThan)")
        .message("the objective of Latency needs slowerThan: from when on is a request slow?")
)]
#[x_kube(
    validation = Rule::new("self.builtin != 'Latency' || !has(self.compare)")
        .message("Latency is judged by objective; compare is for ErrorRate")
)]
#[x_kube(
    validation = Rule::new("self.builtin == 'Latency' || !has(self.objective) || !has(self.objective.slowerThan)")
        .message("slowerThan is for Latency: remove it, or make it a metric of its own")
)]
pub struct Metric {
    /// Name of the metric, unique in the Rollout; events and the status speak of it. Example: errors.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Which of the proxy's own numbers: ErrorRate is requests answered with a 5xx code, or not at all, of all requests;
    /// Latency is requests slower than `objective.slowerThan`, of all requests.
    pub builtin: MetricBuiltin,
    /// Is the canary worse than stable, which serves at the same moment? For ErrorRate. Evidence that it is, over the
    /// whole run, rolls back. A step passes when a rate three times stable's (or twice `tolerance`, if that is more) is
    /// excluded with 95%, or a rate of 5% is, which takes 65 requests without a bad one. While stable is bad itself, more
    /// than `objective.atMost` or else 50% of the requests of both sides, the weight holds. With a match step nothing can
    /// be compared: there the objective decides, or else the 5%.
    /// Example: `{to: Stable}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    /// Does the canary break the objective, whatever stable does? Evidence that it does, over the whole run, rolls back; a
    /// step passes when twice `atMost` (and at least one percentage point more) is excluded with 95%. Example: `{slowerThan: 500ms, atMost: 1%}`.
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
    /// With whom: Stable is the version that serves at the same moment.
    pub to: CompareTo,
    /// Up to this many times stable's rate is not worse: a factor from 1 to 100. Default: 1. Example: 1.5.
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
    /// to one side. A duration; needed for Latency. Example: 500ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [
        "1ms", "2ms", "5ms", "10ms", "25ms", "50ms", "75ms", "100ms", "150ms", "200ms", "250ms", "300ms", "400ms",
        "500ms", "750ms", "1s", "1500ms", "2s", "3s", "5s", "10s", "30s",
    ]))]
    pub slower_than: Option<String>,
    /// Share of bad requests, of all requests, that is still good. A percentage above 0% and below 100%.
    /// Example: 1%, 0.5%.
    #[schemars(length(max = 8), regex(pattern = "^([0-9]{1,2}(\\.[0-9]{1,4})?|100)%$"))]
    #[x_kube(
        validation = Rule::new("double(self.replace('%', '')) > 0.0 && double(self.replace('%', '')) < 100.0")
            .message("atMost must be above 0% and below 100%: one request in a million is 0.0001%")
    )]
    pub at_most: String,
}
