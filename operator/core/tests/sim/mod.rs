//! A simulated cluster with a fake clock: everything that a decision can see or change, and everybody else who changes it.
//!
//! In each second controllers, data planes and requests take their turn; then the operator looks, and writes, until it has
//! nothing to write. Each decision is checked against the invariants, and must come out the same when it is made again.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "helpers of tests")]
#![allow(clippy::struct_excessive_bools, reason = "a switch for each thing that can be off")]

pub(crate) mod fault;
pub(crate) mod proxy;
pub(crate) mod script;
pub(crate) mod workload;

use std::collections::BTreeMap;

use fault::{Asleep, Disturbance, Fault, Late, Noted, View};
use proxy::{Backends, HttpRoute, Plane};
use serde_json::{Value, json};
use sluice_operator_core::{
    Action, Decision, Millis, Plan, State, World,
    coverage::{self, Copied, CopyState, Coverage, Gap, Source},
    decide,
    decision::Phase,
    invariants,
    plan::{Promotion, RoutePlan},
    wants,
    world::{
        CanaryWorkload, ConfigMaps, Frozen, LiveRoute, Operation, Owned, Parent, Ready, ReplicaSet, Route, Telemetry,
        Workload,
    },
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
    /// What there is under the names of copies; true for ours.
    pub(crate) copies: BTreeMap<Source, bool>,
    pub(crate) copies_version: u64,
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
    /// What happened.
    pub(crate) log: Noted<Vec<String>>,
    /// The last decision.
    pub(crate) last: Option<Decision>,
    /// When the operator wanted to look again.
    wake_at: Noted<Option<Millis>>,
    said: Noted<String>,
}

/// Without an event and without a time that it named, the operator looks again after this.
const QUIET: Millis = 300_000;

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

impl Sim {
    pub(crate) fn new() -> Self {
        let plan = Plan {
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
        };
        Self {
            now: 0,
            plan: Ok(plan),
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
            copies: BTreeMap::new(),
            copies_version: 0,
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

    /// The operator's turn.
    pub(crate) fn look_until_at_rest(&mut self) {
        self.arrive();
        self.watch();
        if self.gone || self.now < self.down_until || self.sleeps() {
            return;
        }
        // The operator's own writes wake it.
        for _ in 0..20 {
            if !self.look() || self.gone || self.now < self.down_until {
                return;
            }
        }
        panic!("the operator does not come to rest:\n{}", self.log.join("\n"));
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
            if plane.connected && !plane.deaf {
                plane.ready = known;
            }
            let lost = plane.serve(self.rate, self.now, &backends);
            // Before anything serves there is nothing to lose.
            self.lost += if self.state.stable.is_some() { lost } else { 0 };
        }
    }

    /// Everything, as the shell would show it.
    pub(crate) fn world(&self) -> World {
        let wants = wants(&self.state, self.now);
        let plan = self.plan.as_ref().ok().or_else(|| self.frozen.first().map(|frozen| &frozen.plan));
        let names: Vec<String> = plan.map_or(Vec::new(), |plan| plan.routes.iter().map(|r| r.name.clone()).collect());
        let telemetry = match &self.telemetry {
            _ if !wants.telemetry => Telemetry::NotAsked,
            Some(why) => Telemetry::Unavailable(why.clone()),
            None => Telemetry::DataPlanes(self.planes.iter().map(|plane| plane.report(self.now)).collect()),
        };
        World {
            now: self.now,
            name: NAME.to_owned(),
            namespace: "default".to_owned(),
            generation: 1,
            deleting: self.deleting,
            finalizer: self.finalizer,
            plan: self.plan.clone(),
            operation: self.operation.clone(),
            state: self.state.clone(),
            claimed_by: self.claimed_by.clone(),
            workload: self.workload.as_ref().map(|workload| self.workload_as_seen(workload, wants.probe)),
            service: self.service.clone(),
            canary_workload: self.canary.as_ref().map(|canary| CanaryWorkload {
                ours: canary.ours,
                revision: canary.revision.clone(),
                observed: true,
                wanted: canary.wanted,
                available: self.canary_available(),
                trouble: (!self.versions[&canary.revision].ready).then(|| "CrashLoopBackOff".to_owned()),
                deleting: canary.deleting,
            }),
            canary_service: self.canary_service.map(|ours| Owned { ours, deleting: self.canary_service_deleting }),
            frozen: self.frozen.clone(),
            coverage: if coverage::wants(&self.state, &self.frozen) {
                Coverage::Known { labels: vec!["app".to_owned()], gaps: self.gaps.clone() }
            } else {
                Coverage::NotAsked
            },
            copies: self.copies_as_seen(),
            routes: names.into_iter().map(|name| self.route_as_seen(name)).collect(),
            telemetry,
            no_policy_api: wants.probe && !self.policy_api,
            config_maps: wants.config_maps.then(|| ConfigMaps {
                revision: self.state.stable.as_ref().map(|stable| stable.revision.clone()).unwrap_or_default(),
                versions: self.config_maps.clone(),
            }),
        }
    }

    fn copies_as_seen(&self) -> Vec<Copied> {
        let state = |of: &Source| match self.copies.get(of) {
            None => CopyState::Missing,
            Some(true) => CopyState::Ours,
            Some(false) => CopyState::Foreign,
        };
        let wanted = self.frozen.iter().flat_map(|frozen| &frozen.cover.copies);
        wanted.map(|of| Copied { of: of.clone(), state: state(of) }).collect()
    }

    fn workload_as_seen(&self, workload: &Deployment, probe: bool) -> Workload {
        let stable = self.state.stable.as_ref().map_or("", |stable| &stable.uid);
        let of_run = self.state.run.as_ref().map_or("", |run| &run.revision);
        let is_shown = |set: &&workload::Set| {
            set.wanted > 0
                || !set.pods.is_empty()
                || set.revision == workload.version
                || set.uid == stable
                || set.revision == of_run
        };
        let trouble = |health: &Health| (!health.ready || health.only_canary).then(|| health.trouble.clone());
        let shown = |set: &workload::Set| ReplicaSet {
            uid: set.uid.clone(),
            name: format!("app-{}", set.revision),
            resource_version: version_of(set),
            revision: set.revision.clone(),
            plain: plain(&set.revision),
            trouble: trouble(&self.versions[&set.revision]).filter(|_| set.wanted > 0),
            wanted: set.wanted,
            replicas: i32::try_from(set.pods.len()).unwrap(),
            available: {
                let health = &self.versions[&set.revision];
                available(&set.pods, self.now, health.ready && !health.only_canary)
            },
        };
        Workload {
            resource_version: workload.resource_version.to_string(),
            observed: workload.observed,
            label: workload.label.clone(),
            paused: workload.paused,
            replicas: workload.replicas,
            revision: workload.version.clone(),
            plain: plain(&workload.version),
            template: json!({"version": workload.version}),
            stable_template: self.stable_template(workload),
            images: vec![format!("app:{}", workload.version)],
            unsupported: workload.unsupported.clone(),
            replica_sets: workload.sets.iter().filter(is_shown).map(shown).collect(),
            held_back: (probe && workload.label.as_deref() == Some(NAME)).then_some(self.policy),
        }
    }

    fn stable_template(&self, workload: &Deployment) -> Option<Value> {
        let stable = self.state.stable.as_ref()?;
        workload.sets.iter().any(|set| set.uid == stable.uid).then(|| json!({"version": stable.revision}))
    }

    fn route_as_seen(&self, name: String) -> Route {
        let live = self.routes.get(&name).map(|route| {
            let names_canary = names(&route.rules, "app-canary");
            let resolved = !names_canary || self.canary_service.is_some();
            LiveRoute {
                resource_version: route.resource_version.to_string(),
                generation: route.generation,
                rules: route.rules.clone(),
                parents: vec![Parent {
                    bundled: self.bundled,
                    accepted: true,
                    resolved,
                    generation: route.reported,
                    message: if resolved { String::new() } else { "Service app-canary not found".to_owned() },
                }],
                manager: route.manager.clone(),
                is_managed: route.is_managed,
            }
        });
        Route { name, live }
    }

    /// What a look sees.
    pub(crate) fn view(&self) -> View {
        View {
            world: self.world(),
            canary_version: self.canary_version,
            service_version: self.service_version,
            copies_version: self.copies_version,
        }
    }

    /// One look. True when it wrote something.
    fn look(&mut self) -> bool {
        let before = *self.writes;
        let wrote = self.look_once();
        if *self.writes > before {
            let look = *self.looks;
            self.wrote.push(look);
        }
        wrote
    }

    fn look_once(&mut self) -> bool {
        let mut view = self.view();
        *self.looks += 1;
        if let Some(Disturbance::Stale(at, part, old)) = &*self.disturbance
            && *at == *self.looks
        {
            view = part.stale(view, old);
            *self.disturbance = None;
        }
        let decision = decide(&view.world);
        self.check(&mut view.world, &decision);
        self.say(&decision);
        *self.wake_at = decision.wake_at;
        let world = &view.world;
        if decision.state != world.state && world.state != self.state {
            // Refused by the resourceVersion of the Rollout.
            return true;
        }
        let writes_state = decision.state != world.state && !decision.only_evidence_changed;
        let mut writes: Vec<Option<Action>> = Vec::new();
        if decision.state != world.state {
            writes.push(None);
        }
        // A probe is a question, asked before the next look.
        writes.extend(decision.actions.iter().filter(|a| !matches!(a, Action::ProbePolicy)).cloned().map(Some));
        let mut wrote = writes_state || decision.actions.contains(&Action::ProbePolicy);
        // What is reported is written together with the state, and refused as that is.
        if decision.state == world.state && world.state == self.state {
            self.last = Some(decision.clone());
        }
        for write in writes {
            let strikes = self.strikes(write.is_none() && decision.only_evidence_changed);
            if strikes == Some(Fault::Before) {
                self.die();
                return true;
            }
            if let Some(Fault::Late(after)) = strikes {
                self.late = Some(Late { at: self.now + after, view, decision, write });
                self.die();
                return true;
            }
            if strikes != Some(Fault::Conflict) {
                wrote |= write.is_some();
                if !self.carry_out(write.as_ref(), &decision, &view) {
                    return true;
                }
            }
            match strikes {
                Some(Fault::After) => {
                    self.die();
                    return true;
                }
                Some(_) => return true,
                None => {}
            }
        }
        wrote
    }

    /// Counts a write, and tells the fault that strikes it. Evidence alone is written now and then, and not counted.
    fn strikes(&mut self, is_evidence: bool) -> Option<Fault> {
        if is_evidence {
            return None;
        }
        let at = *self.writes;
        *self.writes += 1;
        match &*self.disturbance {
            Some(Disturbance::Write(struck, fault)) if *struck == at => {
                let fault = *fault;
                *self.disturbance = None;
                Some(fault)
            }
            _ => None,
        }
    }

    /// A write arrives; false when its precondition does not hold.
    fn carry_out(&mut self, write: Option<&Action>, decision: &Decision, view: &View) -> bool {
        match write {
            None => {
                self.state = decision.state.clone();
                self.last = Some(decision.clone());
                true
            }
            Some(action) => self.act(action, view),
        }
    }

    /// What was on its way for long arrives.
    fn arrive(&mut self) {
        let Some(late) = self.late.take_if(|late| late.at <= self.now) else { return };
        // The status names the resourceVersion that was read.
        let read = &late.view.world;
        let is_unchanged = (&self.state, &self.operation, self.deleting, self.finalizer)
            == (&read.state, &read.operation, read.deleting, read.finalizer)
            && self.plan == read.plan;
        if (late.write.is_some() || is_unchanged) && !self.gone {
            let said = late.write.as_ref().map_or_else(|| "state".to_owned(), described);
            let done = self.carry_out(late.write.as_ref(), &late.decision, &late.view);
            self.note(format!("  late write {said}: {}", if done { "done" } else { "refused" }));
        }
    }

    /// Notes which look follows from an event.
    fn watch(&mut self) {
        if self.woken.is_some() {
            let seen = Some(fault::watched(self.world()));
            let next = *self.looks + 1;
            if seen != *self.watched
                && let Some(woken) = &mut *self.woken
            {
                woken.push(next);
            }
            *self.watched = seen;
        }
    }

    /// An event is lost: nothing happens until another one comes, or the time that the last look named.
    fn sleeps(&mut self) -> bool {
        if let Some(Disturbance::Missed(look)) = *self.disturbance
            && look == *self.looks + 1
        {
            *self.disturbance = None;
            let until = self.wake_at.unwrap_or(Millis::MAX).min(self.now + QUIET);
            self.asleep = Some(Asleep { seen: fault::watched(self.world()), until });
        }
        let Some(asleep) = &self.asleep else { return false };
        if self.now < asleep.until && fault::watched(self.world()) == asleep.seen {
            return true;
        }
        self.asleep = None;
        false
    }

    fn die(&mut self) {
        self.down_until = self.now + 2_000;
    }

    fn check(&self, world: &mut World, decision: &Decision) {
        let broken = invariants::check(world, decision);
        assert!(broken.is_empty(), "{broken:#?}\n{decision:#?}\n{}", self.log.join("\n"));
        let read = std::mem::replace(&mut world.state, decision.state.clone());
        let again = decide(world);
        world.state = read;
        assert_eq!(again.state, decision.state, "the same look changes the state again:\n{}", self.log.join("\n"));
        assert_eq!(again.actions, decision.actions, "the same look acts otherwise:\n{}", self.log.join("\n"));
    }

    fn say(&mut self, decision: &Decision) {
        let report = &decision.report;
        let step = report.step.map(|(at, of)| format!(" {at}/{of}")).unwrap_or_default();
        let share =
            |share: Option<u16>| share.map_or_else(|| "-".to_owned(), |share| format!("{}%", f64::from(share) / 100.0));
        let said = format!(
            "{:?}{step} {} weight={}->{}",
            report.phase,
            report.reason,
            share(report.weight),
            share(report.weight_wanted)
        );
        if said != *self.said {
            self.note(format!("{said} | {}", report.message));
            *self.said = said;
        }
        for (is_warning, reason, message) in report.events.clone() {
            self.note(format!("  event {}{reason}: {message}", if is_warning { "Warning " } else { "" }));
        }
        for action in &decision.actions {
            let line = described(action);
            self.note(format!("  write {line}"));
        }
    }

    /// Carries a write out; false when its precondition does not hold.
    fn act(&mut self, action: &Action, view: &View) -> bool {
        match action {
            Action::AddFinalizer if self.deleting => return false,
            Action::AddFinalizer => self.finalizer = true,
            Action::RemoveFinalizer => {
                self.finalizer = false;
                self.gone = self.deleting;
            }
            Action::ConsumeOperation { id } => {
                if self.operation.as_ref().is_some_and(|operation| operation.id == *id) {
                    self.operation = None;
                }
            }
            Action::ProbePolicy => {}
            Action::LabelWorkload { .. }
            | Action::SetPaused { .. }
            | Action::RestoreTemplate { .. }
            | Action::ScaleReplicaSet { .. }
            | Action::DeleteReplicaSet { .. } => return self.on_workloads_own(action),
            Action::Freeze { revision, template, plan, base, cover } => {
                if self.frozen.iter().all(|frozen| frozen.revision != *revision) {
                    let (revision, template, plan) = (revision.clone(), template.clone(), plan.clone());
                    self.frozen.push(Frozen { revision, template, plan, base: base.clone(), cover: cover.clone() });
                }
            }
            Action::ApplyCopies { .. } | Action::DeleteCopies { .. } => return self.on_copies(action, view),
            Action::PruneRevisions { keep } => {
                // Only what was looked at is deleted.
                let seen = &view.world.frozen;
                let goes = |frozen: &Frozen| {
                    !keep.contains(&frozen.revision) && seen.iter().any(|seen| seen.revision == frozen.revision)
                };
                self.frozen.retain(|frozen| !goes(frozen));
            }
            Action::WriteRoute { route, rules, resource_version } => {
                let Some(route) = self.routes.get_mut(route) else { return false };
                if route.resource_version.to_string() != *resource_version {
                    return false;
                }
                route.write(rules.clone());
                (route.manager, route.is_managed) = (None, true);
            }
            Action::ReleaseRoute { route, resource_version } => {
                return self.routes.get_mut(route).is_some_and(|route| route.release(resource_version));
            }
            Action::ApplyCanaryWorkload { .. }
            | Action::ApplyCanaryService
            | Action::DeleteCanaryService
            | Action::DeleteCanaryWorkload => return self.on_canary(action, view),
        }
        true
    }

    /// The same for what is ours, which must be as it was seen.
    fn on_canary(&mut self, action: &Action, view: &View) -> bool {
        match action {
            Action::ApplyCanaryWorkload { revision, template, replicas } => {
                assert_eq!(template["version"], *revision, "the template is not the revision's");
                if self.canary.as_ref().is_some_and(|canary| !canary.ours || canary.deleting)
                    || !self.is_canary_as_seen(view)
                {
                    return false;
                }
                self.canary_version += 1;
                let pods = self.canary.take().filter(|c| c.revision == *revision).map_or(Vec::new(), |c| c.pods);
                let canary =
                    Canary { ours: true, revision: revision.clone(), wanted: *replicas, pods, deleting: false };
                self.canary = Some(canary);
            }
            Action::ApplyCanaryService if !self.is_service_as_seen(view) => return false,
            Action::ApplyCanaryService => {
                self.service_version += 1;
                self.canary_service = Some(true);
            }
            Action::DeleteCanaryService if self.canary_service.is_none() => {}
            Action::DeleteCanaryService if !self.is_service_as_seen(view) => return false,
            Action::DeleteCanaryService => {
                self.service_version += 1;
                self.canary_service_deleting = true;
            }
            Action::DeleteCanaryWorkload if self.canary.is_none() => {}
            Action::DeleteCanaryWorkload if !self.is_canary_as_seen(view) => return false,
            Action::DeleteCanaryWorkload => {
                self.canary_version += 1;
                if let Some(canary) = &mut self.canary {
                    canary.deleting = true;
                }
            }
            _ => unreachable!("{action:?}"),
        }
        true
    }

    /// The same for the copies.
    /// What is written on the workload and its ReplicaSets.
    fn on_workloads_own(&mut self, action: &Action) -> bool {
        match action {
            Action::LabelWorkload { adopt, resource_version } => {
                self.on_workload(resource_version, |workload| workload.label = adopt.then(|| NAME.to_owned()))
            }
            Action::SetPaused { paused, resource_version } => {
                self.on_workload(resource_version, |workload| workload.paused = *paused)
            }
            Action::RestoreTemplate { revision, template, resource_version } => {
                assert_eq!(template["version"], *revision, "the template is not the revision's");
                self.on_workload(resource_version, |workload| revision.clone_into(&mut workload.version))
            }
            Action::ScaleReplicaSet { uid, resource_version, replicas, .. } => {
                self.on_set(uid, resource_version, |set| set.wanted = *replicas)
            }
            Action::DeleteReplicaSet { uid, resource_version, .. } => {
                if !self.on_set(uid, resource_version, |_| {}) {
                    return false;
                }
                let sets = self.workload.iter_mut().flat_map(|workload| workload.sets.iter_mut());
                assert!(sets.filter(|set| set.uid == *uid).all(|set| set.pods.is_empty()), "pods go with {uid}");
                if let Some(workload) = &mut self.workload {
                    workload.sets.retain(|set| set.uid != *uid);
                }
                true
            }
            other => panic!("{other:?}"),
        }
    }

    fn on_copies(&mut self, action: &Action, view: &View) -> bool {
        match action {
            Action::ApplyCopies { copies, .. } => {
                for of in copies {
                    // What is there under this name is not taken over.
                    if self.copies.contains_key(of) {
                        return false;
                    }
                    self.copies.insert(of.clone(), true);
                    self.copies_version += 1;
                }
            }
            // Only what was looked at is deleted.
            Action::DeleteCopies { .. } if self.copies_version != view.copies_version => return false,
            Action::DeleteCopies { copies } => self.copies.retain(|of, ours| !*ours || !copies.contains(of)),
            _ => unreachable!("{action:?}"),
        }
        true
    }

    fn is_canary_as_seen(&self, view: &View) -> bool {
        self.canary.is_some() == view.world.canary_workload.is_some() && self.canary_version == view.canary_version
    }

    fn is_service_as_seen(&self, view: &View) -> bool {
        self.canary_service.is_some() == view.world.canary_service.is_some()
            && self.service_version == view.service_version
    }

    fn on_workload(&mut self, resource_version: &str, change: impl FnOnce(&mut Deployment)) -> bool {
        let Some(workload) = &mut self.workload else { return false };
        if workload.resource_version.to_string() != resource_version {
            return false;
        }
        change(workload);
        workload.touch();
        true
    }

    fn on_set(&mut self, uid: &str, resource_version: &str, change: impl FnOnce(&mut workload::Set)) -> bool {
        let sets = self.workload.iter_mut().flat_map(|workload| workload.sets.iter_mut());
        let Some(set) = sets.into_iter().find(|set| set.uid == uid && version_of(set) == resource_version) else {
            return false;
        };
        change(set);
        true
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

    /// What is left in the end, without times and numbers.
    pub(crate) fn outcome(&self) -> String {
        let routes: Vec<String> = self.routes.iter().map(|(name, route)| format!("{name}={}", route.rules)).collect();
        let workload = self.workload.as_ref().map(|workload| {
            let sets = workload.sets.iter().filter(|set| set.wanted > 0);
            let sets: Vec<String> = sets.map(|set| format!("{}:{}", set.revision, set.wanted)).collect();
            format!("{} paused={} label={:?} sets={sets:?}", workload.version, workload.paused, workload.label)
        });
        let changed = self.last.iter().flat_map(|decision| &decision.report.conditions);
        let changed = changed.filter(|(kind, status, ..)| kind == "ConfigChangedInPlace" && *status == Some(true));
        let changed: Vec<String> = changed.map(|(_, _, _, message)| format!("config {message}\n")).collect();
        let history: Vec<String> =
            self.state.history.iter().map(|e| format!("{} {} {}", e.revision, e.outcome, e.reason)).collect();
        let frozen: Vec<&str> = self.frozen.iter().map(|frozen| frozen.revision.as_str()).collect();
        let copies: Vec<String> = self.copies.keys().map(|of| format!("{}/{}", of.kind, of.name)).collect();
        let copies = if copies.is_empty() { String::new() } else { format!(" copies {}", copies.join(" ")) };
        format!(
            "phase {:?}\nroutes {}\nworkload {}\ncanary {} service {:?} frozen {frozen:?}{copies}\nstable {:?}\nhistory {history:?}\ngone {} finalizer {}\n{}",
            self.phase(),
            routes.join(" "),
            workload.unwrap_or_default(),
            self.canary.as_ref().map_or_else(|| "none".to_owned(), |c| format!("{} x{}", c.revision, c.wanted)),
            self.canary_service,
            self.state.stable.as_ref().map(|stable| &stable.revision),
            self.gone,
            self.finalizer,
            changed.concat(),
        )
    }
}

/// A value somewhere in it is this string.
fn names(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| names(item, name)),
        Value::Object(fields) => fields.values().any(|field| names(field, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
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

/// A write in a line.
fn described(action: &Action) -> String {
    match action {
        Action::WriteRoute { route, rules, .. } => {
            let rule = |rule: &Value| {
                let refs = rule["backendRefs"].as_array().unwrap().iter();
                let refs: Vec<String> =
                    refs.map(|r| format!("{} {}", r["name"].as_str().unwrap(), r["weight"])).collect();
                let name = rule["name"].as_str().map(|name| format!("{name}: ")).unwrap_or_default();
                format!("[{name}{}]", refs.join(", "))
            };
            let rules: Vec<String> = rules.as_array().unwrap().iter().map(rule).collect();
            format!("route {route} {}", rules.join(" "))
        }
        Action::ReleaseRoute { route, .. } => format!("release route {route}"),
        Action::Freeze { revision, .. } => format!("freeze {revision}"),
        Action::ApplyCanaryWorkload { revision, replicas, .. } => format!("canary {revision} x{replicas}"),
        Action::SetPaused { paused, .. } => format!("workload paused={paused}"),
        Action::RestoreTemplate { revision, .. } => format!("workload template={revision}"),
        Action::ApplyCopies { copies, .. } => format!("copies of {}", named(copies)),
        Action::DeleteCopies { copies } => format!("delete copies of {}", named(copies)),
        Action::LabelWorkload { adopt, .. } => format!("workload label={adopt}"),
        Action::ScaleReplicaSet { name, replicas, .. } => format!("set {name} x{replicas}"),
        Action::DeleteReplicaSet { name, .. } => format!("set {name} goes"),
        other => format!("{other:?}"),
    }
}

fn named(copies: &[Source]) -> String {
    copies.iter().map(|of| format!("{} {}", of.kind, of.name)).collect::<Vec<_>>().join(", ")
}
