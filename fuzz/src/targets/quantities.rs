//! Durations and percentages of users.

use sluice_crds::quantity::{parse_duration_ms, parse_percent};
use sluice_proxy::control::translate::duration;

use super::text;

pub(super) const WORDS: &[&str] = &["h", "m", "s", "ms", "99999", "00000", "%", ".", "100", "1e9", "NaN", "inf"];

/// What the proxy takes for a duration the operator takes for the same one, and a percentage is a ratio.
pub(super) fn quantities(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Some(millis) = duration::millis(text) {
        assert_eq!(parse_duration_ms(text), Ok(millis), "two readings of one duration");
    }
    // Of what is no duration of the API it may make something or nothing.
    let _ = parse_duration_ms(text);
    if let Ok(ratio) = parse_percent(text) {
        assert!((0.0..=1.0).contains(&ratio), "{ratio} is no ratio");
    }
}
