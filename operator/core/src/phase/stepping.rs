//! Stepping: capacity first, then weight, then proof that it is live, then evidence.

use crate::{
    Millis, Reason,
    capacity::{self, Capacity},
    course::Course,
    decision::Phase,
    judge::Judgement,
    look::{Look, Next},
    phase::run::judged,
    plan::{Hold, OnUndecided, Split},
    state::{End, Run, Stage},
    verify,
};

pub(super) fn look_at(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    let judgement = judged(look, run, course, true);
    if let Some((reason, message)) = judgement.failed {
        return run.end(look, End::rolled_back(reason, message));
    }
    if let Some((reason, message)) = &course.hold {
        return look.say(Phase::Stepping, *reason, message.clone());
    }
    if let Some(message) = capacity::below_floor(run, course) {
        return unverified(look, run, course, &judgement, Reason::StableBelowFloor, message);
    }
    let replicas = capacity::replicas_at(course.plan, capacity::reference(run, course), run.step);
    match capacity::ensure(look, run, course, replicas) {
        Capacity::Failed(reason, message) => return run.end(look, End::rolled_back(reason, message)),
        Capacity::Waiting(message) => {
            return unverified(look, run, course, &judgement, Reason::WaitingForCanary, message);
        }
        Capacity::Ready => {}
    }
    let split = run.split.clone().unwrap_or(Split::Share(0));
    if let Err((reason, message)) = verify::raise(look, course, &split, replicas) {
        return unverified(look, run, course, &judgement, reason, message);
    }
    let since = live(look, run, course, &split);
    hold(look, run, course, &judgement, since)
}

/// The split is verified; since when.
pub(super) fn live(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, split: &Split) -> Millis {
    run.verified_share = Some(match split {
        Split::Share(share) => *share,
        Split::Match(_) => 0,
    });
    let is_approval = course.plan.steps.get(run.step).is_some_and(|step| step.split.is_none());
    if run.live_since.is_none() && !is_approval {
        let message = format!("step {} of {} is live: {}", run.step + 1, course.plan.steps.len(), said(split));
        look.note(Reason::StepLive, message);
    }
    let now = look.now();
    *run.live_since.get_or_insert(now)
}

/// The step is live: does it go on?
fn hold(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, judgement: &Judgement, since: Millis) -> Next {
    let step = &course.plan.steps[run.step.min(course.plan.steps.len() - 1)];
    let without = if run.skips_analysis { ", without analysis," } else { "" };
    let place = format!("step {} of {}{without}", run.step + 1, course.plan.steps.len());
    if step.split.is_none() {
        look.next("go on when operation Promote comes, roll back on Abort", None);
        let message = format!("{place} waits for a person: operation Promote goes on, Abort rolls back");
        return look.say(Phase::Stepping, Reason::AwaitingApproval, message);
    }
    let min_at = since.saturating_add(millis(step.hold.min_ms));
    if look.now() < min_at {
        look.next("judge the step", Some(min_at));
        let message = format!("{place} is live and holds for at least {} s", step.hold.min_ms / 1_000);
        return look.say(Phase::Stepping, Reason::MinimumHold, message);
    }
    if judgement.passes() {
        return advance(look, run, course);
    }
    let at_end = at_end(look, run, course);
    if at_end == Some(OnUndecided::RollBack) {
        return undecided(look, run, course, judgement);
    }
    if at_end == Some(OnUndecided::Promote) && judgement.both_fail.is_none() {
        return advance(look, run, course);
    }
    let max_at = max_at(&step.hold, since);
    let what_is_open = judgement.undecided();
    if let Some(message) = &judgement.both_fail {
        look.next("go on when the sides have recovered", None);
        return look.say(Phase::Stepping, Reason::HoldingBothSidesFail, format!("{place} holds: {message}"));
    }
    if at_end.is_some() {
        let message =
            format!("{place} is without a verdict at its end: {what_is_open}; Promote goes on, Abort rolls back");
        return look.say(Phase::Stepping, Reason::HoldingUndecided, message);
    }
    look.next("go on when the evidence suffices", max_at);
    look.say(Phase::Stepping, Reason::WaitingForEvidence, format!("{place} waits for evidence: {what_is_open}"))
}

/// A step that is not, or no longer, live everywhere does not go on. It may still be over.
fn unverified(
    look: &mut Look<'_>,
    run: &mut Run,
    course: &Course<'_>,
    judgement: &Judgement,
    reason: Reason,
    message: String,
) -> Next {
    if at_end(look, run, course) == Some(OnUndecided::RollBack) {
        return undecided(look, run, course, judgement);
    }
    look.say(Phase::Stepping, reason, message)
}

/// What the plan says of the end of the step, once it is there.
fn at_end(look: &Look<'_>, run: &Run, course: &Course<'_>) -> Option<OnUndecided> {
    let hold = &course.plan.steps.get(run.step).filter(|step| step.split.is_some())?.hold;
    let max_at = max_at(hold, run.live_since?)?;
    (look.now() >= max_at).then_some(hold.on_undecided)
}

fn undecided(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, judgement: &Judgement) -> Next {
    let seconds = course.plan.steps.get(run.step).and_then(|step| step.hold.max_ms).unwrap_or_default() / 1_000;
    let message = format!("no verdict within {seconds} s: {}", judgement.undecided());
    run.end(look, End::rolled_back(Reason::Undecided, message))
}

/// Goes on to the next step, or from the last one to the promotion.
pub(crate) fn advance(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    if run.step + 1 < course.plan.steps.len() {
        run.begin_step(course, run.step + 1, look.now());
    } else {
        run.enter(Stage::PromotingScale, look.now());
        look.note(Reason::Promoting, format!("every step of revision {:?} is over; it is promoted", run.revision));
    }
    Next::Again
}

fn max_at(hold: &Hold, since: Millis) -> Option<Millis> {
    hold.max_ms.map(|max| since.saturating_add(millis(max)))
}

fn millis(duration: u64) -> Millis {
    Millis::try_from(duration).unwrap_or(Millis::MAX)
}

fn said(split: &Split) -> String {
    match split {
        Split::Share(share) => format!("{} % of the traffic goes to the canary", f64::from(*share) / 100.0),
        Split::Match(headers) => {
            let names: Vec<&str> = headers.iter().map(|header| header.name.as_str()).collect();
            format!("requests with a matching {} go to the canary", names.join(", "))
        }
    }
}
