//! Chance, with the random number as an argument: which backend of a rule, which endpoint of a backend, which requests.

use serde::{Deserialize, Serialize};

/// The weighted split of a rule. Each draw is independent: the judge's statistics rest on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Sum of the weights up to and including each entry. Never empty, and the last is above 0.
    cumulative: Box<[u64]>,
}

impl Split {
    /// None when no weight is above 0.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Option<Self> {
        let cumulative: Box<[u64]> = weights
            .into_iter()
            .scan(0_u64, |sum, weight| {
                *sum += u64::from(weight);
                Some(*sum)
            })
            .collect();
        (cumulative.last().is_some_and(|sum| *sum > 0)).then_some(Self { cumulative })
    }

    /// The entry that `random`, uniform over all values, falls on; its share is its weight in the exact sum of weights.
    /// An entry of weight 0 is never picked.
    pub fn pick(&self, random: u64) -> usize {
        let [only] = *self.cumulative else {
            let total = self.cumulative[self.cumulative.len() - 1];
            let point = scale(random, total);
            return self.cumulative.partition_point(|sum| *sum <= point);
        };
        debug_assert!(only > 0);
        0
    }
}

/// Two different entries of `len` (the same one twice when there is one), to take the less loaded of. `len` is above 0.
pub fn two_of(len: usize, random: u64) -> (usize, usize) {
    if len < 2 {
        return (0, 0);
    }
    let len = len as u64;
    let first = scale(random << 32, len);
    // The second is drawn from the others by an offset from the first.
    let offset = 1 + scale(random & 0xffff_ffff_0000_0000, len - 1);
    (first as usize, ((first + offset) % len) as usize)
}

/// A share of requests, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u32);

impl Share {
    /// All of them.
    pub const ALL: Self = Self(1_000_000);

    /// The share of this ratio from 0 to 1.
    pub fn of_ratio(ratio: f64) -> Self {
        Self((ratio.clamp(0.0, 1.0) * f64::from(Self::ALL.0)).round() as u32)
    }

    /// Whether a request is of it, for a uniform random number.
    pub fn takes(self, random: u64) -> bool {
        scale(random, u64::from(Self::ALL.0)) < u64::from(self.0)
    }
}

/// Maps a uniform 64-bit number to below `bound` by the high half of the product: no division, and a bias of at most
/// `bound` in 2^64.
pub(crate) fn scale(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, proptest};

    use super::{Share, Split, two_of};

    #[test]
    fn no_weight_is_no_split() {
        assert_eq!(Split::new([]), None);
        assert_eq!(Split::new([0, 0]), None);
    }

    #[test]
    fn a_share_takes_what_it_says() {
        let million = |part: u64| ((u128::from(part) << 64) / 1_000_000) as u64 + 1;
        for (ratio, first_left_out) in [(0.000_001, 1), (0.01, 10_000), (0.333_333, 333_333), (0.999_999, 999_999)] {
            let share = Share::of_ratio(ratio);
            assert!(share.takes(million(first_left_out - 1)) && !share.takes(million(first_left_out)), "{ratio}");
        }
        assert!(!Share::of_ratio(0.0).takes(0) && Share::ALL.takes(u64::MAX));
        assert_eq!(Share::of_ratio(1.0), Share::ALL);
    }

    #[test]
    fn the_ends_of_the_range_fall_on_the_ends_of_the_list() {
        let split = Split::new([0, 3, 0, 5, 0]).expect("weights");
        assert_eq!(split.pick(0), 1);
        assert_eq!(split.pick(u64::MAX), 3);
    }

    /// Pearson's statistic over fixed seeds: the 99.99 % point for 3 degrees of freedom is 21.1.
    #[test]
    fn shares_are_the_weights() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let weights = [1_u32, 0, 50, 999_949, 1_000];
            let total = f64::from(weights.iter().sum::<u32>());
            let split = Split::new(weights).expect("weights");
            let draws = 200_000_u32;
            let mut counts = [0_u32; 5];
            for _ in 0..draws {
                counts[split.pick(random.u64(..))] += 1;
            }
            assert_eq!(counts[1], 0);
            let statistic: f64 = (0..5)
                .filter(|&entry| weights[entry] > 0)
                .map(|entry| {
                    let expected = f64::from(draws) * f64::from(weights[entry]) / total;
                    (f64::from(counts[entry]) - expected).powi(2) / expected
                })
                .sum();
            assert!(statistic < 30.0, "seed {seed}: {statistic} of {counts:?}");
        }
    }

    /// A share measured over 10^5 requests lies in its 99.9 % binomial interval: of 400 of them about 0.4 do not, and with
    /// less than one in ten thousand sets of seeds more than 4.
    #[test]
    fn a_share_of_many_requests_lies_in_its_binomial_interval() {
        const REQUESTS: u32 = 100_000;
        const STANDARD_DEVIATIONS: f64 = 3.29;
        let mut outside = Vec::new();
        for (weights, share) in [([1, 99], 0.01), ([5, 95], 0.05), ([1, 2], 1.0 / 3.0), ([99, 1], 0.99)] {
            let split = Split::new(weights).expect("weights");
            for seed in 0..100 {
                let mut random = fastrand::Rng::with_seed(seed);
                let hits = (0..REQUESTS).filter(|_| split.pick(random.u64(..)) == 0).count() as f64;
                let expected = f64::from(REQUESTS) * share;
                // Counts are whole numbers: half a request more on either side.
                let width = STANDARD_DEVIATIONS * (expected * (1.0 - share)).sqrt() + 0.5;
                if (hits - expected).abs() > width {
                    outside.push((weights, seed, hits));
                }
            }
        }
        assert!(outside.len() <= 4, "{outside:?}");
    }

    proptest! {
        #[test]
        fn a_pick_has_weight(weights in prop::collection::vec(any::<u32>(), 1..20), random in any::<u64>()) {
            if let Some(split) = Split::new(weights.iter().copied()) {
                prop_assert!(weights[split.pick(random)] > 0);
            } else {
                prop_assert!(weights.iter().all(|weight| *weight == 0));
            }
        }

        #[test]
        fn two_entries_differ(len in 2_usize..1_000, random in any::<u64>()) {
            let (first, second) = two_of(len, random);
            prop_assert!(first < len && second < len && first != second);
        }
    }
}
