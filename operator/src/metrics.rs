//! The operator's series: one table, one value per Rollout that exists, and counters of its own work.

mod export;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_operator_core::{Report, State, decision::Phase};

pub(crate) use export::text;

/// Bounds of the duration of a reconcile, in seconds.
const SECONDS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// What kind of series it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeriesKind {
    /// It goes up and down.
    Gauge,
    /// It only goes up; exported with `_total` appended.
    Counter,
    /// Buckets, sum and count.
    Histogram,
}

/// One series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: SeriesKind,
    /// What it says.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its values now.
    read: fn(&Numbers) -> Vec<Row>,
}

/// Values of the labels, and the value.
type Row = (Vec<String>, f64);

const fn series(
    name: &'static str,
    kind: SeriesKind,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Numbers) -> Vec<Row>,
) -> Series {
    Series { name, kind, help, labels, read }
}

/// Every series that the operator exports. Those about a Rollout exist as long as it does.
pub(crate) const SERIES: [Series; 14] = [
    series(
        "sluice_rollout_info",
        SeriesKind::Gauge,
        &["namespace", "rollout", "workload", "stable_revision", "run_revision"],
        "1 for each Rollout, with the revisions that serve and that are in the run",
        export::info,
    ),
    series(
        "sluice_rollout_phase",
        SeriesKind::Gauge,
        &["namespace", "rollout", "phase", "reason"],
        "1 for the phase that the Rollout is in, with the reason",
        export::phase,
    ),
    series(
        "sluice_rollout_weight_ratio",
        SeriesKind::Gauge,
        &["namespace", "rollout", "arm", "kind"],
        "Share of the traffic of stable and canary, as it is wanted and as it is verified to be",
        export::weights,
    ),
    series(
        "sluice_rollout_step",
        SeriesKind::Gauge,
        &["namespace", "rollout"],
        "Current step of the run, from 1",
        export::step,
    ),
    series(
        "sluice_rollout_steps",
        SeriesKind::Gauge,
        &["namespace", "rollout"],
        "Number of steps of the run",
        export::steps,
    ),
    series(
        "sluice_rollout_verdict",
        SeriesKind::Gauge,
        &["namespace", "rollout", "metric", "verdict"],
        "1 for the verdict on each metric of the run",
        export::verdicts,
    ),
    series(
        "sluice_rollout_evidence",
        SeriesKind::Gauge,
        &["namespace", "rollout", "metric", "kind"],
        "Logarithm of the evidence that the canary is bad (value) and what rolls it back (bound)",
        export::evidence,
    ),
    series(
        "sluice_rollout_outcomes",
        SeriesKind::Counter,
        &["namespace", "rollout", "outcome", "reason"],
        "Runs that ended",
        export::outcomes,
    ),
    series("sluice_operator_reconciles", SeriesKind::Counter, &["result"], "Looks at Rollouts", export::reconciles),
    series(
        "sluice_operator_reconcile_duration_seconds",
        SeriesKind::Histogram,
        &[],
        "Duration of a look at a Rollout",
        export::of_histogram,
    ),
    series("sluice_operator_reconcile_errors", SeriesKind::Counter, &["category"], "Looks that failed", export::errors),
    series(
        "sluice_operator_api_calls",
        SeriesKind::Counter,
        &["verb", "resource", "result"],
        "Calls of the API server, watches apart",
        export::api_calls,
    ),
    series(
        "sluice_operator_telemetry_asked",
        SeriesKind::Counter,
        &["result"],
        "Questions to the proxy's controller",
        export::asked,
    ),
    series(
        "sluice_operator_build_info",
        SeriesKind::Gauge,
        &["version"],
        "1, with the version of the operator",
        export::build_info,
    ),
];

/// The name of a phase, as in the API.
pub(crate) fn phase_name(phase: Phase) -> String {
    format!("{phase:?}")
}

/// Namespace and name of a Rollout.
type Key = (String, String);

/// What is exported of one Rollout.
#[derive(Clone, Debug, Default)]
struct OfRollout {
    workload: String,
    report: Report,
    stable: String,
    run: String,
    outcomes: BTreeMap<(String, String), u64>,
}

#[derive(Debug, Default)]
struct Numbers {
    rollouts: BTreeMap<Key, OfRollout>,
    reconciles: BTreeMap<&'static str, u64>,
    errors: BTreeMap<&'static str, u64>,
    api_calls: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    asked: BTreeMap<&'static str, u64>,
    buckets: [u64; SECONDS.len() + 1],
    seconds: f64,
}

/// All numbers of the operator.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Numbers>);

impl Metrics {
    /// Numbers are numbers also after a panic elsewhere.
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of the API server.
    pub(crate) fn api_call(&self, verb: &'static str, resource: &'static str, result: &'static str) {
        *self.numbers().api_calls.entry((verb, resource, result)).or_default() += 1;
    }

    /// A question to the proxy's controller.
    pub(crate) fn asked(&self, result: &'static str) {
        *self.numbers().asked.entry(result).or_default() += 1;
    }

    /// A look that ended.
    pub(crate) fn reconciled(&self, result: &'static str, duration: Duration) {
        let mut numbers = self.numbers();
        *numbers.reconciles.entry(result).or_default() += 1;
        let seconds = duration.as_secs_f64();
        numbers.buckets[SECONDS.partition_point(|bound| *bound < seconds)] += 1;
        numbers.seconds += seconds;
    }

    /// A look that failed.
    pub(crate) fn failed(&self, category: &'static str) {
        *self.numbers().errors.entry(category).or_default() += 1;
    }

    /// What a Rollout reports now.
    pub(crate) fn report(&self, namespace: &str, name: &str, workload: &str, report: &Report, state: &State) {
        let mut numbers = self.numbers();
        let of = numbers.rollouts.entry((namespace.to_owned(), name.to_owned())).or_default();
        workload.clone_into(&mut of.workload);
        of.report = report.clone();
        of.stable = state.stable.as_ref().map(|stable| stable.revision.clone()).unwrap_or_default();
        of.run = state.run.as_ref().map(|run| run.revision.clone()).unwrap_or_default();
    }

    /// A run of a Rollout that ended.
    pub(crate) fn outcome(&self, namespace: &str, name: &str, outcome: &str, reason: &str) {
        let mut numbers = self.numbers();
        let of = numbers.rollouts.entry((namespace.to_owned(), name.to_owned())).or_default();
        *of.outcomes.entry((outcome.to_owned(), reason.to_owned())).or_default() += 1;
    }

    /// A Rollout is gone, and its series with it.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        self.numbers().rollouts.remove(&(namespace.to_owned(), name.to_owned()));
    }
}

#[cfg(test)]
mod tests;
