//! A changed template that waits because a person said so: it was undone, or the Rollout is paused.

use crate::{
    Reason,
    decision::Phase,
    look::{Look, Next},
    state::Stable,
    undo,
    world::Workload,
};

/// Holds a changed template back from starting; None when nobody said so.
pub(super) fn look_at(look: &mut Look<'_>, workload: &Workload, stable: &Stable) -> Option<Next> {
    if let Some(run) = undo::held(look, workload) {
        let message = format!("revision {:?} was undone and does not start by itself; Retry starts it", run.revision);
        look.warn(Reason::Undone, message);
        look.state.run = Some(run);
        return Some(Next::Again);
    }
    let pause = look.state.pause.as_ref()?;
    let message = format!(
        "revision {:?} is held back and does not start: {}. Resume starts it, Undo takes its template back; revision {:?} \
         goes on serving",
        workload.revision,
        pause.said(),
        stable.revision
    );
    look.next("start the revision when operation Resume comes", None);
    Some(look.say(Phase::Stable, Reason::Paused, message))
}

/// Says of a settled Rollout that it is paused, where nothing waits for that yet.
pub(super) fn describe(look: &mut Look<'_>) {
    let report = &mut look.report;
    if let Some(pause) = &look.state.pause
        && matches!(report.phase, Phase::Stable | Phase::RolledBack)
        && report.reason != Reason::Paused.as_str()
    {
        report.message = format!("{}. No run starts: {}; Resume ends that", report.message, pause.said());
    }
}
