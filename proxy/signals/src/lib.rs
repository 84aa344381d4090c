//! The one table of series, labels and buckets: the programs write it, dashboards draw it, `docs/metrics.md` prints it.
//!
//! The buckets of the data plane's durations are shared with the operator, which judges on them.

pub mod controller;
mod data_plane;
mod document;
pub mod operator;
mod series;

pub use data_plane::{
    ACCESS_LOG_DROPPED, ACTIVE_REQUESTS, BUILD, CONFIG_UPDATE, CONNECTION_FAILURES, CONNECTIONS, CPU_SECONDS,
    DISRUPTIONS, EJECTIONS, FLOWS_EVICTED, IN_FLIGHT, LIMIT_HITS, PASSAGE_BYTES, PASSAGES, REQUEST_DURATION, REQUESTS,
    RESIDENT_MEMORY, SERIES, SPANS_DROPPED,
};
pub use document::document;
pub use series::{Kind, Series};

/// Every family of every program.
pub fn all() -> impl Iterator<Item = &'static Series> {
    operator::SERIES.into_iter().chain(SERIES).chain(&controller::SERIES)
}

/// Upper bounds of the duration buckets, in milliseconds. A `Latency` objective's `slowerThan` is one of them, so that a
/// request is on one side of the bound exactly, never by interpolation.
pub const DURATION_BOUNDS_MS: [u64; 22] = [
    1, 2, 5, 10, 25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 30_000,
];

/// Index in [`DURATION_BOUNDS_MS`] of the bucket that a duration of `micros` microseconds falls into; the length of the
/// table when it is above the last bound.
pub fn duration_bucket(micros: u64) -> usize {
    DURATION_BOUNDS_MS.partition_point(|bound| bound * 1_000 < micros)
}

#[cfg(test)]
mod tests {
    use super::{DURATION_BOUNDS_MS, Kind, all, duration_bucket};

    #[test]
    fn names_are_distinct_and_say_what_they_count() {
        let mut names = std::collections::BTreeSet::new();
        for series in all() {
            assert!(series.name.starts_with("sluice_"), "{}", series.name);
            assert_eq!(series.name.ends_with("_total"), series.kind == Kind::Counter, "{}", series.name);
            assert!(series.kind != Kind::Histogram || series.name.ends_with("_seconds"), "{}", series.name);
            assert!(names.insert(series.name), "{} twice", series.name);
            assert!(!series.help.ends_with('.'), "{}", series.name);
        }
    }

    #[test]
    fn a_duration_equal_to_a_bound_is_within_it() {
        assert_eq!(duration_bucket(1_000), 0);
        assert_eq!(duration_bucket(1_001), 1);
        assert_eq!(duration_bucket(30_000_001), DURATION_BOUNDS_MS.len());
    }
}
