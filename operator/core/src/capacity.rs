//! Ready pods behind a weight, before the weight rises.

use crate::{
    Millis, Reason,
    course::{Course, splits},
    decision::Action,
    look::Look,
    plan::{Plan, Split},
    routes::WHOLE,
    state::{Progress, Run},
};

/// How the canary's pods stand.
pub(crate) enum Capacity {
    /// As many as wanted are available.
    Ready,
    /// They come up.
    Waiting(String),
    /// They do not.
    Failed(Reason, String),
}

/// The size that shares are shares of: stable's, and never less than at the start of the run. An autoscaler that makes
/// stable larger in the middle of a run sees the load that the canary must bear as well.
pub(crate) fn reference(run: &Run, course: &Course<'_>) -> i32 {
    course.workload.map_or(0, |workload| workload.replicas).max(run.replicas)
}

/// Why the canary's weight does not rise: stable is smaller than when the run began, so that a rollback would send it more
/// than it may bear. A policy prevents that, where there is one.
pub(crate) fn below_floor(run: &Run, course: &Course<'_>) -> Option<String> {
    let workload = course.workload.filter(|workload| workload.replicas < run.replicas)?;
    Some(format!(
        "Deployment {:?} was scaled to {} replicas, and the run began with {}: rolled back it would have to bear everything \
         again. Scale it up, or Abort. The MutatingAdmissionPolicy sluice-floor prevents this; is it installed?",
        course.plan.workload, workload.replicas, run.replicas
    ))
}

/// Replicas of the canary at a step: its share of a size, one at least. Never fewer than at a step before, so that a step
/// never takes capacity away under a weight.
pub(crate) fn replicas_at(plan: &Plan, size: i32, step: usize) -> i32 {
    let needed = |split: &Split| match split {
        Split::Share(share) => {
            let whole = i64::from(WHOLE);
            i32::try_from((i64::from(size) * i64::from(*share) + whole - 1) / whole).unwrap_or(size)
        }
        Split::Match(_) => 1,
    };
    let steps = plan.steps.iter().take(step + 1).filter_map(|step| step.split.as_ref()).count();
    splits(plan).iter().take(steps).map(needed).max().unwrap_or(1).max(1)
}

/// Makes the canary's Service where there is none: at first, and again when somebody deletes it while routes name it.
pub(crate) fn ensure_service(look: &mut Look<'_>) {
    if look.world.canary_service.is_none() {
        look.act(Action::ApplyCanaryService);
    }
}

/// Makes or scales the canary, and tells how its pods stand.
pub(crate) fn ensure(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, replicas: i32) -> Capacity {
    let name = crate::canary_workload_name(course.plan);
    let Some(frozen) = course.frozen else {
        return Capacity::Failed(
            Reason::RevisionLost,
            format!(
                "the ControllerRevision of revision {:?} is gone, so Deployment {name:?} cannot be made",
                run.revision
            ),
        );
    };
    ensure_service(look);
    let apply = |replicas| Action::ApplyCanaryWorkload {
        revision: run.revision.clone(),
        template: frozen.template.clone(),
        replicas,
    };
    let Some(canary) = &look.world.canary_workload else {
        look.act(apply(replicas));
        return late(look, run, course, 0, replicas)
            .unwrap_or_else(|| Capacity::Waiting(format!("Deployment {name:?} is being made")));
    };
    if !canary.ours {
        let message = format!("Deployment {name:?} exists and is not this Rollout's; rename or delete it");
        return Capacity::Failed(Reason::CanaryTaken, message);
    }
    if canary.deleting {
        return Capacity::Waiting(format!("Deployment {name:?} of an earlier run is being deleted"));
    }
    let is_current = canary.revision == run.revision;
    if !is_current || canary.wanted < replicas {
        look.act(apply(replicas.max(canary.wanted)));
    }
    let available = if is_current && canary.observed { canary.available } else { 0 };
    let wanted = replicas.max(canary.wanted);
    if available >= replicas && canary.wanted >= replicas {
        progress(run, look.now(), available, true);
        return Capacity::Ready;
    }
    late(look, run, course, available, wanted).unwrap_or_else(|| {
        let trouble = canary.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        Capacity::Waiting(format!("{available} of {wanted} pods of Deployment {name:?} are available{trouble}"))
    })
}

/// Fails when nothing has moved for the progress deadline.
fn late(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, available: i32, wanted: i32) -> Option<Capacity> {
    progress(run, look.now(), available, false);
    let deadline = deadline(run, course);
    look.wake(deadline);
    if look.now() < deadline {
        return None;
    }
    let trouble = look.world.canary_workload.as_ref().and_then(|canary| canary.trouble.clone());
    Some(Capacity::Failed(
        Reason::CanaryNotReady,
        format!(
            "{available} of {wanted} pods of Deployment {:?} are available, without progress for {} s: {}",
            crate::canary_workload_name(course.plan),
            (look.now() - run.progress.at) / 1_000,
            trouble.unwrap_or_else(|| "no reason is known; see its pods".to_owned())
        ),
    ))
}

/// When the pods that are waited for count as failed.
pub(crate) fn deadline(run: &Run, course: &Course<'_>) -> Millis {
    if run.still_since.is_some() {
        return Millis::MAX / 2;
    }
    run.progress.at + i64::try_from(course.plan.progress_deadline_ms).unwrap_or(i64::MAX / 2)
}

/// Notes progress: more pods than ever since they were waited for, or the first loss after they were all there.
pub(crate) fn progress(run: &mut Run, now: Millis, available: i32, is_ready: bool) {
    let known = &run.progress;
    let lost = known.is_ready && !is_ready;
    if available > known.available || lost || is_ready != known.is_ready {
        run.progress = Progress { at: now, available, is_ready };
    }
}
