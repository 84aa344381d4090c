//! Finishing and RollingBack: the run is taken down, to one side or the other.

use crate::{
    Reason,
    course::Course,
    decision::Phase,
    look::{Look, Next},
    phase::{failed_set, run::ROLLED_BACK},
    plan::Split,
    state::{Run, Stage},
    takeback,
    teardown::{self, Patience},
    verify::{self, Side},
};

/// The promoted workload takes the traffic from the canary, and the canary goes.
pub(super) fn finishing(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    let is_on_canary = course.routes.iter().any(|route| !route.is_base() && route.split != Some(Split::Share(0)));
    let wanted = course.workload.map_or(0, |workload| {
        workload.replicas.min(run.replicas).min(takeback::available(workload, look.state.stable.as_ref()))
    });
    let reachable = if is_on_canary { verify::reachable(look, course, Side::Stable, wanted) } else { Ok(()) };
    if let Err((reason, message)) = reachable {
        return look.say(Phase::Finishing, reason, format!("revision {:?} is complete: {message}", run.revision));
    }
    if let Err((reason, message)) = teardown::go_on(look, run, course, Patience::Endless) {
        return look.say(Phase::Finishing, reason, format!("revision {:?} is complete: {message}", run.revision));
    }
    look.remember(run);
    look.note(Reason::Promoted, format!("revision {:?} is promoted: it serves everything", run.revision));
    forget(run);
    Next::Again
}

/// All traffic goes to stable, and the canary goes.
pub(super) fn rolling_back(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    let end = run.end.clone().unwrap_or_default();
    let routed = teardown::go_on(look, run, course, Patience::Endless);
    // After the routes: the traffic comes first.
    let left = failed_set::take_down(look, run, course);
    if let Some(waiting) = routed.err().map(|(_, waiting)| waiting).or(left) {
        // The cause is what a person looks for; what is waited for stands beside it.
        return look.say_as(Phase::RollingBack, &end.reason, format!("{}; {waiting}", end.message));
    }
    look.remember(run);
    let (revision, participle) = (&run.revision, end.participle());
    let message = format!("revision {revision:?} is {participle} and nothing of its canary is left: {}", end.message);
    look.report.events.push((end.outcome == ROLLED_BACK, end.reason.clone(), message));
    if end.outcome == ROLLED_BACK && end.reason != Reason::Reverted.as_str() {
        remember_why(run);
    } else {
        forget(run);
    }
    Next::Again
}

/// Nothing is left to do about it.
pub(super) fn forget(run: &mut Run) {
    run.end = None;
    run.stage = Stage::RolledBack;
}

/// Only why it ended stays, until another template comes.
fn remember_why(run: &mut Run) {
    *run = Run {
        revision: run.revision.clone(),
        plain: run.plain.clone(),
        started_at: run.started_at,
        replicas: run.replicas,
        images: run.images.clone(),
        stage: Stage::RolledBack,
        end: run.end.clone(),
        ..Run::default()
    };
}
