//! TCP listeners: connections are passed on as they are, and refused where there is nobody.

use std::net::{Ipv4Addr, SocketAddr};

use sluice_proxy_core::model::{Listener, ListenerProtocol, Protocol, Resource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::fixtures::{Proxy, passing_route, run, until};

/// A proxy with a TCP listener and a route with these backends: name, weight, endpoint.
async fn serving(backends: &[(&str, u32, SocketAddr)]) -> Proxy {
    let proxy = Proxy::idle();
    let protocol = ListenerProtocol::Tcp;
    let listener = Listener { protocol, ..Listener::http("l", proxy.port, 9000) };
    proxy.put(Resource::Listener(listener));
    route(&proxy, "a", 1, &backends.iter().map(|(name, weight, _)| (*name, *weight)).collect::<Vec<_>>());
    for (name, _, address) in backends {
        proxy.endpoints(name, Protocol::Http1, &[*address]);
    }
    proxy.apply().await.expect("applied");
    proxy
}

fn route(proxy: &Proxy, name: &str, created: i64, backends: &[(&str, u32)]) {
    passing_route(proxy, &format!("TCPRoute/default/{name}"), created, backends);
}

pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = listener.local_addr().expect("address");
    (listener, address)
}

/// A backend that says its name, then everything that it hears.
pub(super) async fn echo(name: &'static str) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                stream.write_all(name.as_bytes()).await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await?;
                to.shutdown().await
            });
        }
    });
    address
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.expect("connected")
}

async fn read_all(mut stream: TcpStream) -> std::io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map(|_| text)
}

#[test]
fn bytes_pass_both_ways_and_each_side_ends_by_itself() {
    run(async {
        let proxy = serving(&[("b", 1, echo("hello ").await)]).await;
        let mut client = connect(&proxy).await;
        client.write_all(b"world").await.expect("sent");
        client.shutdown().await.expect("ended");
        // The backend still speaks after the client has ended.
        assert_eq!(read_all(client).await.expect("read"), "hello world");
        let totals = proxy.settled("b").await;
        assert_eq!((totals.started, totals.responses), (1, [0, 1, 0, 0, 0]));
        until("closed", async || proxy.counted("b").await.open() == 0).await;
        let totals = proxy.counted("b").await;
        assert_eq!((totals.opened, totals.received_bytes, totals.sent_bytes), (1, 5, 11));
        until("no connection", async || proxy.plane.connections() == 0).await;
    });
}

#[test]
fn a_connection_that_is_open_is_answered_and_not_in_flight() {
    run(async {
        let proxy = serving(&[("b", 1, echo("hello").await)]).await;
        let mut client = connect(&proxy).await;
        let mut hello = [0; 5];
        client.read_exact(&mut hello).await.expect("read");
        let totals = proxy.settled("b").await;
        assert_eq!((totals.responses, totals.open()), ([0, 1, 0, 0, 0], 1));
        // What it counts is kept although nothing names its backend any more.
        let other = echo("other").await;
        proxy.endpoints("c", Protocol::Http1, &[other]);
        route(&proxy, "a", 1, &[("c", 1)]);
        proxy.apply().await.expect("applied");
        for _ in 0..2 {
            assert_eq!(proxy.counted("b").await.open(), 1);
        }
        client.write_all(b"still").await.expect("sent");
        client.read_exact(&mut hello).await.expect("read");
        assert_eq!(&hello, b"still");
        assert_eq!(read_start(&proxy).await, "other");
    });
}

/// The first five bytes that a new connection hears.
async fn read_start(proxy: &Proxy) -> String {
    let mut bytes = [0; 5];
    connect(proxy).await.read_exact(&mut bytes).await.expect("read");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn connections_are_split_by_weight_and_the_share_of_nobody_is_refused() {
    run(async {
        let proxy = serving(&[("one", 2, echo("one").await), ("none", 0, echo("none").await)]).await;
        route(&proxy, "a", 1, &[("one", 2), ("none", 0), ("invalid", 1)]);
        proxy.apply().await.expect("applied");
        let mut refused = 0;
        for _ in 0..60 {
            let mut client = connect(&proxy).await;
            // It may be refused before it has said anything.
            let _ = client.shutdown().await;
            match read_all(client).await {
                Ok(text) => assert_eq!(text, "one"),
                Err(error) => {
                    assert!(
                        [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::NotConnected].contains(&error.kind())
                    );
                    refused += 1;
                }
            }
        }
        assert!((5..=40).contains(&refused), "{refused} of 60");
        assert_eq!(proxy.settled("invalid").await.responses, [0, 0, 0, 0, refused]);
        assert_eq!(proxy.settled("none").await.started, 0);
    });
}

#[test]
fn of_several_routes_only_the_oldest_serves() {
    run(async {
        let proxy = serving(&[("older", 1, echo("older").await), ("newer", 0, echo("newer").await)]).await;
        route(&proxy, "0-first-by-name", 2, &[("newer", 1)]);
        proxy.apply().await.expect("applied");
        for _ in 0..5 {
            assert_eq!(read_start(&proxy).await, "older");
        }
    });
}

#[test]
fn without_a_route_or_an_endpoint_a_connection_is_refused() {
    run(async {
        let (listener, gone) = listen().await;
        drop(listener);
        let proxy = serving(&[("gone", 1, gone)]).await;
        assert!(read_all(connect(&proxy).await).await.is_err());
        let totals = proxy.settled("gone").await;
        assert_eq!((totals.disruptions, totals.responses), (1, [0; 5]));
        route(&proxy, "a", 1, &[]);
        proxy.apply().await.expect("applied");
        assert!(read_all(connect(&proxy).await).await.is_err());
    });
}

#[test]
fn another_endpoint_is_asked_when_one_refuses() {
    run(async {
        let (listener, gone) = listen().await;
        drop(listener);
        let proxy = serving(&[("b", 1, gone)]).await;
        proxy.endpoints("b", Protocol::Http1, &[gone, echo("there").await]);
        proxy.apply().await.expect("applied");
        for _ in 0..10 {
            assert_eq!(read_start(&proxy).await, "there");
        }
        assert_eq!(proxy.settled("b").await.responses, [0, 10, 0, 0, 0]);
    });
}

#[test]
fn a_backend_that_hangs_up_without_a_word_has_failed() {
    run(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move { while listener.accept().await.is_ok() {} });
        let proxy = serving(&[("b", 1, address)]).await;
        let mut client = connect(&proxy).await;
        assert_eq!(client.read(&mut [0]).await.expect("an end"), 0);
        let totals = proxy.settled("b").await;
        assert_eq!((totals.connection_failures, totals.responses), (1, [0, 0, 0, 0, 1]));
    });
}

#[test]
fn a_side_that_does_not_read_stops_the_other() {
    run(async {
        let (listener, address) = listen().await;
        let proxy = serving(&[("b", 1, address)]).await;
        let mut client = connect(&proxy).await;
        let (backend, _) = listener.accept().await.expect("accepted");
        let chunk = vec![1; 256 * 1024];
        let mut sent = 0_usize;
        let stalled = std::time::Duration::from_millis(300);
        while let Ok(Ok(written)) = tokio::time::timeout(stalled, client.write(&chunk)).await {
            sent += written;
            assert!(sent < 64 * 1024 * 1024, "nobody stops the sender");
        }
        let ending = tokio::task::spawn_local(async move { client.shutdown().await.map(|()| client) });
        let mut all = Vec::new();
        tokio::io::BufReader::new(backend).read_to_end(&mut all).await.expect("read");
        assert_eq!(all.len(), sent);
        drop(ending.await);
    });
}

#[test]
fn a_drain_waits_for_connections_and_takes_new_ones_until_the_ports_close() {
    run(async {
        let proxy = serving(&[("b", 1, echo("hello").await)]).await;
        let mut client = connect(&proxy).await;
        let mut hello = [0; 5];
        client.read_exact(&mut hello).await.expect("read");
        proxy.plane.tell(|| crate::serve::worker::Message::Drain { spread: std::time::Duration::ZERO });
        assert_eq!(read_start(&proxy).await, "hello");
        proxy.plane.tell(|| crate::serve::worker::Message::CloseIdle);
        client.write_all(b"later").await.expect("sent");
        client.read_exact(&mut hello).await.expect("read");
        assert_eq!(&hello, b"later");
    });
}
