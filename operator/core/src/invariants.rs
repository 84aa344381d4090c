//! What must hold of every decision, checked in every test and simulation step.

mod canary;
mod routes;
mod workload;

use canary::{copies_are_left, copies_are_missing, covered, nothing_is_left, sized};
use routes::{no_traffic, released, written};
use workload::{is_failed_and_empty, may_pause, restored, scaled};

use crate::{
    Action, Decision, Reason, State, World,
    course::complete,
    coverage,
    decision::Phase,
    state::{Run, Stage},
    world::Workload,
};

/// What a decision breaks; empty when it is sound.
pub fn check(world: &World, decision: &Decision) -> Vec<String> {
    let mut broken = Vec::new();
    report(decision, &mut broken);
    memory(world, decision, &mut broken);
    for action in &decision.actions {
        if let Err(why) = allowed(world, decision, action) {
            broken.push(format!("{}: {why}", name(action)));
        }
    }
    asked(world, decision, &mut broken);
    let is_workload_write = |action: &&Action| {
        matches!(action, Action::SetPaused { .. } | Action::LabelWorkload { .. } | Action::RestoreTemplate { .. })
    };
    if decision.actions.iter().filter(is_workload_write).count() > 1 {
        broken.push("two writes of the workload: the second would find another resourceVersion".to_owned());
    }
    broken
}

/// Every "not yet" has one named reason that a person can read.
fn report(decision: &Decision, broken: &mut Vec<String>) {
    let report = &decision.report;
    if report.message.is_empty() {
        broken.push(format!("{:?} says nothing", report.phase));
    }
    if Reason::ALL.iter().all(|reason| reason.as_str() != report.reason) {
        broken.push(format!("{:?} has no known reason: {:?}", report.phase, report.reason));
    }
    if report.phase == Phase::Invalid
        && let Some(action) = decision.actions.iter().find(|action| !matches!(action, Action::ConsumeOperation { .. }))
    {
        broken.push(format!("{} though the Rollout is invalid", name(action)));
    }
    let mut kinds: Vec<&str> = report.conditions.iter().map(|(kind, ..)| kind.as_str()).collect();
    kinds.sort_unstable();
    if kinds != ["Adopted", "ConfigChangedInPlace", "Promoted", "Ready", "Reconciling", "Stalled"] {
        broken.push(format!("conditions are {kinds:?}"));
    }
}

/// Memory survives being written, and changes what serves only to what was judged or seen to be complete.
fn memory(world: &World, decision: &Decision, broken: &mut Vec<String>) {
    let state = &decision.state;
    let written = serde_json::to_string(state).unwrap_or_default();
    if serde_json::from_str::<State>(&written).ok().as_ref() != Some(state) {
        broken.push("the state does not survive being written".to_owned());
    }
    let before = world.state.run.as_ref().filter(|run| run.in_progress());
    if let (Some(run), Some(stable)) = (before, &state.stable) {
        let was = world.state.stable.as_ref();
        let is_complete = |workload: &Workload| complete(workload).is_some_and(|set| set.uid == stable.uid);
        if was != Some(stable)
            && stable.revision != run.revision
            && !world.workload.as_ref().is_some_and(is_complete)
            && was.is_none_or(|was| was.revision != stable.revision)
        {
            broken.push(format!("revision {:?} is stable, and the run was at {:?}", stable.revision, run.revision));
        }
    }
    let ends = |run: &Run| run.end.as_ref().is_some_and(|end| end.outcome != "Promoted");
    let is_back = |run: &Run| matches!(run.stage, Stage::RollingBack | Stage::RolledBack);
    if let (Some(was), Some(is)) = (&world.state.run, &state.run)
        && was.started_at == is.started_at
        && ends(was)
        && is_back(was)
        && !is_back(is)
        && !(is.stage == Stage::StableLost && world.workload.as_ref().is_some_and(is_down))
    {
        broken.push(format!("a run that goes back goes to {:?}", is.stage));
    }
}

/// What a person asked for holds: a paused run stays where it is, and what was undone does not start by itself.
fn asked(world: &World, decision: &Decision, broken: &mut Vec<String>) {
    let (before, state) = (&world.state, &decision.state);
    let in_progress = |state: &State| state.run.clone().filter(Run::in_progress);
    let (was, is) = (in_progress(before), in_progress(state));
    let may_be_held = |run: &Run| {
        matches!(run.stage, Stage::Preparing | Stage::Stepping | Stage::PromotingScale | Stage::PromotingShift)
    };
    if let Some(run) =
        is.as_ref().filter(|run| run.still_since.is_some() != (state.pause.is_some() && may_be_held(run)))
    {
        broken.push(format!("the clocks of a run at {:?} and the pause are not the same", run.stage));
    }
    if before.pause.is_some()
        && state.pause.is_some()
        && let Some(run) = is.as_ref().filter(|run| run.end.is_none())
        && was.as_ref().is_none_or(|was| (was.stage, was.step) != (run.stage, run.step))
    {
        broken.push(format!("a paused run goes to {:?}, step {}", run.stage, run.step));
    }
    let starts = is.as_ref().filter(|run| was.as_ref().is_none_or(|was| was.started_at != run.started_at));
    let undone = state.undone.as_ref().zip(state.stable.as_ref());
    if let (Some(run), Some((undone, stable))) = (starts, undone)
        && undone.revision == run.revision
        && undone.stable == stable.revision
    {
        broken.push(format!("revision {:?} was undone and starts by itself", run.revision));
    }
}

/// Nothing that could be gone back to.
fn is_down(workload: &Workload) -> bool {
    workload.replica_sets.iter().all(|set| set.available == 0)
}

fn allowed(world: &World, decision: &Decision, action: &Action) -> Result<(), String> {
    match action {
        Action::AddFinalizer => require(!world.deleting, "the Rollout is being deleted"),
        Action::RemoveFinalizer => nothing_is_left(world),
        Action::ConsumeOperation { id } => {
            let is_recorded = decision.state.last_operation.as_ref().is_some_and(|last| last.id == *id);
            require(is_recorded, "the operation is consumed and not recorded")
        }
        Action::LabelWorkload { adopt, resource_version } => {
            let workload = at(world, resource_version)?;
            let is_ours = workload.label.as_deref() == Some(&world.name);
            require(*adopt != is_ours, "the label is not ours to change")
        }
        Action::ProbePolicy => require(decision.state.adoption.labelled, "nothing holds back without the label"),
        Action::SetPaused { paused, resource_version } => {
            may_pause(world, decision, at(world, resource_version)?, *paused)
        }
        Action::RestoreTemplate { revision, template, resource_version } => {
            restored(decision, at(world, resource_version)?, revision, template)
        }
        Action::ScaleReplicaSet { uid, resource_version, replicas, .. } => {
            scaled(world, decision, (uid, resource_version), *replicas)
        }
        Action::DeleteReplicaSet { uid, resource_version, .. } => {
            is_failed_and_empty(world, decision, (uid, resource_version))
        }
        Action::Freeze { revision, plan, cover, .. } => {
            let is_declared = world.workload.as_ref().is_some_and(|workload| workload.revision == *revision);
            require(is_declared, "another revision is declared")?;
            covered(world, plan, cover)
        }
        Action::ApplyCopies { revision, copies } => copies_are_missing(world, revision, copies),
        Action::DeleteCopies { copies } => copies_are_left(world, copies),
        Action::PruneRevisions { keep } => {
            let run = decision.state.run.as_ref().filter(|run| run.in_progress());
            require(run.is_none_or(|run| keep.contains(&run.revision)), "the run needs its frozen revision")?;
            let is_needed = coverage::left(world).next().is_some() && keep.is_empty();
            require(!is_needed, "it says what was copied, and the copies are there")
        }
        Action::ApplyCanaryWorkload { revision, replicas, .. } => sized(world, decision, revision, *replicas),
        Action::ApplyCanaryService => require(world.canary_service.is_none(), "there is one"),
        Action::DeleteCanaryService => {
            require(world.canary_service.is_some_and(|service| service.ours), "it is not ours")?;
            require(world.canary_service.is_some_and(|service| !service.deleting), "it is being deleted already")?;
            no_traffic(world)
        }
        Action::DeleteCanaryWorkload => {
            require(world.canary_workload.as_ref().is_some_and(|canary| canary.ours), "it is not ours")?;
            no_traffic(world)
        }
        Action::WriteRoute { route, rules, resource_version } => {
            written(world, decision, route, rules, resource_version)
        }
        Action::ReleaseRoute { route, resource_version } => released(world, route, resource_version),
    }
}

fn at<'w>(world: &'w World, resource_version: &str) -> Result<&'w Workload, String> {
    let workload = world.workload.as_ref().ok_or("the workload does not exist")?;
    require(workload.resource_version == resource_version, "it is not the one that was looked at")?;
    Ok(workload)
}

fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn name(action: &Action) -> String {
    let said = format!("{action:?}");
    said.split([' ', '{']).next().unwrap_or_default().to_owned()
}
