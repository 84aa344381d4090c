//! Positive evidence that a canary is good enough for the next step.
//!
//! Sequential probability ratio tests (Wald 1945): the canary passes when "it is harmful" is [`BETA`] times less likely
//! than "it is good". By Ville a harmful canary passes a step with probability at most [`BETA`]; the evidence for `Fail`
//! goes on meanwhile and afterwards. What harmful means is a choice:
//!
//! - an objective p0: a rate of twice p0, and at least one percentage point above it ([`harmful_rate`]);
//! - a comparison with tolerance r0: a ratio of three, or twice r0 ([`harmful_ratio`]). Bad requests are rare on a good
//!   canary, so a ratio takes long to exclude; where the counts do not speak for it, a canary also passes when a rate of
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
    let ln_good = f1::ln_likelihood_ratio(configs, tolerance, harmful);
    if ln_good >= ln_required() {
        return true;
    }
    let mut canary = Counts::default();
    let mut one_less = configs.to_vec();
    for (_, of_canary, _) in &mut one_less {
        canary.add(*of_canary);
    }
    // One bad request alone may be chance: without it the counts must not speak for harm.
    if let Some((_, of_canary, _)) = one_less.iter_mut().find(|(_, of_canary, _)| of_canary.bad > 0) {
        of_canary.bad -= 1;
    }
    absolute(canary) && f1::ln_likelihood_ratio(&one_less, tolerance, harmful) >= 0.0
}

/// The canary's rate is below what is harmful without any comparison.
pub fn absolute(canary: Counts) -> bool {
    f3::ln_likelihood_ratio(canary, ABSOLUTE_GOOD, ABSOLUTE_HARMFUL) >= ln_required()
}

fn ln_required() -> f64 {
    (1.0 / BETA).ln()
}
