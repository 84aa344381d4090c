//! What a person or tool asks for: consumed exactly once, with its effect or its refusal in the same memory.

use crate::{
    Reason,
    course::Course,
    decision::Action,
    look::Look,
    phase,
    state::{ConsumedOperation, End, Run, Stage},
    world::{Operation, OperationKind},
};

/// Refuses what is asked while no run is in progress.
pub(crate) fn refuse(look: &mut Look<'_>) {
    let Some(operation) = unheard(look) else { return };
    let why = match (&operation.revision, &look.state.run) {
        (Some(revision), _) => format!("operation.revision: revision {revision:?} is gone; no run is in progress"),
        (None, Some(run)) => format!(
            "no run is in progress: revision {:?} was rolled back; declare another template to start one",
            run.revision
        ),
        (None, None) => "no run is in progress; one starts when the workload's template changes".to_owned(),
    };
    record(look, operation, Err(why));
}

/// Carries out what is asked of a run.
pub(crate) fn consume(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) {
    let Some(operation) = unheard(look) else { return };
    let outcome = match &operation.revision {
        Some(revision) if *revision != run.revision => Err(format!(
            "operation.revision: revision {revision:?} is gone; the run is at {:?}: look at it and ask again",
            run.revision
        )),
        _ if look.world.deleting => Err("the Rollout is being deleted, which ends the run in any case".to_owned()),
        _ => match operation.kind {
            OperationKind::Promote => promote(look, run, course),
            OperationKind::Abort => abort(look, run, course, operation),
        },
    };
    record(look, operation, outcome);
}

/// The operation that waits, if it was not heard before. In any case it is removed from the object.
fn unheard<'w>(look: &mut Look<'w>) -> Option<&'w Operation> {
    let operation = look.world.operation.as_ref()?;
    look.act(Action::ConsumeOperation { id: operation.id.clone() });
    let is_known = look.state.last_operation.as_ref().is_some_and(|last| last.id == operation.id);
    (!is_known).then_some(operation)
}

fn record(look: &mut Look<'_>, operation: &Operation, outcome: Result<(), String>) {
    let by = if operation.by.is_empty() { "somebody" } else { &operation.by };
    match &outcome {
        Ok(()) => look.note(Reason::OperationDone, format!("{:?} by {by}", operation.kind)),
        Err(why) => look.warn(Reason::OperationRefused, format!("{:?} by {by} is refused: {why}", operation.kind)),
    }
    look.state.last_operation = Some(ConsumedOperation {
        id: operation.id.clone(),
        kind: operation.kind,
        by: operation.by.clone(),
        at: look.now(),
        revision: operation.revision.clone(),
        done: outcome.is_ok(),
        message: outcome.err().or_else(|| operation.reason.clone()),
    });
}

fn promote(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Result<(), String> {
    match run.stage {
        Stage::Stepping => {
            let _ = phase::advance(look, run, course);
            Ok(())
        }
        Stage::PromotingFailed
            if run.end.as_ref().is_some_and(|end| end.reason == Reason::PromotionFailed.as_str()) =>
        {
            run.end = None;
            run.enter(Stage::PromotingRoll, look.now());
            Ok(())
        }
        Stage::Preparing => Err("the first step is not live yet; ask again when it is".to_owned()),
        Stage::PromotingFailed => {
            Err("the revision failed in its promotion; declare the old template again, or a newer one".to_owned())
        }
        Stage::PromotingScale | Stage::PromotingShift | Stage::PromotingRoll | Stage::Finishing => {
            Err("it is being promoted already".to_owned())
        }
        Stage::PromotingBack | Stage::RollingBack | Stage::RolledBack => {
            Err("the run is going back to stable; declare another template to start a new one".to_owned())
        }
    }
}

fn abort(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, operation: &Operation) -> Result<(), String> {
    let is_whole = course.workload.is_some_and(|workload| phase::is_stable_whole(look, run, workload));
    match run.stage {
        Stage::Preparing | Stage::Stepping | Stage::PromotingScale | Stage::PromotingShift => {}
        Stage::PromotingRoll | Stage::PromotingFailed if is_whole => {}
        Stage::PromotingRoll | Stage::PromotingFailed => {
            return Err(format!(
                "pods of the old version are gone already; declare the template of revision {:?} again: they come back while \
                 the canary carries the traffic",
                look.state.stable.as_ref().map(|stable| stable.revision.clone()).unwrap_or_default()
            ));
        }
        Stage::Finishing => {
            return Err("the revision is promoted; declare the old template again to go back".to_owned());
        }
        Stage::PromotingBack | Stage::RollingBack | Stage::RolledBack => {
            return Err("the run is going back to stable already".to_owned());
        }
    }
    let by = if operation.by.is_empty() { "somebody" } else { &operation.by };
    let reason = operation.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let mut end = End::rolled_back(Reason::Aborted, format!("{by} asked for it{reason}"));
    end.by = Some(operation.by.clone());
    let _ = run.end(look, end);
    Ok(())
}
