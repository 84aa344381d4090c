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
use super::secure::{self, Secured};
use super::tcp::{self, Arrived};
use super::tunnel;
use super::wire::{Wire, sniff};
use super::worker::{LocalExecutor, Worker};
use crate::request;
use crate::upstream::Upgraded;

/// Seconds that a client has for the head of a request once it has begun.
const HEAD_SECONDS: u32 = 10;
/// Seconds that a connection may be idle.
const IDLE_SECONDS_HTTP1: u32 = 75;
const IDLE_SECONDS_HTTP2: u32 = 300;
/// Seconds without a byte either way after which an open request is given up.
const STALLED_SECONDS: u32 = 300;
/// The same for a WebSocket, and for a connection that is passed on as it is.
const SILENT_SECONDS: u32 = 3600;
/// Limits of one HTTP/2 connection: open streams, bytes on their way to us, resets before we stop listening.
const STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 100;
/// Bytes that one connection or stream may hold, each way.
const BUFFER: usize = 64 * 1024;

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
    phase: Cell<Phase>,
    since: Cell<u32>,
    http2: Cell<bool>,
    leaves_at: Cell<Option<u32>>,
    order: Cell<Option<Order>>,
    waker: RefCell<Option<Waker>>,
    /// The backend's side of what the connection becomes after the response that is on its way.
    upgraded: RefCell<Option<Upgraded>>,
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
            phase: Cell::new(Phase::Idle),
            since: Cell::new(worker.now()),
            http2: Cell::new(false),
            leaves_at: Cell::new(worker.leaves_at()),
            order: Cell::new(None),
            waker: RefCell::default(),
            upgraded: RefCell::default(),
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

    /// Ends the connection after the request that is open, or now.
    pub(crate) fn close_when_idle(&self) {
        self.give(Order::Finish);
    }

    /// Ends what has waited for its client too long, and tells HTTP/2 clients to leave when it is time.
    pub(crate) fn sweep(&self, now: u32) {
        let waited = now.saturating_sub(self.since.get());
        let patience = if self.phase.get() == Phase::Tunnel { SILENT_SECONDS } else { STALLED_SECONDS };
        if self.requests.get() > 0 && waited >= patience {
            self.give(Order::Abort);
            return;
        }
        if self.http2.get() {
            let idle = self.requests.get() == 0 && waited >= IDLE_SECONDS_HTTP2;
            if idle || self.is_leaving(now) {
                self.give(Order::Finish);
            }
            return;
        }
        match self.phase.get() {
            Phase::Head if waited >= HEAD_SECONDS => self.give(Order::Abort),
            Phase::Idle if waited >= IDLE_SECONDS_HTTP1 => self.give(Order::Finish),
            Phase::Busy | Phase::Head | Phase::Idle | Phase::Tunnel => {}
        }
    }

    fn give(&self, order: Order) {
        self.leaves_at.set(Some(0));
        self.order.set(Some(order));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Tells the connection and the worker that a request is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) worker: Rc<Worker>,
    pub(crate) connection: Rc<Connection>,
}

impl Open {
    pub(crate) fn new(worker: Rc<Worker>, connection: Rc<Connection>) -> Self {
        connection.requests.set(connection.requests.get() + 1);
        connection.phase.set(Phase::Busy);
        connection.since.set(worker.now());
        worker.count_requests(1);
        Self { worker, connection }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.requests.set(connection.requests.get() - 1);
        if connection.requests.get() == 0 {
            connection.phase.set(Phase::Idle);
            connection.since.set(self.worker.now());
        }
        self.worker.count_requests(-1);
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
    let Some(sniffed) = sniffed else { return Ok(()) };
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
    until(connection, |context, order| {
        if order == Some(Order::Abort) {
            connection.upgraded.take();
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
    .await?;
    let Some(upgraded) = connection.upgraded.take() else { return Ok(None) };
    let http1::Parts { io, read_buf, .. } = serving.into_parts();
    // A client that has said more than its request before it was agreed to is not trusted with a backend.
    Ok(io.into_stream().filter(|_| read_buf.is_empty()).map(|client| (client, upgraded)))
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
