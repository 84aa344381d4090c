//! What a run looks like now: the operator's words beside what the responses say.

use std::time::{Duration, Instant};

use sluice_crds::{Phase, RolloutStatus};
use sluice_e2e::{
    follow::{Follow, Moment},
    load::{Load, VersionTally},
};

/// The lines of the live block.
pub(crate) fn lines(follow: &Follow, load: &Load, canary: &str, versions: [&str; 2]) -> Vec<String> {
    let status = follow.status();
    let configured = follow.weights().last().map_or(0.0, |weights| weights.share(canary));
    let since = load.at(step_began(&follow.moments()).unwrap_or_else(Instant::now));
    // Requests that are still under way when the window is read would be missing from it; a moment is left for them.
    let until = load.elapsed().saturating_sub(Duration::from_millis(100));
    let tally = load.record().sent_between(since, until);
    let share = tally.versions.get(versions[1]).map_or(0.0, |version| version.share);
    let mut lines = vec![format!(
        "{:<10} step {:<5} route {:>5.1}%  verified {:>5}  measured {:>5.1}% of {} requests",
        status.phase.map_or_else(|| "-".to_owned(), |phase| format!("{phase:?}")),
        status.step.as_deref().unwrap_or("-"),
        configured * 100.0,
        status.weight.as_deref().unwrap_or("-"),
        share * 100.0,
        tally.sent,
    )];
    for version in versions {
        let counts = tally.versions.get(version).copied().unwrap_or_default();
        lines.push(format!("{version:<10} {}", errors(counts)));
    }
    lines.extend(metrics(&status));
    lines.push(format!("{:<10} {}", "why", why(&status)));
    lines.push(format!("{:<10} {}", "next", next(&status)));
    lines
}

/// When the share of the traffic last changed, as far as the operator has verified it.
fn step_began(moments: &[Moment]) -> Option<Instant> {
    let key = |moment: &Moment| moment.status.as_ref().map(|status| (status.weight.clone(), status.step.clone()));
    let current = key(moments.last()?);
    let same = moments.iter().rev().take_while(|moment| key(moment) == current);
    same.last().map(|moment| moment.at)
}

fn errors(counts: VersionTally) -> String {
    let rate = if counts.requests == 0 { 0.0 } else { counts.failed as f64 / counts.requests as f64 };
    format!("{:>6} requests  {:>4} errors  {:>5.2}%", counts.requests, counts.failed, rate * 100.0)
}

fn metrics(status: &RolloutStatus) -> Vec<String> {
    let running =
        matches!(status.phase, Some(Phase::Stepping | Phase::RollingBack | Phase::RolledBack | Phase::Promoting));
    let metrics = status.run.iter().filter(|_| running).flat_map(|run| &run.metrics);
    metrics.map(|metric| format!("{:<10} {:?}: {}", metric.name, metric.verdict, metric.message)).collect()
}

/// Reason and message.
pub(crate) fn why(status: &RolloutStatus) -> String {
    let reason = status.reason.as_deref().unwrap_or("-");
    let message = status.message.as_deref().unwrap_or_default();
    format!("{reason}: {message}")
}

fn next(status: &RolloutStatus) -> String {
    let Some(next) = &status.next else { return "-".to_owned() };
    match &next.at {
        Some(at) => {
            let seconds = at.0.duration_since(jiff::Timestamp::now()).as_secs().max(0);
            format!("{} in {seconds} s", next.action)
        }
        None => next.action.clone(),
    }
}
