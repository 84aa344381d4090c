//! A connection while one request has it.

use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use sluice_proxy_core::model::Protocol;
use sluice_proxy_core::table::Target;
use tokio::sync::oneshot;

use super::connect::Http1;
use super::pool::{Endpoint, InFlight, Shared};
use super::socket::Socket;
use crate::request::body::RequestBody;

/// A connection that is ours until it is put back or dropped. Dropped, an HTTP/1.1 connection is closed.
#[derive(Debug)]
pub(crate) struct Lease {
    in_flight: InFlight,
    sender: Sender,
    /// Gives out what was read after a response that changes the protocol.
    rest: Option<oneshot::Receiver<Bytes>>,
    /// Whether it has served a request before, so that its server may just be closing it.
    pub(crate) reused: bool,
}

#[derive(Debug)]
pub(super) enum Sender {
    Http1(Http1),
    Http2(Stream),
}

/// One stream of a shared connection.
#[derive(Debug)]
pub(super) struct Stream {
    shared: Rc<Shared>,
}

impl Stream {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        shared.served.set(shared.served.get().saturating_add(1));
        Self { shared }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.streams.set(self.shared.streams.get() - 1);
    }
}

/// A connection that is not HTTP any more.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) socket: Socket,
    /// What has come on it already.
    pub(crate) rest: oneshot::Receiver<Bytes>,
    /// Counts it at its endpoint.
    pub(crate) in_flight: InFlight,
}

/// Why a request has no response.
#[derive(Debug)]
pub(crate) struct SendError {
    /// What happened.
    pub(crate) error: hyper::Error,
    /// The request, when nothing of it was sent.
    pub(crate) unsent: Option<Box<Request<RequestBody>>>,
}

impl Lease {
    pub(super) fn new(endpoint: Rc<Endpoint>, sender: Sender, reused: bool) -> Self {
        Self { in_flight: InFlight::new(endpoint), sender, rest: None, reused }
    }

    pub(super) fn upgradable(self, rest: oneshot::Receiver<Bytes>) -> Self {
        Self { rest: Some(rest), ..self }
    }

    /// The connection after a response that has changed its protocol; none unless it was leased for that.
    pub(crate) fn upgrade(self) -> Option<Upgraded> {
        match (self.sender, self.rest) {
            (Sender::Http1(Http1 { socket, .. }), Some(rest)) => {
                Some(Upgraded { socket, rest, in_flight: self.in_flight })
            }
            _ => None,
        }
    }

    /// Whom it is connected to.
    pub(crate) fn target(&self) -> &Target {
        &self.in_flight.endpoint.target
    }

    /// The endpoint that it is connected to.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.in_flight.endpoint
    }

    /// Whether it is in TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.in_flight.endpoint.is_secure()
    }

    /// What is spoken on it.
    pub(crate) fn protocol(&self) -> Protocol {
        match self.sender {
            Sender::Http1(_) => Protocol::Http1,
            Sender::Http2(_) => Protocol::H2c,
        }
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        let sent = match &mut self.sender {
            Sender::Http1(connection) => connection.sender.try_send_request(request).await,
            Sender::Http2(stream) => stream.shared.sender.clone().try_send_request(request).await,
        };
        sent.map_err(|mut error| SendError { unsent: error.take_message().map(Box::new), error: error.into_error() })
    }

    /// Gives the connection back after a whole response to a whole request.
    pub(crate) fn put_back(self, now: u32) {
        let Self { in_flight, sender, rest, reused: _ } = self;
        if let (Sender::Http1(connection), None) = (sender, rest) {
            in_flight.endpoint.put_back(connection, now);
        }
    }
}
