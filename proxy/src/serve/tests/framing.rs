//! Bytes that are not one clear request are refused before a backend hears of them, and the connection ends with that.

use sluice_proxy_core::framing::{MAX_FIELDS, MAX_HEAD_BYTES, MAX_TARGET_BYTES};
use sluice_proxy_core::model::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::fixtures::{Echo, HOST, Proxy, Step, run, scripted, until};
use crate::serve::limits::Limit;

/// What a smuggler wants a backend to read as a request of its own.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: app.test\r\n\r\n";

fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: {HOST}\r\n{lines}\r\n")
}

/// Each is answered so, with the connection's end, and the backend is asked nothing.
fn are_refused(requests: Vec<String>, status: u16) {
    run(async move {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let number = requests.len() as u64;
        for request in requests {
            let mut client = proxy.client().await;
            client.send(&request).await;
            let answer = client.answer().await.unwrap_or_else(|| panic!("no answer to {request:.200?}"));
            assert_eq!(answer.status, status, "{request:.200?}");
            assert!(client.is_ended().await, "{request:.200?}");
        }
        assert_eq!(echo.heard(), [""; 0]);
        let met = match status {
            400 => Some((Limit::Framing, number)),
            414 | 431 => Some((Limit::Head, number)),
            _ => None,
        };
        // The client may know before the worker has counted.
        let counted =
            || Limit::ALL.map(|limit| (limit, proxy.plane.hits(limit))).into_iter().find(|(_, hits)| *hits > 0);
        until("each is counted once", async || counted() == met).await;
    });
}

#[test]
fn bodies_of_unclear_length() {
    let lengths = [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 4\r\ncontent-length: 4\r\n",
        "content-length: 4\r\nContent-Length: 5\r\n",
        "content-length: 4, 4\r\n",
        "content-length: +4\r\n",
        "content-length: 0x4\r\n",
        "content-length: -1\r\n",
        "content-length: 9223372036854775808\r\n",
        "content-length:\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \"chunked\"\r\n",
        "transfer-encoding: chunked;q=1\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "transfer-encoding:\x0bchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "content-length : 4\r\n",
        " transfer-encoding: chunked\r\n",
    ];
    let mut requests: Vec<_> = lengths.iter().map(|lines| format!("{}{HIDDEN}", post(lines))).collect();
    requests.push(format!("POST / HTTP/1.0\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"));
    are_refused(requests, 400);
}

#[test]
fn lines_that_are_none() {
    let lines = [
        "x: y\n",
        "x: y\rz\r\n",
        "x: y\r\r\n",
        "x: y\r\n folded\r\n",
        "x: y\r\n\tfolded\r\n",
        "x: \0\r\n",
        "x: \x01\r\n",
        "x\0: y\r\n",
        ": y\r\n",
        "x y: z\r\n",
        "x(y): z\r\n",
        "xé: z\r\n",
        "no colon\r\n",
    ];
    are_refused(lines.iter().map(|line| format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{line}\r\n")).collect(), 400);
}

#[test]
fn request_lines_that_are_none() {
    let lines = [
        "GET / HTTP/1.1\n",
        "GET  / HTTP/1.1\r\n",
        "GET / HTTP/1.1 \r\n",
        "GET /a b HTTP/1.1\r\n",
        "GET /#a HTTP/1.1\r\n",
        "GET /\0 HTTP/1.1\r\n",
        "GET /é HTTP/1.1\r\n",
        "GET /a\\b HTTP/1.1\r\n",
        "GET /%00 HTTP/1.1\r\n",
        "GET /100% HTTP/1.1\r\n",
        "GET * HTTP/1.1\r\n",
        "GET a HTTP/1.1\r\n",
        "GET / HTTP/1.2\r\n",
        "GET / HTTP/3.0\r\n",
        "G{T / HTTP/1.1\r\n",
        "GET /\r\n",
    ];
    are_refused(lines.iter().map(|line| format!("{line}host: {HOST}\r\n\r\n")).collect(), 400);
}

#[test]
fn hosts_that_are_none_or_two() {
    let heads = [
        "GET / HTTP/1.1\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nhost: {HOST}\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {HOST}, evil.test\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {HOST}/path\r\n"),
        format!("GET / HTTP/1.1\r\nhost: user@{HOST}\r\n"),
        format!("GET http://{HOST}/ HTTP/1.1\r\nhost: evil.test\r\n"),
        format!("GET http://evil.test/ HTTP/1.1\r\nhost: {HOST}\r\n"),
        format!("GET http://user@{HOST}/ HTTP/1.0\r\n"),
    ];
    are_refused(heads.iter().map(|head| format!("{head}\r\n")).collect(), 400);
}

#[test]
fn methods_that_are_not_passed_on() {
    let heads = [
        format!("TRACE / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"),
        format!("CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}:443\r\n\r\n{HIDDEN}"),
    ];
    are_refused(heads.into(), 405);
}

#[test]
fn expectations_that_nobody_can_meet() {
    are_refused(vec![post("expect: 200-ok\r\ncontent-length: 1\r\n")], 417);
    are_refused(vec![post("expect: 100-continue\r\nexpect: x\r\ncontent-length: 1\r\n")], 417);
}

#[test]
fn heads_that_are_too_large() {
    let large = |bytes: usize| post(&format!("x: {}\r\n", "a".repeat(bytes)));
    let heads = vec![large(MAX_HEAD_BYTES), large(3 * MAX_HEAD_BYTES), post(&"x: y\r\n".repeat(MAX_FIELDS))];
    are_refused(heads, 431);
    are_refused(vec![format!("GET /{} HTTP/1.1\r\nhost: {HOST}\r\n\r\n", "a".repeat(MAX_TARGET_BYTES))], 414);
}

#[test]
fn a_client_that_is_refused_hears_why_though_it_has_more_to_say() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let more = "x".repeat(128 * 1024);
        for (head, status) in
            [(post("content-length: 4\r\ntransfer-encoding: chunked\r\n"), 400), (post("expect: x\r\n"), 417)]
        {
            let mut client = proxy.client().await;
            client.send(&format!("{head}{more}")).await;
            assert_eq!(client.answer().await.expect("an answer").status, status);
        }
        assert_eq!(echo.served.get(), 0);
    });
}

#[test]
fn bad_chunks_end_the_request_at_both_sides() {
    let bodies = [
        "4\nabcd\r\n0\r\n\r\n",
        "4 \r\nabcd\r\n0\r\n\r\n",
        "0x4\r\nabcd\r\n0\r\n\r\n",
        "-4\r\nabcd\r\n0\r\n\r\n",
        "4;a=\rb\r\nabcd\r\n0\r\n\r\n",
        "4\r\nabcde\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabcd\r\n0\r\n\r\n",
        "4\r\nabcd\r\n0\r\nGET /hidden HTTP/1.1\r\nhost: a\r\n\r\n",
        "4\r\nabcd\r\n0\r\nt : 1\r\n\r\n",
        "4\r\nabcd\r\n0\r\nt: 1\n\r\n",
    ];
    run(async move {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        for body in bodies {
            let mut client = proxy.client().await;
            client.send(&format!("{}{body}{HIDDEN}", post("transfer-encoding: chunked\r\n"))).await;
            // It was on its way, so there may be nothing to say; what follows is no request in any case.
            let answer = client.answer().await;
            assert!(answer.is_none_or(|answer| answer.status == 400), "{body:?}");
            assert!(client.is_ended().await, "{body:?}");
        }
        proxy.settled("b").await;
        let heard = echo.heard();
        assert!(!heard.iter().any(|request| request.contains("hidden") || request.ends_with("abcd")), "{heard:?}");
    });
}

#[test]
fn what_speaks_of_the_server_or_of_another_protocol_is_harmless() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let mut client = proxy.client().await;
        let options = client.exchange(&format!("OPTIONS * HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        assert_eq!(options.status, 404, "no rule matches what is no path");
        let absolute = client.exchange(&format!("GET http://{HOST}/a?b HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        assert!(absolute.body.starts_with("echo GET /a?b\n"), "{}", absolute.body);
        let upgrade = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";
        let upgraded = client.exchange(&post(upgrade)).await;
        assert_eq!(upgraded.status, 200);
        for name in ["upgrade", "http2-settings", "connection"] {
            assert!(!upgraded.body.contains(&format!("{name}:")), "{}", upgraded.body);
        }
    });
}

#[test]
fn what_a_backend_says_beyond_its_response_is_nobodys_answer() {
    const SCRIPT: &[&[Step]] = &[
        &[Step::Say("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhidden")],
        &[Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")],
    ];
    run(async {
        let proxy = Proxy::serving(&[("b", 1, &[scripted(SCRIPT).await])]).await;
        let mut client = proxy.client().await;
        assert_eq!(client.get().await.status, 204);
        let next = client.get().await;
        assert_eq!(next.body, "ok");
    });
}

#[test]
fn responses_of_unclear_length_are_refused() {
    const RESPONSES: [&[&[Step]]; 5] = [
        &[&[Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")]],
        &[&[Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd")]],
        &[&[Step::Say("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n")]],
        &[&[Step::Say("HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 0\r\n\r\n")]],
        &[&[Step::Say("HTTP/1.1 200 OK\r\nx: y\r\n folded\r\ncontent-length: 0\r\n\r\n")]],
    ];
    run(async {
        for script in RESPONSES {
            let proxy = Proxy::serving(&[("b", 1, &[scripted(script).await])]).await;
            assert_eq!(proxy.client().await.get().await.status, 502, "{script:?}");
        }
    });
}

#[test]
fn heads_of_responses_have_limits_too() {
    run(async {
        for head in [format!("x: {}\r\n", "a".repeat(70_000)), "x: y\r\n".repeat(MAX_FIELDS + 1)] {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
            let proxy = Proxy::serving(&[("b", 1, &[listener.local_addr().expect("address")])]).await;
            let mut client = proxy.client().await;
            client.send(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
            let (mut backend, _) = listener.accept().await.expect("a connection");
            assert!(backend.read(&mut [0; 4096]).await.expect("a request") > 0);
            // It may be closed before all of it is said.
            let _ = backend.write_all(format!("HTTP/1.1 200 OK\r\n{head}content-length: 0\r\n\r\n").as_bytes()).await;
            assert_eq!(client.answer().await.expect("an answer").status, 502);
        }
    });
}
