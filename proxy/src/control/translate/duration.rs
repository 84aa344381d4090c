//! Durations as the Gateway API writes them (GEP-2257).

use crate::control::translate::filter::Refusal;

/// Milliseconds of a duration: one to four pairs of a number of at most five digits and a unit (`h`, `m`, `s`, `ms`).
/// None for everything else, also where Go would read it.
pub fn millis(text: &str) -> Option<u64> {
    let (mut rest, mut sum) = (text, 0);
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let number: u64 = rest[..digits].parse().ok()?;
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        let (unit, size) = units.into_iter().find(|(unit, _)| rest[digits..].starts_with(unit))?;
        sum += number * size;
        rest = &rest[digits + unit.len()..];
        if rest.is_empty() {
            return Some(sum);
        }
    }
    None
}

/// Milliseconds of a field, or why it has none.
pub fn field(text: Option<&String>, place: &str) -> Result<Option<u64>, Refusal> {
    let bad = |text: &String| Refusal::unsupported(format!("{place}: {text:?} is not a duration such as 1m30s"));
    text.map(|text| millis(text).ok_or_else(|| bad(text))).transpose()
}

#[cfg(test)]
mod tests {
    use super::millis;

    #[test]
    fn durations_are_those_of_the_api_and_no_others() {
        let cases = [
            ("0s", Some(0)),
            ("0h0m0s", Some(0)),
            ("500ms", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("1m1ms", Some(60_001)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("99999h", Some(359_996_400_000)),
            ("", None),
            ("1", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("100000s", None),
            ("1s1s1s1s1s", None),
            ("1d", None),
            ("1s ", None),
            ("1us", None),
        ];
        for (text, expected) in cases {
            assert_eq!(millis(text), expected, "{text:?}");
        }
    }
}
