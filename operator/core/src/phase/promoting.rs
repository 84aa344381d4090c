//! Promoting: the canary carries everything while the workload itself rolls out to the revision that was judged.
//!
//! (a) [`scale`] the canary to the workload's size, (b) [`shift`] all traffic to it and look once more, (c) let the workload
//! go, (d) [`roll`]: wait for it. Only objectives are judged: there is no other side to compare with.
//!
//! Where the plan says to keep the split of the last step, (b) is left out, the canary keeps its size, and the pods that
//! are replaced serve.

use crate::{
    Reason,
    capacity::{self, Capacity},
    course::{Course, complete, is_whole},
    decision::{Action, Phase},
    look::{Look, Next},
    phase::{
        adopting::trouble,
        run::{LOOK_AGAIN_MS, judged},
    },
    plan::Split,
    routes::WHOLE,
    state::{End, Run, Stable, Stage, Teardown, TeardownPart},
    undo, verify,
    world::{ReplicaSet, Workload},
};

/// (a) As many canary pods as the workload has, before they get all the traffic.
pub(super) fn scale(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    match sized(look, run, course) {
        Ok(()) if course.plan.promotion.keep => let_go(look, run, course),
        Ok(()) => {
            run.enter(Stage::PromotingShift, look.now());
            Next::Again
        }
        Err(next) => next,
    }
}

/// (b) All traffic to the canary, verified, and one look at it there.
pub(super) fn shift(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    if let Err(next) = sized(look, run, course) {
        return next;
    }
    let whole = Split::Share(WHOLE);
    if let Err((reason, message)) = verify::raise(look, course, &whole, full_size(run, course)) {
        return look.say(Phase::Promoting, reason, message);
    }
    run.verified_share = Some(WHOLE);
    let now = look.now();
    let since = *run.live_since.get_or_insert(now);
    if now <= since {
        look.next("let the workload roll out", Some(since + LOOK_AGAIN_MS));
        let message = "all traffic goes to the canary; it is looked at once more";
        return look.say(Phase::Promoting, Reason::WaitingForEvidence, message);
    }
    let_go(look, run, course)
}

/// From now on some of stable's pods may be gone. An autoscaler sees pods that carry nothing; but as many as carry the
/// traffic now are needed to take it back.
fn let_go(look: &Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    run.let_go = true;
    run.replicas = full_size(run, course);
    run.enter(Stage::PromotingRoll, look.now());
    Next::Again
}

/// Replicas of the canary while the workload rolls out.
fn covering(run: &Run, course: &Course<'_>) -> i32 {
    if course.plan.promotion.keep {
        capacity::replicas_at(course.plan, capacity::reference(run, course), run.step)
    } else {
        run.replicas
    }
}

/// Not failed, nothing in the way, and pods enough for everything.
fn sized(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Result<(), Next> {
    let judgement = judged(look, run, course, false);
    if let Some((reason, message)) = judgement.failed {
        return Err(run.end(look, End::rolled_back(reason, message)));
    }
    if let Some((reason, message)) = &course.hold {
        return Err(look.say(Phase::Promoting, *reason, message.clone()));
    }
    let replicas = course.workload.map_or(0, |workload| workload.replicas);
    if replicas == 0 {
        let message = "the workload is scaled to zero, so there is nothing to promote; scale it up";
        return Err(look.say(Phase::Promoting, Reason::WorkloadScaledToZero, message));
    }
    let wanted = if course.plan.promotion.keep { covering(run, course) } else { full_size(run, course) };
    match capacity::ensure(look, run, course, wanted) {
        Capacity::Ready => Ok(()),
        Capacity::Waiting(message) => Err(look.say(Phase::Promoting, Reason::WaitingForCanary, message)),
        Capacity::Failed(reason, message) => Err(run.end(look, End::rolled_back(reason, message))),
    }
}

/// As many pods as the workload has or had when the run began.
fn full_size(run: &Run, course: &Course<'_>) -> i32 {
    course.workload.map_or(0, |workload| workload.replicas).max(run.replicas)
}

/// (c) and (d) The workload goes, and is waited for. Judged by ReplicaSets.
pub(super) fn roll(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    let judgement = judged(look, run, course, false);
    cover(look, run, course);
    let Some(workload) = course.workload else { return missing(look, course) };
    if let Some((reason, message)) = judgement.failed {
        return fail(look, run, course, workload, End::rolled_back(reason, message));
    }
    if let Some(set) = complete(workload) {
        return finish(look, run, set);
    }
    if workload.replicas == 0 {
        let message = "the workload is scaled to zero in the middle of its rollout; scale it up";
        return look.say(Phase::Promoting, Reason::WorkloadScaledToZero, message);
    }
    let of_revision = workload.replica_sets.iter().find(|set| set.revision == run.revision);
    let available = of_revision.map_or(0, |set| set.available);
    capacity::progress(run, look.now(), available, false);
    let deadline = capacity::deadline(run, course);
    if look.now() >= deadline {
        let message = format!(
            "{available} of {} pods of the Deployment are available with revision {:?}, without progress for {} s{}",
            workload.replicas,
            run.revision,
            (look.now() - run.progress.at) / 1_000,
            trouble(of_revision)
        );
        return fail(look, run, course, workload, End::rolled_back(Reason::PromotionFailed, message));
    }
    if workload.paused {
        // What it declares is what was judged; its resourceVersion makes sure that it still is when this is written.
        look.act(Action::SetPaused { paused: false, resource_version: workload.resource_version.clone() });
    }
    look.next("move the traffic from the canary to the workload when it is complete", Some(deadline));
    let message = format!(
        "the workload rolls out: {available} of {} pods are available with revision {:?}{}; {}",
        workload.replicas,
        run.revision,
        trouble(of_revision),
        who_carries(course)
    );
    look.say(Phase::Promoting, Reason::WaitingForRollout, message)
}

fn who_carries(course: &Course<'_>) -> &'static str {
    if course.is_contested {
        "the traffic is where the other writer of the route sends it"
    } else if course.plan.promotion.keep {
        "the canary keeps its share of the traffic"
    } else {
        "the canary carries the traffic"
    }
}

/// The workload is complete: it takes the traffic back.
pub(super) fn finish(look: &mut Look<'_>, run: &mut Run, set: &ReplicaSet) -> Next {
    run.replaced = look.state.stable.as_ref().map(|stable| stable.revision.clone());
    look.state.stable = Some(Stable { revision: set.revision.clone(), uid: set.uid.clone(), name: set.name.clone() });
    run.end = Some(End::promoted(run));
    run.enter(Stage::Finishing, look.now());
    run.teardown = Some(Teardown { part: TeardownPart::Shift, since: look.now() });
    Next::Again
}

/// The promotion failed: back to stable where that can be, else under pause with the traffic where it is.
fn fail(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, workload: &Workload, end: End) -> Next {
    if course.plan.promotion.roll_back || may_go_back(look, run, course, workload) {
        return run.end(look, end);
    }
    look.warn(Reason::PromotionFailed, end.message.clone());
    run.end = Some(end);
    run.enter(Stage::PromotingFailed, look.now());
    Next::Again
}

/// Stable's ReplicaSet still has all its pods; or the workload's pods have served all the time.
pub(crate) fn may_go_back(look: &Look<'_>, run: &Run, course: &Course<'_>, workload: &Workload) -> bool {
    let is_whole = |uid: &str| is_whole(workload, uid, run.replicas);
    course.plan.promotion.keep || look.state.stable.as_ref().is_some_and(|stable| is_whole(&stable.uid))
}

/// Paused half way: the canary carries the traffic until another template is declared.
pub(super) fn failed(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    cover(look, run, course);
    let Some(workload) = course.workload else { return missing(look, course) };
    let why = run.end.clone().unwrap_or_default().message;
    if !workload.paused {
        look.act(Action::SetPaused { paused: true, resource_version: workload.resource_version.clone() });
    }
    let stable = look.state.stable.as_ref().map(|stable| stable.revision.clone()).unwrap_or_default();
    let (there, of) = (workload.replica_sets.iter().map(|set| set.available).sum::<i32>(), workload.replicas);
    let message = format!(
        "{why}. The workload is paused in the middle of its rollout ({there} of {of} pods available) and the canary carries \
         the traffic. Abort, Undo, or declaring the template of revision {stable:?} again, goes back; a newer one goes \
         forward; Retry tries the rollout again"
    );
    look.say(Phase::Promoting, Reason::PromotionFailed, message)
}

/// The old template was declared again: its pods come back under the canary's cover, then the traffic follows.
pub(super) fn back(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    cover(look, run, course);
    let Some(workload) = course.workload else { return missing(look, course) };
    if let Some(set) = complete(workload) {
        look.state.stable =
            Some(Stable { revision: set.revision.clone(), uid: set.uid.clone(), name: set.name.clone() });
        let why = run.end.take().map(|end| format!(" after: {}", end.message)).unwrap_or_default();
        let message = format!("the template of revision {:?} was declared again{why}", set.revision);
        let end = undo::end_of(look, run).unwrap_or_else(|| End::rolled_back(Reason::Reverted, message));
        return run.end(look, end);
    }
    if workload.paused {
        look.act(Action::SetPaused { paused: false, resource_version: workload.resource_version.clone() });
    }
    let message = format!(
        "the workload goes back to revision {:?}; the canary carries the traffic until it is there",
        workload.revision
    );
    look.say(Phase::Promoting, Reason::WaitingForRollout, message)
}

/// The traffic stays where the promotion brought it, and the canary stays. Where the revision failed its weight is not
/// written again.
pub(super) fn cover(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) {
    capacity::ensure_service(look);
    let replicas = covering(run, course);
    let is_there = look.world.canary_workload.as_ref().is_some_and(|canary| canary.ours && canary.wanted >= replicas);
    if let Some(frozen) = course.frozen.filter(|_| !is_there) {
        look.act(Action::ApplyCanaryWorkload {
            revision: run.revision.clone(),
            template: frozen.template.clone(),
            replicas,
        });
    }
    let available = look.world.canary_workload.as_ref().map_or(0, |canary| canary.available);
    if run.end.is_some() || available < replicas || course.is_contested {
        return;
    }
    let kept = run.split.clone().filter(|_| course.plan.promotion.keep);
    let split = kept.unwrap_or(Split::Share(WHOLE));
    // Not waited for: the rollout of the workload goes on in any case.
    if let (Ok(()), Split::Share(share)) = (verify::raise(look, course, &split, replicas), &split) {
        run.verified_share = Some(*share);
    }
}

pub(super) fn missing(look: &mut Look<'_>, course: &Course<'_>) -> Next {
    let (reason, message) =
        course.hold.clone().unwrap_or_else(|| (Reason::WorkloadMissing, "the Deployment is gone".to_owned()));
    look.say(Phase::Promoting, reason, message)
}
