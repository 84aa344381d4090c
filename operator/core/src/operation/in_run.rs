//! Operations on a run in progress.

use crate::{
    Reason,
    course::Course,
    look::Look,
    phase,
    state::{Run, Stage},
    takeback, undo,
    world::{Operation, OperationKind},
};

use super::{DELETING, asker, end, meant_for, record, unheard};

/// Carries out what is asked of a run.
pub(crate) fn in_run(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) {
    let Some(operation) = unheard(look) else { return };
    let revision = run.revision.clone();
    let outcome = match meant_for(operation, Some(&revision)) {
        Err(why) => Err(why),
        Ok(()) if look.world.deleting => Err(DELETING.to_owned()),
        Ok(()) => match operation.kind {
            OperationKind::Promote => promote(look, run, course),
            OperationKind::PromoteFull => promote_full(look, run, operation),
            OperationKind::Abort => abort(look, run, course, operation),
            OperationKind::Pause => pause(look, run, operation),
            OperationKind::Resume => resume(look, run),
            OperationKind::Retry => retry(look, run),
            OperationKind::Undo => undo(look, run, course, operation),
            OperationKind::SkipAnalysis => skip_analysis(run, course),
        },
    };
    record(look, operation, Some(revision), outcome);
}

/// A person who says that it goes on ends a pause.
fn end_pause(look: &mut Look<'_>, run: &mut Run) -> bool {
    run.go_on(look.now());
    look.state.pause.take().is_some()
}

fn promote(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Result<(), String> {
    match run.stage {
        Stage::Stepping => {
            end_pause(look, run);
            let _ = phase::advance(look, run, course);
            Ok(())
        }
        // What comes next is the first step, or the promotion, which the pause held up.
        Stage::Preparing | Stage::PromotingScale | Stage::PromotingShift if look.state.pause.is_some() => {
            end_pause(look, run);
            Ok(())
        }
        Stage::Preparing => Err("the first step is not live yet; ask again when it is, or PromoteFull".to_owned()),
        Stage::PromotingFailed => retry_promotion(look, run),
        _ => Err(too_late(run)),
    }
}

fn retry_promotion(look: &mut Look<'_>, run: &mut Run) -> Result<(), String> {
    if run.end.as_ref().is_some_and(|end| end.reason == Reason::PromotionFailed.as_str()) {
        run.end = None;
        run.enter(Stage::PromotingRoll, look.now());
        return Ok(());
    }
    Err("the revision failed in its promotion; Undo goes back, or declare a newer template".to_owned())
}

fn promote_full(look: &mut Look<'_>, run: &mut Run, operation: &Operation) -> Result<(), String> {
    match run.stage {
        _ if run.promoted_by.is_some() => return Err("it is being promoted in full already".to_owned()),
        Stage::Preparing | Stage::PromotingScale | Stage::PromotingShift => {}
        Stage::Stepping => {
            let message =
                format!("{} promotes revision {:?} past the rest of its steps", asker(operation), run.revision);
            look.note(Reason::Promoting, message);
            run.enter(Stage::PromotingScale, look.now());
        }
        _ => return Err(too_late(run)),
    }
    end_pause(look, run);
    run.promoted_by = Some(operation.by.clone());
    run.skips_analysis = true;
    Ok(())
}

fn abort(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, operation: &Operation) -> Result<(), String> {
    match run.stage {
        Stage::Preparing | Stage::Stepping | Stage::PromotingScale | Stage::PromotingShift => {}
        // Pods of the old version may be gone: they come back while the canary carries the traffic.
        Stage::PromotingRoll | Stage::PromotingFailed
            if takeback::is_bound(run, course) || is_whole(look, run, course) => {}
        Stage::PromotingRoll | Stage::PromotingFailed => {
            return Err(format!(
                "pods of the old version are gone already; Undo writes the template of revision {:?} back: they come back \
                 while the canary carries the traffic",
                look.state.stable.as_ref().map(|stable| stable.revision.clone()).unwrap_or_default()
            ));
        }
        _ => return Err(too_late(run)),
    }
    let _ = run.end(look, end(Reason::Aborted, operation, "asked for it"));
    Ok(())
}

fn pause(look: &mut Look<'_>, run: &mut Run, operation: &Operation) -> Result<(), String> {
    match run.stage {
        Stage::Preparing | Stage::Stepping | Stage::PromotingScale | Stage::PromotingShift => {
            super::pause(look, operation)?;
            run.still_since = Some(look.now());
            Ok(())
        }
        Stage::PromotingRoll => {
            Err("the workload itself rolls out, and the canary carries the traffic: that comes to an \
                                     end; Abort or Undo goes back"
                .to_owned())
        }
        Stage::PromotingFailed => {
            Err("its promotion failed and stands still: Retry rolls the workload out again, Undo goes back".to_owned())
        }
        _ => Err(too_late(run)),
    }
}

fn resume(look: &mut Look<'_>, run: &mut Run) -> Result<(), String> {
    if end_pause(look, run) {
        return Ok(());
    }
    Err("it is not paused; Promote goes on to the next step, or past an approval".to_owned())
}

fn retry(look: &mut Look<'_>, run: &mut Run) -> Result<(), String> {
    match run.stage {
        Stage::PromotingFailed => retry_promotion(look, run),
        Stage::PromotingBack | Stage::StableLost | Stage::RollingBack | Stage::RolledBack => {
            Err("the run is still going back to stable; ask again when the phase is RolledBack".to_owned())
        }
        Stage::Finishing => Err(too_late(run)),
        _ => Err("the run is in progress, so there is nothing to try again; Abort ends it first".to_owned()),
    }
}

fn undo(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, operation: &Operation) -> Result<(), String> {
    match run.stage {
        Stage::Finishing | Stage::PromotingBack | Stage::StableLost | Stage::RolledBack => return Err(too_late(run)),
        _ => {}
    }
    let Some(workload) = course.workload else {
        return Err("the Deployment is gone, so there is no template to write back; make it again".to_owned());
    };
    if workload.revision != run.revision {
        return Err(format!(
            "revision {:?} is declared by now, and not {:?} any more: the run ends in any case",
            workload.revision, run.revision
        ));
    }
    let is_whole = is_whole(look, run, course);
    undo::ask(look, workload, operation)?;
    let end = end(Reason::Undone, operation, "undid it");
    match run.stage {
        // It goes back already, for a reason of its own; the template follows.
        Stage::RollingBack => {}
        Stage::PromotingRoll | Stage::PromotingFailed if !is_whole => {
            // Stable's pods come back under the canary's cover, as soon as their template is declared.
            run.end = Some(end);
            run.enter(Stage::PromotingFailed, look.now());
        }
        _ => {
            let _ = run.end(look, end);
        }
    }
    Ok(())
}

fn skip_analysis(run: &mut Run, course: &Course<'_>) -> Result<(), String> {
    match run.stage {
        Stage::Preparing | Stage::Stepping | Stage::PromotingScale | Stage::PromotingShift | Stage::PromotingRoll => {}
        Stage::PromotingFailed => {
            return Err("its promotion failed: Retry rolls the workload out again, Undo goes back".to_owned());
        }
        _ => return Err(too_late(run)),
    }
    if run.skips_analysis {
        return Err("this run goes without analysis already".to_owned());
    }
    if course.plan.metrics.is_empty() {
        return Err("the run has no metrics (spec.analysis), so there is nothing to skip; Promote goes on".to_owned());
    }
    run.skips_analysis = true;
    Ok(())
}

fn is_whole(look: &Look<'_>, run: &Run, course: &Course<'_>) -> bool {
    course.workload.is_some_and(|workload| phase::may_go_back(look, run, course, workload))
}

/// Why nothing can be asked of a run at its end.
fn too_late(run: &Run) -> String {
    match run.stage {
        Stage::Finishing => "the revision is promoted; to go back declare the old template again",
        Stage::PromotingBack | Stage::StableLost | Stage::RollingBack | Stage::RolledBack => {
            "the run is going back to stable already; when it is RolledBack, Retry starts the revision again, Undo takes \
             its template back, and another template starts a new run"
        }
        _ => "it is being promoted already; Abort or Undo goes back",
    }
    .to_owned()
}
