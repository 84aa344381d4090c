//! What the proxy's controller answers, to the core's counters.

use std::collections::BTreeMap;

use sluice_operator_core::world::{Cell, DataPlane, Ready};
use sluice_wire::v1;

use super::Targets;

/// Index of the 5xx responses among the classes.
const SERVER_ERRORS: usize = 4;

/// Name of a route in the control protocol.
pub(crate) fn route_key(namespace: &str, route: &str) -> String {
    format!("HTTPRoute/{namespace}/{route}")
}

/// A data plane as the core sees it.
///
/// Counters start anew with the process, so that the process is the identity: the pod's name with the epoch.
pub(crate) fn data_plane(plane: &v1::DataPlane, namespace: &str, targets: &Targets) -> DataPlane {
    let v1::DataPlane { pod, epoch, connected, draining: _, routes, cells, backends } = plane;
    let names: BTreeMap<String, &str> =
        targets.routes.iter().map(|name| (route_key(namespace, name), name.as_str())).collect();
    let applied = routes.iter().filter_map(|applied| {
        let name = names.get(&applied.route)?;
        Some(((*name).to_owned(), applied.generation))
    });
    let mut sums: BTreeMap<(String, String, bool, i64), Cell> = BTreeMap::new();
    for cell in cells {
        let Some(route) = names.get(&cell.route) else { continue };
        let Some(canary) = side(&cell.backend, namespace, targets) else { continue };
        let key = ((*route).to_owned(), cell.rule.clone(), canary, cell.generation);
        add(sums.entry(key).or_default(), cell);
    }
    let cells = sums.into_iter().map(|((route, rule, canary, generation), sum)| Cell {
        route,
        rule,
        canary,
        generation,
        ..sum
    });
    DataPlane {
        pod: format!("{pod}@{:08x}", epoch & 0xffff_ffff),
        connected: *connected,
        applied: applied.collect(),
        ready: ready(backends, namespace, targets),
        cells: cells.collect(),
    }
}

/// The fewest ready endpoints of each side.
fn ready(backends: &[v1::AppliedBackend], namespace: &str, targets: &Targets) -> Ready {
    let fewest = |canary: bool| {
        let of_side = backends.iter().filter(|applied| side(&applied.backend, namespace, targets) == Some(canary));
        of_side.map(|applied| applied.ready).min()
    };
    Ready { stable: fewest(false), canary: fewest(true) }
}

/// Which side a backend is on; None for one that is neither, such as another Service of the same rule.
fn side(backend: &str, namespace: &str, targets: &Targets) -> Option<bool> {
    let service = backend.strip_prefix(namespace)?.strip_prefix('/')?.split(':').next()?;
    if service == targets.canary_service {
        Some(true)
    } else if service == targets.service {
        Some(false)
    } else {
        None
    }
}

/// Adds the counters of a backend: a rule may name a Service with several ports, and they are one side.
fn add(sum: &mut Cell, cell: &v1::Cell) {
    sum.started += cell.started;
    sum.ended += cell.responses.iter().sum::<u64>();
    // Connection failures are among them, as 502.
    sum.errors += cell.responses.get(SERVER_ERRORS).copied().unwrap_or(0);
    sum.disruptions += cell.disruptions;
    sum.in_flight += cell.in_flight;
    add_all(&mut sum.durations, &cell.duration_buckets);
    add_all(&mut sum.ages, &cell.in_flight_ages);
}

fn add_all(sums: &mut Vec<u64>, counts: &[u64]) {
    sums.resize(sums.len().max(counts.len()), 0);
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}
