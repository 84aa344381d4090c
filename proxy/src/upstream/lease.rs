//! A connection while one request has it.

use std::net::SocketAddr;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;
use sluice_proxy_core::model::Protocol;

use super::connect::Http1;
use super::pool::{Endpoint, InFlight, Shared};
use crate::request::body::RequestBody;

/// A connection that is ours until it is put back or dropped. Dropped, an HTTP/1.1 connection is closed.
#[derive(Debug)]
pub(crate) struct Lease {
    in_flight: InFlight,
    sender: Sender,
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
        Self { shared }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.streams.set(self.shared.streams.get() - 1);
    }
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
        Self { in_flight: InFlight::new(endpoint), sender, reused }
    }

    /// Whom it is connected to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.in_flight.endpoint.address
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
        let Self { in_flight, sender, reused: _ } = self;
        if let Sender::Http1(connection) = sender {
            in_flight.endpoint.put_back(connection, now);
        }
    }
}
