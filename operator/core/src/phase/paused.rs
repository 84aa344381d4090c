//! Paused: a run that a person holds where it is. What is live stays live and is judged on; nothing rises, nothing goes on,
//! and no clock runs out. A canary that fails still goes back.

use crate::{
    Reason,
    capacity::{self, Capacity},
    course::Course,
    decision::Phase,
    look::{Look, Next},
    phase::{run::judged, stepping},
    plan::Split,
    routes::WHOLE,
    state::{End, Run, Stage},
    verify,
};

/// A pause holds this stage. Where the workload itself rolls out it is too late for one.
pub(super) fn holds(look: &Look<'_>, run: &Run) -> bool {
    let may_hold =
        matches!(run.stage, Stage::Preparing | Stage::Stepping | Stage::PromotingScale | Stage::PromotingShift);
    look.state.pause.is_some() && may_hold
}

pub(super) fn look_at(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    let is_stepping = run.stage == Stage::Stepping;
    let judgement = judged(look, run, course, is_stepping);
    if let Some((reason, message)) = judgement.failed {
        return run.end(look, End::rolled_back(reason, message));
    }
    let phase = if is_stepping { Phase::Stepping } else { Phase::Promoting };
    if let Some((reason, message)) = &course.hold {
        return look.say(phase, *reason, message.clone());
    }
    let replicas = capacity::replicas_at(course.plan, capacity::reference(run, course), run.step);
    match capacity::ensure(look, run, course, replicas) {
        Capacity::Failed(reason, message) => return run.end(look, End::rolled_back(reason, message)),
        Capacity::Waiting(message) => return look.say(phase, Reason::WaitingForCanary, message),
        Capacity::Ready => {}
    }
    let split = match run.stage {
        Stage::PromotingShift => Split::Share(WHOLE),
        _ => run.split.clone().unwrap_or(Split::Share(0)),
    };
    // What was live is kept against other writers; what was not is not begun.
    let is_written = course.routes.iter().all(|route| route.split.as_ref() == Some(&split));
    if run.live_since.is_none() && !is_written {
        return look.say(phase, Reason::Paused, "the weights stay as they are");
    }
    let needed = match run.stage {
        Stage::PromotingShift => course.workload.map_or(0, |workload| workload.replicas).max(run.replicas),
        _ => replicas,
    };
    if let Err((reason, message)) = verify::raise(look, course, &split, needed) {
        return look.say(phase, reason, message);
    }
    match run.stage {
        Stage::Stepping => {
            stepping::live(look, run, course, &split);
        }
        Stage::PromotingShift => run.verified_share = Some(WHOLE),
        _ => {}
    }
    look.say(phase, Reason::Paused, "what is live stays live")
}

/// Whatever is waited for, what it stands at is the pause.
pub(super) fn describe(look: &mut Look<'_>, run: &Run) {
    let Some(pause) = look.state.pause.as_ref().filter(|_| holds(look, run)) else { return };
    let message = format!("{}: {}. Resume or Promote goes on, Abort rolls back", pause.said(), look.report.message);
    look.next("go on when operation Resume comes", None);
    let _ = look.say(look.report.phase, Reason::Paused, message);
}
