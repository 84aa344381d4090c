//! When a Rollout is looked at again: pure.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use sluice_operator_core::{Millis, PROBE_AGAIN_MS};

/// Looks at a Rollout that nothing happens to: what no event told is found then.
const QUIET: Duration = Duration::from_mins(5);
/// An answer is asked for again at least this often while a run is in progress.
const MAX_IN_RUN: Duration = Duration::from_secs(5);
/// Longest wait between attempts that fail.
const MAX_AT_REST: Duration = Duration::from_secs(30);
/// Longest wait between looks that collide with other writers, or that each find something to do.
const MAX_BUSY: Duration = Duration::from_secs(1);

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}

/// After the `times`-th failure in a row, counted from 0.
pub(crate) fn after_failure(times: u32, in_run: bool) -> Duration {
    doubled(Duration::from_millis(100), times, if in_run { MAX_IN_RUN } else { MAX_AT_REST })
}

/// After the `times`-th collision in a row: a fresh look is all that is needed, so soon.
pub(crate) fn after_conflict(times: u32) -> Duration {
    doubled(Duration::from_millis(20), times, MAX_BUSY)
}

/// After a look that found nothing to do, or that acted for the `times`-th time in a row. What was written is looked at
/// soon: not everything that is written is watched.
pub(crate) fn after_look(acted: Option<u32>, wake_at: Option<Millis>, now: Millis) -> Duration {
    let woken = wake_at.map_or(QUIET, |at| Duration::from_millis(u64::try_from(at - now).unwrap_or(0)));
    let soon = acted.map_or(QUIET, |times| doubled(Duration::from_millis(50), times, MAX_BUSY));
    // A wake time in the past would be a loop without a breath.
    woken.min(soon).clamp(Duration::from_millis(20), QUIET)
}

/// When a Rollout's policy is taken to have been probed last where this process does not know it: a time of its own
/// within the interval, so that a new leader does not probe for all Rollouts at once.
pub(crate) fn probed_before_us(rollout: (&str, &str), now: Millis) -> Millis {
    let mut hasher = DefaultHasher::new();
    rollout.hash(&mut hasher);
    now - Millis::try_from(hasher.finish() % PROBE_AGAIN_MS.unsigned_abs()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluice_operator_core::PROBE_AGAIN_MS;

    use super::{after_conflict, after_failure, after_look, probed_before_us};

    #[test]
    fn a_new_leader_spreads_its_probes_over_the_interval() {
        let in_each_tenth = (0..1_000).fold([0; 10], |mut tenths, number| {
            let age = -probed_before_us(("shop", &format!("rollout-{number}")), 0);
            tenths[usize::try_from(age * 10 / PROBE_AGAIN_MS).unwrap()] += 1;
            tenths
        });
        assert!(in_each_tenth.iter().all(|count| (60..140).contains(count)), "{in_each_tenth:?}");
    }

    #[test]
    fn failures_are_retried_ever_more_slowly_but_never_out_of_reach_of_a_run() {
        assert_eq!(after_failure(0, true), Duration::from_millis(100));
        assert_eq!(after_failure(3, true), Duration::from_millis(800));
        assert_eq!(after_failure(60, true), Duration::from_secs(5));
        assert_eq!(after_failure(60, false), Duration::from_secs(30));
        assert_eq!(after_conflict(60), Duration::from_secs(1));
    }

    #[test]
    fn the_next_look_is_when_the_core_says() {
        assert_eq!(after_look(None, Some(2_500), 1_000), Duration::from_millis(1_500));
        assert_eq!(after_look(None, Some(0), 1_000), Duration::from_millis(20));
        assert_eq!(after_look(None, None, 1_000), Duration::from_mins(5));
    }

    #[test]
    fn what_was_written_is_looked_at_soon_but_not_in_a_loop() {
        assert_eq!(after_look(Some(0), Some(60_000), 1_000), Duration::from_millis(50));
        assert_eq!(after_look(Some(20), Some(60_000), 1_000), Duration::from_secs(1));
    }
}
