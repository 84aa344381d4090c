//! gRPC: messages and trailers pass both ways while both sides speak, and what is counted is what the trailers say.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sluice_proxy_core::model::Protocol;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::fixtures::{HOST, Proxy, run, until};
use crate::serve::worker::LocalExecutor;

type Frames = StreamBody<ReceiverStream<Result<Frame<Bytes>, std::convert::Infallible>>>;
type Sender = mpsc::Sender<Result<Frame<Bytes>, std::convert::Infallible>>;

fn frames() -> (Sender, Frames) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, StreamBody::new(ReceiverStream::new(receiver)))
}

/// A backend that sends every message back as it comes, and in the end the status that the request's `x-code` asks for;
/// without one it ends without trailers.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = listener.local_addr().expect("address");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: Request<Incoming>| {
                let (sender, body) = frames();
                tokio::task::spawn_local(answer(request, sender));
                let response = Response::builder().header("content-type", "application/grpc").body(body);
                Ok::<_, std::convert::Infallible>(response.expect("response"))
            });
            let server = hyper::server::conn::http2::Builder::new(LocalExecutor);
            tokio::task::spawn_local(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn answer(request: Request<Incoming>, to: Sender) {
    let (head, mut body) = request.into_parts();
    while let Some(Ok(frame)) = body.frame().await {
        if frame.is_data() && to.send(Ok(frame)).await.is_err() {
            return;
        }
    }
    if let Some(code) = head.headers.get("x-code") {
        let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("name"), code.clone())]);
        let _ = to.send(Ok(Frame::trailers(trailers))).await;
    }
}

struct Client(http2::SendRequest<Frames>);

impl Client {
    async fn connect(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.expect("connected");
        let (sender, connection) =
            http2::Builder::new(LocalExecutor).handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::task::spawn_local(connection);
        Self(sender)
    }

    /// Begins a call; what is sent is its messages.
    async fn call(&mut self, host: &str, code: &str) -> (Sender, Response<Incoming>) {
        let (sender, body) = frames();
        let request = Request::post(format!("http://{host}/a.Echo/Say"))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .header("grpc-timeout", "10S")
            .header("x-code", code);
        let response = self.0.send_request(request.body(body).expect("request")).await.expect("a response");
        (sender, response)
    }
}

async fn end(sender: Sender, response: Response<Incoming>) -> Option<HeaderValue> {
    drop(sender);
    let collected = response.into_body().collect().await.expect("a body");
    collected.trailers().and_then(|trailers| trailers.get("grpc-status").cloned())
}

async fn serving() -> Proxy {
    let proxy = Proxy::serving(&[("a/b:1+h2c", 1, &[])]).await;
    proxy.endpoints("a/b:1+h2c", Protocol::H2c, &[echo().await]);
    proxy.apply().await.expect("applied");
    proxy
}

#[test]
fn both_sides_speak_in_turn_and_trailers_arrive() {
    run(async {
        let proxy = serving().await;
        let mut client = Client::connect(&proxy).await;
        let (sender, mut response) = client.call(HOST, "0").await;
        assert!(!response.headers().contains_key("connection"));
        for message in ["one", "two", "three"] {
            sender.send(Ok(Frame::data(message.into()))).await.expect("sent");
            let frame = response.body_mut().frame().await.expect("a frame").expect("read");
            assert_eq!(frame.into_data().expect("data"), message);
        }
        assert_eq!(proxy.counted("a/b:1").await.in_flight(), 1);
        assert_eq!(end(sender, response).await, Some(HeaderValue::from_static("0")));
        assert_eq!(proxy.settled("a/b:1").await.responses, [0, 1, 0, 0, 0]);
    });
}

#[test]
fn what_the_trailers_say_is_counted_and_not_the_status_of_http() {
    run(async {
        let proxy = serving().await;
        let mut client = Client::connect(&proxy).await;
        for code in ["0", "5", "14"] {
            let (sender, response) = client.call(HOST, code).await;
            assert_eq!(response.status(), 200);
            assert_eq!(end(sender, response).await, Some(HeaderValue::from_static(code)));
        }
        assert_eq!(proxy.settled("a/b:1").await.responses, [0, 1, 0, 1, 1]);
    });
}

#[test]
fn who_goes_away_before_the_trailers_is_neither_success_nor_failure() {
    run(async {
        let proxy = serving().await;
        let mut client = Client::connect(&proxy).await;
        let (sender, response) = client.call(HOST, "0").await;
        drop((response, sender));
        until("the call has ended", async || {
            let totals = proxy.counted("a/b:1").await;
            totals.started == 1 && totals.in_flight() == 0
        })
        .await;
        let totals = proxy.settled("a/b:1").await;
        assert_eq!((totals.responses, totals.connection_failures), ([0; 5], 0));
    });
}

#[test]
fn a_slow_reader_stops_the_sender() {
    run(async {
        let proxy = serving().await;
        let mut client = Client::connect(&proxy).await;
        let (sender, response) = client.call(HOST, "0").await;
        let message = Bytes::from(vec![0; 64 * 1024]);
        let mut sent = 0_usize;
        // Every buffer on the way is full when nothing more is taken: each hop holds its window and little else.
        while let Ok(Ok(())) =
            tokio::time::timeout(std::time::Duration::from_millis(300), sender.send(Ok(Frame::data(message.clone()))))
                .await
        {
            sent += message.len();
            assert!(sent < 16 * 1024 * 1024, "nobody stops the sender");
        }
        let reading = tokio::task::spawn_local(async move { response.into_body().collect().await });
        sender.send(Ok(Frame::data("the last".into()))).await.expect("sent");
        drop(sender);
        let all = reading.await.expect("read").expect("a body").to_bytes();
        assert!(all.len() >= sent && all.ends_with(b"the last"), "{} of {sent}", all.len());
    });
}

#[test]
fn what_the_proxy_answers_itself_is_a_status_without_a_message() {
    run(async {
        let proxy = Proxy::serving(&[("a/b:1+h2c", 1, &[])]).await;
        let mut client = Client::connect(&proxy).await;
        for (host, code) in [("other.test", "12"), (HOST, "14")] {
            let (sender, response) = client.call(host, "0").await;
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], code);
            assert_eq!(response.headers()["content-type"], "application/grpc");
            assert_eq!(end(sender, response).await, None, "there is nothing after the head");
        }
        assert_eq!(proxy.settled("a/b:1").await.responses, [0, 0, 0, 0, 1]);
    });
}
