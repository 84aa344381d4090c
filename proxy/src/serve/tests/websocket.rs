//! Connections that become WebSockets.

use std::time::Duration;

use sluice_proxy_core::model::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::fixtures::{Echo, HOST, Proxy, accepted, run, until};
use crate::serve::worker::Message;

const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: x\r\n\r\n";

pub(super) fn handshake(more: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nhost: {HOST}\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\n{more}\r\n"
    )
}

/// A backend that agrees, greets in the same breath and then repeats what it hears.
pub(super) async fn backend(tls: Option<TlsAcceptor>) -> std::net::SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
    let address = listener.local_addr().expect("address");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::task::spawn_local(async move {
                let mut stream = accepted(stream, tls.as_ref()).await.expect("a handshake");
                let mut bytes = [0; 4096];
                let read = stream.read(&mut bytes).await.expect("a request");
                let head = String::from_utf8_lossy(&bytes[..read]).to_lowercase();
                assert!(head.contains("\r\nupgrade: websocket\r\n") && head.contains("\r\nconnection: upgrade\r\n"));
                assert!(head.contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
                stream.write_all(format!("{AGREED}hello").as_bytes()).await.expect("agreed");
                stream.flush().await.expect("agreed");
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    stream.write_all(&bytes[..read]).await.expect("repeated");
                    stream.flush().await.expect("repeated");
                }
            });
        }
    });
    address
}

#[test]
fn bytes_pass_both_ways_and_an_end_passes_too() {
    run(async {
        let proxy = Proxy::serving(&[("b", 1, &[backend(None).await])]).await;
        let mut client = proxy.client().await;
        let answer = client.exchange(&handshake("")).await;
        assert_eq!(answer.status, 101);
        for line in ["upgrade: websocket", "connection: upgrade", "sec-websocket-accept: x"] {
            assert!(answer.head.contains(line), "{}", answer.head);
        }
        client.hears("hello").await;
        // Nothing of it is read as HTTP any more.
        for said in ["\x00\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "bye"] {
            client.send(said).await;
            client.hears(said).await;
        }
        let totals = proxy.settled("b").await;
        assert_eq!((totals.started, totals.responses), (1, [1, 0, 0, 0, 0]), "it is answered while it is open");
        assert_eq!(proxy.plane.requests(), 1, "and open for whoever waits for the end");
        client.end().await;
        assert!(client.is_ended().await);
        until("it has ended", async || proxy.plane.connections() == 0).await;
    });
}

#[test]
fn one_that_is_open_is_not_closed_with_what_is_idle() {
    run(async {
        let proxy = Proxy::serving(&[("b", 1, &[backend(None).await])]).await;
        let mut client = proxy.client().await;
        assert_eq!(client.exchange(&handshake("")).await.status, 101);
        client.hears("hello").await;
        proxy.plane.tell(|| Message::Drain { spread: Duration::ZERO });
        proxy.plane.tell(|| Message::CloseIdle);
        client.send("still here").await;
        client.hears("still here").await;
    });
}

#[test]
fn a_backend_that_does_not_agree_answers_as_ever() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let mut client = proxy.client().await;
        for _ in 0..2 {
            let answer = client.exchange(&handshake("")).await;
            assert!(answer.status == 200 && answer.body.contains("upgrade: websocket\n"), "{answer:?}");
        }
        // Other protocols are not passed on.
        let answer = client
            .exchange(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"))
            .await;
        assert!(!answer.body.contains("upgrade:"), "{}", answer.body);
    });
}

#[test]
fn a_client_that_does_not_wait_for_the_answer_gets_no_backend() {
    run(async {
        let proxy = Proxy::serving(&[("b", 1, &[backend(None).await])]).await;
        let mut client = proxy.client().await;
        client.send(&format!("{}\x00early", handshake(""))).await;
        while client.answer().await.is_some() {}
        assert!(client.is_ended().await);
    });
}
