//! Preparing: the revision is frozen, the canary's pods come up, its ref enters the routes with weight 0.

use crate::{
    Reason,
    capacity::{self, Capacity},
    course::Course,
    coverage,
    decision::{Action, Phase},
    look::{Look, Next},
    phase::paused,
    plan::Split,
    state::{End, Progress, Run, Stage},
    verify::{self, Target},
    world::Workload,
};

pub(super) fn look_at(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    let say = |look: &mut Look<'_>, reason: Reason, message: String| look.say(Phase::Preparing, reason, message);
    if let Some((reason, message)) = &course.hold {
        return say(look, *reason, message.clone());
    }
    let Some(workload) = course.workload else { return Next::Wait };
    if course.frozen.is_none() {
        return freeze(look, run, course, workload);
    }
    match coverage::ensure(look, run, course) {
        Ok(()) => {}
        Err((Reason::CanaryTaken, message)) => {
            return run.end(look, End::rolled_back(Reason::CanaryTaken, message));
        }
        Err((reason, message)) => return say(look, reason, message),
    }
    let name = crate::canary_name(course.plan);
    let routed = match look.world.canary_service {
        Some(service) if !service.ours => {
            let message = format!("Service {name:?} exists and is not this Rollout's; rename or delete it");
            return run.end(look, End::rolled_back(Reason::CanaryTaken, message));
        }
        Some(service) if service.deleting => {
            Err((Reason::WaitingForObjects, format!("Service {name:?} of an earlier run is being deleted")))
        }
        // A ref to a Service that does not exist would not resolve.
        Some(_) => verify::bring(look, course, Target::Split(&Split::Share(0))),
        None => Err((Reason::WaitingForObjects, format!("Service {name:?} is being made"))),
    };
    let replicas = capacity::replicas_at(course.plan, capacity::reference(run, course), 0);
    let pods = capacity::ensure(look, run, course, replicas);
    look.next("make the first step live when the canary's pods are ready", None);
    match (pods, routed) {
        (Capacity::Failed(reason, message), _) => run.end(look, End::rolled_back(reason, message)),
        (Capacity::Waiting(message), _) => say(look, Reason::WaitingForCanary, message),
        (Capacity::Ready, Err((reason, message))) => say(look, reason, message),
        (Capacity::Ready, Ok(())) if paused::holds(look, run) => {
            say(look, Reason::Paused, "the first step is ready to be made live".to_owned())
        }
        (Capacity::Ready, Ok(())) => {
            run.verified_share = Some(0);
            if run.promoted_by.is_some() {
                run.enter(Stage::PromotingScale, look.now());
            } else {
                run.begin_step(course, 0, look.now());
            }
            Next::Again
        }
    }
}

/// Freezes the revision, once everything that selects stable's pods does, or will, select the canary's too.
fn freeze(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, workload: &Workload) -> Next {
    let cover = match coverage::settle(look, course.plan) {
        Ok(cover) => cover,
        Err((reason, message)) => {
            look.next(
                "look again for what does not select the canary's pods",
                Some(look.now() + coverage::ASK_AGAIN_MS),
            );
            return look.say(Phase::Preparing, reason, message);
        }
    };
    if let Some(cover) = cover {
        // The time until here was not the pods'.
        if look.now() - run.progress.at > coverage::ASK_AGAIN_MS {
            run.progress = Progress { at: look.now(), ..Progress::default() };
        }
        look.act(Action::Freeze {
            revision: run.revision.clone(),
            template: workload.template.clone(),
            plan: course.plan.clone(),
            base: course.bases(),
            cover,
        });
    }
    let message = format!("revision {:?} is being frozen, with its plan and the routes' rules", run.revision);
    look.say(Phase::Preparing, Reason::WaitingForObjects, message)
}
