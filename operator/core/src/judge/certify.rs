//! Positive evidence that a canary is good enough for the next step.
//!
//! Sequential probability ratio tests (Wald 1945): the canary passes when "it is harmful" is [`BETA`] times less likely
//! than "it is good". By Ville a harmful canary passes a step with probability at most [`BETA`]; the evidence for `Fail`
//! goes on meanwhile and afterwards. What harmful means is a choice:
//!
//! - an objective p0: a rate of twice p0, and at least one percentage point above it ([`harmful_rate`]);
//! - a comparison with tolerance r0: a ratio of three, or twice r0 ([`harmful_ratio`]). Bad requests are rare on a good
//!   canary, so a ratio takes long to exclude; a canary that is no worse than that by its counts also passes when a rate of
//!   [`ABSOLUTE_HARMFUL`] is excluded, which takes 65 requests without a bad one.

use super::{f1, f3, tally::Counts};

/// Probability that a harmful canary passes a step.
pub const BETA: f64 = 0.05;

/// A rate of bad requests that is harmful without any comparison.
pub const ABSOLUTE_HARMFUL: f64 = 0.05;

/// The rate that it is tested against; a tenth, so that a single bad request costs about fifty good ones.
const ABSOLUTE_GOOD: f64 = 0.005;

/// The rate that is harmful where `p0` is the objective.
pub fn harmful_rate(p0: f64) -> f64 {
    (2.0 * p0).max(p0 + 0.01).min(f64::midpoint(p0, 1.0))
}

/// The ratio that is harmful where `tolerance` is not worse.
pub fn harmful_ratio(tolerance: f64) -> f64 {
    (2.0 * tolerance).max(3.0)
}

/// The objective `p0` is kept.
pub fn objective(canary: Counts, p0: f64) -> bool {
    // Objectives of 0 are read as one in a million, as in the test for failure.
    let p0 = p0.max(1e-6);
    f3::ln_likelihood_ratio(canary, p0, harmful_rate(p0)) >= ln_required()
}

/// The canary is not much worse than stable. `configs`: share in basis points, canary, stable.
pub fn compare(configs: &[(u16, Counts, Counts)], tolerance: f64) -> bool {
    let harmful = harmful_ratio(tolerance);
    if f1::ln_likelihood_ratio(configs, tolerance, harmful) >= ln_required() {
        return true;
    }
    let mut canary = Counts::default();
    let mut expected = 0.0;
    for (share, of_canary, of_stable) in configs {
        let share = f64::from(*share) / f64::from(crate::routes::WHOLE);
        canary.add(*of_canary);
        expected += of_stable.bad as f64 * share / (1.0 - share);
    }
    // One bad request more than harm would explain is chance.
    let is_plausible = canary.bad as f64 - 1.0 <= harmful * expected;
    is_plausible && absolute(canary)
}

/// The canary's rate is below what is harmful without any comparison.
pub fn absolute(canary: Counts) -> bool {
    f3::ln_likelihood_ratio(canary, ABSOLUTE_GOOD, ABSOLUTE_HARMFUL) >= ln_required()
}

fn ln_required() -> f64 {
    (1.0 / BETA).ln()
}
