//! A run in progress: what is the same in all its phases.

use crate::{
    Millis, Reason,
    course::{self, Course},
    coverage,
    decision::Phase,
    judge::{self, Judgement, Question},
    look::{Look, Next},
    operation,
    phase::{ending, lost, paused, preparing, promoting, stepping, template},
    plan::{Plan, Split},
    state::{End, Progress, Run, Stage, Teardown, TeardownPart},
    undo,
    world::{OperationKind, Telemetry},
};

/// Data planes report each second; a run looks as often.
pub(super) const LOOK_AGAIN_MS: Millis = 1_000;

/// Stages only go towards an end, so this many changes in a look suffice.
const MAX_CHANGES: usize = 12;

pub(super) fn look_at(look: &mut Look<'_>) -> Next {
    let Some(mut run) = look.state.run.take() else { return Next::Again };
    let world = look.world;
    let Some((plan, frozen)) = course::plan_of(world, &run) else {
        let why = world.plan.as_ref().err().cloned().unwrap_or_default();
        look.state.run = Some(run);
        return look.say(Phase::Invalid, Reason::InvalidSpec, why);
    };
    let mut course = Course::take(look, &mut run, plan, frozen);
    if let Telemetry::DataPlanes(planes) = &world.telemetry {
        judge::tally::observe(&mut run, plan, planes);
    }
    operation::in_run(look, &mut run, &course);
    if has_stepped_in(look) {
        course.settle(&mut run);
    }
    lost::follow(look, &mut run, &course);
    template::follow(look, &mut run, &course);
    let mut next = Next::Again;
    for _ in 0..MAX_CHANGES {
        next = stage(look, &mut run, &course);
        if next == Next::Wait || run.stage == Stage::RolledBack || is_over(&run) {
            break;
        }
    }
    let is_held = [Reason::CanaryNotCovered, Reason::PolicyNotCopied].iter().any(|r| look.report.reason == r.as_str());
    look.wake(look.now() + if is_held { coverage::ASK_AGAIN_MS } else { LOOK_AGAIN_MS });
    if is_over(&run) {
        return Next::Again;
    }
    if run.in_progress() {
        // After the routes: where a run goes back the traffic comes first.
        template::keep_paused(look, &run, &course);
        take_back(look, &run, &course);
    }
    paused::describe(look, &run);
    describe(look, &run, plan);
    look.state.run = Some(run);
    next
}

/// A person has asked in this look for the run to go on, and it took effect.
fn has_stepped_in(look: &Look<'_>) -> bool {
    let (before, now) = (&look.world.state.last_operation, &look.state.last_operation);
    before != now && now.as_ref().is_some_and(|last| last.done && last.kind != OperationKind::Abort)
}

fn stage(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>) -> Next {
    match run.stage {
        Stage::Stepping | Stage::PromotingScale | Stage::PromotingShift if paused::holds(look, run) => {
            paused::look_at(look, run, course)
        }
        Stage::Preparing => preparing::look_at(look, run, course),
        Stage::Stepping => stepping::look_at(look, run, course),
        Stage::PromotingScale => promoting::scale(look, run, course),
        Stage::PromotingShift => promoting::shift(look, run, course),
        Stage::PromotingRoll => promoting::roll(look, run, course),
        Stage::PromotingFailed => promoting::failed(look, run, course),
        Stage::PromotingBack => promoting::back(look, run, course),
        Stage::StableLost => lost::look_at(look, run, course),
        Stage::Finishing => ending::finishing(look, run, course),
        Stage::RollingBack => ending::rolling_back(look, run, course),
        Stage::RolledBack => Next::Again,
    }
}

/// The promotion stands still half way: Undo's template is what brings stable's pods back. Elsewhere the traffic comes
/// first, and the template when the run is over.
fn take_back(look: &mut Look<'_>, run: &Run, course: &Course<'_>) {
    if let Some(workload) = course.workload.filter(|_| run.stage == Stage::PromotingFailed) {
        undo::write_back(look, workload);
    }
}

/// Nothing of the run is left to be remembered but its place in the history.
fn is_over(run: &Run) -> bool {
    run.stage == Stage::RolledBack && run.end.is_none()
}

/// Step, weights and metrics of the report.
fn describe(look: &mut Look<'_>, run: &Run, plan: &Plan) {
    let steps = plan.steps.len();
    look.report.step = match run.stage {
        Stage::Preparing => Some((1, steps)),
        Stage::Stepping => Some((run.step + 1, steps)),
        Stage::RollingBack | Stage::RolledBack => None,
        _ => Some((steps, steps)),
    };
    look.report.weight = run.verified_share;
    look.report.weight_wanted = match run.stage {
        Stage::Stepping | Stage::PromotingScale => match run.split {
            Some(Split::Share(share)) => Some(share),
            Some(Split::Match(_)) | None => Some(0),
        },
        _ if plan.promotion.keep && run.let_go && run.end.is_none() => run.verified_share,
        Stage::PromotingShift | Stage::PromotingRoll | Stage::PromotingFailed | Stage::PromotingBack => {
            Some(crate::routes::WHOLE)
        }
        Stage::Preparing | Stage::Finishing | Stage::RollingBack => Some(0),
        Stage::StableLost => run.verified_share,
        Stage::RolledBack => None,
    };
}

/// Judges the run on this look's telemetry, and on nothing older: without it every metric has no data.
pub(super) fn judged(look: &mut Look<'_>, run: &mut Run, course: &Course<'_>, compare: bool) -> Judgement {
    let plan = course.plan;
    let why = match &look.world.telemetry {
        Telemetry::DataPlanes(_) => None,
        Telemetry::NotAsked => Some("the data planes were not asked yet"),
        Telemetry::Unavailable(why) => Some(why.as_str()),
    };
    let question = Question {
        step: judged_step(plan, run.step),
        random: matches!(run.split, Some(Split::Share(_))),
        compare,
        now: look.now(),
    };
    let judgement = if let Some(why) = why {
        let is_skipped = run.skips_analysis;
        Judgement { metrics: judge::no_data(plan, why), is_skipped, ..Judgement::default() }
    } else {
        judge::judge(run, plan, question)
    };
    look.report.metrics.clone_from(&judgement.metrics);
    judgement
}

/// The step that set the split: an approval goes on with the numbers of the one before.
fn judged_step(plan: &Plan, step: usize) -> usize {
    let until = plan.steps.len().min(step + 1);
    plan.steps[..until].iter().rposition(|step| step.split.is_some()).unwrap_or(step)
}

impl Run {
    /// Goes into a stage.
    pub(crate) fn enter(&mut self, stage: Stage, now: Millis) {
        self.stage = stage;
        self.stage_since = now;
        self.live_since = None;
        self.still_since = None;
        self.progress = Progress { at: now, ..Progress::default() };
    }

    /// Its clocks go on: what they had counted until a pause is counted, and the pause is not.
    pub(crate) fn go_on(&mut self, now: Millis) {
        let Some(since) = self.still_since.take() else { return };
        let later = |at: Millis| at + (now - since.max(at)).max(0);
        self.live_since = self.live_since.map(later);
        self.progress.at = later(self.progress.at);
    }

    /// Goes into a step.
    pub(crate) fn begin_step(&mut self, course: &Course<'_>, step: usize, now: Millis) {
        let split = course::split_at(course.plan, step);
        let goes_on = self.split.as_ref() == Some(&split);
        self.enter(Stage::Stepping, now);
        self.step = step;
        self.baseline.clear();
        if goes_on && course.plan.steps.get(step).is_some_and(|step| step.split.is_some()) {
            self.take_over_evidence(course, step);
        }
        self.split = Some(split);
    }

    /// The routes stay as they are, so the step is judged on what is counted on top of what is there.
    fn take_over_evidence(&mut self, course: &Course<'_>, step: usize) {
        let is_live = |route: &str, generation: i64| {
            let of_name = course.routes.iter().find(|view| view.name == route);
            of_name.and_then(|view| view.live).is_some_and(|live| live.generation == generation)
        };
        for config in self.configs.iter_mut().filter(|config| is_live(&config.route, config.generation)) {
            config.step = Some(step);
        }
        let live = self.tallies.iter().filter(|tally| is_live(&tally.route, tally.generation));
        self.baseline = live.cloned().collect();
    }

    /// Ends the run: from now on the canary's weight only falls.
    pub(crate) fn end(&mut self, look: &mut Look<'_>, end: End) -> Next {
        look.report.events.push((
            end.outcome == ROLLED_BACK,
            end.reason.clone(),
            format!("revision {:?} is {}: {}", self.revision, end.participle(), end.message),
        ));
        self.end = Some(end);
        self.enter(Stage::RollingBack, look.now());
        self.teardown = Some(Teardown { part: TeardownPart::Shift, since: look.now() });
        Next::Again
    }
}

/// Outcomes of a run, as the history names them.
pub(crate) const PROMOTED: &str = "Promoted";
/// See [`PROMOTED`].
pub(crate) const ROLLED_BACK: &str = "RolledBack";
/// See [`PROMOTED`].
pub(crate) const SUPERSEDED: &str = "Superseded";

impl End {
    /// Promoted, in whatever way.
    pub(crate) fn promoted(run: &Run) -> Self {
        let revision = &run.revision;
        let message = match &run.promoted_by {
            Some(by) => {
                format!("revision {revision:?} was promoted in full by {by}, past the rest of its steps and analysis")
            }
            None if run.skips_analysis => format!("revision {revision:?} passed every step, in part without analysis"),
            None => format!("revision {revision:?} passed every step"),
        };
        let reason = Reason::Promoted.as_str().to_owned();
        Self { outcome: PROMOTED.to_owned(), reason, message, by: run.promoted_by.clone() }
    }

    /// What becomes of the revision, where it is not promoted.
    pub(crate) fn participle(&self) -> &'static str {
        if self.outcome == ROLLED_BACK { "rolled back" } else { "given up" }
    }

    /// Rolled back for a reason.
    pub(crate) fn rolled_back(reason: Reason, message: impl Into<String>) -> Self {
        Self { outcome: ROLLED_BACK.to_owned(), reason: reason.as_str().to_owned(), message: message.into(), by: None }
    }
}
