//! The operator's numbers: one value per Rollout that exists, and counters of its own work. What they are called and say
//! is in the table of `sluice-signals`.

mod export;
mod histogram;
mod traffic;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sluice_operator_core::{Decision, Millis, Report, World, decision::Phase};
use sluice_signals::operator::{LOOK_SECONDS, RUN_SECONDS};

pub(crate) use export::text;

use self::{histogram::Histogram, traffic::Traffic};
use crate::model::Targets;

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
    service: String,
    report: Report,
    traffic: Traffic,
    stable: String,
    run: String,
    run_started: Option<Millis>,
    outcomes: BTreeMap<(String, String), u64>,
}

#[derive(Debug)]
struct Numbers {
    rollouts: BTreeMap<Key, OfRollout>,
    reconciles: BTreeMap<&'static str, u64>,
    errors: BTreeMap<&'static str, u64>,
    api_calls: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    asked: BTreeMap<&'static str, u64>,
    looks: Histogram,
    runs: BTreeMap<String, Histogram>,
    leads: bool,
    elected_at: Option<Instant>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            rollouts: BTreeMap::new(),
            reconciles: BTreeMap::new(),
            errors: BTreeMap::new(),
            api_calls: BTreeMap::new(),
            asked: BTreeMap::new(),
            leads: false,
            elected_at: None,
            looks: Histogram::new(&LOOK_SECONDS),
            runs: BTreeMap::new(),
        }
    }
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

    /// This process leads, or does not.
    pub(crate) fn leads(&self, leads: bool) {
        self.numbers().leads = leads;
    }

    /// The election moves on.
    pub(crate) fn elected(&self) {
        self.numbers().elected_at = Some(Instant::now());
    }

    /// How long the election has not moved; None where there is none.
    pub(crate) fn election_age(&self) -> Option<Duration> {
        self.numbers().elected_at.map(|at| at.elapsed())
    }

    /// A question to the proxy's controller.
    pub(crate) fn asked(&self, result: &'static str) {
        *self.numbers().asked.entry(result).or_default() += 1;
    }

    /// A look that ended.
    pub(crate) fn reconciled(&self, result: &'static str, duration: Duration) {
        let mut numbers = self.numbers();
        *numbers.reconciles.entry(result).or_default() += 1;
        numbers.looks.observe(duration.as_secs_f64());
    }

    /// A look that failed.
    pub(crate) fn failed(&self, category: &'static str) {
        *self.numbers().errors.entry(category).or_default() += 1;
    }

    /// What a Rollout reports now.
    pub(crate) fn report(&self, world: &World, targets: &Targets, decision: &Decision) {
        let mut numbers = self.numbers();
        let of = numbers.rollouts.entry((world.namespace.clone(), world.name.clone())).or_default();
        let state = &decision.state;
        let run = state.run.as_ref();
        targets.workload.clone_into(&mut of.workload);
        targets.service.clone_into(&mut of.service);
        of.report = decision.report.clone();
        of.traffic = Traffic::of(world);
        of.stable = state.stable.as_ref().map(|stable| stable.revision.clone()).unwrap_or_default();
        of.run = run.map(|run| run.revision.clone()).unwrap_or_default();
        of.run_started = run.filter(|run| run.in_progress()).map(|run| run.started_at);
    }

    /// A run of a Rollout that ended.
    pub(crate) fn outcome(&self, (namespace, name): (&str, &str), outcome: &str, reason: &str, took: Duration) {
        let mut numbers = self.numbers();
        let of = numbers.rollouts.entry((namespace.to_owned(), name.to_owned())).or_default();
        *of.outcomes.entry((outcome.to_owned(), reason.to_owned())).or_default() += 1;
        let runs = numbers.runs.entry(outcome.to_owned()).or_insert_with(|| Histogram::new(&RUN_SECONDS));
        runs.observe(took.as_secs_f64());
    }

    /// A Rollout is gone, and its series with it.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        self.numbers().rollouts.remove(&(namespace.to_owned(), name.to_owned()));
    }
}

#[cfg(test)]
mod tests;
