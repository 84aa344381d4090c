//! What must hold of a write of the workload and its ReplicaSets.

use serde_json::Value;

use super::require;
use crate::{
    Decision, Reason, World,
    phase::{is_known_good, is_same_but_for_annotations},
    state::{Run, Stage},
    world::{ReplicaSet, Workload},
};

/// A workload is let go only on what serves already, what was judged, or where nothing serves.
pub(super) fn may_pause(world: &World, decision: &Decision, workload: &Workload, paused: bool) -> Result<(), String> {
    require(workload.paused != paused, "it changes nothing")?;
    let state = &decision.state;
    let is_stable = state.stable.as_ref().is_some_and(|stable| stable.revision == workload.revision);
    let is_judged = state
        .run
        .as_ref()
        .is_some_and(|run| run.stage == Stage::PromotingRoll && run.revision == workload.revision && run.end.is_none());
    let is_held = state.pause.is_some() && state.run.is_none();
    let is_unjudged = state.unjudged.as_ref().filter(|_| !is_held).is_some_and(|unjudged| {
        unjudged.revision == workload.revision && needs_no_run(world, workload, &unjudged.reason)
    });
    if paused {
        let is_for_good = is_stable && state.adoption.by_pause;
        require(is_for_good || (!is_stable && !is_judged), "what is declared may run")
    } else {
        require(is_stable || is_judged || is_unjudged, "revision was not judged")
    }
}

/// Only stable's own template is written, because a person asked for it, and only where nothing rolls by it.
pub(super) fn restored(
    decision: &Decision,
    workload: &Workload,
    revision: &str,
    template: &Value,
) -> Result<(), String> {
    let state = &decision.state;
    let is_asked =
        |revision: &str| state.undone.as_ref().is_some_and(|undone| undone.is_pending && undone.revision == *revision);
    require(is_asked(&workload.revision), "nobody asked for it")?;
    let is_stable = state.stable.as_ref().is_some_and(|stable| stable.revision == *revision);
    require(is_stable && workload.stable_template.as_ref() == Some(template), "it is not stable's template")?;
    require(workload.revision != *revision, "it changes nothing")?;
    require(workload.paused, "the workload is not paused")?;
    let at = state.run.as_ref().map(|run| run.stage);
    let is_at_rest = matches!(at, None | Some(Stage::RolledBack | Stage::PromotingFailed));
    require(is_at_rest, "the traffic does not go to stable yet")
}

/// The reason for rolling a template out without a run is one that the world bears out.
fn needs_no_run(world: &World, workload: &Workload, reason: &str) -> bool {
    let stable = world.state.stable.as_ref();
    let set = stable.and_then(|stable| workload.replica_sets.iter().find(|set| set.uid == stable.uid));
    match reason {
        "KnownGood" => is_known_good(&world.state, &workload.revision),
        "Restarted" => set.is_some_and(|set| is_same_but_for_annotations(workload, set)),
        "WorkloadRecreated" => set.is_none(),
        reason => reason == Reason::NoHealthyStable.as_str(),
    }
}

/// What is given up of a paused workload: its run, and one of its ReplicaSets as it was looked at.
fn given_up<'a>(
    world: &'a World,
    decision: &'a Decision,
    (uid, resource_version): (&str, &str),
) -> Result<(&'a Workload, &'a Run, &'a ReplicaSet), String> {
    let workload = world.workload.as_ref().ok_or("the workload does not exist")?;
    let set = workload.replica_sets.iter().find(|set| set.uid == uid).ok_or("it is not the workload's")?;
    require(set.resource_version == resource_version, "it is not the one that was looked at")?;
    let run = decision.state.run.as_ref().ok_or("no run gives it up")?;
    let is_ended = run.end.as_ref().is_some_and(|end| end.outcome != "Promoted");
    require(run.let_go && (is_ended || world.deleting), "the run does not give it up")?;
    require(workload.paused && workload.observed, "the workload is not paused")?;
    Ok((workload, run, set))
}

fn stable_of(decision: &Decision) -> &str {
    decision.state.stable.as_ref().map_or("", |stable| &stable.revision)
}

/// The failed revision's ReplicaSet goes to 0, and stable's may come up for it: nothing else.
pub(super) fn scaled(world: &World, decision: &Decision, set: (&str, &str), replicas: i32) -> Result<(), String> {
    let (workload, run, set) = given_up(world, decision, set)?;
    require(set.wanted != replicas, "it changes nothing")?;
    require(workload.revision != stable_of(decision), "stable's template is declared, so Kubernetes does it")?;
    let stable = decision.state.stable.as_ref().map(|stable| stable.uid.as_str());
    if replicas > 0 {
        return require(stable == Some(set.uid.as_str()) && set.wanted == 0, "only stable's comes up, from nothing");
    }
    require(stable != Some(set.uid.as_str()), "it is stable's")?;
    require(set.revision == run.revision, "it is not the failed one")
}

pub(super) fn is_failed_and_empty(
    world: &World,
    decision: &Decision,
    (uid, version): (&str, &str),
) -> Result<(), String> {
    let (workload, run, set) = given_up(world, decision, (uid, version))?;
    require(set.revision == run.revision && set.revision != stable_of(decision), "it is not the failed one")?;
    require(set.wanted == 0 && set.replicas == 0, "it has pods")?;
    require(workload.paused, "the workload is not paused")
}
