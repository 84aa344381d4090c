//! Routes, data planes that apply them after a while, and the traffic that they count.

use std::collections::BTreeMap;

use serde_json::Value;
use sluice_operator_core::{
    Millis,
    world::{Cell, DataPlane},
};

use super::workload::Health;

/// Buckets of the duration histogram.
const BUCKETS: usize = 23;
/// The bucket of a quick request, and of a slow one.
const QUICK: usize = 3;
const SLOW: usize = 15;

/// A route as the API server has it.
#[derive(Clone, Debug)]
pub(crate) struct HttpRoute {
    pub(crate) rules: Value,
    pub(crate) generation: i64,
    pub(crate) resource_version: u64,
    /// The generation that the Gateway's controller reports on.
    pub(crate) reported: i64,
}

impl HttpRoute {
    pub(crate) fn new(rules: Value) -> Self {
        Self { rules, generation: 1, resource_version: 1, reported: 0 }
    }

    pub(crate) fn write(&mut self, rules: Value) {
        self.rules = rules;
        self.generation += 1;
        self.resource_version += 1;
    }
}

/// A data plane.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    pub(crate) pod: String,
    pub(crate) connected: bool,
    /// Per route: the generation that it serves, with its rules.
    pub(crate) applied: BTreeMap<String, (i64, Value)>,
    cells: BTreeMap<(String, String, bool, i64), Cell>,
    /// Requests that hang: their cell, and since when.
    hanging: Vec<((String, String, bool, i64), Millis)>,
    turn: u64,
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
            applied: BTreeMap::new(),
            cells: BTreeMap::new(),
            hanging: Vec::new(),
            turn: 0,
        }
    }

    /// Takes what the controller sends.
    pub(crate) fn apply(&mut self, routes: &BTreeMap<String, HttpRoute>) {
        if self.connected {
            let served = |(name, route): (&String, &HttpRoute)| (name.clone(), (route.generation, route.rules.clone()));
            self.applied = routes.iter().map(served).collect();
        }
    }

    /// Serves requests of one second. Returns those that nobody could answer.
    pub(crate) fn serve(&mut self, requests: u64, now: Millis, backends: &Backends<'_>) -> u64 {
        let mut lost = 0;
        for (route, (generation, rules)) in self.applied.clone() {
            for _ in 0..requests {
                self.turn += 1;
                // A multiplicative hash spreads the requests evenly and the same in each run.
                let point = self.turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
                let (rule, canary) = pick(&rules, point as f64 / (1_u64 << 24) as f64, self.turn.is_multiple_of(10));
                let key = (route.clone(), rule, canary, generation);
                let version = if canary {
                    backends.canary
                } else {
                    let at = usize::try_from(self.turn / 10).unwrap() % backends.stable.len().max(1);
                    backends.stable.get(at).copied()
                };
                lost += u64::from(version.is_none());
                self.count(key, now, version.and_then(|version| backends.versions.get(version)));
            }
        }
        if backends.canary.is_none() {
            // With the pod goes the connection.
            for (key, _) in self.hanging.extract_if(.., |(key, _)| key.2) {
                let cell = self.cells.get_mut(&key).unwrap();
                (cell.ended, cell.errors) = (cell.ended + 1, cell.errors + 1);
            }
        }
        lost
    }

    fn count(&mut self, key: (String, String, bool, i64), now: Millis, health: Option<&Health>) {
        let cell = self.cells.entry(key.clone()).or_insert_with(|| Cell {
            route: key.0.clone(),
            rule: key.1.clone(),
            canary: key.2,
            generation: key.3,
            durations: vec![0; BUCKETS],
            ages: vec![0; BUCKETS],
            ..Cell::default()
        });
        cell.started += 1;
        let is_nth =
            |of_thousand: u64| (cell.started * of_thousand) / 1_000 > ((cell.started - 1) * of_thousand) / 1_000;
        match health {
            Some(health) if health.hangs => self.hanging.push((key, now)),
            Some(health) if is_nth(health.refuses) => cell.disruptions += 1,
            _ => {
                cell.ended += 1;
                cell.errors += u64::from(health.is_none_or(|health| is_nth(health.errors)));
                let slow = health.is_some_and(|health| is_nth(health.slow));
                cell.durations[if slow { SLOW } else { QUICK }] += 1;
            }
        }
    }

    /// What it reports.
    pub(crate) fn report(&self, now: Millis) -> DataPlane {
        let mut cells = self.cells.clone();
        for (key, since) in &self.hanging {
            let cell = cells.get_mut(key).unwrap();
            cell.in_flight += 1;
            cell.ages[if now - since > 1_000 { SLOW } else { QUICK }] += 1;
        }
        DataPlane {
            pod: self.pod.clone(),
            connected: self.connected,
            applied: self.applied.iter().map(|(name, (generation, _))| (name.clone(), *generation)).collect(),
            cells: cells.into_values().collect(),
        }
    }
}

/// The rule and side of a request, by the weights of the first rule that splits. A tenth of the requests has the header
/// that a step may ask for.
fn pick(rules: &Value, point: f64, has_header: bool) -> (String, bool) {
    let rules = rules.as_array().unwrap();
    let is_copy = |rule: &&Value| rule["name"].as_str().is_some_and(|name| name.starts_with("sluice-"));
    if let Some(copy) = rules.iter().find(is_copy)
        && has_header
    {
        return (copy["name"].as_str().unwrap().to_owned(), true);
    }
    let index = rules.iter().position(|rule| !is_copy(&rule)).unwrap();
    let key = rules[index]["name"].as_str().map_or_else(|| index.to_string(), str::to_owned);
    let weight = |canary: bool| -> u64 {
        let refs = rules[index]["backendRefs"].as_array().unwrap();
        let of_side = refs.iter().filter(|r| r["name"].as_str().unwrap().ends_with("-canary") == canary);
        of_side.map(|r| r["weight"].as_u64().unwrap_or(1)).sum()
    };
    let (stable, canary) = (weight(false), weight(true));
    (key, point * (stable + canary) as f64 >= stable as f64)
}
