//! What data planes have counted: per process the newest of each cell, and the sum of what processes that are gone had
//! counted, so that no evidence is lost when a data plane is moved or restarted.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry};

use sluice_wire::v1::Cell;

/// Generations of a route, before the newest, whose cells are kept.
const KEPT_GENERATIONS: i64 = 8;
/// Cells that are kept of one process: a data plane that goes mad must not take the controller along.
const CELLS_PER_PROCESS: usize = 100_000;

/// One process of a data plane: its pod and its epoch.
pub type Process = (String, u64);

/// Rule, backend and generation.
type Key = (String, String, i64);

/// The counters of all data planes.
#[derive(Debug, Default)]
pub struct Ledger {
    live: HashMap<Process, Cells>,
    retired: Cells,
}

/// Cells by route.
#[derive(Debug, Default)]
struct Cells {
    routes: HashMap<String, HashMap<Key, Cell>>,
    count: usize,
}

impl Cells {
    fn cell(&mut self, cell: &Cell) -> Entry<'_, Key, Cell> {
        let key = (cell.rule.clone(), cell.backend.clone(), cell.generation);
        self.routes.entry(cell.route.clone()).or_default().entry(key)
    }

    fn select(&self, routes: &[String]) -> Vec<Cell> {
        let routes: BTreeSet<_> = routes.iter().collect();
        routes.into_iter().filter_map(|route| self.routes.get(route)).flat_map(HashMap::values).cloned().collect()
    }

    fn prune(&mut self, route: &str, newest: Option<i64>) {
        let Some(cells) = self.routes.get_mut(route) else { return };
        self.count -= cells.len();
        cells.retain(|(.., generation), _| newest.is_some_and(|newest| *generation >= newest - KEPT_GENERATIONS));
        self.count += cells.len();
        if cells.is_empty() {
            self.routes.remove(route);
        }
    }
}

impl Ledger {
    /// Takes over what a process reports. Cells are cumulative: the newest replaces the one before.
    pub fn record(&mut self, process: &Process, cells: Vec<Cell>) {
        let known = self.live.entry(process.clone()).or_default();
        for cell in cells {
            let full = known.count >= CELLS_PER_PROCESS;
            match known.cell(&cell) {
                Entry::Occupied(mut slot) => drop(slot.insert(cell)),
                Entry::Vacant(slot) if !full => {
                    slot.insert(cell);
                    known.count += 1;
                }
                Entry::Vacant(_) => {}
            }
        }
    }

    /// Adds what the process had counted to the cells of those that are gone. What it had in flight is gone with it.
    pub fn retire(&mut self, process: &Process) {
        let cells = self.live.remove(process).unwrap_or_default();
        for mut cell in cells.routes.into_values().flat_map(HashMap::into_values) {
            cell.in_flight = 0;
            cell.in_flight_ages.clear();
            match self.retired.cell(&cell) {
                Entry::Occupied(mut slot) => merge(slot.get_mut(), &cell),
                Entry::Vacant(slot) => {
                    slot.insert(cell);
                    self.retired.count += 1;
                }
            }
        }
    }

    /// Forgets routes that do not exist (any more) and generations that are too old. `routes` has the newest generation
    /// of each route.
    pub fn prune(&mut self, routes: &BTreeMap<String, i64>) {
        let all = self.live.values().chain([&self.retired]).flat_map(|cells| cells.routes.keys());
        for route in all.cloned().collect::<BTreeSet<_>>() {
            self.prune_route(&route, routes.get(&route).copied());
        }
    }

    /// The same for one route; none when it does not exist.
    pub fn prune_route(&mut self, route: &str, newest: Option<i64>) {
        for cells in self.live.values_mut().chain([&mut self.retired]) {
            cells.prune(route, newest);
        }
    }

    /// The cells of a process for these routes.
    pub fn of_process(&self, process: &Process, routes: &[String]) -> Vec<Cell> {
        self.live.get(process).map_or_else(Vec::new, |cells| cells.select(routes))
    }

    /// The merged cells of the processes that are gone, for these routes.
    pub fn of_retired(&self, routes: &[String]) -> Vec<Cell> {
        self.retired.select(routes)
    }
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
