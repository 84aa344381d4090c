//! A kept-alive connection of one worker, whichever HTTP it speaks.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{LoadConfig, Protocol};
use crate::local::LocalExecutor;

/// What a worker sends.
type Outgoing = Request<Full<Bytes>>;

/// One connection, with at most one request at a time.
pub(super) enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Connects. Errors of the connection come back through the request that they break.
    pub(super) async fn open(config: &LoadConfig) -> Result<Self> {
        if let Some(tls) = &config.tls {
            return Self::on(tls.connect(config.address).await?, config.protocol).await;
        }
        let stream = TcpStream::connect(config.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        Self::on(stream, config.protocol).await
    }

    async fn on<S>(stream: S, protocol: Protocol) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let stream = TokioIo::new(stream);
        Ok(match protocol {
            Protocol::Http1 => {
                let (sender, driver) = http1::handshake(stream).await.context("handshake")?;
                tokio::task::spawn_local(driver);
                Self::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, driver) = http2::handshake(LocalExecutor, stream).await.context("handshake")?;
                tokio::task::spawn_local(driver);
                Self::Http2(sender)
            }
        })
    }

    /// The connection, if it takes another request.
    pub(super) async fn reusable(mut self) -> Option<Self> {
        let ready = match &mut self {
            Self::Http1(sender) => sender.ready().await,
            Self::Http2(sender) => sender.ready().await,
        };
        ready.ok().map(|()| self)
    }

    /// Sends a request; an error hands back what was not written.
    pub(super) async fn send(&mut self, request: Outgoing) -> Result<Response<Incoming>, TrySendError<Outgoing>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        }
    }
}
