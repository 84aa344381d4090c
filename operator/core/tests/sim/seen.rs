//! What a look sees of the simulated cluster, as the shell would show it.

use serde_json::{Value, json};
use sluice_operator_core::{
    World,
    coverage::{self, Copied, CopyState, Coverage, Source},
    wants,
    world::{CanaryWorkload, ConfigMaps, LiveRoute, Owned, Parent, ReplicaSet, Route, Telemetry, Workload},
};

use super::{
    NAME, Sim,
    fault::View,
    plain, version_of,
    workload::{self, Deployment, Health, available},
};

impl Sim {
    /// Everything, as the shell would show it.
    pub(crate) fn world(&self) -> World {
        let wants = wants(&self.state, self.now, self.probed_at);
        let plan = self.plan.as_ref().ok().or_else(|| self.frozen.first().map(|frozen| &frozen.plan));
        let names: Vec<String> = plan.map_or(Vec::new(), |plan| plan.routes.iter().map(|r| r.name.clone()).collect());
        let telemetry = match &self.telemetry {
            _ if !wants.telemetry => Telemetry::NotAsked,
            Some(why) => Telemetry::Unavailable(why.clone()),
            None => Telemetry::DataPlanes(self.planes.iter().map(|plane| plane.report(self.now)).collect()),
        };
        let workload = self.workload.as_ref().map(|workload| self.workload_as_seen(workload, wants.probe));
        let was_probed = workload.as_ref().is_some_and(|workload| workload.held_back.is_some());
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
            workload,
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
                Coverage::Known {
                    labels: vec!["app".to_owned()],
                    gaps: self.gaps.clone(),
                    attached: self.attached.clone(),
                }
            } else {
                Coverage::NotAsked
            },
            copies: self.copies_as_seen(),
            routes: names.into_iter().map(|name| self.route_as_seen(name)).collect(),
            telemetry,
            probed_at: if was_probed { self.now } else { self.probed_at },
            no_policy_api: wants.probe && !self.policy_api,
            config_maps: wants.config_maps.then(|| ConfigMaps {
                revision: self.state.stable.as_ref().map(|stable| stable.revision.clone()).unwrap_or_default(),
                versions: self.config_maps.clone(),
            }),
        }
    }

    pub(super) fn copies_as_seen(&self) -> Vec<Copied> {
        let state = |of: &Source| match self.copies.get(of) {
            None => CopyState::Missing,
            Some(true) => CopyState::Ours,
            Some(false) => CopyState::Foreign,
        };
        let wanted = self.frozen.iter().flat_map(|frozen| &frozen.cover.copies);
        wanted.map(|of| Copied { of: of.clone(), state: state(of) }).collect()
    }

    pub(super) fn workload_as_seen(&self, workload: &Deployment, probe: bool) -> Workload {
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

    pub(super) fn stable_template(&self, workload: &Deployment) -> Option<Value> {
        let stable = self.state.stable.as_ref()?;
        workload.sets.iter().any(|set| set.uid == stable.uid).then(|| json!({"version": stable.revision}))
    }

    pub(super) fn route_as_seen(&self, name: String) -> Route {
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
            frozen_version: self.frozen_version,
        }
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
