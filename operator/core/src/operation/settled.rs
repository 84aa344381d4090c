//! Operations while no run is in progress.

use crate::{
    look::Look,
    state::{Run, Stable},
    undo,
    world::{Operation, OperationKind, Workload},
};

use super::{meant_for, pause, record, unheard};

/// Carries out what can be asked without a run. `workload` is the workload, or why the Rollout is invalid.
pub(crate) fn settled(look: &mut Look<'_>, workload: Result<&Workload, &str>) {
    let Some(operation) = unheard(look) else { return };
    let rolled_back = look.state.run.as_ref().map(|run| run.revision.as_str());
    let revision = rolled_back.or_else(|| workload.ok().map(|workload| workload.revision.as_str())).map(str::to_owned);
    let outcome = meant_for(operation, revision.as_deref()).and_then(|()| match (operation.kind, workload) {
        (OperationKind::Pause, _) => pause(look, operation),
        (OperationKind::Resume, _) => resume(look),
        (_, Err(why)) => Err(format!("the Rollout is invalid: {why}")),
        (OperationKind::Retry, Ok(workload)) => retry(look, workload),
        (OperationKind::Undo, Ok(workload)) => undo(look, workload, operation),
        (
            OperationKind::Promote | OperationKind::PromoteFull | OperationKind::Abort | OperationKind::SkipAnalysis,
            Ok(workload),
        ) => Err(no_run(look, workload)),
    });
    record(look, operation, revision, outcome);
}

fn no_run(look: &Look<'_>, workload: &Workload) -> String {
    let is_held = look.state.stable.as_ref().is_some_and(|stable| stable.revision != workload.revision);
    match (&look.state.run, &look.state.pause) {
        (Some(run), _) => format!(
            "no run is in progress: revision {:?} was rolled back; Retry starts it again, Undo takes its template back, \
             another template starts a new run",
            run.revision
        ),
        (None, Some(pause)) if is_held => format!(
            "no run is in progress: revision {:?} waits, for the Rollout is {}; Resume starts it, Undo takes its template \
             back",
            workload.revision,
            pause.said()
        ),
        (None, _) => "no run is in progress; one starts when the workload's template changes".to_owned(),
    }
}

fn resume(look: &mut Look<'_>) -> Result<(), String> {
    if look.state.pause.take().is_some() {
        return Ok(());
    }
    Err("it is not paused, and no run is in progress".to_owned())
}

/// The same revision again, from the first step. It is a decision of its own, so it ends a pause.
fn retry(look: &mut Look<'_>, workload: &Workload) -> Result<(), String> {
    let run = look.state.run.as_ref().filter(|run| run.revision == workload.revision);
    if run.is_none_or(Run::in_progress) {
        return Err(format!("no revision was rolled back that could be tried again: {}", no_run(look, workload)));
    }
    let stable = look.state.stable.as_ref();
    let is_healthy =
        |stable: &Stable| workload.replica_sets.iter().any(|set| set.uid == stable.uid && set.available > 0);
    if let Some(stable) = stable.filter(|stable| !is_healthy(stable)) {
        return Err(format!(
            "no pod of ReplicaSet {:?} is available, so there is nothing to go back to; see to stable's pods, or declare a \
             template that is better",
            stable.name
        ));
    }
    look.state.run = None;
    look.state.undone = None;
    look.state.pause = None;
    Ok(())
}

fn undo(look: &mut Look<'_>, workload: &Workload, operation: &Operation) -> Result<(), String> {
    let Some(stable) = &look.state.stable else {
        return Err("no stable version is known yet, so there is no template to write back; declare one".to_owned());
    };
    if stable.revision == workload.revision {
        return Err(format!(
            "revision {:?} serves, and it is what the Deployment declares; to go back further declare an older template",
            stable.revision
        ));
    }
    if !workload.paused {
        return Err(format!(
            "revision {:?} rolls out already; declare the template of revision {:?} again",
            workload.revision, stable.revision
        ));
    }
    undo::ask(look, workload, operation)
}
