//! One line of the access log: JSON, with the names of OpenTelemetry's semantic conventions for HTTP where they have one.
//!
//! Whatever a client has sent is escaped and cut, so a request is one line of bounded length whatever it says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};

/// Bytes of a text of a client that are logged.
pub const LONGEST: usize = 1024;

/// What is said of a request.
#[derive(Clone, Debug, Serialize)]
pub struct Entry<'a> {
    /// When it began, as RFC 3339 has it.
    pub timestamp: &'a str,
    /// Its method.
    #[serde(rename = "http.request.method")]
    pub method: Text<'a>,
    /// `http` or `https`.
    #[serde(rename = "url.scheme")]
    pub scheme: &'a str,
    /// Its path. The query may hold secrets and is left out.
    #[serde(rename = "url.path")]
    pub path: Text<'a>,
    /// The host that it is for, as the client wrote it.
    #[serde(rename = "server.address", skip_serializing_if = "Option::is_none")]
    pub host: Option<Text<'a>>,
    /// `1.0`, `1.1` or `2`.
    #[serde(rename = "network.protocol.version")]
    pub version: &'a str,
    /// Who asked, as far as trusted proxies in front tell.
    #[serde(rename = "client.address")]
    pub client: IpAddr,
    /// Who connected.
    #[serde(rename = "network.peer.address")]
    pub peer: IpAddr,
    /// What the client calls itself.
    #[serde(rename = "user_agent.original", skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Text<'a>>,
    /// Its id, where it has one.
    #[serde(rename = "http.request.header.x-request-id", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Text<'a>>,
    /// Bytes of its body that have come.
    #[serde(rename = "http.request.body.size")]
    pub received: u64,
    /// The status of the answer; none where its client left before there was one.
    #[serde(rename = "http.response.status_code", skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the answer's body that were handed on.
    #[serde(rename = "http.response.body.size")]
    pub sent: u64,
    /// Seconds from its head to the end of the answer.
    #[serde(rename = "http.server.request.duration")]
    pub seconds: f64,
    /// Why there is no whole answer of a backend.
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
    /// The trace that it is part of, where it is traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// Its span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<&'a str>,
    /// The route that it matched.
    #[serde(rename = "sluice.route", skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// The rule of the route.
    #[serde(rename = "sluice.rule", skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    /// The backend that it was assigned to.
    #[serde(rename = "sluice.backend", skip_serializing_if = "Option::is_none")]
    pub backend: Option<&'a str>,
    /// The endpoint that was asked last.
    #[serde(rename = "sluice.endpoint", skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
}

impl Entry<'_> {
    /// The line, with its end.
    pub fn line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(512);
        // Nothing of it can fail: there are no maps, and a vector takes every byte.
        let _ = serde_json::to_writer(&mut line, self);
        line.push(b'\n');
        line
    }
}

/// What a client has sent, which may be any bytes and any number of them.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = &self.0[..self.0.len().min(LONGEST)];
        f.write_str(&String::from_utf8_lossy(cut))
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Entry, LONGEST, Text};

    fn entry(path: &[u8]) -> Entry<'_> {
        Entry {
            timestamp: "2026-01-02T03:04:05.678Z",
            method: Text(b"GET"),
            scheme: "https",
            path: Text(path),
            host: None,
            version: "2",
            client: [203, 0, 113, 7].into(),
            peer: [10, 0, 0, 1].into(),
            user_agent: None,
            request_id: None,
            received: 0,
            status: None,
            sent: 0,
            seconds: 0.001_5,
            error: None,
            trace_id: None,
            span_id: None,
            route: None,
            rule: None,
            backend: None,
            endpoint: None,
        }
    }

    fn read(line: &[u8]) -> Value {
        serde_json::from_slice(line).expect("JSON")
    }

    #[test]
    fn a_line_says_everything_that_is_known() {
        let full = Entry {
            host: Some(Text(b"shop.example")),
            user_agent: Some(Text(b"curl/8")),
            request_id: Some(Text(b"abc")),
            received: 3,
            status: Some(200),
            sent: 42,
            error: Some("client_left"),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c"),
            span_id: Some("b7ad6b7169203331"),
            route: Some("HTTPRoute/shop/cart"),
            rule: Some("0"),
            backend: Some("shop/cart:80"),
            endpoint: Some(([10, 1, 0, 9], 8080).into()),
            ..entry(b"/cart")
        };
        let expected = json!({
            "timestamp": "2026-01-02T03:04:05.678Z",
            "http.request.method": "GET",
            "url.scheme": "https",
            "url.path": "/cart",
            "server.address": "shop.example",
            "network.protocol.version": "2",
            "client.address": "203.0.113.7",
            "network.peer.address": "10.0.0.1",
            "user_agent.original": "curl/8",
            "http.request.header.x-request-id": "abc",
            "http.request.body.size": 3,
            "http.response.status_code": 200,
            "http.response.body.size": 42,
            "http.server.request.duration": 0.0015,
            "error.type": "client_left",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "span_id": "b7ad6b7169203331",
            "sluice.route": "HTTPRoute/shop/cart",
            "sluice.rule": "0",
            "sluice.backend": "shop/cart:80",
            "sluice.endpoint": "10.1.0.9:8080",
        });
        assert_eq!(read(&full.line()), expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let bare = read(&entry(b"/").line());
        for name in ["server.address", "http.response.status_code", "error.type", "sluice.route", "sluice.endpoint"] {
            assert_eq!(bare.get(name), None, "{name}");
        }
    }

    #[test]
    fn whatever_a_client_sends_a_request_is_one_line() {
        for path in [&b"/\n{\"a\":1}"[..], b"/\r\n", b"/\"}", b"/\\", b"/\xff\xfe", b"/\x1b[2J\0"] {
            let line = entry(path).line();
            assert_eq!(line.iter().filter(|byte| **byte < b' ').count(), 1, "{path:?}");
            assert_eq!(line.last(), Some(&b'\n'));
            assert_eq!(read(&line)["url.path"], String::from_utf8_lossy(path).as_ref());
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let line = read(&entry(&vec![b'a'; 3 * LONGEST]).line());
        assert_eq!(line["url.path"].as_str().map(str::len), Some(LONGEST));
    }
}
