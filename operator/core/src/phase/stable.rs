//! Stable: the declared template is the one that serves, or one came that has to be dealt with.

use crate::{
    Plan, Reason,
    course::complete,
    decision::{Action, Phase},
    look::{Look, Next},
    phase::{adopting, direct, held},
    state::{Run, Stable, Stage, Unjudged},
    world::Workload,
};

pub(super) fn look_at(look: &mut Look<'_>, plan: &Plan, workload: &Workload, stable: &Stable) -> Next {
    if workload.revision == stable.revision {
        return serving(look, workload, stable);
    }
    if !workload.paused {
        return unpaused(look, workload);
    }
    if let Some(next) = held::look_at(look, workload, stable) {
        return next;
    }
    match direct::why(look, plan, workload, stable) {
        Some(reason) => direct::roll(look, workload, stable, reason),
        None => start(look, plan, workload, stable),
    }
}

fn serving(look: &mut Look<'_>, workload: &Workload, stable: &Stable) -> Next {
    look.state.unjudged = None;
    let by_pause = look.state.adoption.by_pause;
    if workload.paused != by_pause {
        // Rolls nothing: what is declared is what runs. Without policies only a pause holds the next template back.
        look.act(Action::SetPaused { paused: by_pause, resource_version: workload.resource_version.clone() });
    }
    let set = workload.replica_sets.iter().find(|set| set.uid == stable.uid);
    let available = set.map_or(0, |set| set.available);
    let mut message = format!("revision {:?} serves with {available} of {} pods", stable.revision, workload.replicas);
    if by_pause {
        message.push_str("; it is paused between runs");
    }
    look.say(Phase::Stable, Reason::Serving, message)
}

/// A changed template that the policy should have held back and did not, while it is not there: dealt with all the same.
pub(super) fn came_through(look: &mut Look<'_>, workload: &Workload) -> Option<Next> {
    let stable = look.state.stable.as_ref()?;
    // Where nothing runs, as after the Deployment was made anew, a pause would keep it from being served at all.
    let something_runs = workload.replica_sets.iter().any(|set| set.replicas > 0);
    let is_changed = something_runs && stable.revision != workload.revision;
    (look.state.adoption.labelled && is_changed && !workload.paused).then(|| unpaused(look, workload))
}

/// A changed template that is not held back: paused as long as nothing of it runs, followed otherwise.
fn unpaused(look: &mut Look<'_>, workload: &Workload) -> Next {
    let runs = |set: &crate::world::ReplicaSet| set.revision == workload.revision && set.replicas > 0;
    let is_decided = look.state.unjudged.as_ref().is_some_and(|unjudged| unjudged.revision == workload.revision);
    if !is_decided && look.state.adoption.labelled {
        look.doubt();
        adopting::ask(look);
    }
    if !is_decided && look.state.adoption.labelled && !workload.replica_sets.iter().any(runs) {
        look.warn(Reason::Unpaused, "a changed template was not held back; nothing of it runs yet, it is paused");
        look.act(Action::SetPaused { paused: true, resource_version: workload.resource_version.clone() });
        return look.say(Phase::Stable, Reason::Unpaused, "a changed template was not held back; it is being paused");
    }
    if !is_decided {
        let message =
            format!("revision {:?} rolls out without having been judged: it was not held back", workload.revision);
        look.warn(Reason::ChangedUnjudged, message);
        look.state.unjudged = Some(Unjudged {
            revision: workload.revision.clone(),
            reason: Reason::ChangedUnjudged.as_str().to_owned(),
            since: look.now(),
        });
    }
    if let Some(set) = complete(workload) {
        direct::complete(look, workload);
        return adopting::pin(look, set);
    }
    let reason = look.state.unjudged.as_ref().map(|unjudged| unjudged.reason.clone()).unwrap_or_default();
    look.say_as(Phase::Stable, &reason, direct::rolling(workload, &reason))
}

/// Begins a run. Nothing of an earlier one is left: the frozen revisions are being swept, the rest was.
fn start(look: &mut Look<'_>, plan: &Plan, workload: &Workload, stable: &Stable) -> Next {
    if !look.world.frozen.is_empty() {
        let message = "a changed template is held back; frozen revisions of earlier runs are being removed first";
        return look.say(Phase::Stable, Reason::WaitingForObjects, message);
    }
    let now = look.now();
    look.state.unjudged = None;
    let mut run = Run {
        revision: workload.revision.clone(),
        plain: workload.plain.clone(),
        started_at: now,
        replicas: workload.replicas.max(1),
        images: workload.images.clone(),
        ..Run::default()
    };
    run.enter(Stage::Preparing, now);
    look.state.run = Some(run);
    let steps = plan.steps.len();
    let message = format!(
        "revision {:?} begins its way through {steps} step{}; revision {:?} goes on serving",
        workload.revision,
        if steps == 1 { "" } else { "s" },
        stable.revision
    );
    look.note(Reason::Started, message);
    Next::Again
}
