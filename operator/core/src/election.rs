//! Which of several processes acts: leader election over one record that is written only on condition (a Lease).
//!
//! ```text
//! next(now) -> Wait | Read | Write      the shell does it, and tells the answer: read(..), written(..)
//! ```
//!
//! No clock of another machine is ever compared. A candidate takes the record over when it has not *seen* it change for the
//! lease time, by its own clock; the holder stops at the renew deadline, counted from when it *sent* the last write that
//! was accepted. A candidate cannot see a write before it was sent, and the deadline is shorter than the lease time, so two
//! never act at once, however long a process or a message is delayed. How far clocks may run apart is the ratio of the two.

use crate::Millis;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

/// How long what may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A record that was not seen to change for this long is free.
    pub lease: Millis,
    /// The holder stops acting this long after its last renewal.
    pub renew_deadline: Millis,
    /// Time between attempts; the holder renews after two of them.
    pub retry: Millis,
}

/// The record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty when it was released.
    pub holder: String,
    /// Changes with each write, and is the condition of the next.
    pub version: String,
    /// For how long it is to be left alone.
    pub lease: Millis,
    /// How often it changed hands.
    pub transitions: i32,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Todo {
    /// Nothing before this time.
    Wait(Millis),
    /// Read the record.
    Read,
    /// Write the record.
    Write(Claim),
}

/// A write of the record that names its writer as the holder, or nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The version that must still be there; None when there must be no record.
    pub version: Option<String>,
    /// How often it has changed hands with this.
    pub transitions: i32,
    /// It changes hands.
    pub takes_over: bool,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was accepted, and this is the version.
    Done(String),
    /// The record is another one by now.
    Conflict,
    /// No answer, or one that says nothing of the record: it may have been accepted.
    Unknown,
}

/// One candidate.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    timing: Timing,
    /// The record as it was seen last, and when it was first seen like that. None: never read.
    seen: Option<(Option<Record>, Millis)>,
    /// What was seen is current: nothing went wrong since.
    fresh: bool,
    /// It was read for this very attempt.
    just_read: bool,
    held_until: Option<Millis>,
    term: u64,
    not_before: Millis,
}

impl Election {
    /// A candidate by this name, which no other process may ever have.
    pub fn new(me: impl Into<String>, timing: Timing) -> Self {
        Self {
            me: me.into(),
            timing,
            seen: None,
            fresh: false,
            just_read: false,
            held_until: None,
            term: 0,
            not_before: Millis::MIN,
        }
    }

    /// Until when this candidate may act, and its how manieth time in office that is.
    pub fn held(&self) -> Option<(u64, Millis)> {
        self.held_until.map(|until| (self.term, until))
    }

    /// Who holds the record, as far as is known.
    pub fn holder(&self) -> Option<&str> {
        let (record, _) = self.seen.as_ref()?;
        record.as_ref().map(|record| record.holder.as_str()).filter(|holder| !holder.is_empty())
    }

    /// What to do at this time.
    pub fn next(&mut self, now: Millis) -> Todo {
        self.expire(now);
        if now < self.not_before {
            return Todo::Wait(self.held_until.map_or(self.not_before, |until| until.min(self.not_before)));
        }
        if !self.fresh || (self.held_until.is_none() && !self.just_read) {
            return Todo::Read;
        }
        if let Some(claim) = self.claim(now) {
            return Todo::Write(claim);
        }
        self.just_read = false;
        self.not_before = now + self.timing.retry;
        Todo::Wait(self.not_before)
    }

    /// The record was read, or could not be.
    pub fn read(&mut self, now: Millis, answer: Result<Option<Record>, ()>) {
        self.expire(now);
        let Ok(record) = answer else {
            self.fresh = false;
            self.not_before = now + self.timing.retry;
            return;
        };
        let is_mine = record.as_ref().is_some_and(|record| record.holder == self.me);
        if !is_mine {
            // Somebody took it, or took it away: whoever did knew that our time was over, or did not ask.
            self.held_until = None;
        }
        if self.seen.as_ref().is_none_or(|(known, _)| *known != record) {
            self.seen = Some((record, now));
        }
        (self.fresh, self.just_read) = (true, true);
    }

    /// A write was answered. `sent` is when it was sent.
    pub fn written(&mut self, claim: &Claim, sent: Millis, now: Millis, outcome: Written) {
        self.expire(now);
        self.just_read = false;
        match outcome {
            Written::Done(version) => {
                if self.held_until.is_none() {
                    self.term += 1;
                }
                let until = sent + self.timing.renew_deadline;
                self.held_until = (now < until).then_some(until);
                let record = Record {
                    holder: self.me.clone(),
                    version,
                    lease: self.timing.lease,
                    transitions: claim.transitions,
                };
                self.seen = Some((Some(record), now));
                self.fresh = true;
                self.not_before = sent + 2 * self.timing.retry;
            }
            Written::Conflict => {
                self.fresh = false;
                self.not_before = now;
            }
            Written::Unknown => {
                self.fresh = false;
                self.not_before = now.max(sent + self.timing.retry);
            }
        }
    }

    /// What to write so that the next one need not wait, when all work has ended. From now on this candidate does not act.
    pub fn release(&mut self, now: Millis) -> Option<Claim> {
        self.expire(now);
        self.held_until.take()?;
        let (record, _) = self.seen.as_ref()?;
        let record = record.as_ref().filter(|_| self.fresh)?;
        Some(Claim { version: Some(record.version.clone()), transitions: record.transitions, takes_over: false })
    }

    fn expire(&mut self, now: Millis) {
        if self.held_until.is_some_and(|until| now >= until) {
            self.held_until = None;
            self.fresh = false;
        }
    }

    fn claim(&self, now: Millis) -> Option<Claim> {
        let (record, since) = self.seen.as_ref()?;
        let Some(record) = record else {
            return Some(Claim { version: None, transitions: 0, takes_over: true });
        };
        let takes_over = record.holder != self.me;
        // A holder that promised to leave it alone for longer is believed.
        let is_free = record.holder.is_empty() || now >= since + self.timing.lease.max(record.lease);
        (!takes_over || is_free).then(|| Claim {
            version: Some(record.version.clone()),
            transitions: record.transitions + i32::from(takes_over),
            takes_over,
        })
    }
}
