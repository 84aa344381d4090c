//! A client's connection: which HTTP it speaks, how long it may be idle, and how it ends.
//!
//! hyper's own way to end an HTTP/1 connection closes it at once when it is idle, and a request that is on the wire by
//! then is lost. So an idle connection is left open while we leave; its next response says `Connection: close`, and only
//! at the very end is it closed. HTTP/2 has GOAWAY for that.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker};

use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use sluice_proxy_core::filter::redirect::Scheme;
use sluice_proxy_core::framing;
use sluice_proxy_core::model::Sharing;
use tokio::net::TcpStream;

use super::client::ClientStream;
use super::limits::{
    self, BUFFER, CONNECTION_WINDOW, FRAME, HEADER_TABLE, LOCAL_RESETS, Limit, PENDING_RESETS, STREAM_WINDOW, STREAMS,
};
pub(crate) use super::open::Open;
use super::patience::{self, Waiting};
use super::secure::{self, Secured};
use super::tcp::{self, Arrived};
use super::wire::{Wire, sniff};
use super::worker::{LocalExecutor, Worker};
use super::{goodbye, tunnel};
use crate::request;
use crate::request::body::Upload;
use crate::upstream::Upgraded;

/// What a worker knows of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The port that the client connected to.
    pub(crate) bind_port: u16,
    /// The client's address, as backends read it.
    pub(crate) client: HeaderValue,
    /// The listener that the client's TLS chose.
    listener: OnceCell<Arc<str>>,
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
    fn new(worker: &Worker, peer: IpAddr, bind_port: u16) -> Option<Self> {
        Some(Self {
            bind_port,
            client: HeaderValue::try_from(peer.to_canonical().to_string()).ok()?,
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
        if let Some(order) = patience::verdict(Waiting { phase, http2, requests, seconds, leaving }) {
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
    if let Some(connection) = Connection::new(&worker, peer, port).map(Rc::new) {
        let place = worker.connections.borrow_mut().insert(Rc::clone(&connection));
        let served = serve_stream(&worker, stream, &connection).await;
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "A connection ended");
        }
        worker.connections.borrow_mut().remove(place);
    }
    worker.load.connections.fetch_sub(1, Relaxed);
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
                Some(Secured::Http(stream)) => Box::pin(serve_http(worker, stream, connection)).await,
                Some(Secured::Passing(arrived)) => Ok(Box::pin(tcp::serve(worker, connection, arrived)).await?),
                None => Ok(()),
            }
        }
        Some(Sharing::Host) | None => {
            serve_http(worker, ClientStream::Plain(TcpStream::from_std(stream)?), connection).await
        }
    }
}

/// Serves HTTP of either version.
async fn serve_http(
    worker: &Rc<Worker>,
    mut stream: ClientStream,
    connection: &Rc<Connection>,
) -> Result<(), ServeError> {
    let sniffed = {
        let mut sniffing = pin!(sniff(&mut stream, || connection.note_read(worker.now())));
        // A client that has not said anything yet has nothing to lose.
        until(connection, |context, order| match order {
            Some(Order::Abort | Order::Finish) => Poll::Ready(Ok(None)),
            None => sniffing.as_mut().poll(context).map_ok(Some),
        })
        .await?
    };
    let Some(sniffed) = sniffed else {
        if connection.phase() == Phase::Head {
            worker.load.hits.count(Limit::SlowHead);
            goodbye::time_out(stream).await;
        }
        return Ok(());
    };
    let http2 = sniffed.http2;
    let wire = Wire::new(stream, sniffed, Rc::clone(connection), Rc::clone(worker));
    if http2 {
        return Ok(serve_http2(worker, wire, connection).await?);
    }
    if let Some((client, backend)) = serve_http1(worker, wire, connection).await? {
        // Apart, so that connections that never become one are no larger for it.
        Box::pin(tunnel::run(worker, connection, client, backend)).await;
    }
    Ok(())
}

/// Serves HTTP/1 to its end. Returns both sides of what the connection has become, if it has become something else.
async fn serve_http1(
    worker: &Rc<Worker>,
    wire: Wire,
    connection: &Rc<Connection>,
) -> hyper::Result<Option<(ClientStream, Upgraded)>> {
    let service = service_fn(|request| request::handle(Rc::clone(worker), Rc::clone(connection), request));
    let mut serving = http1::Builder::new()
        .max_headers(framing::MAX_FIELDS)
        .max_header_size(framing::MAX_HEAD_BYTES)
        .max_buf_size(BUFFER)
        .serve_connection(wire, service);
    let mut aborted = false;
    let ended = until(connection, |context, order| {
        if order == Some(Order::Abort) {
            aborted = true;
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut serving).poll(context);
        // What has arrived by now was read by that. What has begun is answered, and says that it is the last.
        if polled.is_pending() && order == Some(Order::Finish) && connection.phase.get() == Phase::Idle {
            Pin::new(&mut serving).graceful_shutdown();
            return Pin::new(&mut serving).poll(context);
        }
        polled
    })
    .await;
    let http1::Parts { io: wire, read_buf, .. } = serving.into_parts();
    let upgraded = connection.upgraded.take();
    if aborted {
        if connection.phase() == Phase::Head && wire.is_flushed() {
            worker.load.hits.count(Limit::SlowHead);
            Box::pin(goodbye::time_out(wire.into_raw())).await;
        }
        return Ok(None);
    }
    let unread = ended.as_ref().err().filter(|error| error.is_parse());
    if let Some(error) = unread {
        let limit = if error.is_parse_too_large() { Limit::Head } else { Limit::Framing };
        worker.load.hits.count(limit);
    }
    if unread.is_some() || wire.is_refused() || connection.unread.get() {
        Box::pin(goodbye::close(wire.into_raw())).await;
        return ended.map(|()| None);
    }
    ended?;
    // A client that has said more than its request before it was agreed to is not trusted with a backend.
    let client = wire.into_stream().filter(|_| read_buf.is_empty());
    Ok(client.zip(upgraded))
}

async fn serve_http2(worker: &Rc<Worker>, wire: Wire, connection: &Rc<Connection>) -> hyper::Result<()> {
    connection.http2.set(true);
    let service = service_fn(|request| request::handle(Rc::clone(worker), Rc::clone(connection), request));
    let mut serving: Pin<_> = pin!(
        http2::Builder::new(LocalExecutor)
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(framing::MAX_HEAD_BYTES as u32)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_RESETS)
            .max_frame_size(FRAME)
            .header_table_size(HEADER_TABLE)
            .max_send_buf_size(BUFFER)
            .serve_connection(wire, service)
    );
    until(connection, |context, order| {
        match order {
            Some(Order::Abort) => return Poll::Ready(Ok(())),
            Some(Order::Finish) => serving.as_mut().graceful_shutdown(),
            None => {}
        }
        serving.as_mut().poll(context)
    })
    .await
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
