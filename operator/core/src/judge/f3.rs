//! Does the canary break its objective?
//!
//! H0: the canary's rate of bad requests is at most p0.
//!
//! ```text
//! E = mean over j of (p_j / p0)^e ((1 - p_j) / (1 - p0))^(n - e),   p_j = p0 g_j, at most 0.95
//! ```
//!
//! Robbins' mixture of sequential likelihood ratios for a Bernoulli rate.

use super::{f1::ln_mean_exp, tally::Counts};

/// Multiples of p0 for which evidence is gathered.
const GRID: [f64; 7] = [1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];

/// A rate of 1 would make a single good request infinite evidence against it.
const LARGEST: f64 = 0.95;

/// Objectives below one in a million cannot be told from zero with any traffic.
const SMALLEST: f64 = 1e-6;

/// ln of the e-value against "the rate is at most `p0`".
pub fn ln_e(canary: Counts, p0: f64) -> f64 {
    let p0 = p0.max(SMALLEST);
    let mut rates: Vec<f64> = GRID.iter().map(|factor| (p0 * factor).min(LARGEST)).filter(|rate| *rate > p0).collect();
    rates.dedup();
    if rates.is_empty() {
        return 0.0;
    }
    let terms: Vec<f64> = rates.into_iter().map(|rate| ln_likelihood_ratio(canary, rate, p0)).collect();
    ln_mean_exp(&terms)
}

/// ln of the likelihood of the rate `p` over that of `q`.
pub fn ln_likelihood_ratio(counts: Counts, p: f64, q: f64) -> f64 {
    let good = counts.all.saturating_sub(counts.bad);
    counts.bad as f64 * (p / q).ln() + good as f64 * ((1.0 - p) / (1.0 - q)).ln()
}
