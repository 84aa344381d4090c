//! Counters as evidence: the largest that were ever seen, by data plane, route generation and side.

use crate::{
    plan::{Bad, Plan},
    state::{Config, Run, Tally},
    world::{Cell, DataPlane},
};

/// Tallies that a status may hold. When there are more, those of data planes that are gone are added up first.
const MAX_TALLIES: usize = 256;

/// Stands for every data plane that is gone and was added up.
const GONE: &str = "";

/// Bad requests and all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bad ones.
    pub bad: u64,
    /// All that can be judged.
    pub all: u64,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.bad += other.bad;
        self.all += other.all;
    }

    /// Share of bad ones; 0 without requests.
    pub fn rate(&self) -> f64 {
        if self.all == 0 { 0.0 } else { self.bad as f64 / self.all as f64 }
    }
}

/// Brings the tallies up to date. Only counters of known generations count: of others the split is not known.
pub fn observe(run: &mut Run, plan: &Plan, planes: &[DataPlane]) {
    for plane in planes {
        for config in run.configs.clone() {
            for canary in [false, true] {
                let seen = sum(plan, plane, &config, canary);
                let seen = without(seen, &run.forgotten);
                if seen.started + seen.ended + seen.disruptions > 0 {
                    merge(&mut run.tallies, seen);
                }
            }
        }
    }
    compact(run, planes);
}

/// Forgets what was counted of a route: what the data planes still show of it is no evidence any more.
pub fn forget(run: &mut Run, route: &str) {
    run.configs.retain(|config| config.route != route);
    run.baseline.retain(|tally| tally.route != route);
    for tally in run.tallies.extract_if(.., |tally| tally.route == route) {
        match run.forgotten.iter_mut().find(|known| is_same(known, &tally)) {
            Some(known) => add(known, &tally),
            None => run.forgotten.push(tally),
        }
    }
}

/// A metric's counts of one side under one config, over the run.
pub fn counts(run: &Run, plan: &Plan, metric: usize, config: &Config, canary: bool) -> Counts {
    counts_of(&run.tallies, plan, metric, config, canary)
}

/// The same, without what was there when the step began.
pub fn counts_of_step(run: &Run, plan: &Plan, metric: usize, config: &Config, canary: bool) -> Counts {
    let now = counts(run, plan, metric, config, canary);
    let before = counts_of(&run.baseline, plan, metric, config, canary);
    Counts { bad: now.bad.saturating_sub(before.bad), all: now.all.saturating_sub(before.all) }
}

fn counts_of(tallies: &[Tally], plan: &Plan, metric: usize, config: &Config, canary: bool) -> Counts {
    let mut counts = Counts::default();
    for tally in of(tallies, config, canary) {
        let (bad, all) = match plan.metrics[metric].bad {
            Bad::Error => (tally.errors, tally.ended),
            Bad::SlowerThan(_) => {
                let index = plan.metrics[..metric].iter().filter(|metric| metric.bad != Bad::Error).count();
                tally.slow.get(index).copied().unwrap_or_default()
            }
        };
        counts.add(Counts { bad, all });
    }
    counts
}

/// Requests of the canary under one config that neither ended nor were disrupted.
pub fn unended(run: &Run, config: &Config) -> u64 {
    of(&run.tallies, config, true).map(|tally| tally.started.saturating_sub(tally.ended + tally.disruptions)).sum()
}

fn of<'r>(tallies: &'r [Tally], config: &'r Config, canary: bool) -> impl Iterator<Item = &'r Tally> {
    tallies.iter().filter(move |tally| {
        tally.canary == canary && tally.generation == config.generation && tally.route == config.route
    })
}

/// What one data plane has counted of one side under one config.
fn sum(plan: &Plan, plane: &DataPlane, config: &Config, canary: bool) -> Tally {
    let mut tally = Tally {
        pod: plane.pod.clone(),
        route: config.route.clone(),
        generation: config.generation,
        canary,
        ..Tally::default()
    };
    let bounds: Vec<usize> = plan
        .metrics
        .iter()
        .filter_map(|metric| match metric.bad {
            Bad::Error => None,
            Bad::SlowerThan(bound) => Some(bound),
        })
        .collect();
    tally.slow = vec![(0, 0); bounds.len()];
    let counts = |cell: &&Cell| {
        cell.canary == canary
            && cell.generation == config.generation
            && cell.route == config.route
            && (config.rules.is_empty() || config.rules.contains(&cell.rule))
    };
    for cell in plane.cells.iter().filter(counts) {
        tally.started += cell.started;
        tally.ended += cell.ended;
        tally.errors += cell.errors;
        tally.disruptions += cell.disruptions;
        for (bound, (slow, all)) in bounds.iter().zip(&mut tally.slow) {
            let above = |buckets: &[u64]| buckets.iter().skip(bound + 1).sum::<u64>();
            // A request that hangs is slow the moment that it crosses the bound, not when it ends.
            *slow += above(&cell.durations) + above(&cell.ages);
            *all += cell.ended + above(&cell.ages);
        }
    }
    tally
}

fn is_same(a: &Tally, b: &Tally) -> bool {
    a.pod == b.pod && a.generation == b.generation && a.canary == b.canary && a.route == b.route
}

/// Counters less those that were there before.
fn without(mut seen: Tally, before: &[Tally]) -> Tally {
    if let Some(before) = before.iter().find(|before| is_same(before, &seen)) {
        seen.started = seen.started.saturating_sub(before.started);
        seen.ended = seen.ended.saturating_sub(before.ended);
        seen.errors = seen.errors.saturating_sub(before.errors);
        seen.disruptions = seen.disruptions.saturating_sub(before.disruptions);
        for (seen, before) in seen.slow.iter_mut().zip(&before.slow) {
            *seen = (seen.0.saturating_sub(before.0), seen.1.saturating_sub(before.1));
        }
    }
    seen
}

fn merge(tallies: &mut Vec<Tally>, seen: Tally) {
    let Some(known) = tallies.iter_mut().find(|tally| is_same(tally, &seen)) else {
        tallies.push(seen);
        return;
    };
    known.started = known.started.max(seen.started);
    known.ended = known.ended.max(seen.ended);
    known.errors = known.errors.max(seen.errors);
    known.disruptions = known.disruptions.max(seen.disruptions);
    known.slow.resize(seen.slow.len(), (0, 0));
    for (known, seen) in known.slow.iter_mut().zip(seen.slow) {
        *known = (known.0.max(seen.0), known.1.max(seen.1));
    }
}

/// Adds up the data planes that are gone, once there are too many tallies. Not before: one that comes back brings its
/// counters along, and must not count twice.
fn compact(run: &mut Run, planes: &[DataPlane]) {
    if run.tallies.len() <= MAX_TALLIES {
        return;
    }
    let is_present = |tally: &Tally| planes.iter().any(|plane| plane.pod == tally.pod);
    let (present, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut run.tallies).into_iter().partition(is_present);
    run.tallies = present;
    for tally in gone {
        let tally = Tally { pod: GONE.to_owned(), ..tally };
        match run.tallies.iter_mut().find(|known| is_same(known, &tally)) {
            Some(known) => add(known, &tally),
            None => run.tallies.push(tally),
        }
    }
}

fn add(known: &mut Tally, tally: &Tally) {
    known.started += tally.started;
    known.ended += tally.ended;
    known.errors += tally.errors;
    known.disruptions += tally.disruptions;
    known.slow.resize(tally.slow.len().max(known.slow.len()), (0, 0));
    for (known, tally) in known.slow.iter_mut().zip(&tally.slow) {
        *known = (known.0 + tally.0, known.1 + tally.1);
    }
}
