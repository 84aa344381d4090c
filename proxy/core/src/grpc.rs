//! gRPC over HTTP: which requests are gRPC, and what its status codes mean in HTTP's terms.
//!
//! gRPC answers 200 to nearly everything and says how it went in `grpc-status`, as a rule in the trailers. For counters,
//! a code counts by the class of the HTTP status that `google.rpc.Code` names for it; for answers of the proxy itself, an HTTP status
//! becomes a code as the gRPC specification maps it (`http-grpc-status-mapping.md`).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::health::Answer;

/// The header or trailer of a code.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The header or trailer of a message for a person.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The content type of answers.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Codes that the proxy answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The client is not there any more.
    Cancelled = 1,
    /// Nothing else fits.
    Unknown = 2,
    /// It took too long.
    DeadlineExceeded = 4,
    /// The client may not.
    PermissionDenied = 7,
    /// Nobody serves this method.
    Unimplemented = 12,
    /// The request cannot be understood.
    Internal = 13,
    /// Nobody serves it now.
    Unavailable = 14,
    /// The client has not said who it is.
    Unauthenticated = 16,
}

impl Code {
    /// The code for an HTTP status that is not 200.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// As the value of [`STATUS`].
    pub fn value(self) -> HeaderValue {
        HeaderValue::from(self as u16)
    }
}

/// Whether a request is gRPC. gRPC-Web is not: its clients read the status elsewhere.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The class of HTTP status that a response counts as (2, 4 or 5), by what its headers or trailers say. Without a code, or
/// with one that cannot be read, clients see `UNKNOWN`.
pub fn counted_class(headers: &HeaderMap) -> u8 {
    match headers.get(STATUS).and_then(|code| code.to_str().ok()?.parse::<u16>().ok()) {
        Some(0) => 2,
        // What the client asked for or gave up: CANCELLED, INVALID_ARGUMENT, NOT_FOUND to OUT_OF_RANGE, UNAUTHENTICATED.
        Some(1 | 3 | 5..=11 | 16) => 4,
        // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
        _ => 5,
    }
}

/// How an endpoint answered, by what its headers or trailers say.
pub fn answer(headers: &HeaderMap) -> Answer {
    let unavailable = headers.get(STATUS).is_some_and(|code| *code == Code::Unavailable.value());
    match counted_class(headers) {
        5 if unavailable => Answer::GatewayError,
        5 => Answer::ServerError,
        _ => Answer::Good,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode, header};

    use super::{Code, STATUS, answer, counted_class, is_grpc};
    use crate::health::Answer;

    #[test]
    fn an_endpoint_is_judged_by_the_code() {
        let cases = [
            ("0", Answer::Good),
            ("5", Answer::Good),
            ("13", Answer::ServerError),
            ("14", Answer::GatewayError),
            ("?", Answer::ServerError),
        ];
        for (code, expected) in cases {
            let headers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static(code))]);
            assert_eq!(answer(&headers), expected, "{code}");
        }
    }

    #[test]
    fn grpc_is_told_by_the_content_type() {
        let cases = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
        ];
        for (kind, expected) in cases {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn codes_count_as_the_class_that_google_rpc_names() {
        let class = |code: &str| {
            let headers = HeaderMap::from_iter([(STATUS, HeaderValue::from_str(code).expect("value"))]);
            counted_class(&headers)
        };
        let classes: Vec<u8> = (0..=17).map(|code: u16| class(&code.to_string())).collect();
        assert_eq!(classes, [2, 4, 5, 4, 5, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 4, 5]);
        assert_eq!((class("x"), class("")), (5, 5));
        assert_eq!(counted_class(&HeaderMap::new()), 5);
    }

    #[test]
    fn http_statuses_become_the_codes_that_clients_would_make_of_them() {
        let code = |status| Code::of(StatusCode::from_u16(status).expect("status")) as u16;
        let codes = [400, 401, 403, 404, 429, 431, 500, 502, 503, 504].map(code);
        assert_eq!(codes, [13, 16, 7, 12, 14, 2, 2, 14, 14, 14]);
    }
}
