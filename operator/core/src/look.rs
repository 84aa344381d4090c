//! One look in the making: what the phases add to, and what becomes the decision.

use crate::{
    Decision, Millis, Reason, Report, State, World,
    decision::{Action, Phase},
    report,
    state::{Ended, Run},
};

/// Whether to look at the next phase at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    /// The phase changed: what follows from it is done in the same look.
    Again,
    /// Nothing more to do until the world changes.
    Wait,
}

/// Ended runs that are remembered.
const HISTORY: usize = 10;

/// One look.
pub(crate) struct Look<'w> {
    /// What was observed.
    pub world: &'w World,
    /// Memory, being changed.
    pub state: State,
    actions: Vec<Action>,
    /// What to say.
    pub report: Report,
    wake_at: Option<Millis>,
}

impl<'w> Look<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self { world, state: world.state.clone(), actions: Vec::new(), report: Report::default(), wake_at: None }
    }

    pub(crate) fn now(&self) -> Millis {
        self.world.now
    }

    /// Says where the Rollout stands; the last word counts.
    pub(crate) fn say(&mut self, phase: Phase, reason: Reason, message: impl Into<String>) -> Next {
        self.say_as(phase, reason.as_str(), message)
    }

    /// The same with a reason that was remembered by its name.
    pub(crate) fn say_as(&mut self, phase: Phase, reason: &str, message: impl Into<String>) -> Next {
        self.report.phase = phase;
        reason.clone_into(&mut self.report.reason);
        self.report.message = message.into();
        Next::Wait
    }

    /// What happens next, and when.
    pub(crate) fn next(&mut self, what: impl Into<String>, at: Option<Millis>) {
        self.report.next = Some((what.into(), at));
        if let Some(at) = at {
            self.wake(at);
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        if !self.actions.contains(&action) {
            self.actions.push(action);
        }
    }

    pub(crate) fn note(&mut self, reason: Reason, message: impl Into<String>) {
        self.report.events.push((false, reason.as_str().to_owned(), message.into()));
    }

    pub(crate) fn warn(&mut self, reason: Reason, message: impl Into<String>) {
        self.report.events.push((true, reason.as_str().to_owned(), message.into()));
    }

    /// Looks again at `at`, or earlier.
    pub(crate) fn wake(&mut self, at: Millis) {
        let at = at.max(self.now() + 1);
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Something came through that the policy should have held back: it has to be asked again at once, unless it was in
    /// this look, after that was seen.
    pub(crate) fn doubt(&mut self) {
        let is_answered = self.world.workload.as_ref().is_some_and(|workload| workload.held_back.is_some());
        let adoption = &mut self.state.adoption;
        if adoption.held_back == Some(true) && !is_answered {
            adoption.held_back = None;
        }
    }

    /// Writes an ended run into the history.
    pub(crate) fn remember(&mut self, run: &Run) {
        let end = run.end.clone().unwrap_or_default();
        self.enter_history(Ended {
            revision: run.revision.clone(),
            started_at: run.started_at,
            ended_at: self.now(),
            outcome: end.outcome,
            reason: end.reason,
            message: end.message,
            images: run.images.clone(),
            by: end.by,
            replaced: run.replaced.clone(),
        });
    }

    /// Writes into the history, newest first.
    pub(crate) fn enter_history(&mut self, ended: Ended) {
        self.state.history.insert(0, ended);
        self.state.history.truncate(HISTORY);
    }

    pub(crate) fn into_decision(mut self) -> Decision {
        self.report.observed_revision = self.world.workload.as_ref().map(|workload| workload.revision.clone());
        self.report.conditions = report::conditions(&self.report, &self.state);
        let only_evidence_changed =
            self.state != self.world.state && without_evidence(&self.state) == without_evidence(&self.world.state);
        Decision {
            state: self.state,
            only_evidence_changed,
            actions: self.actions,
            report: self.report,
            wake_at: self.wake_at,
        }
    }
}

/// Memory without what the next look counts anew from the data planes.
fn without_evidence(state: &State) -> State {
    let mut state = state.clone();
    if let Some(run) = &mut state.run {
        run.tallies.clear();
    }
    state
}
