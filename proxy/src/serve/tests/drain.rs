//! Leaving loses nothing.

use std::rc::Rc;
use std::time::Duration;

use sluice_proxy_core::model::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::fixtures::{Echo, HOST, Proxy, run, until};
use crate::serve::drain::{Times, drain};
use crate::serve::plane::Stage;
use crate::serve::worker::Message;

const LONG: Duration = Duration::from_mins(1);

#[test]
fn an_idle_connection_is_answered_and_then_asked_to_leave() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let mut client = proxy.client().await;
        assert!(!client.get().await.head.contains("connection: close"));
        let leaving = tokio::task::spawn_local({
            let plane = Rc::clone(&proxy.plane);
            async move { drain(&plane, Times { delay: Duration::ZERO, spread: LONG, timeout: LONG }).await }
        });
        until("draining", async || *proxy.plane.stage.borrow() == Stage::Draining).await;
        let mut late = proxy.client().await;
        for client in [&mut client, &mut late] {
            loop {
                // Every connection's moment is now, instead of some time within the spread.
                proxy.plane.tell(|| Message::Drain { spread: Duration::ZERO });
                let answer = client.post("on the wire").await;
                assert_eq!(answer.status, 200);
                if answer.head.contains("connection: close") {
                    break;
                }
            }
            assert!(client.is_ended().await);
        }
        // Nothing is left, so it does not take the time that it might.
        leaving.await.expect("drained");
        assert!(TcpStream::connect(("127.0.0.1", proxy.port)).await.is_err());
    });
}

#[test]
fn an_open_request_ends_before_we_do() {
    run(async {
        let slow = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let proxy = Proxy::serving(&[("b", 1, &[slow.local_addr().expect("address")])]).await;
        let mut client = proxy.client().await;
        client.send(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi")).await;
        let (mut backend, _) = slow.accept().await.expect("a connection");
        assert!(backend.read(&mut [0; 4096]).await.expect("a request") > 0);
        let mut idle = proxy.client().await;
        let leaving = tokio::task::spawn_local({
            let plane = Rc::clone(&proxy.plane);
            async move { drain(&plane, Times { delay: Duration::ZERO, spread: Duration::ZERO, timeout: LONG }).await }
        });
        assert!(idle.is_ended().await, "what is idle is closed at the end");
        assert!(!leaving.is_finished());
        backend.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await.expect("answered");
        let answer = client.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
        leaving.await.expect("drained");
    });
}

#[test]
fn http2_clients_are_told_and_what_they_have_open_ends() {
    run(async {
        let slow = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let proxy = Proxy::serving(&[("b", 1, &[slow.local_addr().expect("address")])]).await;
        let stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connected");
        let builder = hyper::client::conn::http2::Builder::new(crate::serve::worker::LocalExecutor);
        let (mut client, connection) =
            builder.handshake(hyper_util::rt::TokioIo::new(stream)).await.expect("handshake");
        let connection = tokio::task::spawn_local(connection);
        let request = http::Request::get(format!("http://{HOST}/")).body(http_body_util::Empty::<bytes::Bytes>::new());
        let response = tokio::task::spawn_local(client.send_request(request.expect("request")));
        let (mut backend, _) = slow.accept().await.expect("a connection");
        assert!(backend.read(&mut [0; 4096]).await.expect("a request") > 0);
        proxy.plane.tell(|| Message::Drain { spread: Duration::ZERO });
        backend.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("answered");
        assert_eq!(response.await.expect("ran").expect("a response").status(), 200);
        connection.await.expect("ran").expect("ended by GOAWAY");
    });
}
