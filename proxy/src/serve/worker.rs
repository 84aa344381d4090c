//! A worker: one thread with its own runtime, connections, pools, counters and random numbers. A connection that it was
//! given stays with it, and a request never leaves it.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use slab::Slab;
use sluice_proxy_core::cells::CellId;
use sluice_proxy_core::table::{Arm, Backend, Readiness, Snapshot, Target};
use sluice_signals::duration_bucket;
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::access_log::AccessLog;
use super::connection::{self, Connection};
use super::counters::{BUCKETS, WorkerCells};
use super::edges::Edges;
use super::limits::Hits;
use super::spans::Spans;
use super::udp::Flows;
use super::wire::SCRATCH;
use crate::request::failure::Failure;
use crate::tls::acceptors::Acceptors;
use crate::tls::connectors::Connectors;
use crate::upstream::{Lease, Pools, Upstream};

/// Requests in flight of one cell, by age.
pub(crate) type Ages = Vec<(CellId, [u64; BUCKETS])>;

/// What the control thread tells a worker.
#[derive(Debug)]
pub(crate) enum Message {
    /// Report the ages of requests in flight.
    Ages(oneshot::Sender<Ages>),
    /// Serve this connection.
    Accepted {
        /// The connection.
        stream: std::net::TcpStream,
        /// Its other end.
        peer: IpAddr,
        /// The port that it was made to.
        port: u16,
    },
    /// Close every connection as soon as it is idle.
    CloseIdle,
    /// Listen to a UDP port no more.
    CloseDatagrams(u16),
    /// Pass on what comes to a UDP port.
    Datagrams {
        /// This worker's own socket.
        socket: std::net::UdpSocket,
        /// Its port.
        port: u16,
    },
    /// Ask clients to leave, each connection at a moment of its own within `spread`.
    Drain {
        /// How long it may take until the last one is asked.
        spread: Duration,
    },
    /// Serve this snapshot from now on, and say so.
    Swap(Served, oneshot::Sender<()>),
    /// It is so many seconds after the start, for tests that do not wait.
    #[cfg(test)]
    Tick(u32),
}

/// How busy a worker is, for whoever hands out connections and waits for the end.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Connections that it was given and that are open.
    pub(crate) connections: AtomicUsize,
    /// Requests that it is answering. Only the worker writes it.
    pub(crate) requests: AtomicUsize,
    /// UDP flows that made room for newer ones.
    pub(crate) evicted: AtomicU64,
    /// Endpoints that were left out because they failed.
    pub(crate) ejections: AtomicU64,
    /// Limits that clients met.
    pub(crate) hits: Hits,
    /// Spans that no collector took.
    pub(crate) lost_spans: AtomicU64,
}

/// The control thread's end of a worker. Dropping it stops the worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) messages: mpsc::UnboundedSender<Message>,
    pub(crate) cells: Arc<WorkerCells>,
    pub(crate) load: Arc<Load>,
}

impl WorkerHandle {
    /// Starts a worker.
    pub(crate) fn start(number: usize, most_flows: usize, log: AccessLog) -> std::io::Result<Self> {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (cells, load) = (Arc::<WorkerCells>::default(), Arc::<Load>::default());
        let (worker_cells, worker_load) = (Arc::clone(&cells), Arc::clone(&load));
        let runtime =
            move || tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || match runtime() {
            Ok(runtime) => {
                runtime.block_on(Worker::run(inbox, Worker::new(worker_cells, worker_load, most_flows, log)));
            }
            // Its inbox is gone with it, which the control thread sees at the first swap.
            Err(error) => tracing::error!(%error, "Cannot start a worker"),
        })?;
        Ok(Self { messages, cells, load })
    }
}

/// What all connections of one worker share. It never leaves its thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) cells: Arc<WorkerCells>,
    pub(crate) connections: RefCell<Slab<Rc<Connection>>>,
    pub(crate) in_flight: RefCell<Slab<(CellId, Instant)>>,
    pub(super) flows: Flows,
    pub(crate) load: Arc<Load>,
    pub(crate) log: AccessLog,
    pub(crate) spans: Spans,
    pub(crate) pools: Pools,
    /// Copies of requests that are on their way.
    pub(crate) copies: Cell<u32>,
    /// Where connections read to, one at a time, before hyper gets what may be parsed.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// Seconds since the start, to which the clock is read once a second instead of at every request.
    now: Cell<u32>,
    draining: Cell<Option<Drain>>,
    random: RefCell<fastrand::Rng>,
    snapshot: RefCell<Rc<Served>>,
}

/// A snapshot as a worker holds it: counted on this thread alone, so that a request takes hold of it without touching a
/// count that other threads use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) acceptors: Arc<Acceptors>,
    pub(crate) connectors: Arc<Connectors>,
    pub(crate) edges: Arc<Edges>,
}

impl Served {
    /// The backend of an arm; `identity` is the id of the certificate that it is shown.
    pub(crate) fn upstream(&self, arm: &Arm, identity: Option<&str>) -> Result<Upstream<'_>, Failure> {
        self.upstream_of(self.usable(arm)?, identity)
    }

    /// The same for TLS that is not ended here, and so is for the backend as it is.
    pub(crate) fn upstream_as_is(&self, arm: &Arm) -> Result<Upstream<'_>, Failure> {
        Ok(Upstream { backend: self.usable(arm)?, connector: None })
    }

    fn usable(&self, arm: &Arm) -> Result<&Backend, Failure> {
        if arm.valid { self.backend(arm).ok_or(Failure::NoEndpoint) } else { Err(Failure::BackendInvalid) }
    }

    /// How connections to a backend of this snapshot are made.
    pub(crate) fn upstream_of<'a>(
        &'a self,
        backend: &'a Backend,
        identity: Option<&str>,
    ) -> Result<Upstream<'a>, Failure> {
        let connector = match &backend.tls {
            None => None,
            Some(policy) => Some(self.connectors.get(policy, identity).ok_or(Failure::NoTls)?),
        };
        Ok(Upstream { backend, connector })
    }

    /// Whether the same connections are to be used, as far as it does not take long to find out.
    fn connects_like(&self, other: &Self) -> bool {
        self.has_endpoints_of(other) && Arc::ptr_eq(&self.connectors, &other.connectors)
    }
}

impl Deref for Served {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// Since when and over how many seconds clients are asked to leave.
#[derive(Clone, Copy, Debug)]
struct Drain {
    since: u32,
    spread: u32,
}

impl Worker {
    fn new(cells: Arc<WorkerCells>, load: Arc<Load>, most_flows: usize, log: AccessLog) -> Self {
        Self {
            cells,
            connections: RefCell::default(),
            in_flight: RefCell::default(),
            flows: Flows::new(most_flows),
            pools: Pools::new(Arc::clone(&load)),
            load,
            log,
            spans: Spans::default(),
            copies: Cell::new(0),
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            now: Cell::new(0),
            draining: Cell::new(None),
            random: RefCell::new(fastrand::Rng::new()),
            snapshot: RefCell::default(),
        }
    }

    async fn run(mut inbox: mpsc::UnboundedReceiver<Message>, worker: Self) {
        let worker = Rc::new(worker);
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = Instant::now();
        loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => worker.receive(message),
                    None => return,
                },
                _ = seconds.tick() => worker.tick(started.elapsed().as_secs() as u32),
            }
        }
    }

    fn receive(self: &Rc<Self>, message: Message) {
        match message {
            Message::Accepted { stream, peer, port } => {
                tokio::task::spawn_local(connection::serve(Rc::clone(self), stream, peer, port));
            }
            Message::Ages(reply) => {
                // Nobody asks any more when the control thread is stopping.
                let _ = reply.send(self.ages(Instant::now()));
            }
            Message::CloseIdle => {
                for (_, connection) in &*self.connections.borrow() {
                    connection.close_when_idle();
                }
            }
            Message::CloseDatagrams(port) => self.flows.close(port),
            Message::Datagrams { socket, port } => self.flows.listen(self, port, socket),
            Message::Drain { spread } => self.drain(spread.as_secs() as u32),
            Message::Swap(next, served) => {
                if !next.connects_like(&self.snapshot.borrow()) {
                    self.pools.follow(&next);
                }
                self.flows.follow(&next.snapshot);
                *self.snapshot.borrow_mut() = Rc::new(next);
                let _ = served.send(());
            }
            #[cfg(test)]
            Message::Tick(now) => self.tick(now),
        }
    }

    fn tick(self: &Rc<Self>, now: u32) {
        self.now.set(now);
        self.pools.sweep(now);
        self.flows.sweep(now);
        self.spans.send(self);
        for (_, connection) in &*self.connections.borrow() {
            connection.sweep(now);
        }
    }

    fn drain(self: &Rc<Self>, spread: u32) {
        let drain = Drain { since: self.now(), spread };
        self.draining.set(Some(drain));
        for (_, connection) in &*self.connections.borrow() {
            connection.leave_at(self.moment(drain));
        }
        self.tick(self.now());
    }

    /// A random second of the drain, so that clients do not all connect elsewhere at once.
    fn moment(&self, drain: Drain) -> u32 {
        drain.since + self.random.borrow_mut().u32(0..=drain.spread)
    }

    /// When a connection that is made now is asked to leave, if the worker is draining.
    pub(crate) fn leaves_at(&self) -> Option<u32> {
        self.draining.get().map(|_| self.now())
    }

    /// What is served now. A request asks once and keeps what it got.
    pub(crate) fn snapshot(&self) -> Rc<Served> {
        Rc::clone(&self.snapshot.borrow())
    }

    /// Seconds since the worker's start.
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }

    /// A uniform random number.
    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// Whether an endpoint is ready in the snapshot that is served now.
    pub(crate) fn is_ready(&self, target: &Target) -> bool {
        self.snapshot.borrow().readiness(target) == Some(Readiness::Ready)
    }

    /// Whether the endpoint of a connection is on its way out.
    pub(crate) fn is_leaving(&self, lease: &Lease) -> bool {
        !self.is_ready(lease.target())
    }

    fn ages(&self, now: Instant) -> Ages {
        let mut ages = std::collections::HashMap::new();
        for (_, (cell, started)) in &*self.in_flight.borrow() {
            let micros = now.saturating_duration_since(*started).as_micros() as u64;
            ages.entry(*cell).or_insert([0; BUCKETS])[duration_bucket(micros)] += 1;
        }
        ages.into_iter().collect()
    }

    /// Notes that a request begins or ends; only this thread writes, so nothing needs to be locked.
    pub(crate) fn count_requests(&self, change: isize) {
        let requests = self.load.requests.load(Relaxed);
        self.load.requests.store(requests.saturating_add_signed(change), Relaxed);
    }
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
