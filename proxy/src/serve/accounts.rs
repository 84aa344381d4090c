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
use super::plane::{Plane, Snapshots};
use super::worker::Message;

/// Cells of earlier generations that are kept for a controller that is away. Beyond that the numbers are lost to it.
const KEPT_UNSENT: usize = 4096;

/// Route, rule and backend, over all generations.
pub(super) type SeriesKey = (Arc<str>, Arc<str>, Arc<str>);

/// Totals by the number of their cell. Numbers are dense, and all of them are gone through each second.
#[derive(Debug, Default)]
struct PerCell(Vec<Option<Box<CellTotals>>>);

impl PerCell {
    fn get(&self, id: CellId) -> Option<&CellTotals> {
        self.0.get(id.index())?.as_deref()
    }

    /// Those of a cell, zeros if it has none yet.
    fn entry(&mut self, id: CellId) -> &mut CellTotals {
        if self.0.len() <= id.index() {
            self.0.resize_with(id.index() + 1, || None);
        }
        self.0[id.index()].get_or_insert_default()
    }

    fn remove(&mut self, id: CellId) -> Option<Box<CellTotals>> {
        self.0.get_mut(id.index())?.take()
    }

    fn iter(&self) -> impl Iterator<Item = (CellId, &CellTotals)> {
        self.0.iter().enumerate().filter_map(|(index, totals)| Some((CellId(index as u32), totals.as_deref()?)))
    }
}

/// The sums of all workers.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    totals: PerCell,
    /// What forgotten cells had counted, for as long as their backend is still in the rule.
    retired: HashMap<SeriesKey, CellTotals>,
    /// What the controller was told last; none without a controller.
    sent: Option<PerCell>,
    /// Whether no cell is left that no snapshot names. A change of the configuration can leave some.
    settled: bool,
}

impl Accounts {
    /// A controller connects that knows nothing yet.
    pub(super) fn start_sending(&mut self) {
        self.sent = Some(PerCell::default());
    }

    /// The configuration changes: there may be cells that no snapshot names any more.
    pub(super) fn unsettle(&mut self) {
        self.settled = false;
    }

    /// The cells that changed since the last call, for the controller.
    pub(super) fn take_changes(&mut self, cells: &Cells) -> Vec<v1::Cell> {
        let Some(sent) = &mut self.sent else { return Vec::new() };
        let mut changes = Vec::new();
        for (id, totals) in self.totals.iter() {
            if sent.get(id) != Some(totals)
                && let Some(key) = cells.key(id)
            {
                changes.push(to_wire(key, totals));
                sent.entry(id).clone_from(totals);
            }
        }
        changes
    }

    /// Sums over generations, for export: what has never had a request is left out.
    pub(super) fn series(&self, cells: &Cells) -> BTreeMap<SeriesKey, CellTotals> {
        let retired = self.retired.iter().map(|(key, totals)| (key.clone(), totals));
        let live = self.totals.iter().filter_map(|(id, totals)| Some((series_key(cells.key(id)?), totals)));
        let mut series = BTreeMap::<SeriesKey, CellTotals>::new();
        for (key, totals) in retired.chain(live) {
            series.entry(key).or_default().add(totals);
        }
        series
    }

    /// Whether nobody counts in a cell any more that no snapshot names.
    fn is_over(&self, id: CellId) -> bool {
        self.totals.get(id).is_none_or(|totals| totals.in_flight() == 0 && totals.open() == 0)
    }

    /// Whether nothing of a cell needs to be told to anyone any more.
    fn is_told(&self, id: CellId) -> bool {
        let Some(totals) = self.totals.get(id) else { return true };
        self.sent.as_ref().is_none_or(|sent| sent.get(id) == Some(totals))
    }

    fn forget(&mut self, id: CellId, key: &CellKey) {
        if let Some(totals) = self.totals.remove(id) {
            self.retired.entry(series_key(key)).or_default().add(&totals);
        }
        if let Some(sent) = &mut self.sent {
            sent.remove(id);
        }
    }
}

fn series_key(key: &CellKey) -> SeriesKey {
    (Arc::clone(&key.route), Arc::clone(&key.rule), Arc::clone(&key.backend))
}

impl Plane {
    /// Collects what the workers have counted, and forgets what nobody will count in again.
    pub(crate) async fn collect(&self) {
        let mut ages = PerCell::default();
        for worker in &*self.workers {
            let (sender, receiver) = oneshot::channel();
            // A worker that is gone has nothing in flight.
            let _ = worker.messages.send(Message::Ages(sender));
            for (id, in_worker) in receiver.await.unwrap_or_default() {
                for (total, count) in ages.entry(id).ages.iter_mut().zip(in_worker) {
                    *total += count;
                }
            }
        }
        let mut accounts = self.accounts.borrow_mut();
        for (id, _) in self.cells.borrow().iter() {
            if !self.workers.iter().any(|worker| worker.cells.is_used(id)) {
                continue;
            }
            let mut totals = ages.remove(id).map_or_else(CellTotals::default, |totals| *totals);
            for worker in &*self.workers {
                worker.cells.read(id, &mut totals);
            }
            *accounts.totals.entry(id) = totals;
        }
        drop(accounts);
        self.forget_cells();
    }

    fn forget_cells(&self) {
        let mut snapshots = self.snapshots.borrow_mut();
        let mut accounts = self.accounts.borrow_mut();
        if accounts.settled && snapshots.earlier.is_empty() {
            return;
        }
        let mut earlier = Vec::new();
        for snapshot in std::mem::take(&mut snapshots.earlier) {
            // Freed here and not by the worker whose request was the last on it: large ones take a while.
            if let Err(served) = Arc::try_unwrap(snapshot) {
                earlier.push(served);
            }
        }
        snapshots.earlier = earlier;
        let mut cells = self.cells.borrow_mut();
        let stale: Vec<CellId> = {
            let named = self.named(&snapshots);
            cells.iter().map(|(id, _)| id).filter(|id| !named.contains(id)).collect()
        };
        let (too_many, mut kept) = (stale.len() > KEPT_UNSENT, stale.len());
        for id in stale {
            if accounts.is_over(id)
                && (too_many || accounts.is_told(id))
                && let Some(key) = cells.key(id).cloned()
            {
                accounts.forget(id, &key);
                cells.forget(id);
                self.workers.iter().for_each(|worker| worker.cells.reset(id));
                kept -= 1;
            }
        }
        accounts.settled = kept == 0;
        let exported: HashSet<SeriesKey> = cells.iter().map(|(_, key)| series_key(key)).collect();
        accounts.retired.retain(|key, _| exported.contains(key));
    }

    /// The cells that requests may still be counted in.
    fn named(&self, snapshots: &Snapshots) -> HashSet<CellId> {
        let compiler = self.compiler.borrow();
        // The newest one may be on its way to the workers.
        let current = [compiler.current(), &*snapshots.current];
        let all = current.into_iter().chain(snapshots.earlier.iter().map(|snapshot| &**snapshot));
        all.flat_map(|snapshot| snapshot.arms().map(|arm| arm.cell)).collect()
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
