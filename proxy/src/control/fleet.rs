//! The data planes: who is connected, what each serves and what it has counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sluice_proxy_core::model::backend_name;
use sluice_wire::v1;
use tokio::sync::{Notify, watch};

use crate::control::{
    counters::{Ledger, Process},
    publish::Published,
};

/// The data planes of this controller.
#[derive(Debug)]
pub struct Fleet {
    epoch: u64,
    state: Mutex<State>,
    /// Rises when somebody comes, goes or acknowledges.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    connections: u64,
    planes: BTreeMap<String, Plane>,
    ledger: Ledger,
}

#[derive(Debug, Default)]
struct Plane {
    epoch: u64,
    connection: Option<Connection>,
    draining: bool,
    acked: u64,
    refused: Option<(u64, String)>,
}

#[derive(Debug)]
struct Connection {
    id: u64,
    superseded: Arc<Notify>,
}

/// A connection of a data plane, which takes itself off when it is dropped.
#[derive(Debug)]
pub struct Member {
    fleet: Arc<Fleet>,
    process: Process,
    id: u64,
    /// Told when another connection of the same pod takes the place of this one.
    pub superseded: Arc<Notify>,
}

/// How far the connected data planes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many are connected.
    pub connected: usize,
    /// The update that each of them serves at least; 0 when none is connected.
    pub served: u64,
    /// The newest update that one of them refused, and why.
    pub refused: Option<(u64, String)>,
}

impl Fleet {
    /// An empty fleet; `epoch` names this process of the controller.
    pub fn new(epoch: u64) -> Arc<Self> {
        Arc::new(Self { epoch, state: Mutex::default(), changed: watch::Sender::new(0) })
    }

    /// Takes a data plane in. An earlier connection of the same pod is told to end, and the counters of an earlier process
    /// of it become those of one that is gone.
    pub fn join(self: &Arc<Self>, pod: &str, epoch: u64) -> Member {
        let superseded = Arc::new(Notify::new());
        let id = {
            let mut guard = self.lock();
            let state = &mut *guard;
            state.connections += 1;
            let plane = state.planes.entry(pod.to_owned()).or_default();
            if plane.epoch != epoch {
                state.ledger.retire(&(pod.to_owned(), plane.epoch));
                *plane = Plane { epoch, connection: plane.connection.take(), ..Plane::default() };
            }
            let connection = Connection { id: state.connections, superseded: Arc::clone(&superseded) };
            if let Some(earlier) = plane.connection.replace(connection) {
                earlier.superseded.notify_one();
            }
            state.connections
        };
        self.touch();
        Member { fleet: Arc::clone(self), process: (pod.to_owned(), epoch), id, superseded }
    }

    /// Follows who comes, goes and acknowledges.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How far the connected data planes are.
    pub fn progress(&self) -> Progress {
        let state = self.lock();
        let connected: Vec<_> = state.planes.values().filter(|plane| plane.connection.is_some()).collect();
        Progress {
            connected: connected.len(),
            served: connected.iter().map(|plane| plane.acked).min().unwrap_or_default(),
            refused: connected.iter().filter_map(|plane| plane.refused.clone()).max(),
        }
    }

    /// Forgets data planes whose pod is gone.
    pub fn keep(&self, pods: &BTreeSet<String>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let gone = state.planes.iter().filter(|(pod, plane)| plane.connection.is_none() && !pods.contains(*pod));
        let gone: Vec<Process> = gone.map(|(pod, plane)| (pod.clone(), plane.epoch)).collect();
        for process in gone {
            state.ledger.retire(&process);
            state.planes.remove(&process.0);
        }
    }

    /// Forgets counters that nobody can ask for any more. `routes` has the newest generation of each route.
    pub fn prune(&self, routes: &BTreeMap<String, i64>) {
        self.lock().ledger.prune(routes);
    }

    /// The same for one route; none when it does not exist.
    pub fn prune_route(&self, route: &str, newest: Option<i64>) {
        self.lock().ledger.prune_route(route, newest);
    }

    /// What the data planes serve and have counted for these routes: those that are known here, and those `serving` that
    /// have not connected (to this process of the controller).
    pub fn observe(&self, routes: &[String], serving: &BTreeSet<String>, published: &Published) -> v1::ObserveResponse {
        let state = self.lock();
        let unknown = Plane::default();
        let backends: BTreeSet<&str> = routes.iter().flat_map(|route| published.backends_of(route)).collect();
        let pods: BTreeSet<&String> = serving.iter().chain(state.planes.keys()).collect();
        let data_planes = pods.into_iter().map(|pod| {
            let plane = state.planes.get(pod).unwrap_or(&unknown);
            let applied = routes.iter().filter_map(|route| {
                let generation = published.generation_at(route, plane.acked)?;
                Some(v1::AppliedRoute { route: route.clone(), generation })
            });
            let ready = backends.iter().map(|backend| v1::AppliedBackend {
                backend: backend_name(backend).to_owned(),
                ready: published.ready_at(backend, plane.acked),
            });
            v1::DataPlane {
                pod: pod.clone(),
                epoch: plane.epoch,
                connected: plane.connection.is_some(),
                draining: plane.draining,
                routes: applied.collect(),
                backends: ready.collect(),
                cells: state.ledger.of_process(&(pod.clone(), plane.epoch), routes),
            }
        });
        let data_planes = data_planes.collect();
        v1::ObserveResponse { data_planes, retired: state.ledger.of_retired(routes), epoch: self.epoch }
    }

    /// The state is valid after every step of a method, so a panic in another one does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Member {
    /// Notes that an update is served, or why it was refused.
    pub fn ack(&self, ack: v1::Ack) {
        self.change(|plane| {
            if ack.error.is_empty() {
                plane.acked = plane.acked.max(ack.update);
                plane.refused = plane.refused.take().filter(|(update, _)| *update > ack.update);
            } else {
                plane.refused = Some((ack.update, ack.error));
            }
        });
    }

    /// Notes that the data plane was told to stop.
    pub fn draining(&self) {
        self.change(|plane| plane.draining = true);
    }

    /// Takes over counters.
    pub fn record(&self, cells: Vec<v1::Cell>) {
        self.fleet.lock().ledger.record(&self.process, cells);
    }

    fn change(&self, change: impl FnOnce(&mut Plane)) {
        let mut guard = self.fleet.lock();
        let plane = guard.planes.get_mut(&self.process.0);
        let current =
            plane.filter(|plane| plane.connection.as_ref().is_some_and(|connection| connection.id == self.id));
        if let Some(plane) = current {
            change(plane);
        }
        drop(guard);
        self.fleet.touch();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.change(|plane| plane.connection = None);
    }
}

#[cfg(test)]
mod tests {
    use sluice_proxy_core::model::{Resource, Route};

    use super::*;
    use crate::control::{publish::Publisher, shared_map::SharedMap};

    const ROUTE: &str = "HTTPRoute/shop/web";

    fn publish(publisher: &Publisher, generation: i64) -> u64 {
        let (id, listeners) = (ROUTE.to_owned(), vec!["shop/web/http".to_owned()]);
        let route = Resource::Route(Route { id, generation, created: 0, listeners, hostnames: vec![], rules: vec![] });
        publisher.publish(SharedMap::from_iter([(route.key(), route)])).unwrap()
    }

    fn served(update: u64) -> v1::Ack {
        v1::Ack { update, error: String::new() }
    }

    #[test]
    fn progress_is_that_of_the_slowest_connected_data_plane() {
        let fleet = Fleet::new(1);
        assert_eq!(fleet.progress(), Progress::default());
        let (a, b) = (fleet.join("a", 1), fleet.join("b", 1));
        a.ack(served(3));
        assert_eq!(fleet.progress().served, 0);
        b.ack(v1::Ack { update: 3, error: "bad".to_owned() });
        assert_eq!(fleet.progress().refused, Some((3, "bad".to_owned())));
        b.ack(served(4));
        assert_eq!(fleet.progress(), Progress { connected: 2, served: 3, refused: None });
        drop(a);
        assert_eq!(fleet.progress().served, 4);
    }

    #[test]
    fn a_route_counts_as_applied_once_the_update_that_brought_it_is_served() {
        let (fleet, publisher) = (Fleet::new(1), Publisher::default());
        let member = fleet.join("a", 1);
        let observe = || {
            let seen = fleet.observe(&[ROUTE.to_owned()], &["ready".to_owned()].into(), &publisher.newest());
            seen.data_planes.iter().map(|plane| plane.routes.first().map(|route| route.generation)).collect::<Vec<_>>()
        };
        assert_eq!(observe(), [None, None]);
        let update = publish(&publisher, 7);
        assert_eq!(observe(), [Some(0), Some(0)]);
        member.ack(served(update));
        assert_eq!(observe(), [Some(7), Some(0)]);
        publish(&publisher, 8);
        assert_eq!(observe(), [Some(7), Some(0)]);
    }

    #[test]
    fn a_new_connection_takes_the_place_of_the_old_one_and_a_new_process_starts_anew() {
        let fleet = Fleet::new(1);
        let old = fleet.join("a", 1);
        old.ack(served(5));
        let new = fleet.join("a", 1);
        drop(old);
        assert_eq!(fleet.progress(), Progress { connected: 1, served: 5, refused: None });
        new.record(vec![v1::Cell { route: ROUTE.to_owned(), started: 2, ..v1::Cell::default() }]);
        let _restarted = fleet.join("a", 2);
        assert_eq!(fleet.progress().served, 0);
        let seen = fleet.observe(&[ROUTE.to_owned()], &BTreeSet::new(), &Published::default());
        assert_eq!(seen.retired[0].started, 2);
        assert!(seen.data_planes[0].cells.is_empty());
    }

    #[test]
    fn a_data_plane_is_known_until_its_pod_is_gone() {
        let fleet = Fleet::new(1);
        let member = fleet.join("a", 1);
        let known = || fleet.observe(&[], &BTreeSet::new(), &Published::default()).data_planes.len();
        drop(member);
        fleet.keep(&["a".to_owned()].into());
        assert_eq!(known(), 1);
        fleet.keep(&BTreeSet::new());
        assert_eq!(known(), 0);
    }
}
