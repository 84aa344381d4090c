//! The workload's template and pause in the middle of a run: what the user may do to them, and what follows.

use crate::{
    Reason,
    course::Course,
    decision::Action,
    look::Look,
    phase::{
        promoting::{self, may_go_back},
        run::{ROLLED_BACK, SUPERSEDED},
    },
    state::{End, Run, Stage},
    takeback, undo,
    world::Workload,
};

/// Follows the declared template.
pub(super) fn follow(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) {
    let Some(workload) = course.workload else { return };
    // Ending a run sends the traffic to the workload's pods: not while there are none, unless it waits for them.
    let is_lost = course.hold.as_ref().is_some_and(|(reason, _)| *reason == Reason::StableLost);
    if is_lost && !takeback::is_bound(run, course) {
        return;
    }
    changed(look, run, course, workload);
    if is_resumed(look, run, workload) && !look.state.adoption.labelled && is_before_the_roll(run) {
        let message = "its label was removed and it was resumed: it rolls out without being judged";
        let _ = run.end(look, End::rolled_back(Reason::Unpaused, message));
    }
}

fn changed(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, workload: &Workload) {
    if workload.revision == run.revision {
        if run.stage == Stage::PromotingBack {
            run.enter(Stage::PromotingFailed, look.now());
        }
        return;
    }
    let is_reverted = look.state.stable.as_ref().is_some_and(|stable| stable.revision == workload.revision);
    match run.stage {
        _ if is_before_the_roll(run) => {
            let _ = run.end(look, why(is_reverted, workload));
        }
        Stage::PromotingRoll | Stage::PromotingFailed | Stage::PromotingBack if is_reverted => {
            if may_go_back(look, run, course, workload) && run.stage != Stage::PromotingBack {
                let end = undo::end_of(look, run).unwrap_or_else(|| why(true, workload));
                let _ = run.end(look, end);
            } else if run.stage != Stage::PromotingBack {
                look.note(Reason::Reverted, "the old template was declared again: its pods come back first");
                run.enter(Stage::PromotingBack, look.now());
            }
        }
        Stage::PromotingRoll | Stage::PromotingFailed | Stage::PromotingBack => newer_half_way(look, run, workload),
        _ => {}
    }
}

/// A newer template came when the workload had begun to roll out. Where its own pods suffice for the traffic already the
/// run has reached its end; else it is given up, and the traffic leaves the canary only for pods that are ready.
fn newer_half_way(look: &mut Look<'_>, run: &mut Run, workload: &Workload) {
    let of_run = workload.replica_sets.iter().find(|set| set.revision == run.revision);
    let reference = run.replicas.max(workload.replicas);
    match of_run.filter(|set| set.available >= reference && run.stage == Stage::PromotingRoll) {
        Some(set) => {
            let _ = promoting::finish(look, run, set);
        }
        None => {
            let _ = run.end(look, why(false, workload));
        }
    }
}

fn why(is_reverted: bool, workload: &Workload) -> End {
    let (outcome, reason, message) = if is_reverted {
        (ROLLED_BACK, Reason::Reverted, format!("the template of revision {:?} was declared again", workload.revision))
    } else {
        (SUPERSEDED, Reason::Superseded, format!("the newer revision {:?} was declared", workload.revision))
    };
    End { outcome: outcome.to_owned(), reason: reason.as_str().to_owned(), message, by: None }
}

/// Pauses a workload that somebody resumed on a template that is not judged. Where our label is gone too somebody broke
/// the glass, and the workload is followed.
pub(super) fn keep_paused(look: &mut Look<'_>, run: &Run, course: &Course<'_>) {
    let Some(workload) = course.workload else { return };
    if !look.state.adoption.labelled || workload.paused {
        return;
    }
    let is_complete = run.stage == Stage::Finishing && workload.revision == run.revision;
    if is_complete && look.state.adoption.by_pause {
        // Nothing else holds the next template back.
        look.act(Action::SetPaused { paused: true, resource_version: workload.resource_version.clone() });
    }
    if is_resumed(look, run, workload) {
        let was_let_go = look.world.state.run.as_ref().is_some_and(|run| run.stage == Stage::PromotingRoll);
        if is_before_the_roll(run) {
            look.doubt();
        }
        if !was_let_go {
            look.warn(
                Reason::Unpaused,
                "the workload was resumed on a template that is not judged; it is paused again",
            );
        }
        look.act(Action::SetPaused { paused: true, resource_version: workload.resource_version.clone() });
    }
}

/// The workload may roll out what must not.
fn is_resumed(look: &Look<'_>, run: &Run, workload: &Workload) -> bool {
    let is_stable = look.state.stable.as_ref().is_some_and(|stable| stable.revision == workload.revision);
    let is_let_go = matches!(run.stage, Stage::PromotingRoll | Stage::Finishing) && workload.revision == run.revision;
    !workload.paused && !is_stable && !is_let_go && run.stage != Stage::StableLost
}

pub(super) fn is_before_the_roll(run: &Run) -> bool {
    matches!(run.stage, Stage::Preparing | Stage::Stepping | Stage::PromotingScale | Stage::PromotingShift)
}
