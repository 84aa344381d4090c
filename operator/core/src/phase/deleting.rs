//! Deleting: what is ours goes, what is the user's stays as it serves. Traffic never stops for it, and nothing is waited for
//! without end.

use crate::{
    Reason, capacity,
    course::{self, Course, complete},
    coverage,
    decision::{Action, Phase},
    judge,
    look::{Look, Next},
    operation,
    phase::{ending, failed_set, promoting, run::LOOK_AGAIN_MS, settled},
    routes::WHOLE,
    state::{Run, Stage},
    teardown::{self, Patience},
    world::{Telemetry, Workload},
};

pub(super) fn look_at(look: &mut Look<'_>) -> Next {
    if !look.world.finalizer {
        return look.say(Phase::Deleting, Reason::Deleting, "nothing of this Rollout is left");
    }
    if let Some(run) = look.state.run.take().filter(Run::in_progress) {
        return take_down(look, run);
    }
    operation::while_deleting(look);
    if let Ok(plan) = &look.world.plan
        && settled::sweep(look, plan)
    {
        return look.say(Phase::Deleting, Reason::WaitingForObjects, "the temporary objects are being removed");
    }
    if let Some(workload) = &look.world.workload
        && release(look, workload)
    {
        return look.say(Phase::Deleting, Reason::WaitingForObjects, "the workload is being released");
    }
    // Without a plan that can be read nothing was swept.
    if coverage::remove(look) {
        return look.say(
            Phase::Deleting,
            Reason::WaitingForObjects,
            "the canary's copies of policies are being removed",
        );
    }
    if !look.world.frozen.is_empty() {
        look.act(Action::PruneRevisions { keep: Vec::new() });
        return look.say(Phase::Deleting, Reason::WaitingForObjects, "the frozen revisions are being removed");
    }
    look.act(Action::RemoveFinalizer);
    look.say(Phase::Deleting, Reason::Deleting, "nothing of this Rollout is left but its finalizer, which goes now")
}

/// Ends the run in bounded time.
fn take_down(look: &mut Look<'_>, mut run: Run) -> Next {
    let world = look.world;
    look.wake(look.now() + LOOK_AGAIN_MS);
    let Some((plan, frozen)) = course::plan_of(world, &run) else {
        // Neither the spec nor the frozen revision says what was made: what can be seen is swept.
        return Next::Again;
    };
    let course = Course::take(look, &mut run, plan, frozen);
    if let Telemetry::DataPlanes(planes) = &world.telemetry {
        judge::tally::observe(&mut run, plan, planes);
    }
    operation::in_run(look, &mut run, &course);
    if let Some(message) = rolling(look, &mut run, &course) {
        show_weight(look, &run, WHOLE);
        look.state.run = Some(run);
        return look.say(Phase::Deleting, Reason::WaitingForRollout, message);
    }
    // Not waited for: it brings stable's pods back, and those are waited for.
    let _ = failed_set::take_down(look, &run, &course);
    if let Err((reason, message)) = teardown::go_on(look, &mut run, &course, Patience::Bounded) {
        show_weight(look, &run, 0);
        look.state.run = Some(run);
        return look.say(Phase::Deleting, reason, format!("the run ends: {message}"));
    }
    ending::forget(&mut run);
    Next::Again
}

/// Which share the canary has, and which it is to have.
fn show_weight(look: &mut Look<'_>, run: &Run, wanted: u16) {
    (look.report.weight, look.report.weight_wanted) = (run.verified_share, Some(wanted));
}

/// A workload that rolls out under the canary's cover is waited for, as long as it makes progress: its own pods may not
/// suffice before.
fn rolling(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Option<String> {
    let workload = course.workload?;
    if run.stage != Stage::PromotingRoll || workload.revision != run.revision {
        return None;
    }
    if let Some(set) = complete(workload) {
        let _ = promoting::finish(look, run, set);
        return None;
    }
    let of_revision = workload.replica_sets.iter().find(|set| set.revision == run.revision);
    let available = of_revision.map_or(0, |set| set.available);
    capacity::progress(run, look.now(), available, false);
    let deadline = capacity::deadline(run, course);
    if look.now() >= deadline {
        return None;
    }
    look.wake(deadline);
    if workload.paused {
        look.act(Action::SetPaused { paused: false, resource_version: workload.resource_version.clone() });
    }
    Some(format!(
        "the promoted workload rolls out first: {available} of {} pods are available with revision {:?}",
        workload.replicas, run.revision
    ))
}

/// Takes our label off, and the pause where the template is stable's. True while there is something to take off.
fn release(look: &mut Look<'_>, workload: &Workload) -> bool {
    if workload.label.as_deref() != Some(&look.world.name) {
        return false;
    }
    let resource_version = workload.resource_version.clone();
    let is_stable = look.state.stable.as_ref().is_some_and(|stable| stable.revision == workload.revision);
    if workload.paused && is_stable {
        look.act(Action::SetPaused { paused: false, resource_version });
        return true;
    }
    if workload.paused {
        let message = format!(
            "the Rollout is deleted and its Deployment stays paused: revision {:?} was declared and not promoted; declare the \
             old template, or resume it to roll it out",
            workload.revision
        );
        look.warn(Reason::Deleting, message);
    }
    look.act(Action::LabelWorkload { adopt: false, resource_version });
    true
}
