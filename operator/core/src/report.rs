//! Conditions as kstatus reads them, from the rest of a report.

use crate::{Reason, Report, State, config, decision::Phase};

/// (type, status, reason, message) of every condition.
pub(crate) fn conditions(report: &Report, state: &State) -> Vec<(String, Option<bool>, String, String)> {
    let is = |reason: Reason| report.reason == reason.as_str();
    let is_serving = report.phase == Phase::Stable && is(Reason::Serving);
    let is_stalled = matches!(report.phase, Phase::Invalid | Phase::RolledBack)
        || is(Reason::PolicyMissing)
        || is(Reason::PromotionFailed);
    let condition =
        |name: &str, status: Option<bool>| (name.to_owned(), status, report.reason.clone(), report.message.clone());
    let mut conditions = vec![
        condition("Ready", Some(is_serving)),
        condition("Reconciling", Some(!is_serving && !is_stalled)),
        condition("Stalled", Some(is_stalled)),
        adopted(report, state),
    ];
    let promoted = match report.phase {
        Phase::Stable => Some(is_serving),
        Phase::Invalid | Phase::Adopting | Phase::Deleting => None,
        _ => Some(false),
    };
    conditions.push(condition("Promoted", promoted));
    conditions.push(config_changed(report, state));
    conditions
}

/// Whether a ConfigMap was changed in place since stable became stable.
fn config_changed(report: &Report, state: &State) -> (String, Option<bool>, String, String) {
    let name = Reason::ConfigChangedInPlace.as_str().to_owned();
    let changed = state.config.as_ref().filter(|seen| !seen.changed.is_empty());
    match (changed, &state.stable) {
        (Some(seen), _) => (name.clone(), Some(true), name, config::changed(&seen.changed, &seen.revision)),
        (None, Some(_)) => {
            let message = "no ConfigMap that stable's pod template names was changed in place";
            (name, Some(false), "Unchanged".to_owned(), message.to_owned())
        }
        (None, None) => (name, None, report.reason.clone(), report.message.clone()),
    }
}

/// Whether a change of the workload is held back until it is judged.
fn adopted(report: &Report, state: &State) -> (String, Option<bool>, String, String) {
    let adoption = &state.adoption;
    let unjudged = state.unjudged.as_ref().filter(|unjudged| unjudged.reason == Reason::ChangedUnjudged.as_str());
    let (status, reason, message) = match (unjudged, adoption.held_back) {
        _ if report.phase == Phase::Invalid || !adoption.labelled => (None, report.reason.clone(), &*report.message),
        (Some(unjudged), _) => (Some(false), unjudged.reason.clone(), &*report.message),
        (None, Some(true)) => (Some(true), "Adopted".to_owned(), "a change of the workload's template is held back"),
        (None, Some(false)) if adoption.by_pause => {
            (Some(true), Reason::PausedBetweenRuns.as_str().to_owned(), PAUSED_BETWEEN_RUNS)
        }
        (None, Some(false)) => (Some(false), Reason::PolicyMissing.as_str().to_owned(), POLICY_MISSING),
        (None, None) => (None, Reason::ProbingPolicy.as_str().to_owned(), "it was not asked yet"),
    };
    ("Adopted".to_owned(), status, reason, message.to_owned())
}

/// What is different without policies.
const PAUSED_BETWEEN_RUNS: &str = "the API server has no admissionregistration.k8s.io/v1 MutatingAdmissionPolicy: the workload \
    stays paused between runs too, so that nothing rolls by itself";

/// What to do about a missing policy.
pub(crate) const POLICY_MISSING: &str = "a change of the workload's template is not held back: the \
    MutatingAdmissionPolicy of Sluice or its binding is missing; install it again (the cluster needs \
    admissionregistration.k8s.io/v1 MutatingAdmissionPolicy)";
