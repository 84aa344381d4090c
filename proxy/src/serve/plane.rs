//! The data plane as its control thread sees it: workers, listeners, and what they serve.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sluice_proxy_core::cells::Cells;
use sluice_proxy_core::model::{Resource, Transport};
use sluice_proxy_core::table::{BuildError, Compiler, Snapshot, Whereabouts};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use super::access_log::AccessLog;
use super::accounts::Accounts;
use super::edges::Edges;
use super::limits::Limit;
use super::listener::{self, Accepting};
use super::worker::{Message, Served, WorkerHandle};
use crate::tls::acceptors::Acceptors;
use crate::tls::connectors::Connectors;

/// Resources by key.
pub(crate) type Resources = BTreeMap<String, Resource>;

/// Which resources may differ from those that are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Any of them, and there may be some that are not wanted any more.
    All,
    /// Those of these keys, whether they are there or not.
    Keys(BTreeSet<String>),
}

/// What the data plane is doing, for those outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It has not served a complete configuration yet.
    Starting,
    /// It serves.
    Ready,
    /// It was told to stop; it still serves.
    Draining,
}

/// Why a configuration is not served. The one before goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// A port cannot be bound.
    #[error("cannot listen on port {port}: {error}")]
    Bind {
        /// The port.
        port: u16,
        /// What the kernel says.
        error: io::Error,
    },
    /// A resource is bad.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A worker is gone, which nothing here can mend.
    #[error("worker {0} has stopped")]
    Worker(usize),
}

/// The data plane.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(super) workers: Rc<[WorkerHandle]>,
    pub(super) cells: RefCell<Cells>,
    pub(super) compiler: RefCell<Compiler>,
    pub(super) accounts: RefCell<Accounts>,
    pub(super) snapshots: RefCell<Snapshots>,
    /// Number of the update that is served.
    pub(super) update: Cell<u64>,
    pub(super) stage: watch::Sender<Stage>,
    pub(super) log: AccessLog,
    bind: Option<IpAddr>,
    acceptors: RefCell<Arc<Acceptors>>,
    connectors: RefCell<Arc<Connectors>>,
    edges: RefCell<Arc<Edges>>,
    listeners: RefCell<HashMap<u16, Accepting>>,
    /// UDP ports, each of which has a socket in every worker.
    datagrams: RefCell<BTreeSet<u16>>,
}

/// Ports that are bound and not served yet.
struct Bound {
    listeners: Vec<(u16, TcpListener)>,
    /// One socket for each worker.
    datagrams: Vec<(u16, Vec<std::net::UdpSocket>)>,
}

/// The snapshot that is served, and earlier ones on which requests are still open.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    pub(super) current: Arc<Snapshot>,
    pub(super) earlier: Vec<Arc<Snapshot>>,
}

impl Plane {
    /// Starts the workers. Needs a `LocalSet`.
    pub(crate) fn start(workers: usize, bind: Option<IpAddr>, log: AccessLog) -> io::Result<Rc<Self>> {
        let most_flows = listener::most_flows() / workers.max(1);
        let start = |number| WorkerHandle::start(number, most_flows, log.clone());
        let workers: Vec<_> = (0..workers).map(start).collect::<io::Result<_>>()?;
        Ok(Rc::new(Self {
            workers: workers.into(),
            cells: RefCell::default(),
            compiler: RefCell::default(),
            accounts: RefCell::default(),
            snapshots: RefCell::default(),
            update: Cell::new(0),
            stage: watch::Sender::new(Stage::Starting),
            log,
            bind,
            acceptors: RefCell::default(),
            connectors: RefCell::default(),
            edges: RefCell::default(),
            listeners: RefCell::default(),
            datagrams: RefCell::default(),
        }))
    }

    /// Says where it is, before it serves anything.
    pub(crate) fn stand(&self, here: Whereabouts) {
        *self.compiler.borrow_mut() = Compiler::at(here);
    }

    /// Serves `resources`, of which those that are not among `changed` are served already: when this returns well, every
    /// worker does and every port is bound. Not to be called again before it has returned.
    pub(crate) async fn apply(&self, update: u64, resources: &Resources, changed: &Changed) -> Result<(), ApplyError> {
        let snapshot = Arc::new(self.compile(resources, changed)?);
        let bound = self.bind_new(&snapshot)?;
        let acceptors = Arc::new(self.acceptors.borrow().next(&snapshot));
        let connectors = self.connectors.borrow().next(&snapshot);
        let edges = Arc::new(self.edges.borrow().next(&snapshot));
        let next = Served { snapshot: Arc::clone(&snapshot), acceptors, connectors, edges };
        self.swap(&next).await?;
        *self.acceptors.borrow_mut() = next.acceptors;
        *self.connectors.borrow_mut() = next.connectors;
        *self.edges.borrow_mut() = next.edges;
        self.listen(bound, &snapshot);
        let mut snapshots = self.snapshots.borrow_mut();
        let earlier = std::mem::replace(&mut snapshots.current, snapshot);
        snapshots.earlier.push(earlier);
        self.update.set(update);
        tracing::debug!(update, "Serving a new configuration");
        let is_first = |stage: &mut Stage| std::mem::replace(stage, (*stage).max(Stage::Ready)) == Stage::Starting;
        if self.stage.send_if_modified(is_first) {
            tracing::info!(update, "Ready");
        }
        Ok(())
    }

    fn compile(&self, resources: &Resources, changed: &Changed) -> Result<Snapshot, BuildError> {
        self.accounts.borrow_mut().unsettle();
        let mut compiler = self.compiler.borrow_mut();
        let keys: BTreeSet<String> = match changed {
            Changed::All => compiler.keys().chain(resources.keys().cloned()).collect(),
            Changed::Keys(keys) => keys.clone(),
        };
        let keyed = keys.into_iter().map(|key| {
            let resource = resources.get(&key);
            (key, resource)
        });
        compiler.update(keyed, &mut self.cells.borrow_mut())
    }

    fn bind_new(&self, snapshot: &Snapshot) -> Result<Bound, ApplyError> {
        let (listeners, datagrams) = (self.listeners.borrow(), self.datagrams.borrow());
        let new = snapshot.ports(Transport::Tcp).filter(|port| !listeners.contains_key(port));
        let listener = |port| match listener::bind(self.bind, port) {
            Ok(listener) => Ok((port, listener)),
            Err(error) => Err(ApplyError::Bind { port, error }),
        };
        let new_datagrams = snapshot.ports(Transport::Udp).filter(|port| !datagrams.contains(port));
        let sockets = |port| match listener::bind_datagrams(self.bind, port, self.workers.len()) {
            Ok(sockets) => Ok((port, sockets)),
            Err(error) => Err(ApplyError::Bind { port, error }),
        };
        Ok(Bound {
            listeners: new.map(listener).collect::<Result<_, _>>()?,
            datagrams: new_datagrams.map(sockets).collect::<Result<_, _>>()?,
        })
    }

    /// Serves the ports of a snapshot that every worker has, and no others.
    fn listen(&self, bound: Bound, snapshot: &Snapshot) {
        let mut listeners = self.listeners.borrow_mut();
        // Connections on a port that is gone live on; only new ones are not taken.
        listeners.retain(|port, _| snapshot.ports(Transport::Tcp).any(|wanted| wanted == *port));
        for (port, listener) in bound.listeners {
            let accepting = listener::accept(listener, port, Rc::clone(&self.workers), listener::most_connections());
            listeners.insert(port, accepting);
        }
        let mut datagrams = self.datagrams.borrow_mut();
        let wanted: BTreeSet<u16> = snapshot.ports(Transport::Udp).collect();
        for port in datagrams.difference(&wanted) {
            self.tell(|| Message::CloseDatagrams(*port));
        }
        for (port, sockets) in bound.datagrams {
            for (worker, socket) in self.workers.iter().zip(sockets) {
                // A worker that is gone ends the process.
                let _ = worker.messages.send(Message::Datagrams { socket, port });
            }
        }
        *datagrams = wanted;
    }

    async fn swap(&self, next: &Served) -> Result<(), ApplyError> {
        let mut served = Vec::with_capacity(self.workers.len());
        for worker in &*self.workers {
            let (sender, receiver) = oneshot::channel();
            // A worker that is gone has dropped its inbox, which the receiver reports.
            let _ = worker.messages.send(Message::Swap(next.clone(), sender));
            served.push(receiver);
        }
        for (number, served) in served.into_iter().enumerate() {
            served.await.map_err(|_| ApplyError::Worker(number))?;
        }
        Ok(())
    }

    /// Waits until a worker is gone, which is never as long as all is well.
    pub(super) async fn lost_worker(&self) -> ApplyError {
        let ends = self.workers.iter().map(|worker| Box::pin(worker.messages.closed()));
        let ((), number, _) = futures::future::select_all(ends).await;
        ApplyError::Worker(number)
    }

    /// Stops taking new connections and datagrams.
    pub(super) fn stop_accepting(&self) {
        self.listeners.borrow_mut().clear();
        for port in std::mem::take(&mut *self.datagrams.borrow_mut()) {
            self.tell(|| Message::CloseDatagrams(port));
        }
    }

    /// How often clients met a limit.
    pub(super) fn hits(&self, limit: Limit) -> u64 {
        self.workers.iter().map(|worker| worker.load.hits.of(limit)).sum()
    }

    /// Endpoints that were left out because they failed.
    pub(super) fn ejections(&self) -> u64 {
        self.workers.iter().map(|worker| worker.load.ejections.load(Relaxed)).sum()
    }

    /// UDP flows that made room for newer ones.
    pub(super) fn evicted_flows(&self) -> u64 {
        self.workers.iter().map(|worker| worker.load.evicted.load(Relaxed)).sum()
    }

    /// Spans that no collector took.
    pub(super) fn lost_spans(&self) -> u64 {
        self.workers.iter().map(|worker| worker.load.lost_spans.load(Relaxed)).sum()
    }

    /// Connections that are open.
    pub(super) fn connections(&self) -> usize {
        self.workers.iter().map(|worker| worker.load.connections.load(Relaxed)).sum()
    }

    /// Requests that are being answered.
    pub(super) fn requests(&self) -> usize {
        self.workers.iter().map(|worker| worker.load.requests.load(Relaxed)).sum()
    }

    /// Tells every worker.
    pub(super) fn tell(&self, message: impl Fn() -> Message) {
        for worker in &*self.workers {
            // A worker that is gone has nothing left to do.
            let _ = worker.messages.send(message());
        }
    }
}
