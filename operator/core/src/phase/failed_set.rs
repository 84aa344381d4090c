//! Takes the new ReplicaSet of a promotion that failed, or was given up, away from the workload.
//!
//! The workload is paused, so the Deployment controller rolls nothing; but it fills the only ReplicaSet that wants pods up
//! to the workload's size (`scale` in Kubernetes' pkg/controller/deployment/sync.go). So the run's ReplicaSet is scaled to
//! 0, stable's is the only one left, and its pods come back. Where stable's wants none any more the controller would fill
//! the newest instead: stable's is scaled to 1 first. The empty ReplicaSet goes.

use crate::{
    Reason,
    course::Course,
    decision::Action,
    look::Look,
    phase::run::{PROMOTED, SUPERSEDED},
    state::{Run, Stable},
    takeback,
    world::{ReplicaSet, Workload},
};

/// The run gave up a promotion whose ReplicaSet goes. Where the plan says Pause, a failure leaves it for a person to see.
pub(crate) fn is_to_go(run: &Run, course: &Course<'_>, deleting: bool) -> bool {
    if !takeback::is_bound(run, course) {
        return false;
    }
    let Some(end) = &run.end else { return deleting };
    let is_asked_for = end.outcome == SUPERSEDED || end.reason == Reason::Aborted.as_str();
    end.outcome != PROMOTED && (deleting || is_asked_for || course.plan.promotion.roll_back)
}

/// The ReplicaSet of the run, as long as it has to go: never stable's, and never one of a template that is to roll out.
pub(crate) fn of<'w>(run: &Run, stable: Option<&str>, workload: &'w Workload) -> Option<&'w ReplicaSet> {
    let stable = stable?;
    let is_there = workload.replica_sets.iter().any(|set| set.uid == stable);
    workload.replica_sets.iter().find(|set| set.revision == run.revision && set.uid != stable).filter(|_| is_there)
}

/// It has to go, and has pods still.
pub(crate) fn goes(
    run: &Run,
    course: &Course<'_>,
    stable: Option<&Stable>,
    workload: &Workload,
    deleting: bool,
) -> bool {
    let Some(stable) = stable.filter(|stable| stable.revision != workload.revision) else { return false };
    is_to_go(run, course, deleting) && of(run, Some(&stable.uid), workload).is_some_and(|set| set.wanted > 0)
}

/// Goes on with it; says what is waited for, or None when nothing is left to do.
pub(super) fn take_down(look: &mut Look<'_>, run: &Run, course: &Course<'_>) -> Option<String> {
    let workload = course.workload.filter(|_| is_to_go(run, course, look.world.deleting))?;
    let stable = look.state.stable.clone().filter(|stable| stable.revision != workload.revision)?;
    let set = of(run, Some(&stable.uid), workload)?;
    if !workload.paused {
        look.act(Action::SetPaused { paused: true, resource_version: workload.resource_version.clone() });
        return Some("the Deployment is being paused".to_owned());
    }
    if !workload.observed {
        return Some("the Deployment's controller has not seen the pause yet".to_owned());
    }
    if set.wanted == 0 && set.replicas == 0 {
        look.act(Action::DeleteReplicaSet {
            name: set.name.clone(),
            uid: set.uid.clone(),
            resource_version: set.resource_version.clone(),
        });
        return Some(format!("ReplicaSet {:?}, which is empty, is being deleted", set.name));
    }
    if set.wanted > 0 {
        if let Some(stable) = workload.replica_sets.iter().find(|set| set.uid == stable.uid && set.wanted == 0) {
            look.act(scale(stable, 1));
        }
        look.act(scale(set, 0));
    }
    Some(format!("ReplicaSet {:?} is scaled to 0, so that the pods of {:?} come back", set.name, stable.name))
}

fn scale(set: &ReplicaSet, replicas: i32) -> Action {
    Action::ScaleReplicaSet {
        name: set.name.clone(),
        uid: set.uid.clone(),
        resource_version: set.resource_version.clone(),
        replicas,
    }
}
