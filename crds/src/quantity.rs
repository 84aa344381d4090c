//! Durations and percentages as they are written in a Rollout, parsed once.

use thiserror::Error;

/// A duration as the Gateway API writes it (GEP-2257): `500ms`, `10s`, `1m30s`.
pub const DURATION_PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";
/// A percentage: `1%`, `0.5%`.
pub const PERCENT_PATTERN: &str = "^([0-9]{1,2}(\\.[0-9]{1,4})?|100)%$";

/// Why a value could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Not a GEP-2257 duration.
    #[error("{0:?} is not a duration such as 500ms, 10s or 1m30s")]
    Duration(String),
    /// Not a percentage.
    #[error("{0:?} is not a percentage such as 1% or 0.5%")]
    Percent(String),
}

/// Milliseconds of a GEP-2257 duration.
pub fn parse_duration_ms(text: &str) -> Result<u64, QuantityError> {
    let bad = || QuantityError::Duration(text.to_owned());
    let mut total: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let factor = match &rest[digits..unit_end] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(bad()),
        };
        total = number.checked_mul(factor).and_then(|millis| total.checked_add(millis)).ok_or_else(bad)?;
        rest = &rest[unit_end..];
    }
    Ok(total)
}

/// The ratio that a percentage stands for: `1%` is 0.01.
pub fn parse_percent(text: &str) -> Result<f64, QuantityError> {
    let bad = || QuantityError::Percent(text.to_owned());
    let number: f64 = text.strip_suffix('%').ok_or_else(bad)?.parse().map_err(|_| bad())?;
    if (0.0..=100.0).contains(&number) { Ok(number / 100.0) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::{parse_duration_ms, parse_percent};

    #[test]
    fn durations_are_read_as_the_gateway_api_writes_them() {
        assert_eq!(parse_duration_ms("1m30s"), Ok(90_000));
        assert_eq!(parse_duration_ms("500ms"), Ok(500));
        assert_eq!(parse_duration_ms("1h"), Ok(3_600_000));
        for bad in ["", "10", "s", "1.5s", "1d", "-1s", "9999999999999999h", "18446744073709551615ms1ms"] {
            assert!(parse_duration_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percentages_become_ratios() {
        assert_eq!(parse_percent("0.5%"), Ok(0.005));
        for bad in ["1", "101%", "-1%", "x%", "NaN%"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
    }
}
