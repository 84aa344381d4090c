//! What a request must be for us to forward it: one pure function over the parsed head, one over its [`path`], and one
//! over the bytes in front of the parser ([`scanner`]).

pub mod path;
pub mod scanner;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request};

/// Most header fields of a request; each cookie crumb counts.
pub const MAX_FIELDS: usize = 100;
/// Most bytes of all header fields.
pub const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Most bytes of the request's target.
pub const MAX_TARGET_BYTES: usize = 8 * 1024;

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The head contradicts itself or lacks what it must have.
    BadRequest,
    /// An expectation other than `100-continue`.
    ExpectationFailed,
    /// A method that a reverse proxy must not forward.
    MethodNotAllowed,
    /// Too many or too large header fields.
    TooLarge,
    /// A target that is too long.
    TargetTooLong,
}

impl Rejection {
    /// The status that says so.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
        }
    }
}

/// Checks a parsed head. The parser has already refused invalid characters, folded lines and bodies of unclear length.
pub fn check(head: &request::Parts) -> Result<(), Rejection> {
    if [Method::TRACE, Method::CONNECT].contains(&head.method) {
        return Err(Rejection::MethodNotAllowed);
    }
    let target = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if target.len() > MAX_TARGET_BYTES {
        return Err(Rejection::TargetTooLong);
    }
    // HTTP/2 frames any byte, and HTTP/1 and `Location` do not.
    if !target.is_ascii() {
        return Err(Rejection::BadRequest);
    }
    if head.headers.len() > MAX_FIELDS {
        return Err(Rejection::TooLarge);
    }
    let continues = |expectation: &HeaderValue| expectation.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !head.headers.get_all(header::EXPECT).iter().all(continues) {
        return Err(Rejection::ExpectationFailed);
    }
    // `*` speaks of the whole server, of which only OPTIONS can ask something.
    let path = head.uri.path();
    if !path.starts_with('/') && (path != "*" || head.method != Method::OPTIONS) {
        return Err(Rejection::BadRequest);
    }
    check_host(head)?;
    if is_framed(&head.headers) { Ok(()) } else { Err(Rejection::BadRequest) }
}

fn check_host(head: &request::Parts) -> Result<(), Rejection> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(Rejection::BadRequest);
    }
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\' | b',');
    let authority = head.uri.authority();
    let names = host.map(HeaderValue::as_bytes).into_iter().chain(authority.map(|name| name.as_str().as_bytes()));
    if !names.flatten().all(plain) {
        return Err(Rejection::BadRequest);
    }
    match (host, authority) {
        (Some(host), Some(authority)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            Err(Rejection::BadRequest)
        }
        (None, None) if head.version >= Version::HTTP_11 => Err(Rejection::BadRequest),
        _ => Ok(()),
    }
}

/// Whether headers say at most once, and one way, how long the body is: of a request, or of a response, which is as
/// little to be trusted.
pub fn is_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let one_coding = match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Some(true),
        _ => Some(false),
    };
    let one_length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(length), None) => {
            let digits = length.as_bytes();
            Some(!digits.is_empty() && digits.len() < 19 && digits.iter().all(u8::is_ascii_digit))
        }
        _ => Some(false),
    };
    match (one_coding, one_length) {
        (Some(_), Some(_)) => false,
        (Some(valid), None) | (None, Some(valid)) => valid,
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Request, Version};

    use super::{MAX_FIELDS, MAX_TARGET_BYTES, Rejection, check};

    fn checked(method: &Method, uri: &str, headers: &[(&str, &str)]) -> Result<(), Rejection> {
        let builder = Request::builder().method(method).uri(uri).version(Version::HTTP_11);
        let request = headers.iter().fold(builder, |request, (name, value)| request.header(*name, *value));
        check(&request.body(()).expect("request").into_parts().0)
    }

    type Headers = [(&'static str, &'static str)];

    #[test]
    fn heads_are_taken_or_refused() {
        let bad = Err(Rejection::BadRequest);
        let cases: [(&str, &Headers, _); 23] = [
            ("/", &[("host", "a")], Ok(())),
            ("/", &[("host", "a:80")], Ok(())),
            ("/", &[], bad),
            ("/", &[("host", "a"), ("host", "a")], bad),
            ("/", &[("host", "a/b")], bad),
            ("/", &[("host", "user@a")], bad),
            ("http://a/", &[("host", "a")], Ok(())),
            ("http://a/", &[], Ok(())),
            ("http://a/", &[("host", "b")], bad),
            ("http://a:80/", &[("host", "a")], bad),
            ("http://A/", &[("host", "a")], Ok(())),
            ("http://user@a/", &[], bad),
            ("http://user@a/", &[("host", "user@a")], bad),
            ("*", &[("host", "a")], bad),
            ("/é", &[("host", "a")], bad),
            ("/?é", &[("host", "a")], bad),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked")], Ok(())),
            ("/", &[("host", "a"), ("content-length", "5")], Ok(())),
            ("/", &[("host", "a"), ("content-length", "+5")], bad),
            ("/", &[("host", "a"), ("transfer-encoding", "gzip, chunked")], bad),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], bad),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "5")], bad),
            ("/", &[("host", "a"), ("content-length", "5"), ("content-length", "5")], bad),
        ];
        for (uri, headers, expected) in cases {
            assert_eq!(checked(&Method::POST, uri, headers), expected, "{uri} {headers:?}");
        }
    }

    #[test]
    fn methods_expectations_and_sizes_have_their_own_answers() {
        assert_eq!(checked(&Method::TRACE, "/", &[("host", "a")]), Err(Rejection::MethodNotAllowed));
        let expecting = [("host", "a"), ("expect", "miracles")];
        assert_eq!(checked(&Method::GET, "/", &expecting), Err(Rejection::ExpectationFailed));
        let twice = [("host", "a"), ("expect", "100-continue"), ("expect", "miracles")];
        assert_eq!(checked(&Method::GET, "/", &twice), Err(Rejection::ExpectationFailed));
        assert_eq!(checked(&Method::GET, "/", &[("host", "a"), ("expect", "100-Continue")]), Ok(()));
        assert_eq!(checked(&Method::CONNECT, "a:443", &[("host", "a:443")]), Err(Rejection::MethodNotAllowed));
        assert_eq!(checked(&Method::OPTIONS, "*", &[("host", "a")]), Ok(()));
        let long = format!("/{}", "a".repeat(MAX_TARGET_BYTES));
        assert_eq!(checked(&Method::GET, &long, &[("host", "a")]), Err(Rejection::TargetTooLong));
        let many = vec![("host", "a"); MAX_FIELDS + 1];
        assert_eq!(checked(&Method::GET, "/", &many), Err(Rejection::TooLarge));
    }
}
