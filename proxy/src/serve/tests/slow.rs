//! Clients that take their time. Seconds pass because the tests say so.

use std::time::Duration;

use sluice_proxy_core::model::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::fixtures::{Answer, Client, Echo, HOST, Proxy, run, until};
use crate::serve::limits::Limit;
use crate::serve::patience::{BODY_RATE, BODY_SECONDS, HEAD_SECONDS};
use crate::serve::worker::Message;

/// Seconds from which the tests' clock goes on: ahead of the worker's own, and far from where an idle connection ends.
const NOW: u32 = 5;

/// Lets seconds pass until the proxy answers.
async fn answer_in_time(proxy: &Proxy, client: &mut Client, most: u32) -> Answer {
    for now in NOW..NOW + most {
        proxy.plane.tell(|| Message::Tick(now));
        if let Ok(answer) = timeout(Duration::from_millis(5), client.answer()).await {
            return answer.expect("an answer");
        }
    }
    panic!("no answer in {most} s");
}

#[test]
fn a_head_that_does_not_end_is_answered_408() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        // The second one could still become HTTP/2.
        for begun in ["GET / HTTP/1.1\r\nhost: a\r\nx-slow: ", "P"] {
            let mut client = proxy.client().await;
            client.send(begun).await;
            let answer = answer_in_time(&proxy, &mut client, 5 * HEAD_SECONDS).await;
            assert_eq!(answer.status, 408, "{begun:?}");
            assert!(answer.head.contains("connection: close"), "{}", answer.head);
            assert!(client.is_ended().await);
        }
        assert_eq!((echo.served.get(), proxy.plane.hits(Limit::SlowHead)), (0, 2));
    });
}

#[test]
fn a_second_head_has_its_own_time() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let mut client = proxy.client().await;
        assert_eq!(client.get().await.status, 200);
        client.send("GET / HT").await;
        assert_eq!(answer_in_time(&proxy, &mut client, 5 * HEAD_SECONDS).await.status, 408);
        assert!(client.is_ended().await);
    });
}

#[test]
fn a_body_that_does_not_come_is_answered_408_and_blames_nobody_else() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let mut client = proxy.client().await;
        client.send(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1000\r\n\r\nonly this")).await;
        until("the request is in flight", async || proxy.counted("b").await.in_flight() == 1).await;
        let answer = answer_in_time(&proxy, &mut client, 3 * BODY_SECONDS).await;
        assert_eq!(answer.status, 408);
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        assert!(client.is_ended().await);
        let totals = proxy.settled("b").await;
        assert_eq!((totals.responses, totals.connection_failures, totals.disruptions), ([0; 5], 0, 0));
        assert_eq!(proxy.plane.hits(Limit::SlowBody), 1);
        assert_eq!(proxy.client().await.get().await.status, 200);
    });
}

#[test]
fn a_body_that_keeps_its_pace_may_take_long() {
    run(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let proxy = Proxy::serving(&[("b", 1, &[listener.local_addr().expect("address")])]).await;
        let mut client = proxy.client().await;
        let (seconds, piece) = (3 * BODY_SECONDS, "x".repeat(BODY_RATE as usize));
        let length = seconds as usize * piece.len();
        client.send(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {length}\r\n\r\n")).await;
        let (mut backend, _) = listener.accept().await.expect("a connection");
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(backend.read_u8().await.expect("a head"));
        }
        let mut passed = vec![0; piece.len()];
        for second in 0..seconds {
            client.send(&piece).await;
            backend.read_exact(&mut passed).await.expect("a piece");
            proxy.plane.tell(|| Message::Tick(NOW + second));
        }
        backend.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("answered");
        assert_eq!(client.answer().await.expect("an answer").status, 200);
    });
}
