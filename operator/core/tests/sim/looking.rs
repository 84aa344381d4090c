//! The operator's turn: it looks, decides and writes until it has nothing to write, or a disturbance strikes it.

use sluice_operator_core::{Action, Decision, Millis, World, decide, invariants};

use super::{
    Sim,
    fault::{self, Asleep, Disturbance, Fault, Late, View},
    said::described,
};

/// Without an event and without a time that it named, the operator looks again after this.
const QUIET: Millis = 300_000;

impl Sim {
    /// The operator's turn.
    pub(crate) fn look_until_at_rest(&mut self) {
        self.arrive();
        self.watch();
        if self.gone || self.now < self.down_until || self.sleeps() {
            return;
        }
        // The operator's own writes wake it.
        for _ in 0..20 {
            if !self.look() || self.gone || self.now < self.down_until {
                return;
            }
        }
        panic!("the operator does not come to rest:\n{}", self.log.join("\n"));
    }

    /// One look. True when it wrote something.
    pub(super) fn look(&mut self) -> bool {
        let before = *self.writes;
        let wrote = self.look_once();
        if *self.writes > before {
            let look = *self.looks;
            self.wrote.push(look);
        }
        wrote
    }

    pub(super) fn look_once(&mut self) -> bool {
        let mut view = self.view();
        *self.looks += 1;
        if let Some(Disturbance::Stale(at, part, old)) = &*self.disturbance
            && *at == *self.looks
        {
            view = part.stale(view, old);
            *self.disturbance = None;
        }
        let decision = decide(&view.world);
        self.check(&mut view.world, &decision);
        self.say(&decision);
        *self.wake_at = decision.wake_at;
        let world = &view.world;
        if decision.state != world.state && world.state != self.state {
            // Refused by the resourceVersion of the Rollout.
            return true;
        }
        let writes_state = decision.state != world.state && !decision.only_evidence_changed;
        let mut writes: Vec<Option<Action>> = Vec::new();
        if decision.state != world.state {
            writes.push(None);
        }
        // A probe is a question, asked before the next look.
        writes.extend(decision.actions.iter().filter(|a| !matches!(a, Action::ProbePolicy)).cloned().map(Some));
        let mut wrote = writes_state || decision.actions.contains(&Action::ProbePolicy);
        // What is reported is written together with the state, and refused as that is.
        if decision.state == world.state && world.state == self.state {
            self.last = Some(decision.clone());
            self.probed_at = view.world.probed_at;
        }
        for write in writes {
            let strikes = self.strikes(write.is_none() && decision.only_evidence_changed);
            if strikes == Some(Fault::Before) {
                self.die();
                return true;
            }
            if let Some(Fault::Late(after)) = strikes {
                self.late = Some(Late { at: self.now + after, view, decision, write });
                self.die();
                return true;
            }
            if strikes != Some(Fault::Conflict) {
                wrote |= write.is_some();
                if !self.carry_out(write.as_ref(), &decision, &view) {
                    return true;
                }
            }
            match strikes {
                Some(Fault::After) => {
                    self.die();
                    return true;
                }
                Some(_) => return true,
                None => {}
            }
        }
        wrote
    }

    /// Counts a write, and tells the fault that strikes it. Evidence alone is written now and then, and not counted.
    pub(super) fn strikes(&mut self, is_evidence: bool) -> Option<Fault> {
        if is_evidence {
            return None;
        }
        let at = *self.writes;
        *self.writes += 1;
        match &*self.disturbance {
            Some(Disturbance::Write(struck, fault)) if *struck == at => {
                let fault = *fault;
                *self.disturbance = None;
                Some(fault)
            }
            _ => None,
        }
    }

    /// A write arrives; false when its precondition does not hold.
    pub(super) fn carry_out(&mut self, write: Option<&Action>, decision: &Decision, view: &View) -> bool {
        match write {
            None => {
                self.state = decision.state.clone();
                self.probed_at = self.probed_at.max(view.world.probed_at);
                self.last = Some(decision.clone());
                true
            }
            Some(action) => self.act(action, view),
        }
    }

    /// What was on its way for long arrives.
    pub(super) fn arrive(&mut self) {
        let Some(late) = self.late.take_if(|late| late.at <= self.now) else { return };
        // The status names the resourceVersion that was read.
        let read = &late.view.world;
        let is_unchanged = (&self.state, &self.operation, self.deleting, self.finalizer)
            == (&read.state, &read.operation, read.deleting, read.finalizer)
            && self.plan == read.plan;
        if (late.write.is_some() || is_unchanged) && !self.gone {
            let said = late.write.as_ref().map_or_else(|| "state".to_owned(), described);
            let done = self.carry_out(late.write.as_ref(), &late.decision, &late.view);
            self.note(format!("  late write {said}: {}", if done { "done" } else { "refused" }));
        }
    }

    /// Notes which look follows from an event.
    pub(super) fn watch(&mut self) {
        if self.woken.is_some() {
            let seen = Some(fault::watched(self.world()));
            let next = *self.looks + 1;
            if seen != *self.watched
                && let Some(woken) = &mut *self.woken
            {
                woken.push(next);
            }
            *self.watched = seen;
        }
    }

    /// An event is lost: nothing happens until another one comes, or the time that the last look named.
    pub(super) fn sleeps(&mut self) -> bool {
        if let Some(Disturbance::Missed(look)) = *self.disturbance
            && look == *self.looks + 1
        {
            *self.disturbance = None;
            let until = self.wake_at.unwrap_or(Millis::MAX).min(self.now + QUIET);
            self.asleep = Some(Asleep { seen: fault::watched(self.world()), until });
        }
        let Some(asleep) = &self.asleep else { return false };
        if self.now < asleep.until && fault::watched(self.world()) == asleep.seen {
            return true;
        }
        self.asleep = None;
        false
    }

    pub(super) fn die(&mut self) {
        self.down_until = self.now + 2_000;
    }

    pub(super) fn check(&self, world: &mut World, decision: &Decision) {
        let broken = invariants::check(world, decision);
        assert!(broken.is_empty(), "{broken:#?}\n{decision:#?}\n{}", self.log.join("\n"));
        let read = std::mem::replace(&mut world.state, decision.state.clone());
        let again = decide(world);
        world.state = read;
        assert_eq!(again.state, decision.state, "the same look changes the state again:\n{}", self.log.join("\n"));
        assert_eq!(again.actions, decision.actions, "the same look acts otherwise:\n{}", self.log.join("\n"));
    }
}
