//! `X-Request-Id`: one name for a request in every log that it leaves a trace in.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id of somebody else that is kept, in bytes.
pub const LONGEST: usize = 128;

/// Sees to it that a request has one id, and returns it: its own, if it comes from somebody who is `trusted` to give one,
/// or a new one of `random`.
pub fn ensure(headers: &mut HeaderMap, trusted: bool, random: impl FnOnce() -> u128) -> HeaderValue {
    drop_lookalikes(headers);
    let mut given = headers.get_all(X_REQUEST_ID).iter();
    let id = match (given.next(), given.next()) {
        (Some(id), None) if trusted && is_usable(id) => id.clone(),
        _ => uuid(random()),
    };
    headers.insert(X_REQUEST_ID, id.clone());
    id
}

fn is_usable(id: &HeaderValue) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Removes what a server that takes `_` for `-` would read as the id.
fn drop_lookalikes(headers: &mut HeaderMap) {
    let is_lookalike = |name: &&HeaderName| {
        let name = name.as_str();
        name.len() == X_REQUEST_ID.as_str().len()
            && name.contains('_')
            && name.replace('_', "-") == X_REQUEST_ID.as_str()
    };
    while let Some(name) = headers.keys().find(is_lookalike).cloned() {
        headers.remove(name);
    }
}

/// A UUID of version 4 (RFC 9562, 5.4) of these random bits.
fn uuid(random: u128) -> HeaderValue {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let bits = random & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62;
    let mut text = [b'-'; 36];
    let digits = (0..32).rev().map(|place| b"0123456789abcdef"[(bits >> (4 * place) & 0xf) as usize]);
    let places = (0..36).filter(|place| ![8, 13, 18, 23].contains(place));
    for (place, digit) in places.zip(digits) {
        text[place] = digit;
    }
    // Digits and hyphens are always a value.
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{LONGEST, X_REQUEST_ID, ensure, uuid};

    #[test]
    fn an_id_is_a_uuid_of_version_4() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), "01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn only_one_good_id_of_a_trusted_client_is_kept() {
        let fresh = uuid(7);
        let (long, too_long) = ("a".repeat(LONGEST), "a".repeat(LONGEST + 1));
        let cases: [(&[&str], bool, bool); 8] = [
            (&[], true, false),
            (&["abc"], true, true),
            (&["abc"], false, false),
            (&["abc", "def"], true, false),
            (&[""], true, false),
            (&["a b"], true, false),
            (&[&long], true, true),
            (&[&too_long], true, false),
        ];
        for (given, trusted, kept) in cases {
            let mut headers = HeaderMap::new();
            for id in given {
                headers.append(X_REQUEST_ID, HeaderValue::from_str(id).expect("a value"));
            }
            let id = ensure(&mut headers, trusted, || 7);
            let expected = if kept { given[0] } else { fresh.to_str().expect("ascii") };
            assert_eq!(id, expected, "{given:?} {trusted}");
            assert_eq!(headers.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), [&id]);
        }
    }

    #[test]
    fn what_reads_like_the_id_to_a_server_goes() {
        let mut headers = HeaderMap::new();
        for name in ["x_request_id", "x-request_id", "my_header"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("evil"));
        }
        ensure(&mut headers, true, || 7);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["my_header", "x-request-id"]);
    }
}
