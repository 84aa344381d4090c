//! Whether a measured share fits a configured one, by the exact binomial distribution.

use std::time::Duration;

use anyhow::{Context, Result};
use sluice_crds::RolloutStatus;

use crate::{follow::Follow, load::Load};

/// The route's event reaches us while the data plane may have it already.
const MARGIN: Duration = Duration::from_millis(250);

/// Requests of a step, and those of them that the new version answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Answered by the new version.
    pub hits: u64,
    /// All that were sent.
    pub all: u64,
}

impl Measured {
    /// The share in percent.
    pub fn percent(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.hits as f64 / self.all as f64 * 100.0 }
    }
}

/// What was measured while this weight, in percent, was verified to be live, up to the next change of the route.
pub fn measured(follow: &Follow, load: &Load, percent: u32, version: &str) -> Result<Measured> {
    let text = format!("{percent}%");
    let verified = |status: &RolloutStatus| status.weight.as_deref() == Some(text.as_str());
    let moments = follow.moments();
    let begin = moments.iter().find(|moment| moment.status.as_ref().is_some_and(verified));
    let begin = begin.with_context(|| format!("{text} was never verified"))?.at;
    let weights = follow.weights();
    let end = weights.iter().find(|weights| weights.at > begin).context("the weight never changed again")?.at;
    let tally = load.record().sent_between(load.at(begin), load.at(end).saturating_sub(MARGIN));
    Ok(Measured { hits: tally.requests_of(version), all: tally.sent })
}

/// Whether `hits` of `all` independent draws fit a probability: neither tail is less likely than half of what
/// `confidence` leaves.
pub fn fits(hits: u64, all: u64, probability: f64, confidence: f64) -> bool {
    let bound = (1.0 - confidence) / 2.0;
    let below: f64 = (0..=hits).map(|count| mass(count, all, probability)).sum();
    let above: f64 = (hits..=all).map(|count| mass(count, all, probability)).sum();
    below > bound && above > bound
}

/// Probability of exactly `hits`.
fn mass(hits: u64, all: u64, probability: f64) -> f64 {
    if probability <= 0.0 || probability >= 1.0 {
        let certain = if probability <= 0.0 { 0 } else { all };
        return if hits == certain { 1.0 } else { 0.0 };
    }
    let ways = ln_factorial(all) - ln_factorial(hits) - ln_factorial(all - hits);
    (ways + hits as f64 * probability.ln() + (all - hits) as f64 * (-probability).ln_1p()).exp()
}

/// Stirling's series; its error from 10 on is below 1e-10, below that the product is exact enough and short.
fn ln_factorial(number: u64) -> f64 {
    if number < 10 {
        return (1..=number).map(|factor| (factor as f64).ln()).sum();
    }
    let x = number as f64;
    x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
        + 1.0 / (1260.0 * x.powi(5))
}

#[cfg(test)]
mod tests {
    use super::{fits, mass};

    #[test]
    fn the_masses_sum_to_one() {
        let sum: f64 = (0..=1000).map(|hits| mass(hits, 1000, 0.1)).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn a_share_fits_when_chance_explains_it() {
        assert!(fits(100, 1000, 0.1, 0.999));
        assert!(fits(125, 1000, 0.1, 0.999));
        // The 99.9% interval of 1000 draws at 10% is about 70 to 133.
        assert!(!fits(140, 1000, 0.1, 0.999));
        assert!(!fits(60, 1000, 0.1, 0.999));
    }

    #[test]
    fn nothing_fits_nothing_but_itself() {
        assert!(fits(0, 500, 0.0, 0.999));
        assert!(!fits(1, 500, 0.0, 0.999));
        assert!(fits(500, 500, 1.0, 0.999));
    }
}
