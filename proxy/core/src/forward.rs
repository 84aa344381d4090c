//! What every forwarded message goes through, whatever its route: headers of the connection are dropped, and what the
//! backend reads about the client is written by the proxy.
//!
//! Of upgrades only WebSocket is passed on; for every other the backend sees a plain request.

mod client;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request, response};

pub use client::{Peer, client_address};

use crate::request_id::X_REQUEST_ID;
use crate::trace_context::{TRACEPARENT, TRACESTATE};

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers of one connection, besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HTTP2_SETTINGS,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers that `Connection` cannot have removed: by naming them a client would hide from the backend what it trusts.
fn is_end_to_end(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 8] = [
        header::AUTHORIZATION,
        header::CONTENT_LENGTH,
        header::COOKIE,
        header::FORWARDED,
        header::HOST,
        TRACEPARENT,
        TRACESTATE,
        X_REQUEST_ID,
    ];
    NAMES.contains(name) || name.as_str().starts_with("x-forwarded-")
}

/// Removes the headers of the connection that the message came by.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
            .filter(|name| !is_end_to_end(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether a request asks for a WebSocket, and for nothing else (RFC 6455, 4.2.1).
pub fn asks_for_websocket(head: &request::Parts) -> bool {
    let mut upgrades = head.headers.get_all(header::UPGRADE).iter();
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && is_websocket(upgrades.next())
        && upgrades.next().is_none()
        && head.headers.get_all(header::CONNECTION).iter().any(names_upgrade)
        && !head.headers.contains_key(header::CONTENT_LENGTH)
        && !head.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Whether a response agrees to a WebSocket.
pub fn agrees_to_websocket(head: &response::Parts) -> bool {
    head.status == StatusCode::SWITCHING_PROTOCOLS
        && is_websocket(head.headers.get(header::UPGRADE))
        && head.headers.get_all(header::CONNECTION).iter().any(names_upgrade)
}

/// Says that the connection becomes a WebSocket: to a backend after [`prepare_request`], to a client after
/// [`remove_hop_by_hop`].
pub fn upgrade_to_websocket(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

fn is_websocket(upgrade: Option<&HeaderValue>) -> bool {
    upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn names_upgrade(connection: &HeaderValue) -> bool {
    connection.to_str().is_ok_and(|names| names.split(',').any(|name| name.trim().eq_ignore_ascii_case("upgrade")))
}

/// Prepares a request for its backend, before the route's filters: hop-by-hop headers go, `Host` is there and says what
/// the request was routed by, the URI is in origin form, and the headers about the client are the proxy's.
///
/// `has_body` is false when the request is known to have none.
pub fn prepare_request(head: &mut request::Parts, peer: Peer<'_>, has_body: bool) {
    let trailers = accepts_trailers(&head.headers);
    remove_hop_by_hop(&mut head.headers);
    if trailers {
        // gRPC asks for it, and trailers are passed on.
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(authority) = head.uri.authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            head.headers.insert(header::HOST, host);
        }
        let target = head.uri.path_and_query().cloned();
        head.uri = target.map_or_else(http::Uri::default, http::Uri::from);
    }
    client::describe(&mut head.headers, peer);
    // Answered by the proxy as soon as the backend's connection takes the body.
    head.headers.remove(header::EXPECT);
    // HTTP/2 may split cookies over several fields, which HTTP/1 does not know (RFC 9113, 8.2.3).
    join(&mut head.headers, &header::COOKIE, b"; ");
    frame_body(head, has_body);
    head.version = Version::HTTP_11;
}

/// A body without a length is chunked. The method would tell hyper so only where bodies are usual.
fn frame_body(head: &mut request::Parts, has_body: bool) {
    let unusual = [Method::GET, Method::HEAD].contains(&head.method);
    if has_body && unusual && !head.headers.contains_key(header::CONTENT_LENGTH) {
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers.get(header::TE).is_some_and(|te| {
        te.to_str().is_ok_and(|te| te.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
    })
}

/// Makes one field of those of a name.
fn join(headers: &mut HeaderMap, name: &HeaderName, between: &[u8]) {
    let mut parts = headers.get_all(name).iter();
    let (Some(first), Some(_)) = (parts.next(), parts.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for part in headers.get_all(name).iter().skip(1) {
        joined.extend_from_slice(between);
        joined.extend_from_slice(part.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(name, joined);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request, request::Parts};

    use super::{Peer, prepare_request};
    use crate::filter::redirect::Scheme;

    fn prepared(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request =
            headers.iter().fold(Request::builder().uri(uri), |request, (name, value)| request.header(*name, *value));
        let (mut head, ()) = request.body(()).expect("request").into_parts();
        let address = HeaderValue::from_static("192.0.2.1");
        prepare_request(&mut head, Peer { address: &address, scheme: Scheme::Http, trusted: false }, false);
        head
    }

    fn left(uri: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let head = prepared(uri, headers);
        let line =
            |(name, value): (&http::HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().expect("ascii"));
        let mut lines: Vec<_> =
            head.headers.iter().map(line).filter(|line| !line.starts_with("x-forwarded-proto")).collect();
        lines.sort();
        lines
    }

    const ABOUT: [&str; 3] = ["host: a", "x-forwarded-for: 192.0.2.1", "x-forwarded-host: a"];

    #[test]
    fn headers_of_the_connection_go() {
        let headers = [
            ("host", "a"),
            ("connection", "close, x-mine, Host, X-Forwarded-Host, X-Request-Id, Traceparent"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("x-request-id", "1"),
            ("traceparent", "1"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("te", "gzip"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
        ];
        assert_eq!(left("/", &headers), [&[ABOUT[0], "traceparent: 1"], &ABOUT[1..], &["x-request-id: 1"]].concat());
    }

    #[test]
    fn what_a_server_could_read_as_a_header_of_ours_goes() {
        let impostors =
            ["x_forwarded_host", "x-forwarded_proto", "content_length", "transfer_encoding", "http2_settings"];
        for name in impostors {
            assert_eq!(left("/", &[("host", "a"), (name, "1")]), ABOUT, "{name}");
        }
        let harmless = left("/", &[("host", "a"), ("my_header", "1")]);
        assert!(harmless.contains(&"my_header: 1".to_owned()), "{harmless:?}");
    }

    #[test]
    fn an_absolute_target_becomes_origin_form_and_names_the_host() {
        let head = prepared("http://a/b?c", &[("host", "a")]);
        assert_eq!(head.uri, "/b?c");
        assert_eq!(left("http://a/b?c", &[]), ABOUT);
    }

    #[test]
    fn a_websocket_is_asked_for_in_one_way_only() {
        let asks = |method: &str, headers: &[(&str, &str)]| {
            let request = Request::builder().method(method).uri("/");
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            super::asks_for_websocket(&request.body(()).expect("request").into_parts().0)
        };
        let good = [("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")];
        assert!(asks("GET", &good));
        assert!(!asks("POST", &good));
        for more in [("upgrade", "h2c"), ("content-length", "1"), ("transfer-encoding", "chunked")] {
            assert!(!asks("GET", &[good[0], good[1], more]), "{more:?}");
        }
        for bad in
            [[("upgrade", "h2c"), good[1]], [("upgrade", "websocket, h2c"), good[1]], [good[0], ("connection", "x")]]
        {
            assert!(!asks("GET", &bad), "{bad:?}");
        }
    }

    #[test]
    fn cookies_are_joined_and_trailers_kept() {
        let lines =
            left("/", &[("host", "a"), ("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3"), ("te", "trailers")]);
        assert!(lines.contains(&"cookie: a=1; b=2; c=3".to_owned()), "{lines:?}");
        assert!(lines.contains(&"te: trailers".to_owned()), "{lines:?}");
    }
}
