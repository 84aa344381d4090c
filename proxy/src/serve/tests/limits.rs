//! docs/proxy-limits.md says what the code does: its table is written from the code's own values, and compared here. With
//! `SLUICE_REGENERATE=1` it is written anew.

use std::fmt::Write;
use std::path::Path;

use sluice_proxy_core::framing::{self, scanner};
use sluice_proxy_core::{access_log as line, matching, proxy_protocol, request_id};

use crate::request::{body, mirror};
use crate::serve::{access_log, goodbye, hello, limits, listener, patience, secure, spans, stream, udp};
use crate::upstream::connect;

const BEGIN: &str = "<!-- limits: written by a test -->\n";
const END: &str = "<!-- end of limits -->\n";

type Row = (&'static str, String, &'static str);

fn bytes(number: usize) -> String {
    match number {
        mebibytes if mebibytes % (1 << 20) == 0 => format!("{} MiB", mebibytes >> 20),
        kibibytes if kibibytes % (1 << 10) == 0 => format!("{} KiB", kibibytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

fn seconds(number: impl Into<u64>) -> String {
    format!("{} s", number.into())
}

fn heads() -> Vec<Row> {
    vec![
        ("head of a request", bytes(framing::MAX_HEAD_BYTES), "431"),
        ("fields of a request, each cookie crumb counted", framing::MAX_FIELDS.to_string(), "431"),
        ("target of a request", bytes(framing::MAX_TARGET_BYTES), "414"),
        ("digits of `Content-Length`", scanner::MAX_LENGTH_DIGITS.to_string(), "400, close"),
        ("digits of a chunk's size", scanner::MAX_CHUNK_DIGITS.to_string(), "close"),
        ("line of a chunk's size, extensions included", bytes(scanner::MAX_CHUNK_LINE), "close"),
        ("trailers of HTTP/1", bytes(scanner::MAX_TRAILER_BYTES), "close"),
        ("fields of trailers of HTTP/1", scanner::MAX_TRAILERS.to_string(), "close"),
        ("first message of TLS", bytes(hello::MOST), "close"),
        ("PROXY header of version 1", bytes(proxy_protocol::MOST_TEXT), "close"),
        ("PROXY header of version 2", bytes(proxy_protocol::MOST_BINARY), "close"),
        ("`X-Request-Id` of a trusted proxy", bytes(request_id::LONGEST), "it gets another"),
        ("head of a response", bytes(connect::MAX_HEAD_BYTES), "502"),
    ]
}

fn times() -> Vec<Row> {
    let rate = format!("{} s, then {} B/s", patience::BODY_SECONDS, patience::BODY_RATE);
    vec![
        ("head of a request, from its first byte", seconds(patience::HEAD_SECONDS), "408, close"),
        ("waiting for the body of a request, until the backend answers; not of gRPC", rate, "408, close"),
        ("TLS handshake", seconds(secure::HANDSHAKE.as_secs()), "close"),
        ("idle HTTP/1 connection", seconds(patience::IDLE_SECONDS_HTTP1), "close"),
        ("HTTP/2 connection without an open stream", seconds(patience::IDLE_SECONDS_HTTP2), "GOAWAY"),
        ("open request without a byte either way", seconds(patience::STALLED_SECONDS), "close"),
        ("WebSocket or TCP connection without a byte either way", seconds(patience::SILENT_SECONDS), "close"),
        ("UDP flow without a datagram either way", seconds(udp::IDLE_SECONDS), "forgotten"),
        ("connecting to an endpoint", seconds(connect::CONNECT_TIMEOUT.as_secs()), "another endpoint, or 504"),
        ("TLS handshake with an endpoint", seconds(connect::HANDSHAKE_TIMEOUT.as_secs()), "another endpoint, or 502"),
        (
            "reading on after a refusal",
            format!("{} s, {}", goodbye::LINGER.as_secs(), bytes(goodbye::LINGER_BYTES)),
            "close",
        ),
    ]
}

fn http2() -> Vec<Row> {
    vec![
        ("open streams of a connection", limits::STREAMS.to_string(), "REFUSED_STREAM"),
        ("bytes on their way to us, of a stream", bytes(limits::STREAM_WINDOW as usize), "the sender waits"),
        ("bytes on their way to us, of a connection", bytes(limits::CONNECTION_WINDOW as usize), "the sender waits"),
        ("frame", bytes(limits::FRAME as usize), "GOAWAY"),
        ("HPACK table", bytes(limits::HEADER_TABLE as usize), "GOAWAY"),
        ("streams reset before we have looked at them", limits::PENDING_RESETS.to_string(), "GOAWAY"),
        ("streams that a client's mistakes make us reset", limits::LOCAL_RESETS.to_string(), "GOAWAY"),
        (
            "requests given up within their first second, if more than half of all",
            limits::GIVEN_UP.to_string(),
            "close",
        ),
    ]
}

fn sizes() -> Vec<Row> {
    let percent = |share: f64| format!("{:.0} % of the file descriptors", share * 100.0);
    vec![
        ("connections of clients", percent(listener::CLIENTS_SHARE), "closed at once"),
        ("connections that wait to be accepted, of a port", listener::BACKLOG.to_string(), "the kernel's business"),
        (
            "UDP flows",
            format!("{}, at most {}", percent(listener::FLOWS_SHARE), listener::MOST_FLOWS),
            "a silent one goes",
        ),
        ("buffer of a connection or stream, each way", bytes(limits::BUFFER), "the sender waits"),
        ("lines of the access log that wait to be written", access_log::QUEUE.to_string(), "they are dropped"),
        ("spans that wait to be sent, of a worker and collector", spans::MOST.to_string(), "they are dropped"),
        ("text of a client in the access log", bytes(line::LONGEST), "it is cut"),
        ("body that is kept to be sent again or to a mirror", bytes(body::KEPT), "it is not sent again"),
        ("copies to mirrors at once, of a worker", mirror::MOST.to_string(), "no copy"),
        ("program of a regular expression", bytes(matching::REGEX_SIZE_LIMIT), "the route is not accepted"),
        ("message of the controller", bytes(stream::MAX_MESSAGE), "the last configuration goes on"),
    ]
}

fn table() -> String {
    let mut text = String::new();
    for (title, rows) in
        [("Heads and framing", heads()), ("Time", times()), ("HTTP/2", http2()), ("Number and size", sizes())]
    {
        writeln!(text, "\n### {title}\n\n| what | at most | beyond that |\n|---|---|---|").expect("a line");
        for (what, most, beyond) in rows {
            writeln!(text, "| {what} | {most} | {beyond} |").expect("a line");
        }
    }
    text + "\n"
}

#[test]
fn the_page_of_limits_says_what_the_code_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proxy-limits.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("a beginning");
    let (_, after) = rest.split_once(END).expect("an end");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("SLUICE_REGENERATE").is_some() {
        std::fs::write(&path, &expected).expect("written");
    }
    assert_eq!(page, expected, "write it anew: SLUICE_REGENERATE=1 cargo test -p sluice-proxy --lib limits");
}
