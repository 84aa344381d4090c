//! Idle connections by endpoint, and what is known of each endpoint.
//!
//! HTTP/1.1 connections are taken last in, first out, so that those that are not needed grow old and are closed. HTTP/2
//! connections are shared. Connections of an endpoint that gets no new requests any more are closed once they are idle.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::response;
use hyper::client::conn::http2;
use sluice_proxy_core::grpc;
use sluice_proxy_core::health::{Answer, Health};
use sluice_proxy_core::model::Protocol;
use sluice_proxy_core::outlier::Record;
use sluice_proxy_core::table::Target;
use tokio::sync::Mutex;

use super::Upstream;
use super::connect::{self, ConnectError, Http1, Way};
use super::lease::{Lease, Sender, Stream};
use super::socket::ServerStream;
use crate::request::body::RequestBody;
use crate::serve::worker::{Load, Served};
use crate::tls::connectors::Connector;

/// Seconds after which an idle connection is not used any more: servers commonly close theirs after five or more, and a
/// request that crosses with that is lost when it may not be repeated.
const IDLE_SECONDS: u32 = 3;
/// How long a connection may have been idle and still be taken without asking the kernel whether it is open: under load
/// the worker has heard of everything by then, and the question would cost each request a system call.
const UNASKED: Duration = Duration::from_millis(1);
/// Seconds during which other endpoints are preferred to one that refused a connection.
const REFUSED_SECONDS: u32 = 2;
/// Streams on one HTTP/2 connection before another is opened.
const STREAMS: u32 = 100;

/// The endpoints that a worker has talked to.
#[derive(Debug)]
pub(crate) struct Pools {
    endpoints: RefCell<HashMap<Key, Rc<Endpoint>>>,
    /// By backend, whose turn it was last, where one endpoint comes after the other.
    pub(super) turns: RefCell<HashMap<Arc<str>, usize>>,
    pub(super) load: Arc<Load>,
}

/// An address and how it is spoken to; where that is in TLS, the number of the connector.
type Key = (Target, Option<u64>);

/// One address, and this worker's connections to it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) target: Target,
    connector: Option<Arc<Connector>>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Rc<Shared>>>,
    /// Held while an HTTP/2 connection is opened, so that many requests at once open one.
    opening: Mutex<()>,
    in_flight: Cell<u32>,
    refused_at: Cell<Option<u32>>,
    /// Of all routes that lead here.
    health: Cell<Health>,
    pub(super) record: Cell<Record>,
    /// Whether it gets new requests in the snapshot that is served.
    wanted: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    connection: Http1,
    since: u32,
    /// The same to the precision of the clock.
    at: Instant,
}

impl Idle {
    fn is_closed(&self) -> bool {
        self.connection.sender.is_closed() || (self.at.elapsed() > UNASKED && !self.connection.socket.is_quiet())
    }
}

/// An HTTP/2 connection and the streams that this worker has open on it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) streams: Cell<u32>,
    /// Requests that it has been used for.
    pub(super) served: Cell<u32>,
}

impl Pools {
    /// Those of a worker with this load.
    pub(crate) fn new(load: Arc<Load>) -> Self {
        Self { endpoints: RefCell::default(), turns: RefCell::default(), load }
    }

    /// The endpoint at an address of a backend, where it has been talked to.
    pub(crate) fn known(&self, upstream: Upstream<'_>, address: SocketAddr) -> Option<Rc<Endpoint>> {
        let key = (upstream.backend.target(address), upstream.connector.map(|connector| connector.number));
        self.endpoints.borrow().get(&key).map(Rc::clone)
    }

    pub(super) fn endpoint(&self, target: Target, connector: Option<&Arc<Connector>>) -> Rc<Endpoint> {
        let mut endpoints = self.endpoints.borrow_mut();
        let key = (target, connector.map(|connector| connector.number));
        let endpoint = endpoints.entry(key).or_insert_with_key(|(target, _)| {
            Rc::new(Endpoint {
                target: target.clone(),
                connector: connector.map(Arc::clone),
                idle: RefCell::default(),
                shared: RefCell::default(),
                opening: Mutex::new(()),
                in_flight: Cell::new(0),
                refused_at: Cell::new(None),
                health: Cell::default(),
                record: Cell::default(),
                wanted: Cell::new(true),
            })
        });
        Rc::clone(endpoint)
    }

    /// A new snapshot is served: idle connections of endpoints that get no new requests are closed.
    pub(crate) fn follow(&self, served: &Served) {
        // Of backends that are gone, too.
        self.turns.borrow_mut().clear();
        self.endpoints.borrow_mut().retain(|_, endpoint| {
            let is_made_so = endpoint.connector.as_ref().is_none_or(|connector| served.connectors.has(connector));
            let wanted = is_made_so && served.readiness(&endpoint.target).is_some();
            endpoint.wanted.set(wanted);
            if !wanted {
                endpoint.idle.borrow_mut().clear();
                endpoint.shared.borrow_mut().clear();
            }
            wanted || endpoint.in_flight.get() > 0
        });
    }

    /// Closes what has been idle for long. Called every second.
    pub(crate) fn sweep(&self, now: u32) {
        self.endpoints.borrow_mut().retain(|_, endpoint| {
            endpoint.idle.borrow_mut().retain(|idle| !idle.connection.sender.is_closed() && !is_old(idle, now));
            endpoint.shared.borrow_mut().retain(|shared| !shared.sender.is_closed());
            endpoint.wanted.get() || endpoint.in_flight.get() > 0
        });
    }
}

fn is_old(idle: &Idle, now: u32) -> bool {
    now.wrapping_sub(idle.since) >= IDLE_SECONDS
}

impl Endpoint {
    pub(super) fn load(&self, now: u32) -> u32 {
        self.health.get().load(self.in_flight.get(), now)
    }

    /// It has answered, or was asked and did not.
    pub(crate) fn note(&self, answer: Answer, now: u32) {
        let (mut health, mut record) = (self.health.get(), self.record.get());
        health.note(answer, now);
        record.note(answer, now);
        self.health.set(health);
        self.record.set(record);
    }

    /// It has answered with this head. What gRPC answers is not told there, or not by the status.
    pub(crate) fn note_head(&self, head: &response::Parts, now: u32) {
        let answer = Answer::of(head.status);
        let is_clean = self.health.get().is_well() && self.record.get().is_clean();
        if answer != Answer::Good || !(is_clean || grpc::is_grpc(&head.headers)) {
            self.note(answer, now);
        }
    }

    pub(super) fn has_just_refused(&self, now: u32) -> bool {
        self.refused_at.get().is_some_and(|at| now.wrapping_sub(at) < REFUSED_SECONDS)
    }

    fn way(&self, upstream: Upstream<'_>) -> Way<'_> {
        let timeout = upstream.connect_timeout();
        Way { address: self.target.address, connector: self.connector.as_ref(), timeout }
    }

    /// Whether it is spoken to in TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.connector.is_some()
    }

    /// A connection for one request to a backend that has this endpoint: an idle one unless it must be fresh.
    pub(crate) async fn lease(
        self: &Rc<Self>,
        upstream: Upstream<'_>,
        fresh: bool,
        now: u32,
    ) -> Result<Lease, ConnectError> {
        let leased = match self.target.protocol {
            Protocol::Http1 => self.lease_http1(upstream, fresh, now).await,
            Protocol::H2c => self.lease_http2(upstream).await,
        };
        self.refused_at.set(leased.is_err().then_some(now));
        leased
    }

    /// A connection for a request that asks for a WebSocket: one of its own, which never comes back.
    pub(crate) async fn lease_for_upgrade(
        self: &Rc<Self>,
        upstream: Upstream<'_>,
        now: u32,
    ) -> Result<Lease, ConnectError> {
        let opening = InFlight::new(Rc::clone(self));
        let opened = Box::pin(connect::upgradable(self.way(upstream))).await;
        drop(opening);
        self.refused_at.set(opened.is_err().then_some(now));
        let (connection, rest) = opened?;
        Ok(Lease::new(Rc::clone(self), Sender::Http1(connection), false).upgradable(rest))
    }

    /// It has refused what it was sent: for a moment others are preferred.
    pub(crate) fn note_refusal(&self, now: u32) {
        self.refused_at.set(Some(now));
    }

    /// A connection on which bytes are passed on as they are.
    pub(crate) async fn connect(
        self: &Rc<Self>,
        upstream: Upstream<'_>,
        now: u32,
    ) -> Result<(ServerStream, InFlight), ConnectError> {
        let opening = InFlight::new(Rc::clone(self));
        let opened = self.way(upstream).open(None).await;
        self.refused_at.set(opened.is_err().then_some(now));
        Ok((opened?, opening))
    }

    async fn lease_http1(
        self: &Rc<Self>,
        upstream: Upstream<'_>,
        fresh: bool,
        now: u32,
    ) -> Result<Lease, ConnectError> {
        if !fresh && let Some(connection) = self.take_idle(upstream, now).await {
            return Ok(Lease::new(Rc::clone(self), Sender::Http1(connection), true));
        }
        // Counted before it is open, so that an endpoint that is slow to accept does not look idle.
        let opening = InFlight::new(Rc::clone(self));
        // Apart, because most requests find a connection and are to be no larger for this.
        let connection = Box::pin(connect::http1(self.way(upstream))).await?;
        drop(opening);
        Ok(Lease::new(Rc::clone(self), Sender::Http1(connection), false))
    }

    async fn take_idle(&self, upstream: Upstream<'_>, now: u32) -> Option<Http1> {
        let mut finishing = None;
        loop {
            let idle = self.idle.borrow_mut().pop();
            match idle {
                Some(idle) if is_old(&idle, now) || idle.is_closed() => {}
                Some(idle) if !upstream.allows_another(idle.connection.served) => {}
                Some(idle) if idle.connection.sender.is_ready() => {
                    self.idle.borrow_mut().extend(finishing);
                    return Some(idle.connection);
                }
                // Its last response has ended, but its task has not run since.
                Some(idle) if finishing.is_none() => finishing = Some(idle),
                Some(_) => {}
                None => break,
            }
        }
        let mut idle = finishing?;
        idle.connection.sender.ready().await.ok()?;
        Some(idle.connection)
    }

    /// One that has ended is not among the shared ones any more, so there is no need to ask for a fresh one.
    async fn lease_http2(self: &Rc<Self>, upstream: Upstream<'_>) -> Result<Lease, ConnectError> {
        if let Some(shared) = self.open_shared(upstream) {
            return Ok(self.lease_stream(shared, true));
        }
        let _opening = self.opening.lock().await;
        // Another request may have opened one while this one waited.
        if let Some(shared) = self.open_shared(upstream) {
            return Ok(self.lease_stream(shared, true));
        }
        let sender = Box::pin(connect::http2(self.way(upstream))).await?;
        let shared = Rc::new(Shared { sender, streams: Cell::new(0), served: Cell::new(0) });
        if self.wanted.get() {
            self.shared.borrow_mut().push(Rc::clone(&shared));
        }
        Ok(self.lease_stream(shared, false))
    }

    fn lease_stream(self: &Rc<Self>, shared: Rc<Shared>, reused: bool) -> Lease {
        Lease::new(Rc::clone(self), Sender::Http2(Stream::new(shared)), reused)
    }

    fn open_shared(&self, upstream: Upstream<'_>) -> Option<Rc<Shared>> {
        let mut all = self.shared.borrow_mut();
        // One that is left out here ends with its last stream.
        all.retain(|shared| !shared.sender.is_closed() && upstream.allows_another(shared.served.get()));
        all.iter().find(|shared| shared.streams.get() < STREAMS).cloned()
    }

    /// Takes back a connection on which a response has ended.
    pub(super) fn put_back(&self, mut connection: Http1, now: u32) {
        connection.served = connection.served.saturating_add(1);
        if self.wanted.get() && !connection.sender.is_closed() {
            self.idle.borrow_mut().push(Idle { connection, since: now, at: Instant::now() });
        }
    }
}

/// Counts one request, connection or flow as in flight at its endpoint.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(super) endpoint: Rc<Endpoint>,
}

impl InFlight {
    pub(crate) fn new(endpoint: Rc<Endpoint>) -> Self {
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        Self { endpoint }
    }

    /// Where it is in flight.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.set(self.endpoint.in_flight.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Instant;

    use sluice_proxy_core::cells::Cells;
    use sluice_proxy_core::model::{Backend, Endpoint, Protocol, Resource, Route, Rule, WeightedBackend};
    use sluice_proxy_core::table::{Snapshot, Target};
    use tokio::task::LocalSet;

    use super::{Pools, UNASKED, Upstream};

    /// The worker has not run since its backend closed the connection: only the kernel knows of it.
    #[test]
    fn an_idle_connection_that_was_closed_unnoticed_is_not_taken() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        LocalSet::new().block_on(&runtime, async {
            let backend = TcpListener::bind("127.0.0.1:0").expect("bound");
            let address = backend.local_addr().expect("address");
            let target = Target { address, protocol: Protocol::Http1, tls: None };
            let pools = Pools::new(Arc::default());
            let resource =
                Resource::Backend(Backend::new("b", Protocol::Http1, vec![Endpoint { address, ready: true }]));
            let to = WeightedBackend { backend: "b".into(), weight: 1, valid: true, filters: vec![] };
            let route = Route {
                id: "r".into(),
                generation: 1,
                created: 0,
                listeners: vec![],
                hostnames: vec![],
                rules: vec![Rule { backends: vec![to], ..Rule::default() }],
            };
            let snapshot = Snapshot::build([&resource, &Resource::Route(route)], &mut Cells::default());
            let snapshot = snapshot.expect("snapshot");
            let served = snapshot.arms().next().and_then(|arm| snapshot.backend(arm)).expect("a backend");
            let upstream = Upstream { backend: served, connector: None };
            let endpoint = pools.endpoint(target, None);
            for closes in [false, true] {
                let lease = endpoint.lease(upstream, true, 0).await.expect("a connection");
                let (accepted, _) = backend.accept().expect("accepted");
                // The task that drives the connection begins.
                tokio::task::yield_now().await;
                lease.put_back(0);
                let kept = (!closes).then_some(accepted);
                let idle_since = Instant::now();
                while idle_since.elapsed() <= UNASKED {
                    std::hint::spin_loop();
                }
                let lease = endpoint.lease(upstream, false, 0).await.expect("a connection");
                assert_eq!(lease.reused, !closes);
                drop((lease, kept));
            }
        });
    }
}
