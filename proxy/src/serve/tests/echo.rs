//! A backend for tests, in the clear or in TLS.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sluice_proxy_core::model::Protocol;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::serve::worker::LocalExecutor;
use crate::tls::stream::MaybeTls;

/// A connection that was made to a backend, after the handshake where it is in TLS; none where that failed.
pub(super) async fn accepted(stream: TcpStream, tls: Option<&TlsAcceptor>) -> Option<MaybeTls<TlsStream<TcpStream>>> {
    match tls {
        None => Some(MaybeTls::Plain(stream)),
        Some(tls) => tls.accept(stream).await.ok().map(|stream| MaybeTls::Tls(Box::new(stream))),
    }
}

/// A backend that answers with its name and the request's body.
pub(super) struct Echo {
    pub(super) address: SocketAddr,
    pub(super) served: Rc<Cell<u64>>,
    requests: Rc<RefCell<Vec<String>>>,
    connections: Rc<RefCell<Vec<tokio::task::AbortHandle>>>,
    accepting: tokio::task::AbortHandle,
}

impl Echo {
    pub(super) async fn start(name: &'static str, protocol: Protocol) -> Self {
        Self::serve(name, protocol, None).await
    }

    /// One in TLS: server name and protocol of each handshake are among what it has heard.
    pub(super) async fn secure(name: &'static str, protocol: Protocol, tls: TlsAcceptor) -> Self {
        Self::serve(name, protocol, Some(tls)).await
    }

    async fn serve(name: &'static str, protocol: Protocol, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let address = listener.local_addr().expect("address");
        let (served, connections) = (Rc::new(Cell::new(0)), Rc::<RefCell<Vec<_>>>::default());
        let requests = Rc::<RefCell<Vec<String>>>::default();
        let (count, live, all) = (Rc::clone(&served), Rc::clone(&connections), Rc::clone(&requests));
        let accepting = tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (count, all, heard) = (Rc::clone(&count), Rc::clone(&all), Rc::clone(&all));
                let tls = tls.clone();
                let service = service_fn(move |request| echo(name, Rc::clone(&count), Rc::clone(&all), request));
                let serving = tokio::task::spawn_local(async move {
                    let Some(stream) = accepted(stream, tls.as_ref()).await else { return };
                    if let MaybeTls::Tls(stream) = &stream {
                        let session = stream.get_ref().1;
                        let alpn = String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default());
                        let hello = format!("TLS {} {alpn}", session.server_name().unwrap_or_default());
                        heard.borrow_mut().push(hello);
                    }
                    let io = TokioIo::new(stream);
                    // How a connection ends is what the tests look at from the other side.
                    let _ = match protocol {
                        Protocol::Http1 => {
                            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                        }
                        Protocol::H2c => {
                            hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(io, service).await
                        }
                    };
                });
                live.borrow_mut().push(serving.abort_handle());
            }
        });
        Self { address, served, requests, connections, accepting: accepting.abort_handle() }
    }

    /// What it answered.
    pub(super) fn heard(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }

    /// Connections that are open.
    pub(super) fn connections(&self) -> usize {
        self.connections.borrow().iter().filter(|connection| !connection.is_finished()).count()
    }

    /// Connections that there ever were.
    pub(super) fn accepted(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Stops listening and closes every connection.
    pub(super) fn stop(&self) {
        self.accepting.abort();
        self.connections.borrow().iter().for_each(tokio::task::AbortHandle::abort);
    }
}

async fn echo(
    name: &'static str,
    served: Rc<Cell<u64>>,
    requests: Rc<RefCell<Vec<String>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    served.set(served.get() + 1);
    let mut answer = format!("{name} {} {}\n", head.method, head.uri).into_bytes();
    for (name, value) in &head.headers {
        answer.extend_from_slice(format!("{name}: {}\n", value.to_str().unwrap_or_default()).as_bytes());
    }
    answer.extend_from_slice(&body);
    requests.borrow_mut().push(String::from_utf8_lossy(&answer).into_owned());
    Ok(Response::new(Full::new(answer.into())))
}
