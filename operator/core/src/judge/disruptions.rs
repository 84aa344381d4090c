//! Failures at an endpoint that is leaving, restarting or refusing: one evicted pod does not condemn a release, but a canary
//! that refuses most of what it gets does.

use crate::{
    Millis,
    state::{DisruptionWindow, Run},
};

/// A window lasts at least this long: longer than the restart of a container.
const WINDOW_MS: Millis = 10_000;

/// Fewer disruptions than this fail nobody.
const MIN_DISRUPTIONS: u64 = 20;

/// Whether more than half of the canary's requests were disrupted in a window that a disruption opened; the sentence says
/// how many.
pub fn refuses(run: &mut Run, now: Millis) -> Option<String> {
    let sum =
        |of: fn(&crate::state::Tally) -> u64| run.tallies.iter().filter(|tally| tally.canary).map(of).sum::<u64>();
    let (started, disruptions) = (sum(|tally| tally.started), sum(|tally| tally.disruptions));
    let at = |is_open| DisruptionWindow { is_open, since: now, started, disruptions };
    let window = run.disruptions.unwrap_or_default();
    if !window.is_open {
        if disruptions > window.disruptions {
            run.disruptions = Some(at(true));
        }
        return None;
    }
    let (new, disrupted) = (started.saturating_sub(window.started), disruptions.saturating_sub(window.disruptions));
    if now - window.since < WINDOW_MS {
        return None;
    }
    if disrupted * 2 <= new {
        run.disruptions = Some(at(false));
        return None;
    }
    (disrupted >= MIN_DISRUPTIONS).then(|| {
        format!(
            "{disrupted} of {new} requests to the canary within {} s were refused or dropped by its pods; see why they \
             restart or do not listen",
            (now - window.since) / 1_000
        )
    })
}
