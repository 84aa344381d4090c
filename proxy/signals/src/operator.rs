//! The series that the operator exports on `/metrics`.

use crate::{Kind, Series};

/// Bounds of the duration of a look at a Rollout, in seconds.
pub const LOOK_SECONDS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Bounds of the duration of a run, in seconds: from half a minute to a week.
pub const RUN_SECONDS: [f64; 10] =
    [30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0];

const fn series(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Series {
    Series { name, kind, labels, help }
}

/// One for each Rollout, with what is slow to change.
pub const INFO: Series = series(
    "sluice_rollout_info",
    Kind::Gauge,
    &["namespace", "rollout", "workload", "service", "stable_revision", "run_revision"],
    "1 for each Rollout, with its workload and Service and the revisions that serve and that are in the run",
);

/// Where it stands and why.
pub const PHASE: Series = series(
    "sluice_rollout_phase",
    Kind::Gauge,
    &["namespace", "rollout", "phase", "reason"],
    "1 for the phase that the Rollout is in, with the reason; no other phase of it has a series",
);

/// Shares of the traffic.
pub const WEIGHT: Series = series(
    "sluice_rollout_weight_ratio",
    Kind::Gauge,
    &["namespace", "rollout", "arm", "kind"],
    "Share of the traffic of stable and canary: as it is wanted, as it is verified to be set, and as it is observed in \
     the requests since it was set (during a run with the bundled proxy)",
);

/// Requests behind the observed share.
pub const OBSERVED: Series = series(
    "sluice_rollout_observed_requests",
    Kind::Gauge,
    &["namespace", "rollout", "arm"],
    "Requests that the data planes have assigned since the routes were last changed: what the observed share is of",
);

/// Where in the plan.
pub const STEP: Series =
    series("sluice_rollout_step", Kind::Gauge, &["namespace", "rollout"], "Current step of the run, from 1");

/// How long the plan is.
pub const STEPS: Series =
    series("sluice_rollout_steps", Kind::Gauge, &["namespace", "rollout"], "Number of steps of the run");

/// The judgement.
pub const VERDICT: Series = series(
    "sluice_rollout_verdict",
    Kind::Gauge,
    &["namespace", "rollout", "metric", "verdict"],
    "1 for the verdict on each metric of the run; no other verdict on it has a series",
);

/// What the judgement rests on.
pub const EVIDENCE: Series = series(
    "sluice_rollout_evidence",
    Kind::Gauge,
    &["namespace", "rollout", "metric", "kind"],
    "Natural logarithm of the evidence that the canary is bad (value) and what rolls it back (bound)",
);

/// Who serves.
pub const DATA_PLANES: Series = series(
    "sluice_rollout_data_planes",
    Kind::Gauge,
    &["namespace", "rollout", "state"],
    "Data planes of the bundled proxy as a run sees them: known, connected, and those that serve its routes as they are \
     now (acknowledged)",
);

/// Age of the run.
pub const RUN_START: Series = series(
    "sluice_rollout_run_start_timestamp_seconds",
    Kind::Gauge,
    &["namespace", "rollout"],
    "When the run in progress began, as Unix time",
);

/// Ends of runs.
pub const OUTCOMES: Series = series(
    "sluice_rollout_outcomes_total",
    Kind::Counter,
    &["namespace", "rollout", "outcome", "reason"],
    "Runs that ended, by outcome and reason",
);

/// Durations of runs.
pub const RUN_DURATION: Series = series(
    "sluice_rollout_run_duration_seconds",
    Kind::Histogram,
    &["outcome"],
    "Duration of the runs of all Rollouts that ended",
);

/// Looks.
pub const RECONCILES: Series =
    series("sluice_operator_reconciles_total", Kind::Counter, &["result"], "Looks at Rollouts");

/// Durations of looks.
pub const RECONCILE_DURATION: Series =
    series("sluice_operator_reconcile_duration_seconds", Kind::Histogram, &[], "Duration of a look at a Rollout");

/// Looks that failed.
pub const RECONCILE_ERRORS: Series =
    series("sluice_operator_reconcile_errors_total", Kind::Counter, &["category"], "Looks that failed");

/// Calls of the API server.
pub const API_CALLS: Series = series(
    "sluice_operator_api_calls_total",
    Kind::Counter,
    &["verb", "resource", "result"],
    "Calls of the API server, watches apart",
);

/// Questions to the proxy.
pub const TELEMETRY_ASKED: Series =
    series("sluice_operator_telemetry_asked_total", Kind::Counter, &["result"], "Questions to the proxy's controller");

/// Which replica acts.
pub const LEADER: Series = series(
    "sluice_operator_leader",
    Kind::Gauge,
    &[],
    "1 in the process that looks at Rollouts and writes, 0 in one that stands by",
);

/// What is running.
pub const BUILD: Series = series(
    "sluice_operator_build_info",
    Kind::Gauge,
    &["version"],
    "Always 1; the version of the program is the label",
);

/// Every family, in the order of export. Those about a Rollout exist as long as it does.
pub const SERIES: [&Series; 19] = [
    &INFO,
    &PHASE,
    &WEIGHT,
    &OBSERVED,
    &STEP,
    &STEPS,
    &VERDICT,
    &EVIDENCE,
    &DATA_PLANES,
    &RUN_START,
    &OUTCOMES,
    &RUN_DURATION,
    &RECONCILES,
    &RECONCILE_DURATION,
    &RECONCILE_ERRORS,
    &API_CALLS,
    &TELEMETRY_ASKED,
    &LEADER,
    &BUILD,
];
