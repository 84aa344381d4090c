//! No pod of the workload is available in the middle of a run: there is nothing to compare with and nothing to go back to.
//!
//! The run holds for the progress deadline. Then, or as soon as a newer template is declared, the declared template rolls
//! out without being judged, as it would without a run; the canary carries what it can meanwhile. A stable version that is
//! down never blocks its fix.

use crate::{
    Reason,
    course::{Course, complete},
    decision::{Action, Phase},
    look::{Look, Next},
    phase::{
        promoting,
        run::{SUPERSEDED, judged},
    },
    state::{End, Run, Stable, Stage, Unjudged},
    world::Workload,
};

/// Notes since when stable is lost, and gives up on it when that has been long enough.
pub(super) fn follow(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) {
    let is_lost = course.hold.as_ref().is_some_and(|(reason, _)| *reason == Reason::StableLost);
    let Some(workload) = course.workload.filter(|workload| is_lost && workload.replicas > 0) else {
        run.lost_since = None;
        return;
    };
    let now = look.now();
    let since = *run.lost_since.get_or_insert(now);
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
    if let Some(set) = complete(workload) {
        look.state.stable =
            Some(Stable { revision: set.revision.clone(), uid: set.uid.clone(), name: set.name.clone() });
        look.state.unjudged = None;
        let message = format!("no pod of stable was available, so revision {:?} rolled out", set.revision);
        let end = run.end.take().unwrap_or_else(|| End {
            outcome: SUPERSEDED.to_owned(),
            reason: Reason::NoHealthyStable.as_str().to_owned(),
            message,
            by: None,
        });
        return run.end(look, end);
    }
    if !is_failed {
        promoting::cover(look, run, course);
    }
    look.state.unjudged = Some(Unjudged {
        revision: workload.revision.clone(),
        reason: Reason::NoHealthyStable.as_str().to_owned(),
        since: run.stage_since,
    });
    if workload.paused {
        look.act(Action::SetPaused { paused: false, resource_version: workload.resource_version.clone() });
    }
    let message = format!(
        "no pod of stable was available: revision {:?} rolls out without being judged; {}",
        workload.revision,
        super::adopting::waiting(workload)
    );
    look.say(Phase::Promoting, Reason::NoHealthyStable, message)
}
