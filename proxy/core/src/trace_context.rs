//! W3C Trace Context: which trace a request is part of, and whether it is one of those that are recorded.
//!
//! Source: <https://www.w3.org/TR/trace-context/>, level 1.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::pick::Share;

/// Which trace, and what in it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What vendors add.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Whether whoever made the request records it.
const SAMPLED: u8 = 1;
/// Bytes of the header in version 00.
const LENGTH: usize = 55;

/// What a request is in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// What we do for the request.
    pub span: u64,
    /// What it is a part of; none where the trace begins here.
    pub parent: Option<u64>,
    /// Whether it is recorded.
    pub sampled: bool,
}

/// Where somebody else's trace has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// Takes part in the trace of a request, or begins one, and says so in its headers. Whether it is recorded is decided by its
/// parent if that is `trusted` to, and otherwise drawn.
pub fn join(headers: &mut HeaderMap, share: Share, trusted: bool, mut random: impl FnMut() -> u64) -> Context {
    let parent = parse(headers);
    let sampled = match parent {
        Some(parent) if trusted => parent.sampled,
        _ => share.takes(random()),
    };
    if parent.is_none() {
        // It speaks of a trace that nobody knows.
        headers.remove(TRACESTATE);
    }
    // Zero means none.
    let trace = parent.map_or_else(|| u128::from(random()) << 64 | u128::from(random() | 1), |parent| parent.trace);
    let context = Context { trace, span: random() | 1, parent: parent.map(|parent| parent.span), sampled };
    let mut text = String::with_capacity(LENGTH);
    // Writing to a string does not fail, and digits and hyphens are always a value.
    let _ = write!(text, "00-{trace:032x}-{:016x}-{:02x}", context.span, u8::from(sampled) * SAMPLED);
    if let Ok(text) = HeaderValue::try_from(text) {
        headers.insert(TRACEPARENT, text);
    }
    context
}

/// The parent that the headers name; none where they name none, or not in the one way.
fn parse(headers: &HeaderMap) -> Option<Parent> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let text = given.next().filter(|_| given.next().is_none())?.as_bytes();
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let version = number(&known[..2])?;
    // Later versions begin like this one and may go on.
    let is_whole = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest[0] == b'-' };
    if version == 0xff || !is_whole || [2, 35, 52].iter().any(|hyphen| known[*hyphen] != b'-') {
        return None;
    }
    let (trace, span, flags) = (number(&known[3..35])?, number(&known[36..52])? as u64, number(&known[53..])? as u8);
    (trace != 0 && span != 0).then_some(Parent { trace, span, sampled: flags & SAMPLED != 0 })
}

/// A number of lower-case hexadecimal digits.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{Context, Parent, TRACEPARENT, TRACESTATE, join, parse};
    use crate::pick::Share;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(given: &[&str]) -> HeaderMap {
        let values = given.iter().map(|value| (TRACEPARENT, HeaderValue::from_str(value).expect("a value")));
        values.chain([(TRACESTATE, HeaderValue::from_static("vendor=1"))]).fold(
            HeaderMap::new(),
            |mut all, (name, value)| {
                all.append(name, value);
                all
            },
        )
    }

    #[test]
    fn a_parent_is_read_in_one_way_only() {
        let parent = |sampled| {
            Some(Parent { trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, span: 0xb7ad_6b71_6920_3331, sampled })
        };
        let with = |from: &str, to: &str| GIVEN.replacen(from, to, 1);
        let cases = [
            (vec![GIVEN.to_owned()], parent(true)),
            (vec![with("-01", "-00")], parent(false)),
            (vec![with("-01", "-03")], parent(true)),
            (vec![with("00-", "01-")], parent(true)),
            (vec![with("00-", "01-") + "-more"], parent(true)),
            (vec![with("00-", "01-") + "more"], None),
            (vec![GIVEN.to_owned() + "-more"], None),
            (vec![with("00-", "ff-")], None),
            (vec![with("0af7", "0AF7")], None),
            (vec![with("0af7", "xaf7")], None),
            (vec![with("-b7", "_b7")], None),
            (vec![with("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32))], None),
            (vec![with("b7ad6b7169203331", &"0".repeat(16))], None),
            (vec![GIVEN[..54].to_owned()], None),
            (vec![String::new()], None),
            (vec![GIVEN.to_owned(), GIVEN.to_owned()], None),
            (vec![], None),
        ];
        for (given, expected) in cases {
            let given: Vec<&str> = given.iter().map(String::as_str).collect();
            assert_eq!(parse(&headers(&given)), expected, "{given:?}");
        }
    }

    #[test]
    fn a_trace_goes_on_and_its_parent_decides_if_it_may() {
        let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
        for (trusted, share, sampled) in
            [(true, Share::of_ratio(0.0), true), (false, Share::of_ratio(0.0), false), (false, Share::ALL, true)]
        {
            let mut headers = headers(&[GIVEN]);
            let context = join(&mut headers, share, trusted, || 6);
            assert_eq!(context, Context { trace, span: 7, parent: Some(0xb7ad_6b71_6920_3331), sampled });
            let flags = u8::from(sampled);
            assert_eq!(headers[TRACEPARENT], format!("00-{trace:032x}-0000000000000007-0{flags}"));
            assert_eq!(headers[TRACESTATE], "vendor=1");
        }
    }

    #[test]
    fn a_trace_begins_where_there_is_none_and_nobody_is_told_of_an_unknown_one() {
        for given in [&[][..], &["rubbish"], &[GIVEN, GIVEN]] {
            let mut headers = headers(given);
            let context = join(&mut headers, Share::ALL, true, || 0);
            assert_eq!(context, Context { trace: 1, span: 1, parent: None, sampled: true });
            assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1, "{given:?}");
            assert!(!headers.contains_key(TRACESTATE));
        }
    }
}
