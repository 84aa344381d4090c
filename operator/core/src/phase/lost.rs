//! No pod of the workload is available in the middle of a run: there is nothing to compare with and nothing to go back to.
//!
//! The run holds for the progress deadline. Then, or as soon as a newer template is declared, the declared template rolls
//! out without being judged, as it would without a run; the canary carries what it can meanwhile. A stable version that is
//! down never blocks its fix. Where the workload was deleted and made anew stable's ReplicaSet is gone for good, so nothing
//! is waited for.

use crate::{
    Reason,
    course::{Course, complete},
    decision::{Action, Phase},
    look::{Look, Next},
    phase::{
        promoting,
        run::{SUPERSEDED, judged},
        template::is_before_the_roll,
    },
    state::{End, Run, Stable, Stage, Unjudged},
    world::Workload,
};

const MADE_ANEW: &str = "the Deployment was deleted and made anew";

/// Notes since when stable is lost, and gives up on it when that has been long enough.
pub(super) fn follow(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) {
    let now = look.now();
    let is_lost = course.hold.as_ref().is_some_and(|(reason, _)| *reason == Reason::StableLost);
    let lost = course.workload.filter(|workload| is_lost && workload.replicas > 0);
    run.lost_since = lost.map(|_| run.lost_since.unwrap_or(now));
    if let Some(workload) = course.workload.filter(|workload| is_made_anew(look, run, workload)) {
        let message = format!("{MADE_ANEW}: its revision {:?} rolls out without being judged", workload.revision);
        look.warn(Reason::WorkloadRecreated, message);
        run.enter(Stage::StableLost, now);
        unjudged(look, run, workload, Reason::WorkloadRecreated);
        return;
    }
    let (Some(workload), Some(since)) = (lost, run.lost_since) else { return };
    if !may_give_up(run, workload) {
        return;
    }
    // Where the run has replaced stable's pods they are given the time to come back.
    let waiting = if run.let_go { since.max(run.stage_since) } else { since };
    let deadline = waiting + i64::try_from(course.plan.progress_deadline_ms).unwrap_or(i64::MAX / 2);
    let is_newer = !run.let_go
        && workload.revision != run.revision
        && look.state.stable.as_ref().is_none_or(|stable| stable.revision != workload.revision);
    if now < deadline && !is_newer {
        look.next("let the declared template roll out without being judged if no pod comes back", Some(deadline));
        return;
    }
    let message = format!(
        "no pod of the Deployment has been available for {} s: revision {:?} rolls out without being judged",
        (now - since) / 1_000,
        workload.revision
    );
    look.warn(Reason::NoHealthyStable, message);
    run.enter(Stage::StableLost, now);
}

/// Stable's ReplicaSet went with the Deployment that it belonged to. Once the run has let the workload go, that one may be
/// cleaned up.
fn is_made_anew(look: &Look<'_>, run: &Run, workload: &Workload) -> bool {
    let is_there = |stable: &Stable| workload.replica_sets.iter().any(|set| set.uid == stable.uid);
    is_before_the_roll(run) && workload.observed && look.state.stable.as_ref().is_some_and(|s| !is_there(s))
}

/// A rollout of the workload has a deadline of its own; and what failed in its promotion is not tried again.
fn may_give_up(run: &Run, workload: &Workload) -> bool {
    match run.stage {
        Stage::Preparing | Stage::Stepping | Stage::PromotingScale | Stage::PromotingShift => true,
        Stage::PromotingFailed | Stage::RollingBack => run.let_go && workload.revision != run.revision,
        Stage::PromotingRoll | Stage::PromotingBack | Stage::StableLost | Stage::Finishing | Stage::RolledBack => false,
    }
}

/// The declared template rolls out under the canary's cover.
pub(super) fn look_at(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    let is_failed = judged(look, run, course, false).failed.is_some();
    let Some(workload) = course.workload else { return promoting::missing(look, course) };
    let (reason, cause) = cause(look);
    if let Some(set) = complete(workload) {
        look.state.stable =
            Some(Stable { revision: set.revision.clone(), uid: set.uid.clone(), name: set.name.clone() });
        look.state.unjudged = None;
        let message = format!("{cause}, so revision {:?} rolled out without being judged", set.revision);
        let end = run.end.take().unwrap_or_else(|| End {
            outcome: SUPERSEDED.to_owned(),
            reason: reason.as_str().to_owned(),
            message,
            by: None,
        });
        return run.end(look, end);
    }
    if !is_failed {
        promoting::cover(look, run, course);
    }
    unjudged(look, run, workload, reason);
    if workload.paused {
        look.act(Action::SetPaused { paused: false, resource_version: workload.resource_version.clone() });
    }
    let message = format!(
        "{cause}: revision {:?} rolls out without being judged; {}",
        workload.revision,
        super::adopting::waiting(workload)
    );
    look.say(Phase::Promoting, reason, message)
}

/// Why the declared template rolls out, and in words.
fn cause(look: &Look<'_>) -> (Reason, &'static str) {
    let is_made_anew = |unjudged: &Unjudged| unjudged.reason == Reason::WorkloadRecreated.as_str();
    match &look.state.unjudged {
        Some(unjudged) if is_made_anew(unjudged) => (Reason::WorkloadRecreated, MADE_ANEW),
        Some(_) | None => (Reason::NoHealthyStable, "no pod of stable was available"),
    }
}

fn unjudged(look: &mut Look<'_>, run: &Run, workload: &Workload, reason: Reason) {
    let (revision, reason) = (workload.revision.clone(), reason.as_str().to_owned());
    look.state.unjudged = Some(Unjudged { revision, reason, since: run.stage_since });
}
