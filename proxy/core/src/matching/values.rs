//! Headers and query parameters: a name and a value, exact or by pattern for the whole value.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

use crate::model::ValueMatch;

/// A condition on a named value.
#[derive(Clone, Debug)]
pub struct ValueMatcher<N> {
    /// Name of the header or parameter.
    pub name: N,
    value: ValuePattern,
}

#[derive(Clone, Debug)]
enum ValuePattern {
    Exact(Box<str>),
    Regex(Box<regex::Regex>),
}

impl<N> ValueMatcher<N> {
    /// Compiles a condition under a name that was already parsed.
    pub fn new(name: N, condition: &ValueMatch) -> Result<Self, regex::Error> {
        let value = if condition.regex {
            ValuePattern::Regex(Box::new(super::whole_match(&condition.value)?))
        } else {
            ValuePattern::Exact(condition.value.as_str().into())
        };
        Ok(Self { name, value })
    }

    fn takes(&self, value: &str) -> bool {
        match &self.value {
            ValuePattern::Exact(exact) => value == &**exact,
            ValuePattern::Regex(pattern) => pattern.is_match(value),
        }
    }
}

impl ValueMatcher<HeaderName> {
    /// Whether one of the header's values satisfies it.
    pub fn matches_header(&self, headers: &HeaderMap) -> bool {
        headers.get_all(&self.name).iter().any(|value| value.to_str().is_ok_and(|value| self.takes(value)))
    }
}

impl ValueMatcher<Box<str>> {
    /// Whether the first parameter of the name satisfies it, both decoded.
    pub fn matches_query(&self, query: &str) -> bool {
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(name, _)| decode(name) == *self.name)
            .is_some_and(|(_, value)| self.takes(&decode(value)))
    }
}

/// Form decoding: `+` is a space and `%XX` a byte. What is not valid stays as it is.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            (b'+', _) => decoded.push(b' '),
            (other, _) => decoded.push(*other),
        }
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::ValueMatcher;
    use crate::model::ValueMatch;

    fn condition(name: &str, value: &str, regex: bool) -> ValueMatch {
        ValueMatch { name: name.into(), value: value.into(), regex }
    }

    #[test]
    fn query_parameters_match_by_their_first_value() {
        let cases = [
            ("animal", "whale", false, "animal=whale", true),
            ("animal", "whale", false, "animal=dolphin&animal=whale", false),
            ("animal", "whale", false, "Animal=whale", false),
            ("animal", "whale", false, "animal=whales", false),
            ("animal", "blue whale", false, "x=1&animal=blue+whale", true),
            ("animal", "blue whale", false, "animal=blue%20whale&y", true),
            ("animal", "", false, "animal", true),
            ("animal", "", false, "", false),
            ("animal", "wh.*", true, "animal=whale", true),
            ("animal", "wh", true, "animal=whale", false),
        ];
        for (name, value, regex, query, expected) in cases {
            let matcher = ValueMatcher::<Box<str>>::new(name.into(), &condition(name, value, regex)).expect("pattern");
            assert_eq!(matcher.matches_query(query), expected, "{name}={value} in {query}");
        }
    }

    #[test]
    fn one_value_of_a_header_suffices() {
        let mut headers = HeaderMap::new();
        headers.append("version", HeaderValue::from_static("one"));
        headers.append("version", HeaderValue::from_static("two"));
        for (value, expected) in [("one", true), ("two", true), ("One", false), ("three", false)] {
            let name = HeaderName::from_static("version");
            let matcher = ValueMatcher::new(name, &condition("version", value, false)).expect("pattern");
            assert_eq!(matcher.matches_header(&headers), expected, "{value}");
        }
    }
}
