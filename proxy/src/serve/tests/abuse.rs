//! HTTP/2 clients that break the rules or stretch them. No library would, so they write frames byte by byte; what they say
//! of headers needs only HPACK's static table and plain literals.

use std::time::Duration;

use sluice_proxy_core::framing::MAX_FIELDS;
use sluice_proxy_core::model::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fixtures::{Echo, HOST, Proxy, run, until};
use crate::serve::limits::{GIVEN_UP, LOCAL_RESETS, Limit, PENDING_RESETS, STREAMS};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const REFUSED_STREAM: u32 = 7;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// How long a proxy that answers nothing is taken to have stopped reading.
const SILENCE: Duration = Duration::from_millis(500);

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The error that it ends a stream or the connection with.
    fn error(&self) -> u32 {
        let from = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[from..from + 4].try_into().expect("four bytes"))
    }
}

struct Raw(TcpStream);

impl Raw {
    async fn connect(proxy: &Proxy) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        stream.set_nodelay(true).expect("nodelay");
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");
        let mut raw = Self(stream);
        raw.send(&frame(SETTINGS, 0, 0, &[])).await;
        raw
    }

    /// False when the proxy has closed the connection, or reads no more.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(SILENCE, self.0.write_all(bytes)).await, Ok(Ok(())))
    }

    /// The next frame; none when the connection has ended.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], stream, payload })
    }

    /// The first frame of one of these kinds; none when the connection ends without one.
    async fn wait_for(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// Waits until the proxy has had enough: GOAWAY, or the end.
    async fn is_sent_away(&mut self) {
        self.wait_for(&[GOAWAY]).await;
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field as a literal that is not remembered.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(text.len() as u8);
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// `GET http://app.test/`, and what else a test wants to say.
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84];
    block.extend(field(":authority", HOST));
    block.extend(fields.iter().flat_map(|(name, value)| field(name, value)));
    block
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &request(&[]))
}

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// Ids of a client's streams.
fn ids(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|index| 2 * index + 1)
}

async fn serving() -> (Proxy, Echo) {
    let echo = Echo::start("echo", Protocol::Http1).await;
    let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
    (proxy, echo)
}

/// A backend that takes requests and answers none, and the proxy in front of it.
async fn silent() -> (Proxy, tokio::net::TcpListener) {
    let backend = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
    let proxy = Proxy::serving(&[("b", 1, &[backend.local_addr().expect("address")])]).await;
    (proxy, backend)
}

#[test]
fn a_frame_at_a_time_makes_a_request() {
    run(async {
        let (proxy, echo) = serving().await;
        let mut raw = Raw::connect(&proxy).await;
        raw.send(&get(1)).await;
        assert_eq!(raw.wait_for(&[HEADERS, RST_STREAM, GOAWAY]).await.expect("a frame").kind, HEADERS);
        assert_eq!(echo.served.get(), 1);
    });
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection() {
    run(async {
        let (proxy, echo) = serving().await;
        let mut raw = Raw::connect(&proxy).await;
        for id in ids(1_000) {
            raw.send(&[get(id), frame(RST_STREAM, 0, id, &CANCEL)].concat()).await;
        }
        raw.is_sent_away().await;
        assert!(echo.served.get() <= u64::from(GIVEN_UP) + PENDING_RESETS as u64, "{}", echo.served.get());
    });
}

#[test]
fn streams_that_are_reset_one_after_the_other_end_the_connection_too() {
    run(async {
        let (proxy, _backend) = silent().await;
        let mut raw = Raw::connect(&proxy).await;
        let mut sent = 0;
        for id in ids(1_000) {
            let alive = raw.send(&get(id)).await;
            // The request has reached us by when the ping is answered.
            raw.send(&frame(PING, 0, 0, &[0; 8])).await;
            let answered = raw.wait_for(&[PING]).await.is_some();
            if !alive || !answered || !raw.send(&frame(RST_STREAM, 0, id, &CANCEL)).await {
                break;
            }
            sent += 1;
        }
        // A second may begin in between, whose requests are not given up within it.
        assert!(sent <= 3 * GIVEN_UP, "{sent}");
        let totals = proxy.settled("b").await;
        assert!(totals.started <= u64::from(3 * GIVEN_UP), "{}", totals.started);
        assert_eq!(proxy.plane.hits(Limit::Resets), 1);
    });
}

#[test]
fn mistakes_that_make_us_reset_streams_end_the_connection() {
    run(async {
        let (proxy, _backend) = silent().await;
        let mut raw = Raw::connect(&proxy).await;
        for id in ids(3 * LOCAL_RESETS as u32) {
            // A window beyond what a window can be is a mistake of the stream.
            if !raw.send(&[get(id), window_update(id, 0x7fff_ffff)].concat()).await {
                break;
            }
        }
        raw.is_sent_away().await;
        assert!(proxy.settled("b").await.started <= 2 * LOCAL_RESETS as u64);
    });
}

#[test]
fn heads_without_an_end_end_the_connection() {
    run(async {
        let (proxy, echo) = serving().await;
        for piece in [vec![], field("x", &"y".repeat(100)), vec![0x82; 16_000]] {
            let mut raw = Raw::connect(&proxy).await;
            raw.send(&frame(HEADERS, END_STREAM, 1, &request(&[]))).await;
            let mut sent = 0;
            while sent < 1_000 && raw.send(&frame(CONTINUATION, 0, 1, &piece)).await {
                sent += 1;
            }
            raw.is_sent_away().await;
        }
        assert_eq!(echo.served.get(), 0);
    });
}

#[test]
fn a_head_that_is_small_only_on_the_wire_is_refused() {
    run(async {
        let (proxy, echo) = serving().await;
        let mut raw = Raw::connect(&proxy).await;
        // A field that is remembered (of 100 bytes and its overhead), and then a byte for each time that it is meant.
        let mut block = request(&[]);
        block.extend([0x40, 1, b'x', 100]);
        block.extend([b'y'; 100]);
        block.extend([0xbe; 8_000]);
        raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
        // 431, a reset or the end of the connection: nothing reaches the backend.
        raw.wait_for(&[HEADERS, RST_STREAM, GOAWAY]).await;
        assert_eq!(echo.served.get(), 0);
    });
}

#[test]
fn fields_are_counted_as_they_are_in_http1() {
    run(async {
        let (proxy, echo) = serving().await;
        let stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        let builder = hyper::client::conn::http2::Builder::new(crate::serve::worker::LocalExecutor);
        let (mut client, connection) =
            builder.handshake(hyper_util::rt::TokioIo::new(stream)).await.expect("handshake");
        tokio::task::spawn_local(connection);
        for (crumbs, status) in [(MAX_FIELDS, 200), (MAX_FIELDS + 1, 431)] {
            let request = http::Request::get(format!("http://{HOST}/"));
            let request = (0..crumbs).fold(request, |request, crumb| request.header("cookie", format!("c={crumb}")));
            let body = http_body_util::Empty::<bytes::Bytes>::new();
            let response = client.send_request(request.body(body).expect("request")).await.expect("a response");
            assert_eq!(response.status(), status, "{crumbs} crumbs");
        }
        assert_eq!(echo.served.get(), 1);
    });
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    run(async {
        let (proxy, _backend) = silent().await;
        let mut raw = Raw::connect(&proxy).await;
        for id in ids(STREAMS + 1) {
            raw.send(&get(id)).await;
        }
        let refused = raw.wait_for(&[RST_STREAM, GOAWAY]).await.expect("a refusal");
        assert_eq!((refused.kind, refused.stream, refused.error()), (RST_STREAM, 2 * STREAMS + 1, REFUSED_STREAM));
        until("the others are on their way", async || proxy.counted("b").await.in_flight() == u64::from(STREAMS)).await;
    });
}

#[test]
fn frames_that_say_nothing_end_the_connection_or_are_read_no_more() {
    run(async {
        let (proxy, _echo) = serving().await;
        let upload = frame(HEADERS, END_HEADERS, 1, &request(&[]));
        let floods = [
            ("empty DATA", frame(DATA, 0, 1, &[])),
            ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
            ("PING", frame(PING, 0, 0, &[0; 8])),
        ];
        for (name, piece) in floods {
            let mut raw = Raw::connect(&proxy).await;
            raw.send(&upload).await;
            let batch = piece.repeat(4_096);
            let mut batches = 0;
            // Nothing of what we are answered is read.
            while raw.send(&batch).await {
                batches += 1;
                assert!(batches * batch.len() < 64 * 1024 * 1024, "{name}: all of it is taken");
            }
        }
        assert_eq!(proxy.client().await.get().await.status, 200);
    });
}

#[test]
fn requests_that_http1_would_read_otherwise_reach_no_backend() {
    let get = |more: &[(&str, &str)]| request(more);
    let start = |path: &str, authority: &str| {
        let mut block = vec![0x82, 0x86];
        block.extend(field(":path", path));
        block.extend(field(":authority", authority));
        block
    };
    let blocks = [
        ("a line break in a value", get(&[("x", "y\r\nhidden: z")])),
        ("NUL in a value", get(&[("x", "\0")])),
        ("a space in a name", get(&[("x y", "z")])),
        ("a colon in a name", get(&[("x:y", "z")])),
        ("an upper-case name", get(&[("X", "y")])),
        ("an empty name", get(&[("", "y")])),
        ("Connection", get(&[("connection", "close")])),
        ("Transfer-Encoding", get(&[("transfer-encoding", "chunked")])),
        ("Upgrade", get(&[("upgrade", "websocket")])),
        ("a coding in TE", get(&[("te", "gzip")])),
        ("two lengths", get(&[("content-length", "0"), ("content-length", "0")])),
        ("a length without a body", get(&[("content-length", "5")])),
        ("another host", get(&[("host", "evil.test")])),
        ("an unknown pseudo header", get(&[(":protocol", "websocket")])),
        ("a pseudo header behind a header", [get(&[("x", "y")]), field(":path", "/")].concat()),
        ("two paths", get(&[(":path", "/two")])),
        ("a path that is none", start("hidden", HOST)),
        ("an empty path", start("", HOST)),
        ("a space in a path", start("/ HTTP/1.1", HOST)),
        ("a line break in a path", start("/\r\nhidden", HOST)),
        ("eight bits in a path", start("/é", HOST)),
        ("a user in the authority", start("/", "user@app.test")),
        ("no host", vec![0x82, 0x86, 0x84]),
        ("a tunnel", [field(":method", "CONNECT"), field(":authority", "evil.test:443")].concat()),
    ];
    run(async move {
        let (proxy, echo) = serving().await;
        for (what, block) in blocks {
            let mut raw = Raw::connect(&proxy).await;
            raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
            raw.wait_for(&[HEADERS, RST_STREAM, GOAWAY]).await;
            assert_eq!(echo.heard(), [""; 0], "{what}");
        }
        // A body that is shorter than its length.
        let mut raw = Raw::connect(&proxy).await;
        let short =
            [frame(HEADERS, END_HEADERS, 1, &get(&[("content-length", "5")])), frame(DATA, END_STREAM, 1, b"abc")];
        raw.send(&short.concat()).await;
        raw.wait_for(&[HEADERS, RST_STREAM, GOAWAY]).await;
        proxy.settled("b").await;
        assert!(!echo.heard().iter().any(|request| request.ends_with("abc")), "{:?}", echo.heard());
    });
}

#[test]
fn an_abuser_is_alone_with_it() {
    run(async {
        let (proxy, echo) = serving().await;
        let mut client = proxy.client().await;
        let mut raw = Raw::connect(&proxy).await;
        for id in ids(500) {
            raw.send(&[get(id), frame(RST_STREAM, 0, id, &CANCEL)].concat()).await;
            if id % 100 == 1 {
                assert_eq!(client.post("pay once").await.status, 200);
            }
        }
        assert!(echo.served.get() >= 5);
    });
}
