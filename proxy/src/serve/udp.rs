//! Datagrams of UDP listeners. Each worker has a socket of its own on each port, and the kernel keeps the datagrams of one
//! client with one of them. A client and its backend are a flow: assigned once, and forgotten when it has been silent for
//! long, when its backend is none any more, or when a newer one needs the room.
//!
//! A flow is counted as one request, answered by the backend's first datagram.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::StatusCode;
use slab::Slab;
use sluice_proxy_core::model::Transport;
use sluice_proxy_core::table::{Action, Rule, Snapshot};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use super::counters::Outcome;
use super::worker::Worker;
use crate::request::failure::Failure;
use crate::request::tally::{Passage, Tally};
use crate::upstream::{InFlight, Wishes};

/// Seconds without a datagram either way after which a flow is forgotten.
pub(super) const IDLE_SECONDS: u32 = 60;
/// Datagrams of one socket that are passed on before others have their turn.
const BATCH: usize = 64;
/// Flows among which the one that has been silent for longest makes room.
const SAMPLE: u32 = 8;
/// How long to wait after an error that is not of one datagram.
const PAUSE: Duration = Duration::from_millis(20);

/// The UDP listeners and flows of one worker.
#[derive(Debug)]
pub(super) struct Flows {
    most: usize,
    listening: RefCell<HashMap<u16, AbortHandle>>,
    table: RefCell<Table>,
}

#[derive(Debug, Default)]
struct Table {
    flows: Slab<Rc<Flow>>,
    places: HashMap<(u16, SocketAddr), usize>,
}

#[derive(Debug)]
struct Flow {
    /// The port that the client sends to.
    port: u16,
    client: SocketAddr,
    /// When the last datagram came, in the worker's seconds.
    since: Cell<u32>,
    /// None: there is nobody to pass its datagrams to.
    backend: Option<Backend>,
}

/// The backend's side of a flow.
#[derive(Debug)]
struct Backend {
    id: Arc<str>,
    socket: UdpSocket,
    /// Until it has said something.
    tally: RefCell<Option<Tally>>,
    passage: Passage,
    in_flight: InFlight,
    replies: OnceCell<AbortHandle>,
}

impl Table {
    fn get(&self, port: u16, client: SocketAddr) -> Option<Rc<Flow>> {
        self.places.get(&(port, client)).map(|place| Rc::clone(&self.flows[*place]))
    }

    fn insert(&mut self, flow: Rc<Flow>) {
        let key = (flow.port, flow.client);
        let place = self.flows.insert(flow);
        self.places.insert(key, place);
    }

    fn remove(&mut self, flow: &Flow) {
        if let Some(place) = self.places.remove(&(flow.port, flow.client)) {
            self.flows.remove(place).stop();
        }
    }

    fn retain(&mut self, keep: impl Fn(&Flow) -> bool) {
        let gone: Vec<_> = self.flows.iter().map(|(_, flow)| flow).filter(|flow| !keep(flow)).map(Rc::clone).collect();
        for flow in gone {
            self.remove(&flow);
        }
    }

    /// Of some flows at random the one that has been silent for longest.
    fn oldest(&self, now: u32, mut random: impl FnMut() -> u64) -> Option<Rc<Flow>> {
        let drawn = (0..SAMPLE).filter_map(|_| self.flows.get(random() as usize % self.flows.capacity().max(1)));
        let oldest = drawn.max_by_key(|flow| now.saturating_sub(flow.since.get()));
        oldest.or_else(|| self.flows.iter().next().map(|(_, flow)| flow)).map(Rc::clone)
    }
}

impl Flow {
    /// Its backend is not listened to any more.
    fn stop(&self) {
        if let Some(replies) = self.backend.as_ref().and_then(|backend| backend.replies.get()) {
            replies.abort();
        }
    }

    /// Whether a snapshot still sends such datagrams to its backend. What is dropped is looked at anew each time.
    fn is_wanted(&self, snapshot: &Snapshot) -> bool {
        let Some(backend) = &self.backend else { return false };
        let Some(rule) = rule(snapshot, self.port) else { return false };
        let endpoint = backend.in_flight.endpoint();
        let named = match &rule.action {
            Action::Forward { arms, .. } => arms.iter().any(|arm| arm.valid && arm.backend == backend.id),
            Action::NoBackend | Action::Redirect(_) => false,
        };
        named && snapshot.readiness(&endpoint.target).is_some()
    }
}

impl Flows {
    /// At most so many flows.
    pub(super) fn new(most: usize) -> Self {
        Self { most, listening: RefCell::default(), table: RefCell::default() }
    }

    /// Passes on what comes to a port from now on.
    pub(super) fn listen(&self, worker: &Rc<Worker>, port: u16, socket: std::net::UdpSocket) {
        match UdpSocket::from_std(socket) {
            Ok(socket) => {
                let receiving = tokio::task::spawn_local(receive(Rc::clone(worker), Rc::new(socket), port));
                self.listening.borrow_mut().insert(port, receiving.abort_handle());
            }
            Err(error) => tracing::error!(port, %error, "Cannot receive datagrams"),
        }
    }

    /// Listens to a port no more, and forgets its flows.
    pub(super) fn close(&self, port: u16) {
        if let Some(receiving) = self.listening.borrow_mut().remove(&port) {
            receiving.abort();
        }
        self.table.borrow_mut().retain(|flow| flow.port != port);
    }

    /// Forgets what has been silent for long. Called every second.
    pub(super) fn sweep(&self, now: u32) {
        self.table.borrow_mut().retain(|flow| now.saturating_sub(flow.since.get()) < IDLE_SECONDS);
    }

    /// A new snapshot is served.
    pub(super) fn follow(&self, snapshot: &Snapshot) {
        self.table.borrow_mut().retain(|flow| flow.is_wanted(snapshot));
    }

    fn end(&self, flow: &Flow, failure: Failure) {
        if let Some(mut tally) = flow.backend.as_ref().and_then(|backend| backend.tally.take()) {
            tally.outcome = failure.outcome();
        }
        self.table.borrow_mut().remove(flow);
    }
}

async fn receive(worker: Rc<Worker>, socket: Rc<UdpSocket>, port: u16) {
    loop {
        if let Err(error) = socket.readable().await {
            tracing::warn!(port, %error, "Cannot receive datagrams");
            tokio::time::sleep(PAUSE).await;
        }
        receive_some(&worker, &socket, port);
        tokio::task::yield_now().await;
    }
}

fn receive_some(worker: &Rc<Worker>, socket: &Rc<UdpSocket>, port: u16) {
    let mut scratch = worker.scratch.borrow_mut();
    for _ in 0..BATCH {
        match socket.try_recv_from(&mut scratch) {
            Ok((length, client)) => pass_on(worker, socket, (port, client), &scratch[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // Of a datagram that was sent before.
            Err(error) => tracing::debug!(port, %error, "A client cannot be reached"),
        }
    }
}

/// Passes a client's datagram on. Where its backend's socket is full it is lost, as on any other way.
fn pass_on(worker: &Rc<Worker>, socket: &Rc<UdpSocket>, (port, client): (u16, SocketAddr), datagram: &[u8]) {
    let known = worker.flows.table.borrow().get(port, client);
    let Some(flow) = known.or_else(|| begin(worker, socket, port, client)) else { return };
    flow.since.set(worker.now());
    let Some(backend) = &flow.backend else { return };
    // Past the runtime, which does not know yet that a new socket can be written to.
    match SockRef::from(&backend.socket).send(datagram) {
        Ok(length) => backend.passage.count_received(length),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            backend.in_flight.endpoint().note_refusal(worker.now());
            worker.flows.end(&flow, Failure::Refused);
        }
        Err(error) => tracing::debug!(port, %error, "A datagram is lost"),
    }
}

/// A new flow; none when it cannot be had now.
fn begin(worker: &Rc<Worker>, socket: &Rc<UdpSocket>, port: u16, client: SocketAddr) -> Option<Rc<Flow>> {
    let backend = match assign(worker, port, client)? {
        Ok(backend) => Some(backend),
        Err(failure) => {
            tracing::debug!(port, ?failure, "Datagrams are dropped");
            None
        }
    };
    let flow = Rc::new(Flow { port, client, since: Cell::new(worker.now()), backend });
    make_room(worker);
    worker.flows.table.borrow_mut().insert(Rc::clone(&flow));
    if let Some(backend) = &flow.backend {
        let replies = tokio::task::spawn_local(reply(Rc::clone(worker), Rc::clone(socket), Rc::clone(&flow)));
        // It is the first and only one.
        let _ = backend.replies.set(replies.abort_handle());
    }
    Some(flow)
}

fn make_room(worker: &Worker) {
    let mut table = worker.flows.table.borrow_mut();
    while table.flows.len() >= worker.flows.most {
        let Some(oldest) = table.oldest(worker.now(), || worker.random()) else { return };
        table.remove(&oldest);
        worker.load.evicted.fetch_add(1, Relaxed);
    }
}

fn rule(snapshot: &Snapshot, port: u16) -> Option<&Rule> {
    snapshot.passing_rule(snapshot.listener(Transport::Udp, port, "")?, "")
}

/// Draws a backend and an endpoint of it, or says why its datagrams are to be dropped. None when no route is there, or no
/// socket is to be had.
fn assign(worker: &Rc<Worker>, port: u16, client: SocketAddr) -> Option<Result<Backend, Failure>> {
    let snapshot = worker.snapshot();
    let Action::Forward { split, arms } = &rule(&snapshot, port)?.action else {
        return Some(Err(Failure::NoBackend));
    };
    let arm = &arms[split.pick(worker.random())];
    let mut tally = Tally::start(worker, arm.cell);
    let mut fail = |failure: Failure| {
        tally.outcome = failure.outcome();
        Some(Err(failure))
    };
    let upstream = match snapshot.upstream(arm, None) {
        Ok(upstream) => upstream,
        Err(failure) => return fail(failure),
    };
    let wishes = Wishes::of_client(upstream, || client.ip().to_canonical().to_string());
    let Some(endpoint) = worker.pools.choose(upstream, wishes.as_ref(), None, worker.random(), worker.now()) else {
        return fail(Failure::NoEndpoint);
    };
    match connect(endpoint.target.address) {
        Ok(socket) => Some(Ok(Backend {
            id: Arc::clone(&arm.backend),
            socket,
            tally: RefCell::new(Some(tally)),
            passage: Passage::start(worker, arm.cell),
            in_flight: InFlight::new(endpoint),
            replies: OnceCell::new(),
        })),
        Err(error) => {
            tracing::warn!(port, %error, "No socket for a new flow");
            None
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    UdpSocket::from_std(socket)
}

/// Passes a backend's datagrams on to the client, from where it sent its own to.
async fn reply(worker: Rc<Worker>, socket: Rc<UdpSocket>, flow: Rc<Flow>) {
    let Some(backend) = &flow.backend else { return };
    while let Ok(ready) = backend.socket.ready(Interest::READABLE | Interest::ERROR).await {
        let refused = if ready.is_error() { refusal(&backend.socket) } else { Ok(()) };
        if let Err(error) = refused.and_then(|()| reply_some(&worker, &socket, &flow, backend)) {
            tracing::debug!(port = flow.port, %error, "The backend of a flow cannot be reached");
            backend.in_flight.endpoint().note_refusal(worker.now());
            return worker.flows.end(&flow, Failure::Refused);
        }
        tokio::task::yield_now().await;
    }
}

/// What the network said of datagrams that were sent.
fn refusal(socket: &UdpSocket) -> io::Result<()> {
    let asked = socket.try_io(Interest::ERROR, || match socket.take_error()? {
        Some(error) => Err(error),
        // Until there is another one.
        None => Err(io::ErrorKind::WouldBlock.into()),
    });
    match asked {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        asked => asked,
    }
}

fn reply_some(worker: &Worker, socket: &UdpSocket, flow: &Flow, backend: &Backend) -> io::Result<()> {
    let mut scratch = worker.scratch.borrow_mut();
    for _ in 0..BATCH {
        let length = match backend.socket.try_recv(&mut scratch) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        flow.since.set(worker.now());
        if let Some(mut tally) = backend.tally.take() {
            tally.outcome = Outcome::of(StatusCode::OK);
        }
        match SockRef::from(socket).send_to(&scratch[..length], &flow.client.into()) {
            Ok(length) => backend.passage.count_sent(length),
            Err(error) => tracing::debug!(port = flow.port, %error, "A reply is lost"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::{Flow, Flows, IDLE_SECONDS};

    fn flow(client: u16, since: u32) -> Rc<Flow> {
        let client = ([127, 0, 0, 1], client).into();
        Rc::new(Flow { port: 53, client, since: Cell::new(since), backend: None })
    }

    #[test]
    fn what_has_been_silent_for_long_is_forgotten() {
        let flows = Flows::new(10);
        flows.table.borrow_mut().insert(flow(1, 0));
        flows.table.borrow_mut().insert(flow(2, 1));
        flows.sweep(IDLE_SECONDS - 1);
        assert_eq!(flows.table.borrow().flows.len(), 2);
        flows.sweep(IDLE_SECONDS);
        let table = flows.table.borrow();
        assert!(table.get(53, ([127, 0, 0, 1], 1).into()).is_none());
        assert!(table.get(53, ([127, 0, 0, 1], 2).into()).is_some());
    }

    #[test]
    fn of_some_flows_the_most_silent_makes_room() {
        let flows = Flows::new(10);
        for client in 0..64 {
            flows.table.borrow_mut().insert(flow(client, 100 - u32::from(client)));
        }
        let drawn = std::cell::RefCell::new((10..18_u64).cycle());
        let random = || drawn.borrow_mut().next().unwrap_or_default();
        let oldest = flows.table.borrow().oldest(200, random).map(|flow| flow.client.port());
        assert_eq!(oldest, Some(17));
        assert!(Flows::new(1).table.borrow().oldest(0, || 0).is_none());
    }
}
