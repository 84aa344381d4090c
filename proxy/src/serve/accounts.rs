//! What all workers have counted: collected once a second, pushed to the controller, exported, and in the end forgotten.
//!
//! A cell belongs to one generation of a route. When no snapshot names it any more and nothing in it is in flight, its
//! numbers are pushed a last time, go over into the exported sums, and its place is given to another cell.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sluice_proxy_core::cells::{CellId, CellKey, Cells};
use sluice_wire::v1;
use tokio::sync::oneshot;

use super::counters::CellTotals;
use super::plane::Plane;
use super::worker::Message;

/// Cells of earlier generations that are kept for a controller that is away. Beyond that the numbers are lost to it.
const KEPT_UNSENT: usize = 4096;

/// Route, rule and backend, over all generations.
pub(super) type SeriesKey = (Arc<str>, Arc<str>, Arc<str>);

/// The sums of all workers.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    totals: HashMap<CellId, CellTotals>,
    /// What forgotten cells had counted, for as long as their backend is still in the rule.
    retired: HashMap<SeriesKey, CellTotals>,
    /// What the controller was told last; none without a controller.
    sent: Option<HashMap<CellId, CellTotals>>,
}

impl Accounts {
    /// A controller connects that knows nothing yet.
    pub(super) fn start_sending(&mut self) {
        self.sent = Some(HashMap::new());
    }

    /// The cells that changed since the last call, for the controller.
    pub(super) fn take_changes(&mut self, cells: &Cells) -> Vec<v1::Cell> {
        let Some(sent) = &mut self.sent else { return Vec::new() };
        let mut changes = Vec::new();
        for (id, totals) in &self.totals {
            if sent.get(id) != Some(totals)
                && let Some(key) = cells.key(*id)
            {
                changes.push(to_wire(key, totals));
                sent.insert(*id, totals.clone());
            }
        }
        changes
    }

    /// Sums over generations, for export: what has never had a request is left out.
    pub(super) fn series(&self, cells: &Cells) -> BTreeMap<SeriesKey, CellTotals> {
        let retired = self.retired.iter().map(|(key, totals)| (key.clone(), totals));
        let live = self.totals.iter().filter_map(|(id, totals)| Some((series_key(cells.key(*id)?), totals)));
        let mut series = BTreeMap::<SeriesKey, CellTotals>::new();
        for (key, totals) in retired.chain(live) {
            series.entry(key).or_default().add(totals);
        }
        series
    }

    /// Whether nobody counts in a cell any more that no snapshot names.
    fn is_over(&self, id: CellId) -> bool {
        self.totals.get(&id).is_none_or(|totals| totals.in_flight() == 0 && totals.open() == 0)
    }

    /// Whether nothing of a cell needs to be told to anyone any more.
    fn is_told(&self, id: CellId) -> bool {
        let Some(totals) = self.totals.get(&id) else { return true };
        self.sent.as_ref().is_none_or(|sent| sent.get(&id) == Some(totals))
    }

    fn forget(&mut self, id: CellId, key: &CellKey) {
        if let Some(totals) = self.totals.remove(&id) {
            self.retired.entry(series_key(key)).or_default().add(&totals);
        }
        if let Some(sent) = &mut self.sent {
            sent.remove(&id);
        }
    }
}

fn series_key(key: &CellKey) -> SeriesKey {
    (Arc::clone(&key.route), Arc::clone(&key.rule), Arc::clone(&key.backend))
}

impl Plane {
    /// Collects what the workers have counted, and forgets what nobody will count in again.
    pub(crate) async fn collect(&self) {
        let mut ages = HashMap::<CellId, CellTotals>::new();
        for worker in &*self.workers {
            let (sender, receiver) = oneshot::channel();
            // A worker that is gone has nothing in flight.
            let _ = worker.messages.send(Message::Ages(sender));
            for (id, in_worker) in receiver.await.unwrap_or_default() {
                let totals = ages.entry(id).or_default();
                for (total, count) in totals.ages.iter_mut().zip(in_worker) {
                    *total += count;
                }
            }
        }
        let mut accounts = self.accounts.borrow_mut();
        for (id, _) in self.cells.borrow().iter() {
            let mut totals = ages.remove(&id).unwrap_or_default();
            for worker in &*self.workers {
                worker.cells.read(id, &mut totals);
            }
            if totals.started > 0 {
                accounts.totals.insert(id, totals);
            }
        }
        drop(accounts);
        self.forget_cells();
    }

    fn forget_cells(&self) {
        let mut snapshots = self.snapshots.borrow_mut();
        let mut earlier = Vec::new();
        for snapshot in std::mem::take(&mut snapshots.earlier) {
            // Freed here and not by the worker whose request was the last on it: large ones take a while.
            if let Err(served) = Arc::try_unwrap(snapshot) {
                earlier.push(served);
            }
        }
        snapshots.earlier = earlier;
        let compiler = self.compiler.borrow();
        // The newest one may be on its way to the workers.
        let named: HashSet<CellId> = std::iter::once(compiler.current())
            .chain([&*snapshots.current])
            .chain(snapshots.earlier.iter().map(|snapshot| &**snapshot))
            .flat_map(|snapshot| snapshot.arms().map(|arm| arm.cell))
            .collect();
        let (mut cells, mut accounts) = (self.cells.borrow_mut(), self.accounts.borrow_mut());
        let stale: Vec<CellId> = cells.iter().map(|(id, _)| id).filter(|id| !named.contains(id)).collect();
        let too_many = stale.len() > KEPT_UNSENT;
        for id in stale {
            if accounts.is_over(id)
                && (too_many || accounts.is_told(id))
                && let Some(key) = cells.key(id).cloned()
            {
                accounts.forget(id, &key);
                cells.forget(id);
                self.workers.iter().for_each(|worker| worker.cells.reset(id));
            }
        }
        let exported: HashSet<SeriesKey> = cells.iter().map(|(_, key)| series_key(key)).collect();
        accounts.retired.retain(|key, _| exported.contains(key));
    }
}

fn to_wire(key: &CellKey, totals: &CellTotals) -> v1::Cell {
    v1::Cell {
        route: key.route.to_string(),
        rule: key.rule.to_string(),
        backend: key.backend.to_string(),
        generation: key.generation,
        started: totals.started,
        responses: totals.responses.to_vec(),
        connection_failures: totals.connection_failures,
        disruptions: totals.disruptions,
        in_flight: totals.in_flight(),
        duration_buckets: totals.duration_buckets.to_vec(),
        duration_sum_seconds: totals.duration_micros as f64 / 1e6,
        in_flight_ages: totals.ages.to_vec(),
    }
}
