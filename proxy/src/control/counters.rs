//! What data planes have counted: per process the newest of each cell, and the sum of what processes that are gone had
//! counted, so that no evidence is lost when a data plane is moved or restarted.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use sluice_wire::v1::Cell;

/// Generations of a route, before the newest, whose cells are kept.
const KEPT_GENERATIONS: i64 = 8;
/// Cells that are kept of one process: a data plane that goes mad must not take the controller along.
const CELLS_PER_PROCESS: usize = 100_000;

/// One process of a data plane: its pod and its epoch.
pub type Process = (String, u64);

/// Route, rule, backend and generation.
type Key = (String, String, String, i64);

/// The counters of all data planes.
#[derive(Debug, Default)]
pub struct Ledger {
    live: HashMap<Process, HashMap<Key, Cell>>,
    retired: HashMap<Key, Cell>,
}

impl Ledger {
    /// Takes over what a process reports. Cells are cumulative: the newest replaces the one before.
    pub fn record(&mut self, process: &Process, cells: Vec<Cell>) {
        let known = self.live.entry(process.clone()).or_default();
        for cell in cells {
            let full = known.len() >= CELLS_PER_PROCESS;
            match known.entry(key(&cell)) {
                Entry::Occupied(mut slot) => drop(slot.insert(cell)),
                Entry::Vacant(slot) if !full => drop(slot.insert(cell)),
                Entry::Vacant(_) => {}
            }
        }
    }

    /// Adds what the process had counted to the cells of those that are gone. What it had in flight is gone with it.
    pub fn retire(&mut self, process: &Process) {
        for (key, mut cell) in self.live.remove(process).unwrap_or_default() {
            cell.in_flight = 0;
            cell.in_flight_ages.clear();
            match self.retired.entry(key) {
                Entry::Occupied(mut slot) => merge(slot.get_mut(), &cell),
                Entry::Vacant(slot) => drop(slot.insert(cell)),
            }
        }
    }

    /// Forgets routes that do not exist (any more) and generations that are too old. `routes` has the newest generation
    /// of each route.
    pub fn prune(&mut self, routes: &BTreeMap<String, i64>) {
        let kept = |(route, _, _, generation): &Key| {
            routes.get(route).is_some_and(|newest| *generation >= newest - KEPT_GENERATIONS)
        };
        self.retired.retain(|key, _| kept(key));
        for cells in self.live.values_mut() {
            cells.retain(|key, _| kept(key));
        }
    }

    /// The cells of a process for these routes.
    pub fn of_process(&self, process: &Process, routes: &[String]) -> Vec<Cell> {
        self.live.get(process).map_or_else(Vec::new, |cells| select(cells, routes))
    }

    /// The merged cells of the processes that are gone, for these routes.
    pub fn of_retired(&self, routes: &[String]) -> Vec<Cell> {
        select(&self.retired, routes)
    }
}

fn key(cell: &Cell) -> Key {
    (cell.route.clone(), cell.rule.clone(), cell.backend.clone(), cell.generation)
}

fn select(cells: &HashMap<Key, Cell>, routes: &[String]) -> Vec<Cell> {
    cells.values().filter(|cell| routes.contains(&cell.route)).cloned().collect()
}

fn merge(into: &mut Cell, from: &Cell) {
    into.started += from.started;
    into.connection_failures += from.connection_failures;
    into.disruptions += from.disruptions;
    into.duration_sum_seconds += from.duration_sum_seconds;
    add(&mut into.responses, &from.responses);
    add(&mut into.duration_buckets, &from.duration_buckets);
}

fn add(into: &mut Vec<u64>, from: &[u64]) {
    into.resize(into.len().max(from.len()), 0);
    for (into, from) in into.iter_mut().zip(from) {
        *into += from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "HTTPRoute/shop/web";

    fn cell(generation: i64, started: u64) -> Cell {
        Cell {
            route: ROUTE.to_owned(),
            rule: "0".to_owned(),
            backend: "shop/web:80".to_owned(),
            generation,
            started,
            responses: vec![0, started, 0, 0, 0],
            in_flight: 3,
            in_flight_ages: vec![3],
            duration_buckets: vec![started],
            duration_sum_seconds: 0.5,
            ..Cell::default()
        }
    }

    fn process(pod: &str, epoch: u64) -> Process {
        (pod.to_owned(), epoch)
    }

    #[test]
    fn the_newest_report_of_a_cell_counts() {
        let mut ledger = Ledger::default();
        ledger.record(&process("a", 1), vec![cell(1, 5)]);
        ledger.record(&process("a", 1), vec![cell(1, 9)]);
        assert_eq!(ledger.of_process(&process("a", 1), &[ROUTE.to_owned()]), [cell(1, 9)]);
        assert!(ledger.of_process(&process("a", 1), &["HTTPRoute/shop/other".to_owned()]).is_empty());
    }

    #[test]
    fn nothing_is_lost_when_processes_go() {
        let mut ledger = Ledger::default();
        ledger.record(&process("a", 1), vec![cell(1, 5)]);
        ledger.record(&process("b", 7), vec![cell(1, 6)]);
        ledger.retire(&process("a", 1));
        ledger.retire(&process("b", 7));
        let [sum] = &ledger.of_retired(&[ROUTE.to_owned()])[..] else { panic!("one cell") };
        assert_eq!((sum.started, sum.responses[1], sum.duration_buckets[0], sum.in_flight), (11, 11, 11, 0));
        assert!(sum.in_flight_ages.is_empty());
    }

    #[test]
    fn old_generations_and_routes_that_are_gone_are_forgotten() {
        let mut ledger = Ledger::default();
        ledger.record(&process("a", 1), vec![cell(1, 5), cell(2, 5), cell(10, 5)]);
        ledger.prune(&[(ROUTE.to_owned(), 10)].into());
        assert_eq!(ledger.of_process(&process("a", 1), &[ROUTE.to_owned()]).len(), 2);
        ledger.retire(&process("a", 1));
        ledger.prune(&BTreeMap::new());
        assert!(ledger.of_retired(&[ROUTE.to_owned()]).is_empty());
    }
}
