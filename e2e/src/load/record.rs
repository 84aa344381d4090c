//! Every request that was sent, small enough to keep them all, so that any window can be looked at afterwards.

use std::time::Duration;

use serde::Serialize;

use super::report::{Failure, Tally};

/// Requests that are kept one by one; with 100 a second more than five hours. Later ones are counted as dropped.
const MAX_SAMPLES: usize = 2_000_000;
/// Failures that are kept with all details.
const MAX_FAILURES: usize = 1_000;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// Status 2xx.
    Ok,
    /// No connection could be made.
    Connect,
    /// The connection broke before the answer was complete.
    Reset,
    /// No complete answer in time.
    Timeout,
    /// An answer that is not 2xx.
    Status,
    /// Never sent: all connections were busy for too long.
    Backlog,
}

/// One request. Times are since the start of the load.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was due.
    pub due: Duration,
    /// When it was handed to a connection.
    pub sent: Duration,
    /// When it ended.
    pub done: Duration,
    /// Index of the version that answered; 0 is none.
    pub version: u16,
    /// How it ended.
    pub cause: Cause,
}

/// Everything that was sent.
#[derive(Debug)]
pub struct Record {
    samples: Vec<Sample>,
    versions: Vec<String>,
    failures: Vec<Failure>,
    dropped: u64,
}

impl Default for Record {
    fn default() -> Self {
        // Answers without a version, as from a proxy itself, have a place in every table.
        Self { samples: Vec::new(), versions: vec!["none".to_owned()], failures: Vec::new(), dropped: 0 }
    }
}

impl Record {
    pub(super) fn push(&mut self, mut sample: Sample, version: Option<&str>, failure: impl FnOnce() -> Failure) {
        sample.version = version.map_or(0, |name| self.intern(name));
        if sample.cause != Cause::Ok && self.failures.len() < MAX_FAILURES {
            self.failures.push(failure());
        }
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(sample);
        } else {
            self.dropped += 1;
        }
    }

    fn intern(&mut self, name: &str) -> u16 {
        let at = self.versions.iter().position(|known| known == name).unwrap_or_else(|| {
            self.versions.push(name.to_owned());
            self.versions.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// All requests, in the order of their ends.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Name of the version that answered.
    pub fn version(&self, sample: &Sample) -> &str {
        self.versions.get(usize::from(sample.version)).map_or("none", String::as_str)
    }

    /// The first failures, with details.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Requests that were too many to keep.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What became of the requests that were sent in this time.
    pub fn sent_between(&self, from: Duration, to: Duration) -> Tally {
        Tally::of(self, self.samples.iter().filter(|sample| (from..to).contains(&sample.sent)))
    }

    /// Failures other than answers of `version` that are errors.
    pub fn failures_beside(&self, version: Option<&str>) -> u64 {
        let own = |sample: &&Sample| sample.cause == Cause::Status && Some(self.version(sample)) == version;
        let failed = self.samples.iter().filter(|sample| sample.cause != Cause::Ok);
        failed.filter(|sample| !own(sample)).count() as u64
    }

    /// When the first error that `version` answered arrived.
    pub fn first_error_of(&self, version: &str) -> Option<Duration> {
        let errors = self.of(version).filter(|sample| sample.cause == Cause::Status);
        errors.map(|sample| sample.done).min()
    }

    /// When the first answer of `version` arrived.
    pub fn first_answer_of(&self, version: &str) -> Option<Duration> {
        self.of(version).map(|sample| sample.done).min()
    }

    /// When the last request was sent that `version` answered: from then on all new requests went elsewhere.
    pub fn last_sent_to(&self, version: &str) -> Option<Duration> {
        self.of(version).map(|sample| sample.sent).max()
    }

    fn of<'a>(&'a self, version: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| self.version(sample) == version)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cause, Failure, Record, Sample};

    fn record(requests: &[(u64, &str, Cause)]) -> Record {
        let mut record = Record::default();
        for (at, version, cause) in requests {
            let sent = Duration::from_millis(*at);
            let sample = Sample { due: sent, sent, done: sent + Duration::from_millis(5), version: 0, cause: *cause };
            record.push(sample, Some(version), || Failure::new(&sample, None, Some(version), None, ""));
        }
        record
    }

    #[test]
    fn only_the_allowed_versions_own_errors_are_excused() {
        let record = record(&[
            (0, "v1", Cause::Ok),
            (1, "v3", Cause::Status),
            (2, "v3", Cause::Reset),
            (3, "v1", Cause::Status),
        ]);
        assert_eq!(record.failures_beside(Some("v3")), 2);
        assert_eq!(record.failures_beside(None), 3);
    }

    #[test]
    fn a_window_counts_by_the_time_of_sending() {
        let record =
            record(&[(0, "v1", Cause::Ok), (10, "v2", Cause::Ok), (19, "v1", Cause::Ok), (20, "v2", Cause::Ok)]);
        let tally = record.sent_between(Duration::from_millis(10), Duration::from_millis(20));
        assert_eq!((tally.sent, tally.requests_of("v2")), (2, 1));
    }

    #[test]
    fn the_time_to_safety_runs_from_the_first_error_to_the_last_request() {
        let record =
            record(&[(0, "v3", Cause::Ok), (10, "v3", Cause::Status), (30, "v3", Cause::Ok), (40, "v1", Cause::Ok)]);
        assert_eq!(record.first_error_of("v3"), Some(Duration::from_millis(15)));
        assert_eq!(record.last_sent_to("v3"), Some(Duration::from_millis(30)));
    }
}
