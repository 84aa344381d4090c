//! What is said about the load: totals, one line a second, and each failure.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::record::{Cause, Record, Sample};

/// Requests of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionTally {
    /// All that it answered.
    pub requests: u64,
    /// Of those, not 2xx or broken.
    pub failed: u64,
    /// Part of all answered requests.
    pub share: f64,
}

/// Counts and latencies of some requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// All requests that were due.
    pub sent: u64,
    /// Answered with 2xx.
    pub ok: u64,
    /// All others, by cause.
    pub failed: BTreeMap<Cause, u64>,
    /// By the version that answered; `none` for failures without an answer and answers without a version.
    pub versions: BTreeMap<String, VersionTally>,
    /// Median time from due to done, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of it.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Tally {
    /// Counts `samples`.
    pub fn of<'a>(record: &Record, samples: impl Iterator<Item = &'a Sample>) -> Self {
        let mut tally = Self::default();
        let mut latencies = Vec::new();
        for sample in samples {
            tally.sent += 1;
            latencies.push(sample.done.saturating_sub(sample.due));
            let name = record.version(sample);
            if !tally.versions.contains_key(name) {
                tally.versions.insert(name.to_owned(), VersionTally::default());
            }
            let failed = sample.cause != Cause::Ok;
            if let Some(version) = tally.versions.get_mut(name) {
                version.requests += 1;
                version.failed += u64::from(failed);
            }
            if failed {
                *tally.failed.entry(sample.cause).or_default() += 1;
            } else {
                tally.ok += 1;
            }
        }
        for version in tally.versions.values_mut() {
            version.share = version.requests as f64 / tally.sent as f64;
        }
        latencies.sort_unstable();
        (tally.p50_ms, tally.p99_ms) = (percentile(&latencies, 0.5), percentile(&latencies, 0.99));
        tally.max_ms = percentile(&latencies, 1.0);
        tally
    }

    /// Requests that this version answered.
    pub fn requests_of(&self, version: &str) -> u64 {
        self.versions.get(version).map_or(0, |tally| tally.requests)
    }

    /// Failed requests of all causes.
    pub fn failures(&self) -> u64 {
        self.sent - self.ok
    }
}

fn percentile(sorted: &[Duration], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    let latency = sorted.get(at.saturating_sub(1)).copied().unwrap_or_default();
    (latency.as_secs_f64() * 1e5).round() / 1e2
}

/// A line of the running report: what ended since the line before.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// Seconds since the start.
    pub at: f64,
    /// The counts.
    #[serde(flatten)]
    pub tally: Tally,
}

impl Interval {
    /// The requests from index `from` on, and the index for the next call.
    pub fn since(record: &Record, from: usize, elapsed: Duration) -> (Self, usize) {
        let samples = record.samples();
        let new = samples.get(from..).unwrap_or_default();
        (Self { at: seconds(elapsed), tally: Tally::of(record, new.iter()) }, samples.len())
    }
}

/// One failed request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When it was sent, in seconds since the start.
    pub at: f64,
    /// The same on the clock of the machine, to look it up in logs.
    pub time: jiff::Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// How it failed.
    pub cause: Cause,
    /// Status code, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Version that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Pod that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Error message, or the beginning of the answer.
    pub detail: String,
}

impl Failure {
    pub(super) fn new(
        sample: &Sample,
        status: Option<u16>,
        version: Option<&str>,
        pod: Option<String>,
        detail: &str,
    ) -> Self {
        Self {
            at: seconds(sample.sent),
            time: jiff::Timestamp::now(),
            took_ms: (sample.done.saturating_sub(sample.sent).as_secs_f64() * 1e5).round() / 1e2,
            cause: sample.cause,
            status,
            version: version.map(ToOwned::to_owned),
            pod,
            detail: detail.chars().take(200).collect(),
        }
    }
}

/// The whole.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Length in seconds.
    pub seconds: f64,
    /// The counts.
    #[serde(flatten)]
    pub tally: Tally,
    /// Times of each version in seconds since the start.
    pub timeline: BTreeMap<String, Timeline>,
    /// The first failures.
    pub failures: Vec<Failure>,
    /// Failures that are not listed.
    pub failures_omitted: u64,
    /// Requests beyond those that could be kept; not in any count.
    pub not_recorded: u64,
}

/// When a version was seen.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// Its first answer.
    pub first_answer: Option<f64>,
    /// Its first error.
    pub first_error: Option<f64>,
    /// The last request that it answered was sent; all later ones went elsewhere.
    pub last_sent: Option<f64>,
}

impl Summary {
    /// Of everything so far.
    pub fn of(record: &Record, elapsed: Duration) -> Self {
        let tally = Tally::of(record, record.samples().iter());
        let timeline = |name: &String| Timeline {
            first_answer: record.first_answer_of(name).map(seconds),
            first_error: record.first_error_of(name).map(seconds),
            last_sent: record.last_sent_to(name).map(seconds),
        };
        Self {
            seconds: seconds(elapsed),
            timeline: tally.versions.keys().map(|name| (name.clone(), timeline(name))).collect(),
            failures: record.failures().to_vec(),
            failures_omitted: tally.failures().saturating_sub(record.failures().len() as u64),
            not_recorded: record.dropped(),
            tally,
        }
    }
}

impl std::ops::Deref for Summary {
    type Target = Tally;

    fn deref(&self) -> &Tally {
        &self.tally
    }
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}
