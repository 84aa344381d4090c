//! A simulated cluster with a fake clock: everything that a decision can see or change, and everybody else who changes it.
//!
//! In each second controllers, data planes and requests take their turn; then the operator looks, and writes, until it has
//! nothing to write. Each decision is checked against the invariants, and must come out the same when it is made again.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "helpers of tests")]
#![allow(clippy::struct_excessive_bools, reason = "a switch for each thing that can be off")]

pub(crate) mod fault;
mod looking;
pub(crate) mod proxy;
mod said;
pub(crate) mod script;
mod seen;
pub(crate) mod workload;
mod writes;

use std::collections::BTreeMap;

use fault::{Asleep, Disturbance, Late, Noted};
use proxy::{Backends, HttpRoute, Plane};
use serde_json::{Value, json};
use sluice_operator_core::{
    Decision, Millis, Plan, State, World,
    coverage::{Attached, Gap, Source},
    decision::Phase,
    plan::{Promotion, RoutePlan},
    world::{Frozen, Operation, Ready},
};
use workload::{Deployment, Health, available};

/// The temporary Deployment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Canary {
    pub(crate) ours: bool,
    pub(crate) revision: String,
    pub(crate) wanted: i32,
    pub(crate) pods: Vec<Millis>,
    pub(crate) deleting: bool,
}

/// The cluster.
#[derive(Clone, PartialEq)]
pub(crate) struct Sim {
    pub(crate) now: Millis,
    pub(crate) plan: Result<Plan, String>,
    pub(crate) deleting: bool,
    pub(crate) finalizer: bool,
    /// The Rollout is gone.
    pub(crate) gone: bool,
    pub(crate) operation: Option<Operation>,
    pub(crate) state: State,
    pub(crate) claimed_by: Option<String>,
    pub(crate) workload: Option<Deployment>,
    pub(crate) service: Result<(), String>,
    pub(crate) canary: Option<Canary>,
    pub(crate) canary_service: Option<bool>,
    /// It goes with the next turn of the controllers.
    pub(crate) canary_service_deleting: bool,
    pub(crate) frozen: Vec<Frozen>,
    /// What selects stable's pods and not the canary's.
    pub(crate) gaps: Vec<Gap>,
    /// What is attached to single rules.
    pub(crate) attached: Vec<Attached>,
    /// What there is under the names of copies; true for ours.
    pub(crate) copies: BTreeMap<Source, bool>,
    pub(crate) copies_version: u64,
    /// Revisions that were frozen so far.
    pub(crate) frozen_version: u64,
    pub(crate) routes: BTreeMap<String, HttpRoute>,
    pub(crate) planes: Vec<Plane>,
    pub(crate) versions: BTreeMap<String, Health>,
    /// Versions of the ConfigMaps that stable's template names.
    pub(crate) config_maps: BTreeMap<String, String>,
    /// Why telemetry cannot be had.
    pub(crate) telemetry: Option<String>,
    /// The policy holds changes back.
    pub(crate) policy: bool,
    /// The API server knows of such policies.
    pub(crate) policy_api: bool,
    /// The routes' parents are the bundled proxy's.
    pub(crate) bundled: bool,
    /// Requests per second and data plane.
    pub(crate) rate: u64,
    /// Requests that nobody could answer.
    pub(crate) lost: u64,
    /// Writes so far, of state and actions alike.
    pub(crate) writes: Noted<usize>,
    /// Looks so far, and those that wrote something.
    pub(crate) looks: Noted<usize>,
    pub(crate) wrote: Noted<Vec<usize>>,
    /// Looks that followed from an event, when they are wanted.
    pub(crate) woken: Noted<Option<Vec<usize>>>,
    watched: Noted<Option<World>>,
    /// What is still to go wrong.
    pub(crate) disturbance: Noted<Option<Disturbance>>,
    pub(crate) late: Option<Late>,
    pub(crate) asleep: Option<Asleep>,
    /// What has been written to the temporary Deployment and Service.
    canary_version: u64,
    service_version: u64,
    /// Somebody is in a race with the operator, so that a disturbance may change the outcome.
    pub(crate) races: bool,
    /// A tool writes the routes back to the user's rules, each second in which they differ.
    pub(crate) contester: Option<String>,
    /// No process runs until then.
    pub(crate) down_until: Millis,
    /// When the policy was probed last. A new process of the operator takes a time of its own for it; here the old one's.
    pub(crate) probed_at: Millis,
    /// What happened.
    pub(crate) log: Noted<Vec<String>>,
    /// The last decision.
    pub(crate) last: Option<Decision>,
    /// When the operator wanted to look again.
    wake_at: Noted<Option<Millis>>,
    said: Noted<String>,
}

/// Name of the Rollout.
const NAME: &str = "shop";

/// Rules of a route that a user would write.
pub(crate) fn base_rules() -> Value {
    json!([{
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "timeouts": {"request": "3s"},
        "backendRefs": [{"group": "", "kind": "Service", "name": "app", "port": 80, "weight": 1}],
    }])
}

/// A plan without steps and metrics.
fn no_steps() -> Plan {
    Plan {
        workload: "app".to_owned(),
        service: "app".to_owned(),
        routes: vec![RoutePlan { name: "web".to_owned(), rules: Vec::new() }],
        steps: Vec::new(),
        mirror_policies: false,
        progress_deadline_ms: 60_000,
        drain_ms: 5_000,
        metrics: Vec::new(),
        alpha: 0.01,
        promotion: Promotion::default(),
        analyse_known_good: false,
    }
}

impl Sim {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            plan: Ok(no_steps()),
            deleting: false,
            finalizer: false,
            gone: false,
            operation: None,
            state: State::default(),
            claimed_by: None,
            workload: Some(Deployment::new("v1", 4)),
            service: Ok(()),
            canary: None,
            canary_service: None,
            canary_service_deleting: false,
            frozen: Vec::new(),
            gaps: Vec::new(),
            attached: Vec::new(),
            copies: BTreeMap::new(),
            copies_version: 0,
            frozen_version: 0,
            routes: [("web".to_owned(), HttpRoute::new(base_rules()))].into(),
            planes: vec![Plane::new("dp1")],
            versions: ["v1", "v2", "v3"].map(|version| (version.to_owned(), Health::default())).into(),
            config_maps: BTreeMap::new(),
            telemetry: None,
            policy: true,
            policy_api: true,
            bundled: true,
            rate: 100,
            lost: 0,
            writes: Noted::default(),
            looks: Noted::default(),
            wrote: Noted::default(),
            woken: Noted::default(),
            watched: Noted::default(),
            disturbance: Noted::default(),
            late: None,
            asleep: None,
            canary_version: 0,
            service_version: 0,
            races: false,
            contester: None,
            down_until: 0,
            probed_at: 0,
            log: Noted::default(),
            last: None,
            wake_at: Noted::default(),
            said: Noted::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.last.as_ref().map(|decision| decision.report.phase).unwrap_or_default()
    }

    pub(crate) fn note(&mut self, line: impl AsRef<str>) {
        self.log.push(format!("{:>4}s {}", self.now / 1_000, line.as_ref()));
    }

    /// One second.
    pub(crate) fn tick(&mut self) {
        self.now += 1_000;
        if self.now >= self.down_until {
            self.down_until = 0;
        }
        self.controllers();
        self.serve();
        self.look_until_at_rest();
    }

    fn controllers(&mut self) {
        let now = self.now;
        let versions = &self.versions;
        let is_ready =
            |revision: &str| versions.get(revision).is_some_and(|health| health.ready && !health.only_canary);
        if let Some(workload) = &mut self.workload {
            workload.reconcile(now, &is_ready);
        }
        if self.canary.as_ref().is_some_and(|canary| canary.deleting) {
            self.canary = None;
        }
        if std::mem::take(&mut self.canary_service_deleting) {
            self.canary_service = None;
        }
        if let Some(canary) = &mut self.canary {
            canary.pods.resize(usize::try_from(canary.wanted).unwrap(), now);
        }
        if let Some(contester) = &self.contester {
            for route in self.routes.values_mut().filter(|route| route.rules != base_rules()) {
                route.write_as(contester, base_rules());
            }
        }
        for plane in &mut self.planes {
            plane.apply(&self.routes);
        }
        for route in self.routes.values_mut() {
            route.reported = route.generation;
        }
    }

    fn canary_available(&self) -> i32 {
        let is_ready = |canary: &Canary| self.versions.get(&canary.revision).is_some_and(|health| health.ready);
        self.canary.as_ref().map_or(0, |canary| available(&canary.pods, self.now, is_ready(canary)))
    }

    fn serve(&mut self) {
        let canary = self.canary.as_ref().filter(|_| self.canary_service == Some(true) && self.canary_available() > 0);
        let mut stable = Vec::new();
        for set in self.workload.iter().flat_map(|workload| &workload.sets) {
            let health = self.versions.get(&set.revision).cloned().unwrap_or_default();
            for _ in 0..available(&set.pods, self.now, health.ready && !health.only_canary) {
                stable.push(set.revision.as_str());
            }
        }
        let backends =
            Backends { canary: canary.map(|canary| canary.revision.as_str()), stable, versions: &self.versions };
        let known = Ready {
            stable: u32::try_from(backends.stable.len()).ok(),
            canary: canary.and_then(|_| u32::try_from(self.canary_available()).ok()),
        };
        for plane in &mut self.planes {
            plane.hear(known);
            let lost = plane.serve(self.rate, self.now, &backends);
            // Before anything serves there is nothing to lose.
            self.lost += if self.state.stable.is_some() { lost } else { 0 };
        }
    }

    /// Somebody declares another template. The policy holds it back.
    pub(crate) fn declare(&mut self, version: &str) {
        let holds = self.policy;
        let health = self.versions.get(&plain(version)).cloned().unwrap_or_default();
        self.versions.entry(version.to_owned()).or_insert(health);
        if let Some(workload) = &mut self.workload {
            version.clone_into(&mut workload.version);
            workload.paused |= holds && workload.label.is_some();
            workload.touch();
        }
    }
}

/// What changes with every write of a ReplicaSet, the controllers' ones too.
fn version_of(set: &workload::Set) -> String {
    format!("{}-{}", set.wanted, set.pods.len())
}

/// `v1+1` is `v1` after a restart.
fn plain(version: &str) -> String {
    version.split('+').next().unwrap_or_default().to_owned()
}
