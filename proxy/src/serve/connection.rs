//! A client's connection: which HTTP it speaks, how long it may be idle, and how it ends.
//!
//! hyper's own way to end an HTTP/1 connection closes it at once when it is idle, and a request that is on the wire by
//! then is lost. So an idle connection is left open while we leave; its next response says `Connection: close`, and only
//! at the very end is it closed. HTTP/2 has GOAWAY for that.

mod serving;

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::HeaderValue;
use sluice_proxy_core::filter::redirect::Scheme;
use sluice_proxy_core::model::{Limits, Sharing};
use tokio::net::TcpStream;

use super::client::ClientStream;
use super::edges::Edge;
use super::goodbye;
use super::limits::{self, Limit};
pub(crate) use super::open::Open;
use super::patience::{self, Patience, Waiting};
use super::proxied;
use super::secure::{self, Secured};
use super::tcp::{self, Arrived};
use super::worker::Worker;
use crate::request::body::Upload;
use crate::upstream::Upgraded;

/// What a worker knows of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The port that the client connected to.
    pub(crate) bind_port: u16,
    /// Who is at its other end, or, where a load balancer says so in front of everything else, whom it is for.
    pub(crate) peer: IpAddr,
    /// The same, as backends read it.
    pub(crate) client: HeaderValue,
    /// The listener that the client's TLS chose.
    listener: OnceCell<Arc<str>>,
    /// What its Gateway asked for when it was made.
    limits: Limits,
    patience: Patience,
    requests: Cell<u32>,
    /// Requests so far, and those of them that were given up as soon as they were made.
    made: Cell<u32>,
    given_up: Cell<u32>,
    flooded: Cell<bool>,
    phase: Cell<Phase>,
    since: Cell<u32>,
    http2: Cell<bool>,
    leaves_at: Cell<Option<u32>>,
    order: Cell<Option<Order>>,
    waker: RefCell<Option<Waker>>,
    /// The backend's side of what the connection becomes after the response that is on its way.
    upgraded: RefCell<Option<Upgraded>>,
    /// Bodies that are waited for.
    uploads: RefCell<Vec<Upload>>,
    /// Whether a request was answered of which there may be more to come.
    unread: Cell<bool>,
}

/// What the connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The client.
    Idle,
    /// The rest of a head.
    Head,
    /// Us or the backend.
    Busy,
    /// Either side: it is not HTTP, or not any more.
    Tunnel,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// At once.
    Abort,
    /// After what is open or has begun to come in; when that is nothing, at once.
    Finish,
}

impl Connection {
    fn new(worker: &Worker, peer: IpAddr, bind_port: u16, limits: Limits) -> Option<Self> {
        Some(Self {
            bind_port,
            peer,
            client: HeaderValue::try_from(peer.to_string()).ok()?,
            limits,
            patience: Patience::of(&limits),
            listener: OnceCell::new(),
            requests: Cell::new(0),
            made: Cell::new(0),
            given_up: Cell::new(0),
            flooded: Cell::new(false),
            phase: Cell::new(Phase::Idle),
            since: Cell::new(worker.now()),
            http2: Cell::new(false),
            leaves_at: Cell::new(worker.leaves_at()),
            order: Cell::new(None),
            waker: RefCell::default(),
            upgraded: RefCell::default(),
            uploads: RefCell::default(),
            unread: Cell::new(false),
        })
    }

    /// Bytes have arrived.
    pub(crate) fn note_read(&self, now: u32) {
        match self.phase.get() {
            Phase::Idle => {
                self.phase.set(Phase::Head);
                self.since.set(now);
            }
            Phase::Busy | Phase::Tunnel => self.since.set(now),
            // The time for a head runs from its first byte.
            Phase::Head => {}
        }
    }

    /// Bytes have left.
    pub(crate) fn note_written(&self, now: u32) {
        if matches!(self.phase.get(), Phase::Busy | Phase::Tunnel) {
            self.since.set(now);
        }
    }

    /// The client's TLS chose a listener, which it can do once.
    pub(super) fn belongs_to(&self, listener: Arc<str>) {
        let _ = self.listener.set(listener);
    }

    /// The listener that the client's TLS chose.
    pub(crate) fn listener(&self) -> Option<&str> {
        self.listener.get().map(|listener| &**listener)
    }

    /// What the client speaks.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.listener.get().is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// What it waits for.
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// What it waits for from now on.
    pub(super) fn enter(&self, phase: Phase, now: u32) {
        self.phase.set(phase);
        self.since.set(now);
    }

    /// After the response that is about to be sent the connection is a WebSocket with this backend.
    pub(crate) fn becomes(&self, upgraded: Upgraded) {
        *self.upgraded.borrow_mut() = Some(upgraded);
    }

    /// Whether the client speaks HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.http2.get()
    }

    /// Whether the client is asked to leave with its next response.
    pub(crate) fn is_leaving(&self, now: u32) -> bool {
        self.leaves_at.get().is_some_and(|at| at <= now)
    }

    /// Sets the moment from which the client is asked to leave.
    pub(crate) fn leave_at(&self, moment: u32) {
        self.leaves_at.set(Some(moment));
    }

    /// A request was answered of which there may be more to come: the connection ends with that.
    pub(crate) fn leave_unread(&self) {
        self.unread.set(true);
    }

    /// Whether one was.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    /// Ends the connection after the request that is open, or now.
    pub(crate) fn close_when_idle(&self) {
        self.give(Order::Finish);
    }

    /// Ends what has waited for its client too long, and tells HTTP/2 clients to leave when it is time.
    pub(crate) fn sweep(&self, now: u32) {
        let seconds = now.saturating_sub(self.since.get());
        let (phase, http2, requests) = (self.phase.get(), self.http2.get(), self.requests.get());
        let leaving = self.is_leaving(now);
        if let Some(order) = patience::verdict(Waiting { phase, http2, requests, seconds, leaving }, self.patience) {
            self.give(order);
        }
        self.uploads.borrow_mut().retain(Upload::waits);
    }

    /// Watches over a body that is waited for.
    pub(crate) fn watch(&self, upload: Upload) {
        self.uploads.borrow_mut().push(upload);
    }

    /// A request is open.
    pub(super) fn begin(&self, now: u32) {
        self.requests.set(self.requests.get() + 1);
        self.made.set(self.made.get().saturating_add(1));
        self.enter(Phase::Busy, now);
    }

    /// One is open no more, perhaps because its client gave it up as soon as it had made it. Returns whether that was once
    /// too often, which ends the connection.
    pub(super) fn end(&self, now: u32, given_up: bool) -> bool {
        self.requests.set(self.requests.get() - 1);
        if self.requests.get() == 0 {
            self.enter(Phase::Idle, now);
        }
        if !given_up || !self.http2.get() || self.flooded.get() {
            return false;
        }
        self.given_up.set(self.given_up.get() + 1);
        let flood = limits::is_reset_flood(self.given_up.get(), self.made.get());
        if flood {
            self.flooded.set(true);
            self.give(Order::Abort);
        }
        flood
    }

    fn give(&self, order: Order) {
        self.leaves_at.set(Some(0));
        self.order.set(Some(order));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: std::net::TcpStream, peer: IpAddr, port: u16) {
    let peer = peer.to_canonical();
    let edge = worker.snapshot().edges.of(port).cloned();
    match edge {
        None => serve_client(&worker, stream, peer, port, Limits::default()).await,
        // Apart, so that connections of Gateways that ask for nothing are no larger for it.
        Some(edge) => Box::pin(admit(&worker, &edge, stream, peer, port)).await,
    }
    worker.load.connections.fetch_sub(1, Relaxed);
}

/// Serves a connection as far as its Gateway lets it in.
async fn admit(worker: &Rc<Worker>, edge: &Edge, stream: std::net::TcpStream, peer: IpAddr, port: u16) {
    let Some(_admitted) = edge.admit() else {
        worker.load.hits.count(Limit::GatewayConnections);
        let is_clear = worker.snapshot().sharing(port) == Some(Sharing::Host);
        if let (true, Ok(stream)) = (is_clear, TcpStream::from_std(stream)) {
            goodbye::turn_away(ClientStream::Plain(stream)).await;
        }
        return;
    };
    let proxied =
        edge.settings.proxy_protocol.as_ref().filter(|asked| asked.trusted.iter().any(|net| net.contains(peer)));
    let Some(asked) = proxied else { return serve_client(worker, stream, peer, port, edge.settings.limits).await };
    match take_header(stream, Duration::from_millis(asked.timeout)).await {
        Ok((stream, source)) => {
            serve_client(worker, stream, source.unwrap_or(peer), port, edge.settings.limits).await;
        }
        Err(error) => {
            worker.load.hits.count(Limit::ProxyHeader);
            tracing::debug!(%peer, %error, "A connection is closed");
        }
    }
}

/// Takes the PROXY header off. Returns whom the connection is for, if that is not its other end.
async fn take_header(
    stream: std::net::TcpStream,
    most: Duration,
) -> Result<(std::net::TcpStream, Option<IpAddr>), proxied::HeaderError> {
    let mut stream = TcpStream::from_std(stream)?;
    let source = proxied::take_header(&mut stream, most).await?;
    Ok((stream.into_std()?, source))
}

/// Serves a client to its end.
async fn serve_client(worker: &Rc<Worker>, stream: std::net::TcpStream, peer: IpAddr, port: u16, limits: Limits) {
    let Some(connection) = Connection::new(worker, peer, port, limits).map(Rc::new) else { return };
    let place = worker.connections.borrow_mut().insert(Rc::clone(&connection));
    let served = serve_stream(worker, stream, &connection).await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "A connection ended");
    }
    worker.connections.borrow_mut().remove(place);
}

type ServeError = Box<dyn std::error::Error + Send + Sync>;

async fn serve_stream(
    worker: &Rc<Worker>,
    stream: std::net::TcpStream,
    connection: &Rc<Connection>,
) -> Result<(), ServeError> {
    // Asked before, so that the connection does not keep the snapshot as long as it lives.
    let sharing = worker.snapshot().sharing(connection.bind_port);
    // What is not HTTP in the clear is kept apart, so that this is no larger for it.
    match sharing {
        Some(Sharing::Nothing) => {
            let arrived = Arrived::plain(TcpStream::from_std(stream)?);
            Ok(Box::pin(tcp::serve(worker, connection, arrived)).await?)
        }
        Some(Sharing::ServerName) => {
            let accepted = Box::pin(secure::accept(worker, connection, TcpStream::from_std(stream)?)).await?;
            match accepted {
                Some(Secured::Http(stream)) => Box::pin(serving::serve(worker, stream, connection)).await,
                Some(Secured::Passing(arrived)) => Ok(Box::pin(tcp::serve(worker, connection, arrived)).await?),
                None => Ok(()),
            }
        }
        Some(Sharing::Host) | None => {
            serving::serve(worker, ClientStream::Plain(TcpStream::from_std(stream)?), connection).await
        }
    }
}

/// Polls `step` with the order that the connection was given meanwhile, and lets an order wake it.
pub(super) async fn until<T>(
    connection: &Connection,
    mut step: impl FnMut(&mut std::task::Context<'_>, Option<Order>) -> Poll<T>,
) -> T {
    std::future::poll_fn(|context| {
        let mut waker = connection.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        drop(waker);
        step(context, connection.order.take())
    })
    .await
}
