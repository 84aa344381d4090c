//! What is said about a set of values.

/// The value below which this part of the values lies, between two of them in proportion; 0 of none.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = sorted.len().saturating_sub(1) as f64 * part;
    let value = |index: f64| sorted.get(index as usize).copied().unwrap_or_default();
    let (lower, upper) = (value(at.floor()), value(at.ceil()));
    lower + (upper - lower) * at.fract()
}

/// The middle and the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    /// A quarter lies below.
    pub lower: f64,
    /// Half lies below.
    pub median: f64,
    /// A quarter lies above.
    pub upper: f64,
}

impl Spread {
    /// Of values in any order.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self { lower: quantile(&values, 0.25), median: quantile(&values, 0.5), upper: quantile(&values, 0.75) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, quantile};

    #[test]
    fn the_median_is_the_middle_or_between_the_middles() {
        assert!((quantile(&[1.0, 2.0, 10.0], 0.5) - 2.0).abs() < f64::EPSILON);
        assert!((quantile(&[1.0, 2.0, 4.0, 10.0], 0.5) - 3.0).abs() < f64::EPSILON);
        assert!(quantile(&[], 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn quartiles_do_not_depend_on_the_order() {
        let spread = Spread { lower: 2.0, median: 3.0, upper: 4.0 };
        assert_eq!(Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]), spread);
    }
}
