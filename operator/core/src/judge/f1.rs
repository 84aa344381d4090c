//! Is the canary's rate of bad requests worse than stable's, which serves at the same moment?
//!
//! H0: the ratio of the rates is at most r0. A bad request is the canary's with probability
//! theta(r) = r w / (1 - w + r w), where w is the canary's share, so of all bad requests the split between the sides is
//! evidence on r alone: the base rate, shared outages and daily cycles cancel.
//!
//! ```text
//! ln L(r) = sum over configs [ e_c ln(theta(r) / theta(r0)) + e_s ln((1 - theta(r)) / (1 - theta(r0))) ]
//! E       = mean of L(r0 g) over the grid g
//! ```
//!
//! Robbins' mixture of sequential likelihood ratios, conditioned on the bad requests as in Lindon and Malek (NeurIPS 2022,
//! arXiv:2011.03567). At r0 = 1 it is valid for Bernoulli outcomes too (Hoeffding 1963).

use super::tally::Counts;

/// Ratios above the tolerance for which evidence is gathered: from a small to a gross regression.
pub const GRID: [f64; 7] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0];

/// ln of the e-value against "the ratio is at most `tolerance`". `configs`: share in basis points, canary, stable.
pub fn ln_e(configs: &[(u16, Counts, Counts)], tolerance: f64) -> f64 {
    let terms = GRID.map(|factor| ln_likelihood_ratio(configs, tolerance * factor, tolerance));
    ln_mean_exp(&terms)
}

/// ln of the likelihood of `r` over that of `r0`, given the bad requests of both sides.
pub fn ln_likelihood_ratio(configs: &[(u16, Counts, Counts)], r: f64, r0: f64) -> f64 {
    let of_config = |(share, canary, stable): &(u16, Counts, Counts)| {
        let (theta, theta0) = (theta(r, *share), theta(r0, *share));
        canary.bad as f64 * (theta / theta0).ln() + stable.bad as f64 * ((1.0 - theta) / (1.0 - theta0)).ln()
    };
    configs.iter().map(of_config).sum()
}

/// Probability that a bad request is the canary's when its rate is `r` times stable's.
fn theta(r: f64, share: u16) -> f64 {
    let w = f64::from(share) / f64::from(crate::routes::WHOLE);
    r * w / (1.0 - w + r * w)
}

/// ln of the mean of the exponentials, without overflow.
pub fn ln_mean_exp(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms.iter().map(|term| (term - largest).exp()).sum();
    largest + (sum / terms.len() as f64).ln()
}
