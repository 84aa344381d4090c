//! Clients of a bidirectional gRPC stream (gRPC over HTTP/2, length-prefixed messages and `grpc-status` in the trailers).

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::channel::mpsc;
use http::{Request, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Shared;
use crate::local::LocalExecutor;

type Upload = StreamBody<mpsc::UnboundedReceiver<Result<Frame<Bytes>, std::convert::Infallible>>>;

/// Opens one after the other, on the connection that it has as long as that takes streams.
pub(super) async fn client(shared: &Shared) {
    let mut connection = None;
    while !*shared.stopped.borrow() {
        match stream(shared, &mut connection).await {
            Ok(()) => shared.count(|tally| tally.ended += 1),
            Err(error) => {
                connection = None;
                shared.count(|tally| tally.failures.push(format!("gRPC: {error:#}")));
            }
        }
    }
}

async fn stream(shared: &Shared, connection: &mut Option<SendRequest<Upload>>) -> Result<()> {
    shared.count(|tally| tally.opened += 1);
    let (upload, messages) = mpsc::unbounded();
    let request: Request<Upload> = Request::post(format!("http://{}/echo", shared.config.host))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(StreamBody::new(messages))?;
    let response = open(shared, connection, request).await?;
    ensure!(response.status().is_success(), "status {}", response.status());
    let mut echoes = Echoes { body: response.into_body(), read: BytesMut::new() };
    shared
        .talk(async |message| {
            upload.unbounded_send(Ok(Frame::data(framed(&message)))).context("send")?;
            let echo = echoes.next().await?;
            ensure!(echo == message, "{echo:?} came back of {message:?}");
            Ok(())
        })
        .await?;
    drop(upload);
    echoes.end().await
}

/// Opens a stream: on the connection that there is, or on a new one where that takes none any more.
async fn open(
    shared: &Shared,
    connection: &mut Option<SendRequest<Upload>>,
    mut request: Request<Upload>,
) -> Result<Response<Incoming>> {
    loop {
        let kept = reusable(connection.take()).await;
        let is_fresh = kept.is_none();
        let mut sender = match kept {
            Some(kept) => kept,
            None => connect(shared).await?,
        };
        match sender.try_send_request(request).await {
            Ok(response) => {
                *connection = Some(sender);
                return Ok(response);
            }
            // Handed back unwritten, because GOAWAY was said meanwhile: not a retry.
            Err(mut error) => match error.take_message().filter(|_| !is_fresh) {
                Some(unwritten) => request = unwritten,
                None => return Err(error.into_error()).context("open"),
            },
        }
    }
}

/// The connection, unless GOAWAY was said on it.
async fn reusable(connection: Option<SendRequest<Upload>>) -> Option<SendRequest<Upload>> {
    let mut connection = connection?;
    connection.ready().await.ok().map(|()| connection)
}

async fn connect(shared: &Shared) -> Result<SendRequest<Upload>> {
    let stream = TcpStream::connect(shared.config.address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let (sender, driver) = handshake(LocalExecutor, TokioIo::new(stream)).await.context("handshake")?;
    tokio::task::spawn_local(driver);
    shared.count(|tally| tally.connections += 1);
    Ok(sender)
}

/// A message with its prefix: not compressed, and its length.
fn framed(message: &str) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or_default());
    framed.put_slice(message.as_bytes());
    framed.freeze()
}

/// The messages that come back.
struct Echoes {
    body: Incoming,
    read: BytesMut,
}

impl Echoes {
    async fn next(&mut self) -> Result<String> {
        loop {
            if let Some(length) = self.read.get(1..5).map(|mut prefix| prefix.get_u32() as usize)
                && self.read.len() >= 5 + length
            {
                self.read.advance(5);
                return Ok(String::from_utf8(self.read.split_to(length).to_vec())?);
            }
            let frame = self.body.frame().await.context("the stream ended")?.context("receive")?;
            self.read.extend_from_slice(frame.data_ref().context("trailers came in the middle")?);
        }
    }

    /// Reads to the end, which is to be in good order.
    async fn end(mut self) -> Result<()> {
        let trailers = self.body.frame().await.context("the stream ended without trailers")?.context("receive")?;
        let status = trailers.trailers_ref().and_then(|trailers| trailers.get("grpc-status"));
        ensure!(status.is_some_and(|status| status == "0"), "grpc-status {status:?}");
        Ok(())
    }
}
