//! A Rollout's spec, parsed once: what the user wants, with nothing left to interpret.

use serde::{Deserialize, Serialize};

/// The parsed spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the workload.
    pub workload: String,
    /// Name of the stable Service.
    pub service: String,
    /// The routes to step.
    pub routes: Vec<RoutePlan>,
    /// In order; never empty.
    pub steps: Vec<Step>,
    /// How long pods may take without progress.
    pub progress_deadline_ms: u64,
    /// How long requests in flight on the canary may take to end.
    pub drain_ms: u64,
    /// Policies that select stable's pods and not the canary's are copied for the time of the run.
    #[serde(default)]
    pub mirror_policies: bool,
    /// Empty: a step is over when its minimum hold is.
    pub metrics: Vec<Metric>,
    /// Probability of a false Fail over the whole run, shared by the metrics.
    pub alpha: f64,
    /// How the workload itself goes over to the new version.
    #[serde(default)]
    pub promotion: Promotion,
    /// A template that was promoted before takes all steps again.
    #[serde(default)]
    pub analyse_known_good: bool,
}

/// How the workload itself goes over to the new version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Promotion {
    /// The split of the last step stays while the workload rolls out; otherwise the canary carries everything.
    pub keep: bool,
    /// A failure half way brings stable's pods back; otherwise it waits for a person. Only where the canary carries
    /// everything.
    pub roll_back: bool,
}

/// A route to step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutePlan {
    /// Name of the HTTPRoute.
    pub name: String,
    /// Names of rules; empty means every rule that names the Service.
    pub rules: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is routed to the canary; None for an approval, which leaves the split as it is.
    pub split: Option<Split>,
    /// How long it lasts.
    pub hold: Hold,
}

/// What part of the traffic goes to the canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Split {
    /// A random share, in basis points (1/100 of a percent), 0 to 10,000.
    Share(u16),
    /// The requests that have all of these headers.
    Match(Vec<HeaderMatch>),
}

/// A header condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// Name.
    pub name: String,
    /// Value or expression.
    pub value: String,
    /// True for a regular expression.
    pub regex: bool,
}

/// How long a step lasts, from the moment that it is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// At least.
    pub min_ms: u64,
    /// At most.
    pub max_ms: Option<u64>,
    /// What happens at the end without a verdict.
    pub on_undecided: OnUndecided,
}

/// What happens at the end of a hold without a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnUndecided {
    /// Wait on.
    #[default]
    Hold,
    /// Go on.
    Promote,
    /// Roll back.
    RollBack,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Unique name.
    pub name: String,
    /// Which requests are bad.
    pub bad: Bad,
    /// Compare with stable: rate ratio up to this tolerance is not worse (F1's r0).
    pub compare: Option<f64>,
    /// Share of bad requests that is still good (F3's p0).
    pub objective: Option<f64>,
}

/// Which requests are bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bad {
    /// 5xx or connection failure.
    Error,
    /// Slower than the duration bound with this index in the signals table: every ended request in a higher bucket, and
    /// every request in flight whose age is in one.
    SlowerThan(usize),
}
