//! One connection on which requests are made one after the other, to see what is served.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::load::Target;

/// A connection.
#[derive(Debug)]
pub struct Probe {
    sender: SendRequest<Empty<Bytes>>,
}

impl Probe {
    /// Opens it.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    /// On a connection that is there.
    pub async fn over<S>(stream: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, driver) = handshake(TokioIo::new(stream)).await.context("handshake")?;
        // Its errors come back through the request that they break.
        tokio::spawn(driver);
        Ok(Self { sender })
    }

    /// Status and headers of the answer to a GET.
    pub async fn get(&mut self, target: &Target) -> Result<(StatusCode, HeaderMap)> {
        self.send(Request::get(&target.path).header(header::HOST, &target.host).body(Empty::new())?).await
    }

    /// Status and headers of the answer to a request.
    pub async fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<(StatusCode, HeaderMap)> {
        self.sender.ready().await.context("the connection has ended")?;
        let (head, body) = self.sender.send_request(request).await.context("no answer")?.into_parts();
        body.collect().await.context("the answer was cut off")?;
        Ok((head.status, head.headers))
    }
}
