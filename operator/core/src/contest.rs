//! Somebody else writes the routes in the middle of a run: how often, who, and when it is enough.
//!
//! A write that takes our parts out or changes them is a revert. Each is answered in the look that sees it. After
//! [`REVERTS`] within [`WINDOW_MS`] the route is contested: two writers that undo each other make the traffic jump and never
//! come to an end, so one of them has to stop, and it is us. The run holds with the traffic as the other one left it, and no
//! weight is raised. After [`REST_MS`] it is tried again with one write; a revert of that one is a contest again.

use serde::{Deserialize, Serialize};

use crate::{Millis, plan::Split};

/// So many reverts are a contest. A person's mistake or a tool that is told to reconcile by hand is one or two; a tool with
/// a short interval or a self-healing one comes to five within minutes.
pub const REVERTS: usize = 5;

/// Within so long. A tool that reconciles every ten minutes, which is common, is answered each time: its revert lasts a
/// second of ten minutes.
pub const WINDOW_MS: Millis = 10 * 60 * 1_000;

/// How long a contested route is left alone. As long as the window, so that the next try finds a tool that is still at it.
pub const REST_MS: Millis = WINDOW_MS;

/// Longest name of a manager that is remembered; the API server allows no longer one.
const MAX_NAME: usize = 128;

/// What is known of other writers of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contest {
    /// Generation that was seen last.
    pub generation: i64,
    /// The split that was served last of those that the run asked for.
    pub split: Option<Split>,
    /// It is served at that generation.
    pub is_live: bool,
    /// When it was reverted, oldest first, at most [`REVERTS`].
    pub reverts: Vec<Millis>,
    /// Who did it last; empty when the route does not say.
    pub by: String,
    /// When the revert was seen with which, or after which, it was contested last.
    pub contested_at: Option<Millis>,
}

/// What a look has seen of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'s> {
    /// `metadata.generation`
    pub generation: i64,
    /// The split that is live.
    pub split: Option<&'s Split>,
    /// The split that the run has asked for since the look before.
    pub asked: Option<&'s Split>,
    /// The latest manager of its rules that is not us.
    pub manager: Option<&'s str>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing, or a write that leaves our parts alone.
    Quiet,
    /// A revert, to be answered.
    Reverted,
    /// One too many.
    Contested,
}

impl Contest {
    /// Takes in what was seen.
    pub(crate) fn see(&mut self, seen: Seen<'_>, now: Millis) -> Outcome {
        if seen.generation == self.generation {
            return Outcome::Quiet;
        }
        let is_first = self.generation == 0;
        // Each of the two writers raises the generation by one: where it rose by more, a write of ours was between.
        let was_ours = self.is_live || seen.generation > self.generation + 1;
        let is_as_before = seen.split.is_some() && seen.split == self.split.as_ref();
        let is_revert = !is_first && seen.asked.is_some() && was_ours && !is_as_before && seen.split != seen.asked;
        self.generation = seen.generation;
        self.is_live = seen.split.is_some() && !is_revert;
        if !is_revert {
            self.split = seen.split.cloned().or_else(|| self.split.take());
            return Outcome::Quiet;
        }
        let on_probation = self.contested_at.is_some_and(|at| now - at < REST_MS + WINDOW_MS);
        self.reverts.retain(|at| now - at < WINDOW_MS);
        self.reverts.push(now);
        self.by = seen.manager.unwrap_or_default().chars().take(MAX_NAME).collect();
        if self.reverts.len() < REVERTS && !on_probation {
            return Outcome::Reverted;
        }
        self.reverts.remove(0);
        self.contested_at = Some(now);
        Outcome::Contested
    }

    /// Until when the route is left alone.
    pub(crate) fn rests_until(&self, now: Millis) -> Option<Millis> {
        self.contested_at.map(|at| at + REST_MS).filter(|until| now < *until)
    }

    /// A person has dealt with it: it counts from nothing.
    pub(crate) fn settle(&mut self) {
        self.reverts.clear();
        self.contested_at = None;
    }

    /// Who, in words.
    pub(crate) fn who(&self) -> String {
        if self.by.is_empty() { "somebody".to_owned() } else { format!("{:?}", self.by) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Contest, Outcome, REST_MS, REVERTS, Seen, WINDOW_MS};
    use crate::plan::Split;

    const TEN: Split = Split::Share(1_000);

    /// A tool that writes the base back, and our answer.
    fn revert(contest: &mut Contest, now: i64) -> Outcome {
        let base = Seen {
            generation: contest.generation + 1,
            split: None,
            asked: Some(&TEN),
            manager: Some("kustomize-controller"),
        };
        let outcome = contest.see(base, now);
        assert_eq!(contest.see(base, now), Outcome::Quiet, "one revert counts once");
        if outcome == Outcome::Reverted {
            answer(contest, now);
        }
        outcome
    }

    fn answer(contest: &mut Contest, now: i64) {
        let ours = Seen { generation: contest.generation + 1, split: Some(&TEN), asked: Some(&TEN), manager: None };
        assert_eq!(contest.see(ours, now), Outcome::Quiet);
    }

    fn live() -> Contest {
        let mut contest = Contest::default();
        answer(&mut contest, 0);
        contest
    }

    #[test]
    fn five_reverts_in_ten_minutes_are_a_contest() {
        let mut contest = live();
        for at in 1..5 {
            assert_eq!(revert(&mut contest, at * 1_000), Outcome::Reverted);
            assert_eq!(contest.rests_until(at * 1_000), None);
        }
        assert_eq!(revert(&mut contest, 5_000), Outcome::Contested);
        assert_eq!(contest.who(), "\"kustomize-controller\"");
        assert_eq!(contest.rests_until(5_000), Some(5_000 + REST_MS));
        assert_eq!(contest.rests_until(5_000 + REST_MS), None);
        assert!(contest.reverts.len() < REVERTS);
    }

    #[test]
    fn after_a_rest_one_revert_is_a_contest_until_it_was_quiet_for_long() {
        let mut contest = live();
        for at in 1..=5 {
            revert(&mut contest, at);
        }
        let again = 5 + REST_MS;
        answer(&mut contest, again);
        assert_eq!(revert(&mut contest, again + 1_000), Outcome::Contested);
        let later = again + 1_000 + REST_MS;
        answer(&mut contest, later);
        assert_eq!(revert(&mut contest, later + WINDOW_MS), Outcome::Reverted);
        contest.settle();
        assert_eq!(revert(&mut contest, later + WINDOW_MS + 1), Outcome::Reverted);
    }

    #[test]
    fn a_tool_that_comes_every_ten_minutes_is_answered_for_ever() {
        let mut contest = live();
        for round in 1..100 {
            assert_eq!(revert(&mut contest, round * WINDOW_MS), Outcome::Reverted);
        }
    }

    #[test]
    fn own_steps_and_edits_beside_our_parts_are_no_reverts() {
        let mut contest = live();
        let next = Split::Share(5_000);
        let seen = |generation, split, asked| Seen { generation, split, asked, manager: Some("kubectl-edit") };
        // The next step is asked for and its pods are not ready; the owner edits a timeout; then it is written.
        assert_eq!(contest.see(seen(2, Some(&TEN), Some(&next)), 1), Outcome::Quiet);
        assert_eq!(contest.see(seen(3, Some(&next), Some(&next)), 2), Outcome::Quiet);
        // What the run goes back by is not asked for by the run.
        assert_eq!(contest.see(seen(4, None, None), 3), Outcome::Quiet);
        assert_eq!(contest.see(seen(5, None, Some(&next)), 4), Outcome::Quiet, "the user's, before our first write");
        // A weight of another step, by hand.
        let mut contest = live();
        assert_eq!(contest.see(seen(2, Some(&next), Some(&TEN)), 5), Outcome::Reverted);
    }

    #[test]
    fn a_writer_that_is_quicker_than_our_looks_is_counted() {
        let mut contest = live();
        let base = |generation| Seen { generation, split: None, asked: Some(&TEN), manager: None };
        assert_eq!(contest.see(base(2), 1), Outcome::Reverted);
        // Ours was generation 3, and nobody saw it.
        assert_eq!(contest.see(base(4), 2), Outcome::Reverted);
        assert_eq!(contest.who(), "somebody");
    }
}
