//! Requests find their backends, and what is not for one is answered.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use sluice_proxy_core::model::Protocol;
use tokio::net::TcpStream;

use super::fixtures::{Echo, HOST, Proxy, run};
use crate::serve::worker::LocalExecutor;

#[test]
fn a_request_reaches_the_backend_and_is_counted() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let mut client = proxy.client().await;
        for _ in 0..3 {
            let answer = client.post("hello").await;
            assert_eq!(answer.status, 200);
            assert!(answer.body.starts_with("echo POST /\n") && answer.body.ends_with("hello"), "{}", answer.body);
            assert!(answer.body.contains("x-forwarded-for: 127.0.0.1\n"), "{}", answer.body);
        }
        let totals = proxy.settled("b").await;
        assert_eq!((totals.started, totals.responses), (3, [0, 3, 0, 0, 0]));
        assert_eq!(totals.duration_buckets.iter().sum::<u64>(), 3);
        assert_eq!(echo.connections(), 1, "one connection serves one client after another");
    });
}

#[test]
fn a_chunked_body_and_an_expectation_pass() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let mut client = proxy.client().await;
        let chunked = format!(
            "GET / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        );
        assert!(client.exchange(&chunked).await.body.ends_with("abcde"));
        client
            .send(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"))
            .await;
        assert_eq!(client.answer().await.expect("an answer").status, 100);
        client.send("ok").await;
        assert!(client.answer().await.expect("an answer").body.ends_with("ok"));
    });
}

#[test]
fn what_has_no_backend_is_answered_and_counted_where_it_was_assigned() {
    run(async {
        let proxy = Proxy::serving(&[("empty", 1, &[])]).await;
        let mut client = proxy.client().await;
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: other.test\r\n\r\n").await.status, 404);
        assert_eq!(client.get().await.status, 503);
        assert_eq!(proxy.settled("empty").await.responses, [0, 0, 0, 0, 1]);
        proxy.split(2, &[("invalid", 1)]);
        proxy.apply().await.expect("applied");
        assert_eq!(client.get().await.status, 500);
        assert_eq!(proxy.settled("invalid").await.responses, [0, 0, 0, 0, 1]);
        proxy.split(3, &[("empty", 0)]);
        proxy.apply().await.expect("applied");
        assert_eq!(client.get().await.status, 500);
    });
}

#[test]
fn what_cannot_be_forwarded_is_refused() {
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nhost: {HOST}\r\n\r\n"), 400),
        (format!("TRACE / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"), 405),
        (format!("GET /{} HTTP/1.1\r\nhost: {HOST}\r\n\r\n", "a".repeat(9_000)), 414),
        (format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nx: {}\r\n\r\n", "a".repeat(33_000)), 431),
        (format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{}\r\n", "x: y\r\n".repeat(101)), 431),
        (format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx"), 400),
        (format!("GET / HTTP/1.1\nhost: {HOST}\n\n"), 400),
    ];
    run(async move {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        for (request, status) in cases {
            assert_eq!(proxy.client().await.exchange(&request).await.status, status, "{request:.80}");
        }
        assert_eq!(echo.served.get(), 0);
    });
}

#[test]
fn what_is_refused_behind_a_good_request_does_not_spoil_it() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let mut client = proxy.client().await;
        let good = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 4\r\n\r\ngood");
        let bad = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n");
        assert!(client.exchange(&format!("{good}{bad}0\r\n\r\n")).await.body.ends_with("good"));
        assert_eq!(client.answer().await.expect("an answer").status, 400);
        assert!(client.is_ended().await);
        assert_eq!(echo.served.get(), 1);
        // Inside a body that is on its way there is nothing to answer any more.
        let mut client = proxy.client().await;
        let chunk = "transfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n";
        client.send(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\n{chunk}")).await;
        assert!(client.answer().await.is_none_or(|answer| answer.status == 400));
        assert_eq!(proxy.settled("b").await.connection_failures, 0);
    });
}

#[test]
fn http2_clients_and_http2_backends_are_served() {
    run(async {
        let http1 = Echo::start("http1", Protocol::Http1).await;
        let http2 = Echo::start("http2", Protocol::H2c).await;
        let proxy = Proxy::serving(&[("one", 1, &[http1.address])]).await;
        proxy.endpoints("two", Protocol::H2c, &[http2.address]);
        let stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        let builder = hyper::client::conn::http2::Builder::new(LocalExecutor);
        let (mut client, connection) = builder.handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::task::spawn_local(connection);
        for (generation, backend, name) in [(2, "one", "http1 GET /x"), (3, "two", "http2 GET http://app.test/x")] {
            proxy.split(generation, &[(backend, 1)]);
            proxy.apply().await.expect("applied");
            let request = http::Request::get(format!("http://{HOST}/x")).body(Empty::<bytes::Bytes>::new());
            let response = client.send_request(request.expect("request")).await.expect("a response");
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            assert!(body.starts_with(name.as_bytes()), "{}", String::from_utf8_lossy(&body));
        }
        let mut client = proxy.client().await;
        assert!(client.post("from http1").await.body.ends_with("from http1"));
        assert_eq!(http2.connections(), 2, "one for each worker at most");
    });
}
