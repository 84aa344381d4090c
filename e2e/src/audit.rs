//! The auditor: replays the API server's audit log as a history and says which of Sluice's promises a write broke.
//!
//! ```text
//! log (rotated files too) -> events -> in the order of resourceVersions -> history (before, after) -> checks -> report
//! ```
//!
//! Tests assert what they thought of; the log is what happened. Each check is a small state machine over parsed writes,
//! without IO, so that a forged log shows that it can fail.

mod checks;
mod diff;
mod event;
mod history;
mod log;
pub mod rights;
#[cfg(test)]
mod testing;

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

pub use self::{
    event::{Event, Who},
    history::{Key, Write},
    log::events,
};
use self::{
    history::{History, Ordered},
    rights::Rights,
};

/// One promise, checked over all writes in their order.
pub trait Check {
    /// What must hold, in a sentence.
    fn promise(&self) -> &'static str;

    /// Looks at the next write, and says what it breaks.
    fn see(&mut self, write: &Write, found: &mut Vec<String>) -> Judged;
}

/// Whether a write was one that the check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It was judged.
    Yes,
    /// It is nothing to this check.
    No,
}

/// Which part of the log is judged. All of it is replayed, because the state of an object is in earlier writes.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// From when on.
    pub since: Option<Timestamp>,
    /// In which namespace; None means everywhere.
    pub namespace: Option<String>,
}

impl Scope {
    fn holds(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.request_received_timestamp >= since)
            && self.namespace.as_deref().is_none_or(|namespace| event.namespace() == namespace)
    }
}

/// What came out for one promise.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What must hold.
    pub promise: &'static str,
    /// Writes that were judged.
    pub judged: u64,
    /// What broke it.
    pub found: Vec<String>,
}

/// What came out of a log.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events in scope.
    pub events: u64,
    /// Writes of Sluice's programs in scope.
    pub writes: u64,
    /// Lines that could not be read, as when the API server was killed in the middle of one.
    pub unreadable: u64,
    /// One for each promise.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Nothing was broken.
    pub fn is_sound(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.found.is_empty())
    }

    /// Promises that no write was about: nothing was shown of them.
    pub fn unproven(&self) -> Vec<&'static str> {
        self.outcomes.iter().filter(|outcome| outcome.judged == 0).map(|outcome| outcome.promise).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} events, {} writes of Sluice", self.events, self.writes)?;
        if self.unreadable > 0 {
            writeln!(f, "{} lines of the log could not be read", self.unreadable)?;
        }
        for Outcome { promise, judged, found } in &self.outcomes {
            let word = match (found.len(), judged) {
                (0, 0) => "unseen",
                (0, _) => "held",
                _ => "BROKEN",
            };
            writeln!(f, "  {word:<7} {promise} ({judged} judged)")?;
            for finding in found {
                writeln!(f, "          {finding}")?;
            }
        }
        Ok(())
    }
}

/// Replays events and judges those in scope. `rights`, if given, collects what was used of them.
pub fn audit(
    events: impl Iterator<Item = Result<Event, serde_json::Error>>,
    scope: &Scope,
    rights: Option<&mut Rights>,
) -> Report {
    replay(events, scope, rights, checks::all())
}

fn replay(
    events: impl Iterator<Item = Result<Event, serde_json::Error>>,
    scope: &Scope,
    mut rights: Option<&mut Rights>,
    mut checks: Vec<Box<dyn Check>>,
) -> Report {
    let promises = checks.iter().map(|check| check.promise());
    let outcomes = promises.map(|promise| Outcome { promise, judged: 0, found: Vec::new() }).collect();
    let mut report = Report { outcomes, ..Report::default() };
    let mut history = History::default();
    let mut unreadable = 0;
    let readable = events.filter_map(|event| event.inspect_err(|_| unreadable += 1).ok());
    for event in Ordered::new(readable) {
        let in_scope = scope.holds(&event);
        report.events += u64::from(in_scope);
        if let Some(rights) = rights.as_deref_mut() {
            // A program that runs since before has listed what it watches before, too.
            rights.see(&event, in_scope);
        }
        let Some(write) = history.replay(event) else { continue };
        report.writes += u64::from(in_scope && write.event.who() != Who::Other);
        for (check, outcome) in checks.iter_mut().zip(&mut report.outcomes) {
            let mut found = Vec::new();
            // Out of scope it only learns.
            let judged = check.see(&write, &mut found);
            if in_scope {
                outcome.judged += u64::from(judged == Judged::Yes);
                outcome.found.extend(found.into_iter().map(|what| format!("{write}: {what}")));
            }
        }
    }
    report.unreadable = unreadable;
    report
}

/// A string at a JSON pointer, or nothing.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
