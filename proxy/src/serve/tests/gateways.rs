//! What a Gateway asks for beyond its listeners, as clients and backends meet it.

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use sluice_proxy_core::model::{AccessLog, ClientAddress, Gateway, Limits, Protocol, RequestId, Tracing};
use sluice_proxy_core::pick::Share;
use sluice_wire::Message as _;
use sluice_wire::otlp::{ExportTraceServiceRequest, Span, any_value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fixtures::{Answer, Client, Echo, HOST, Proxy, run, until};
use crate::serve::limits::Limit;
use crate::serve::worker::{LocalExecutor, Message};

/// Whom the tests' clients connect as.
fn trusting(network: &str) -> ClientAddress {
    ClientAddress { trusted: vec![network.parse().expect("a network")], hops: 1 }
}

fn logging(ratio: f64) -> AccessLog {
    AccessLog { share: Share::of_ratio(ratio) }
}

async fn asked(gateway: Gateway) -> (Proxy, Echo) {
    let echo = Echo::start("echo", Protocol::Http1).await;
    let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
    proxy.asks_for(gateway);
    proxy.apply().await.expect("applied");
    (proxy, echo)
}

/// Sends a request with these headers.
async fn send(client: &mut Client, headers: &str) -> Answer {
    client.exchange(&format!("GET /a?secret HTTP/1.1\r\nhost: {HOST}\r\n{headers}\r\n")).await
}

#[test]
fn who_is_trusted_tells_who_the_client_is() {
    const SAID: &str = "x-forwarded-for: 203.0.113.7\r\nx-forwarded-proto: https\r\nx-forwarded-prefix: /p\r\n";
    run(async {
        let believed = ["x-forwarded-for: 203.0.113.7, 127.0.0.1", "x-forwarded-proto: https", "x-forwarded-prefix"];
        for (network, trusted) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
            let (proxy, _echo) = asked(Gateway { client_address: Some(trusting(network)), ..Gateway::default() }).await;
            let body = send(&mut proxy.client().await, SAID).await.body;
            for line in believed {
                assert_eq!(body.contains(line), trusted, "{network}: {line} in {body}");
            }
            assert_eq!(body.contains("x-forwarded-for: 127.0.0.1\n"), !trusted, "{body}");
        }
    });
}

#[test]
fn a_change_of_whom_to_trust_is_for_the_next_request_of_an_open_connection() {
    run(async {
        let (proxy, _echo) =
            asked(Gateway { client_address: Some(trusting("10.0.0.0/8")), ..Gateway::default() }).await;
        let mut client = proxy.client().await;
        let said = "x-forwarded-for: 203.0.113.7\r\n";
        assert!(!send(&mut client, said).await.body.contains("203.0.113.7"));
        proxy.asks_for(Gateway { client_address: Some(trusting("127.0.0.0/8")), ..Gateway::default() });
        proxy.apply().await.expect("applied");
        assert!(send(&mut client, said).await.body.contains("203.0.113.7"));
    });
}

/// The id that the backend got, and the one that the client was told.
fn ids(answer: &Answer) -> (Option<String>, Option<String>) {
    let of = |text: &str| text.lines().find_map(|line| Some(line.strip_prefix("x-request-id: ")?.trim().to_owned()));
    (of(&answer.body), of(&answer.head))
}

#[test]
fn every_request_has_an_id_where_its_gateway_asks_for_it() {
    run(async {
        for (echo, network, kept) in [(true, "127.0.0.0/8", true), (false, "10.0.0.0/8", false)] {
            let request_id = Some(RequestId { echo });
            let client_address = Some(trusting(network));
            let (proxy, _echo) = asked(Gateway { request_id, client_address, ..Gateway::default() }).await;
            let mut client = proxy.client().await;
            let (sent, told) = ids(&send(&mut client, "").await);
            let generated = sent.expect("an id");
            assert_eq!(generated.len(), 36, "{generated}");
            assert_eq!(told, echo.then_some(generated.clone()));
            let (given, _) = ids(&send(&mut client, "x-request-id: mine\r\n").await);
            assert_eq!(given.as_deref() == Some("mine"), kept, "{network}: {given:?}");
            assert_ne!(given, Some(generated), "two requests have two ids");
            // Also where no backend has a say.
            let refused = client.exchange("GET / HTTP/1.1\r\nhost: other.test\r\n\r\n").await;
            assert_eq!((refused.status, ids(&refused).1.is_some()), (404, echo));
        }
    });
}

#[test]
fn an_id_is_passed_on_as_it_is_where_nobody_asks() {
    run(async {
        let (proxy, _echo) = asked(Gateway { access_log: Some(logging(1.0)), ..Gateway::default() }).await;
        let answer = send(&mut proxy.client().await, "x-request-id: mine\r\n").await;
        assert_eq!(ids(&answer), (Some("mine".to_owned()), None));
        assert_eq!(ids(&send(&mut proxy.client().await, "").await), (None, None));
    });
}

#[test]
fn a_request_is_a_line_of_the_access_log() {
    run(async {
        let (access_log, request_id) = (Some(logging(1.0)), Some(RequestId { echo: false }));
        let client_address = Some(trusting("127.0.0.0/8"));
        let (proxy, echo) = asked(Gateway { access_log, request_id, client_address, ..Gateway::default() }).await;
        let mut client = proxy.client().await;
        let headers = "x-forwarded-for: 203.0.113.7\r\nx-request-id: mine\r\nuser-agent: \"odd\\\r\n";
        let answer = send(&mut client, headers).await;
        let line = proxy.logged(1).await.remove(0);
        for (name, value) in [
            ("http.request.method", "GET"),
            ("url.scheme", "http"),
            ("url.path", "/a"),
            ("server.address", HOST),
            ("network.protocol.version", "1.1"),
            ("client.address", "203.0.113.7"),
            ("network.peer.address", "127.0.0.1"),
            ("user_agent.original", "\"odd\\"),
            ("http.request.header.x-request-id", "mine"),
            ("sluice.route", "HTTPRoute/default/r"),
            ("sluice.rule", "0"),
            ("sluice.backend", "b"),
            ("sluice.endpoint", &echo.address.to_string()),
        ] {
            assert_eq!(line[name], value, "{name} in {line}");
        }
        assert_eq!((&line["http.response.status_code"], &line["error.type"]), (&200.into(), &serde_json::Value::Null));
        assert_eq!(line["http.response.body.size"], answer.body.len());
        assert!(line["http.server.request.duration"].as_f64().is_some_and(|seconds| seconds > 0.0), "{line}");
        client.post("four").await;
        assert_eq!(proxy.logged(2).await[1]["http.request.body.size"], 4);
    });
}

#[test]
fn what_the_proxy_answers_itself_is_logged_with_its_reason() {
    run(async {
        let (proxy, _echo) = asked(Gateway { access_log: Some(logging(1.0)), ..Gateway::default() }).await;
        proxy.client().await.exchange("GET /nowhere HTTP/1.1\r\nhost: other.test\r\n\r\n").await;
        proxy.client().await.exchange(&format!("TRACE / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        proxy.split(2, &[("empty", 1)]);
        proxy.apply().await.expect("applied");
        proxy.client().await.get().await;
        let lines = proxy.logged(3).await;
        let told: Vec<_> = lines.iter().map(|line| (&line["http.response.status_code"], &line["error.type"])).collect();
        let expected = [(404, "no_route"), (405, "rejected"), (503, "no_endpoint")];
        assert_eq!(told, expected.map(|(status, error)| (status.into(), error.into())).each_ref().map(|(s, e)| (s, e)));
        assert_eq!((&lines[0]["url.path"], &lines[2]["sluice.backend"]), (&"/nowhere".into(), &"empty".into()));
    });
}

#[test]
fn a_client_that_leaves_is_logged_too() {
    run(async {
        let (proxy, _echo) = asked(Gateway { access_log: Some(logging(1.0)), ..Gateway::default() }).await;
        let backend = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        proxy.endpoints("b", Protocol::Http1, &[backend.local_addr().expect("address")]);
        proxy.apply().await.expect("applied");
        let mut client = proxy.client().await;
        client.send(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        let _asked = backend.accept().await.expect("a request");
        drop(client);
        let line = proxy.logged(1).await.remove(0);
        assert_eq!((&line["error.type"], line.get("http.response.status_code")), (&"client_left".into(), None));
    });
}

#[test]
fn nothing_is_logged_of_what_is_not_drawn() {
    run(async {
        let (proxy, _echo) = asked(Gateway { access_log: Some(logging(0.0)), ..Gateway::default() }).await;
        let mut client = proxy.client().await;
        client.get().await;
        proxy.settled("b").await;
        proxy.asks_for(Gateway { access_log: Some(logging(1.0)), ..Gateway::default() });
        proxy.apply().await.expect("applied");
        send(&mut client, "").await;
        assert_eq!(proxy.logged(1).await[0]["url.path"], "/a", "the first line is that of the second request");
    });
}

#[test]
fn a_gateway_has_as_many_connections_as_it_asks_for() {
    run(async {
        let limits = Limits { connections: Some(2), ..Limits::default() };
        let (proxy, _echo) = asked(Gateway { limits, ..Gateway::default() }).await;
        let (mut first, mut second) = (proxy.client().await, proxy.client().await);
        assert_eq!((first.get().await.status, second.get().await.status), (200, 200));
        let mut third = proxy.client().await;
        let refused = third.answer().await.expect("an answer");
        assert_eq!(refused.status, 503);
        assert!(refused.head.contains("connection: close"), "{}", refused.head);
        assert!(third.is_ended().await);
        assert_eq!(proxy.plane.hits(Limit::GatewayConnections), 1);
        drop((first, third));
        until("room for another", async || {
            let mut client = proxy.client().await;
            client.send(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
            client.answer().await.is_some_and(|answer| answer.status == 200)
        })
        .await;
        assert_eq!(second.get().await.status, 200);
    });
}

#[test]
fn a_gateway_says_how_large_heads_are_and_how_long_connections_are_idle() {
    run(async {
        let limits = Limits { head_bytes: Some(2_048), idle_seconds: Some(9), ..Limits::default() };
        let (proxy, _echo) = asked(Gateway { limits, ..Gateway::default() }).await;
        let mut client = proxy.client().await;
        let large = format!("x: {}\r\n", "a".repeat(2_048));
        assert_eq!(send(&mut client, &large).await.status, 431);
        let mut client = proxy.client().await;
        assert_eq!(send(&mut client, &format!("x: {}\r\n", "a".repeat(1_024))).await.status, 200);
        proxy.settled("b").await;
        proxy.plane.tell(|| Message::Tick(8));
        assert_eq!(client.get().await.status, 200, "it is still open");
        proxy.settled("b").await;
        proxy.plane.tell(|| Message::Tick(17));
        assert!(client.is_ended().await);
    });
}

#[test]
fn a_gateway_says_how_many_streams_a_connection_has_and_how_large_their_heads_are() {
    run(async {
        let limits = Limits { streams: Some(3), head_bytes: Some(2_048), ..Limits::default() };
        let (proxy, _echo) = asked(Gateway { limits, ..Gateway::default() }).await;
        let stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        let builder = hyper::client::conn::http2::Builder::new(LocalExecutor);
        let (mut client, connection) = builder.handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::task::spawn_local(connection);
        let mut status = async |length: usize| {
            let request = http::Request::get(format!("http://{HOST}/")).header("x", "a".repeat(length));
            let request = request.body(Empty::<bytes::Bytes>::new()).expect("a request");
            client.send_request(request).await.expect("a response").status().as_u16()
        };
        assert_eq!((status(1_024).await, status(2_048).await), (200, 431));
        let mut raw = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        raw.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
        let (mut settings, mut length) = ([0; 1024], 0);
        // SETTINGS_MAX_CONCURRENT_STREAMS is number 3.
        while !settings[..length].windows(6).any(|setting| *setting == [0, 3, 0, 0, 0, 3]) {
            let read = raw.read(&mut settings[length..]).await.expect("settings");
            assert!(read > 0, "{:?}", &settings[..length]);
            length += read;
        }
    });
}

/// A collector that takes one batch of spans.
async fn collected(collector: &tokio::net::TcpListener) -> Vec<Span> {
    let (mut stream, _) = collector.accept().await.expect("a connection");
    let (mut bytes, mut read) = (Vec::new(), [0; 4096]);
    let body = loop {
        let length = stream.read(&mut read).await.expect("a request");
        assert!(length > 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&read[..length]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1") && head.contains("application/x-protobuf"), "{head}");
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
        if bytes.len() >= end + 4 + length.expect("a length") {
            break bytes.split_off(end + 4);
        }
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("answered");
    let batch = ExportTraceServiceRequest::decode(&body[..]).expect("OTLP");
    batch.resource_spans.into_iter().flat_map(|spans| spans.scope_spans).flat_map(|spans| spans.spans).collect()
}

/// A Gateway that traces this share of its requests, and its collector.
async fn traced(ratio: f64, network: &str) -> (Proxy, Echo, tokio::net::TcpListener) {
    let collector = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
    let tracing = Some(Tracing { share: Share::of_ratio(ratio), collector: "o/c:4318".into() });
    let (proxy, echo) = asked(Gateway { tracing, client_address: Some(trusting(network)), ..Gateway::default() }).await;
    proxy.endpoints("o/c:4318", Protocol::Http1, &[collector.local_addr().expect("address")]);
    proxy.apply().await.expect("applied");
    (proxy, echo, collector)
}

const PARENT: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";

#[test]
fn a_request_that_is_sampled_is_a_span_at_the_collector() {
    run(async {
        let (proxy, echo, collector) = traced(0.0, "127.0.0.0/8").await;
        let answer = send(&mut proxy.client().await, PARENT).await;
        let span = collected(&collector).await.remove(0);
        let passed = answer.body.lines().find_map(|line| line.strip_prefix("traceparent: ")).expect("a parent");
        let id = u64::from_be_bytes(span.span_id[..].try_into().expect("an id"));
        let ours = format!("00-0af7651916cd43dd8448eb211c80319c-{id:016x}-01");
        assert_eq!(passed, ours, "the backend's parent is our span");
        assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
        assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!((span.name.as_str(), span.kind), ("GET HTTPRoute/default/r", 2));
        assert!(span.start_time_unix_nano > 0 && span.end_time_unix_nano > span.start_time_unix_nano);
        assert_eq!(span.status, None);
        let said = |name: &str| {
            let found = span.attributes.iter().find(|attribute| attribute.key == name);
            match found.and_then(|attribute| attribute.value.clone()?.value) {
                Some(any_value::Value::StringValue(text)) => text,
                Some(any_value::Value::IntValue(number)) => number.to_string(),
                None => panic!("no {name} in {span:?}"),
            }
        };
        for (name, value) in [
            ("http.request.method", "GET"),
            ("url.path", "/a"),
            ("http.response.status_code", "200"),
            ("sluice.backend", "b"),
            ("sluice.endpoint", &echo.address.to_string()),
        ] {
            assert_eq!(said(name), value, "{name}");
        }
    });
}

#[test]
fn who_is_not_trusted_does_not_decide_what_is_sampled() {
    run(async {
        let (proxy, _echo, _collector) = traced(0.0, "10.0.0.0/8").await;
        let body = send(&mut proxy.client().await, PARENT).await.body;
        let passed = body.lines().find_map(|line| line.strip_prefix("traceparent: ")).expect("a parent");
        assert!(passed.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && passed.ends_with("-00"), "{passed}");
        assert!(!passed.contains("b7ad6b7169203331"), "{passed}");
    });
}

#[test]
fn what_is_said_of_traces_is_passed_on_as_it_is_where_nobody_asks() {
    run(async {
        let (proxy, _echo) = asked(Gateway { access_log: Some(logging(1.0)), ..Gateway::default() }).await;
        let said = "traceparent: anything\r\ntracestate: vendor=1\r\n";
        let body = send(&mut proxy.client().await, said).await.body;
        assert!(body.contains("traceparent: anything\n") && body.contains("tracestate: vendor=1\n"), "{body}");
    });
}

#[test]
fn spans_that_nobody_takes_are_counted_and_no_request_waits_for_them() {
    run(async {
        let (proxy, _echo, collector) = traced(1.0, "10.0.0.0/8").await;
        drop(collector);
        assert_eq!(proxy.client().await.get().await.status, 200);
        until("a lost span", async || proxy.plane.lost_spans() == 1).await;
    });
}
