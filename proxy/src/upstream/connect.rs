//! Opening connections to endpoints.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use sluice_proxy_core::model::Protocol;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::socket::{ServerStream, Socket};
use crate::request::body::RequestBody;
use crate::serve::worker::LocalExecutor;
use crate::tls::connectors::Connector;

/// Long enough for the first SYN to be lost once: the kernel sends the second after one second.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for the handshake of TLS that follows: two ways there and back, and arithmetic at a busy backend.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest head of a response.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Bytes that a stream and a connection may have in flight towards us before we have passed them on.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How often an HTTP/2 connection with open streams is asked whether it is alive, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The endpoint or the network said no.
    #[error("connection refused: {0}")]
    Refused(#[source] io::Error),
    /// It was open and ended before it could be used.
    #[error("handshake failed: {0}")]
    Handshake(#[source] hyper::Error),
    /// Nobody answered.
    #[error("connection timed out")]
    TimedOut,
    /// It is not the backend that was meant, or does not take us for who we are, or does not speak TLS.
    #[error("TLS failed: {0}")]
    Tls(#[source] io::Error),
}

/// Where a connection is made to, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) address: SocketAddr,
    /// None where it is spoken to in the clear.
    pub(super) connector: Option<&'a Arc<Connector>>,
    /// How long it may take to take the connection.
    pub(super) timeout: Duration,
}

impl Way<'_> {
    /// Opens a connection; with no protocol, for whatever is passed on.
    pub(super) async fn open(self, protocol: Option<Protocol>) -> Result<ServerStream, ConnectError> {
        let stream = open(self.address, self.timeout).await?;
        let Some(connector) = self.connector else { return Ok(ServerStream::Plain(stream)) };
        // Apart, because most connections are in the clear and are to be no larger for this.
        let secured = Box::pin(tokio::time::timeout(HANDSHAKE_TIMEOUT, connector.secure(stream, protocol))).await;
        let stream = secured.map_err(|_| ConnectError::TimedOut)?.map_err(ConnectError::Tls)?;
        Ok(ServerStream::Tls(Box::new(stream)))
    }
}

async fn open(address: SocketAddr, timeout: Duration) -> Result<TcpStream, ConnectError> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| ConnectError::TimedOut)?
        .map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => ConnectError::TimedOut,
            _ => ConnectError::Refused(error),
        })?;
    // Only a hint: a connection without it still works.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// An HTTP/1.1 connection that is open.
#[derive(Debug)]
pub(crate) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) socket: Socket,
    /// Requests that it has been used for.
    pub(super) served: u32,
}

/// Opens an HTTP/1.1 connection. A task of the worker drives it until its sender is dropped.
pub(super) async fn http1(way: Way<'_>) -> Result<Http1, ConnectError> {
    let (opened, connection) = handshake(way).await?;
    // Its errors reach the request through the sender.
    tokio::task::spawn_local(connection);
    Ok(opened)
}

/// Opens an HTTP/1.1 connection for a request after which it may be something else. Gives out what has been read of that
/// when it is.
pub(super) async fn upgradable(way: Way<'_>) -> Result<(Http1, oneshot::Receiver<Bytes>), ConnectError> {
    let (opened, mut connection) = handshake(way).await?;
    let (sender, rest) = oneshot::channel();
    tokio::task::spawn_local(async move {
        if (&mut connection).await.is_ok() {
            // Nobody waits for it where the request came to something else.
            let _ = sender.send(connection.into_parts().read_buf);
        }
    });
    Ok((opened, rest))
}

type Connection = http1::Connection<TokioIo<Socket>, RequestBody>;

async fn handshake(way: Way<'_>) -> Result<(Http1, Connection), ConnectError> {
    let socket = Socket::new(way.open(Some(Protocol::Http1)).await?);
    let io = TokioIo::new(socket.clone());
    let (sender, connection) =
        http1::Builder::new().max_header_size(MAX_HEAD_BYTES).handshake(io).await.map_err(ConnectError::Handshake)?;
    Ok((Http1 { sender, socket, served: 0 }, connection))
}

/// Opens an HTTP/2 connection, in the clear with prior knowledge. A task of the worker drives it until its senders are dropped.
pub(super) async fn http2(way: Way<'_>) -> Result<http2::SendRequest<RequestBody>, ConnectError> {
    let io = TokioIo::new(way.open(Some(Protocol::H2c)).await?);
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake(io)
        .await
        .map_err(ConnectError::Handshake)?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}
