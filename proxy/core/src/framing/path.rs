//! Paths in one form, so that what a route matches is what the backend reads.
//!
//! Dot segments are resolved and percent-encoded unreserved characters decoded (RFC 3986, 6.2.2), because a backend will
//! do so, and a rule for `/public` must not be a way to `/public/../admin`. Encoded slashes stay as they are: decoding
//! them would change the meaning. Repeated slashes stay too.

use std::borrow::Cow;

use http::request;
use http::uri::{PathAndQuery, Uri};

use super::Rejection;

/// Brings the path of a request into its one form.
pub fn normalise_request(head: &mut request::Parts) -> Result<(), Rejection> {
    let Cow::Owned(path) = normalise(head.uri.path())? else { return Ok(()) };
    let target = match head.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| Rejection::BadRequest)?);
    head.uri = Uri::from_parts(parts).map_err(|_| Rejection::BadRequest)?;
    Ok(())
}

/// The one form of a path; borrowed when it has it already. Refused are backslashes, which some servers take for
/// slashes, encoded NULs, and `%` without two digits.
fn normalise(path: &str) -> Result<Cow<'_, str>, Rejection> {
    let bytes = path.as_bytes();
    if memchr::memchr2(b'%', b'\\', bytes).is_none() && !path.contains("/.") {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(path)?;
    if !decoded.contains("/.") {
        return Ok(Cow::Owned(decoded));
    }
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for segment in decoded.split('/').skip(1) {
        ends_in_directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            // Above the root is the root.
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let mut resolved = String::with_capacity(decoded.len());
    for segment in &segments {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if ends_in_directory || resolved.is_empty() {
        resolved.push('/');
    }
    Ok(Cow::Owned(resolved))
}

fn decode_unreserved(path: &str) -> Result<String, Rejection> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(['%', '\\']) {
        let (before, from) = rest.split_at(at);
        decoded.push_str(before);
        let digits = from.get(1..3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        // A backslash has no digits behind it that would make it acceptable.
        let digits = digits.filter(|_| from.starts_with('%')).ok_or(Rejection::BadRequest)?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| Rejection::BadRequest)?;
        match byte {
            0 => return Err(Rejection::BadRequest),
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => decoded.push(char::from(byte)),
            _ => decoded.push_str(&from[..3]),
        }
        rest = &from[3..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{normalise, normalise_request};
    use crate::framing::Rejection;

    #[test]
    fn paths_have_one_form() {
        let cases = [
            ("/", "/"),
            ("/a//b/", "/a//b/"),
            ("/public/../admin", "/admin"),
            ("/public/%2e%2E/admin", "/admin"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/../..", "/"),
            ("/..a/.b", "/..a/.b"),
            ("/%7Euser/%61", "/~user/a"),
            ("/a%2Fb%2f..%5c", "/a%2Fb%2f..%5c"),
            ("/a%20b", "/a%20b"),
            ("*", "*"),
        ];
        for (path, expected) in cases {
            assert_eq!(normalise(path).expect(path), expected);
        }
        for path in ["/a\\b", "/%00", "/100%", "/%zz", "/%2"] {
            assert_eq!(normalise(path), Err(Rejection::BadRequest), "{path}");
        }
    }

    #[test]
    fn authority_and_query_stay() {
        let request = Request::builder().uri("http://a:80/x/../y?q=/../").body(()).expect("request");
        let (mut head, ()) = request.into_parts();
        normalise_request(&mut head).expect("accepted");
        assert_eq!(head.uri, "http://a:80/y?q=/../");
    }

    proptest! {
        #[test]
        fn the_one_form_stays_what_it_is(path in "/[a-c./%2eE\\\\é]{0,20}") {
            if let Ok(once) = normalise(&path) {
                prop_assert!(once.starts_with('/'));
                prop_assert!(!once.split('/').any(|segment| segment == ".."));
                prop_assert_eq!(&*normalise(&once).expect("accepted again"), &*once);
            }
        }
    }
}
