//! Routes, data planes that apply them after a while, and the traffic that they count.

use std::collections::BTreeMap;

use serde_json::Value;
use sluice_operator_core::{
    Millis,
    world::{Cell, DataPlane, Ready},
};

use super::workload::Health;

/// Buckets of the duration histogram.
const BUCKETS: usize = 23;
/// The bucket of a quick request, and of a slow one.
const QUICK: usize = 3;
const SLOW: usize = 15;

/// A route as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpRoute {
    pub(crate) rules: Value,
    pub(crate) generation: i64,
    pub(crate) resource_version: u64,
    /// The generation that the Gateway's controller reports on.
    pub(crate) reported: i64,
    /// Who else wrote it last.
    pub(crate) manager: Option<String>,
    /// The operator is a manager of its rules.
    pub(crate) is_managed: bool,
}

impl HttpRoute {
    pub(crate) fn new(rules: Value) -> Self {
        Self { rules, generation: 1, resource_version: 1, reported: 0, manager: None, is_managed: false }
    }

    /// The operator is no manager any more; false when it is not the route that was looked at.
    pub(crate) fn release(&mut self, resource_version: &str) -> bool {
        let is_current = self.resource_version.to_string() == resource_version;
        if is_current {
            self.is_managed = false;
            self.resource_version += 1;
        }
        is_current
    }

    /// Somebody else writes it, and takes its rules over.
    pub(crate) fn write_as(&mut self, manager: &str, rules: Value) {
        self.write(rules);
        (self.manager, self.is_managed) = (Some(manager.to_owned()), false);
    }

    pub(crate) fn write(&mut self, rules: Value) {
        self.rules = rules;
        self.generation += 1;
        self.resource_version += 1;
    }
}

/// A rule and side of a route, under a generation of it: what requests are counted by.
type Key = (String, String, bool, i64);

/// A data plane.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plane {
    pub(crate) pod: String,
    pub(crate) connected: bool,
    /// It hears of no endpoints for now.
    pub(crate) deaf: bool,
    /// Per route: the generation that it serves, with what its rules make of requests.
    pub(crate) applied: BTreeMap<String, (i64, Split)>,
    /// The endpoints that it knows of.
    pub(crate) ready: Ready,
    cells: BTreeMap<Key, Cell>,
    /// Requests that hang: their cell, since when, and how many.
    hanging: Vec<(Key, Millis, u64)>,
    turn: u64,
}

/// Where requests go: by the weights of the first rule that splits. A tenth of the requests has the header that a step
/// may ask for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Split {
    /// Name of the rule for the header.
    copy: Option<String>,
    /// Name or index of the rule that splits.
    rule: String,
    stable: u64,
    canary: u64,
    /// The canary's Service is named, if only with weight 0.
    names_canary: bool,
}

impl Split {
    fn of(rules: &Value) -> Self {
        let rules = rules.as_array().unwrap();
        let is_copy = |rule: &&Value| rule["name"].as_str().is_some_and(|name| name.starts_with("sluice-"));
        let copy = rules.iter().find(is_copy).map(|copy| copy["name"].as_str().unwrap().to_owned());
        let index = rules.iter().position(|rule| !is_copy(&rule)).unwrap();
        let rule = rules[index]["name"].as_str().map_or_else(|| index.to_string(), str::to_owned);
        let weight = |canary: bool| -> u64 {
            let refs = rules[index]["backendRefs"].as_array().unwrap();
            let of_side = refs.iter().filter(|r| r["name"].as_str().unwrap().ends_with("-canary") == canary);
            of_side.map(|r| r["weight"].as_u64().unwrap_or(1)).sum()
        };
        let all_refs = rules.iter().filter_map(|rule| rule["backendRefs"].as_array()).flatten();
        let names_canary = all_refs.into_iter().any(|r| r["name"].as_str().unwrap().ends_with("-canary"));
        Self { copy, rule, stable: weight(false), canary: weight(true), names_canary }
    }

    /// The rule for the header, stable's side and the canary's side of the rule that splits, in this order.
    fn keys(&self, route: &str, generation: i64) -> [Key; 3] {
        let key = |rule: &str, canary: bool| (route.to_owned(), rule.to_owned(), canary, generation);
        [key(self.copy.as_deref().unwrap_or_default(), true), key(&self.rule, false), key(&self.rule, true)]
    }

    /// Which of the keys a request counts for.
    fn pick(&self, point: f64, has_header: bool) -> usize {
        if self.copy.is_some() && has_header {
            return 0;
        }
        1 + usize::from(point * (self.stable + self.canary) as f64 >= self.stable as f64)
    }
}

/// Who can answer.
pub(crate) struct Backends<'s> {
    /// The canary's version, when its Service exists and a pod is available.
    pub(crate) canary: Option<&'s str>,
    /// Versions of the pods behind the stable Service.
    pub(crate) stable: Vec<&'s str>,
    pub(crate) versions: &'s BTreeMap<String, Health>,
}

impl Plane {
    pub(crate) fn new(pod: &str) -> Self {
        Self {
            pod: pod.to_owned(),
            connected: true,
            deaf: false,
            applied: BTreeMap::new(),
            ready: Ready::default(),
            cells: BTreeMap::new(),
            hanging: Vec::new(),
            turn: 0,
        }
    }

    /// Takes what the controller sends.
    pub(crate) fn apply(&mut self, routes: &BTreeMap<String, HttpRoute>) {
        if self.connected {
            let served =
                |(name, route): (&String, &HttpRoute)| (name.clone(), (route.generation, Split::of(&route.rules)));
            self.applied = routes.iter().map(served).collect();
        }
    }

    /// Hears of endpoints: of the canary's only while a route names its Service.
    pub(crate) fn hear(&mut self, known: Ready) {
        if self.connected && !self.deaf {
            let names_canary = self.applied.values().any(|(_, split)| split.names_canary);
            self.ready = Ready { canary: known.canary.filter(|_| names_canary), ..known };
        }
    }

    /// Serves requests of one second. Returns those that nobody could answer.
    pub(crate) fn serve(&mut self, requests: u64, now: Millis, backends: &Backends<'_>) -> u64 {
        let mut lost = 0;
        let Self { applied, cells, hanging, turn, .. } = self;
        for (route, (generation, split)) in &*applied {
            let keys = split.keys(route, *generation);
            // Found once a second, not once a request.
            let mut open = keys.each_ref().map(|key| cells.remove(key));
            let mut hung = [0_u64; 3];
            for _ in 0..requests {
                *turn += 1;
                // A multiplicative hash spreads the requests evenly and the same in each run.
                let point = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
                let to = split.pick(point as f64 / (1_u64 << 24) as f64, turn.is_multiple_of(10));
                let version = if keys[to].2 {
                    backends.canary
                } else {
                    let at = usize::try_from(*turn / 10).unwrap() % backends.stable.len().max(1);
                    backends.stable.get(at).copied()
                };
                lost += u64::from(version.is_none());
                let cell = open[to].get_or_insert_with(|| empty(&keys[to]));
                let health = version.and_then(|version| backends.versions.get(version));
                hung[to] += u64::from(!count(cell, health));
            }
            for ((key, cell), hung) in keys.into_iter().zip(open).zip(hung) {
                if hung > 0 {
                    hanging.push((key.clone(), now, hung));
                }
                if let Some(cell) = cell {
                    cells.insert(key, cell);
                }
            }
        }
        if backends.canary.is_none() {
            // With the pod goes the connection.
            for (key, _, count) in hanging.extract_if(.., |(key, ..)| key.2) {
                let cell = cells.get_mut(&key).unwrap();
                (cell.ended, cell.errors) = (cell.ended + count, cell.errors + count);
            }
        }
        lost
    }

    /// What it reports.
    pub(crate) fn report(&self, now: Millis) -> DataPlane {
        let mut cells = self.cells.clone();
        for (key, since, count) in &self.hanging {
            let cell = cells.get_mut(key).unwrap();
            cell.in_flight += count;
            cell.ages[if now - since > 1_000 { SLOW } else { QUICK }] += count;
        }
        DataPlane {
            pod: self.pod.clone(),
            connected: self.connected,
            applied: self.applied.iter().map(|(name, (generation, _))| (name.clone(), *generation)).collect(),
            ready: self.ready,
            cells: cells.into_values().collect(),
        }
    }
}

fn empty(key: &Key) -> Cell {
    Cell {
        route: key.0.clone(),
        rule: key.1.clone(),
        canary: key.2,
        generation: key.3,
        durations: vec![0; BUCKETS],
        ages: vec![0; BUCKETS],
        ..Cell::default()
    }
}

/// Counts one request; false when it hangs.
fn count(cell: &mut Cell, health: Option<&Health>) -> bool {
    cell.started += 1;
    let is_nth = |of_thousand: u64| (cell.started * of_thousand) / 1_000 > ((cell.started - 1) * of_thousand) / 1_000;
    match health {
        Some(health) if health.hangs => return false,
        Some(health) if is_nth(health.refuses) => cell.disruptions += 1,
        _ => {
            cell.ended += 1;
            cell.errors += u64::from(health.is_none_or(|health| is_nth(health.errors)));
            let slow = health.is_some_and(|health| is_nth(health.slow));
            cell.durations[if slow { SLOW } else { QUICK }] += 1;
        }
    }
    true
}
