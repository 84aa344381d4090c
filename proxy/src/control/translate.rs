//! The translation: objects in, configuration and status out. Pure; the same for a cluster and for a folder of manifests.
//!
//! ```text
//!               ListenerSet ──┐
//! GatewayClass ──► Gateway ──► listeners ◄── routes ─────► Service ──► EndpointSlices
//!                     │            │             │             │
//!                  service     Listener        Route        Backend        (resources for data planes)
//!                     └────────────┴── status ───┘    BackendTLSPolicy: how a Service's ports are spoken to
//! ```

pub mod address;
pub mod backend;
pub mod backend_tls;
pub mod class;
pub mod conditions;
pub mod duration;
pub mod filter;
pub mod gateway;
pub mod grpc;
pub mod host;
pub mod http;
pub mod incremental;
pub mod l4;
pub mod listener_set;
pub mod parameters;
pub mod policy;
pub mod protocol;
pub mod reference;
pub mod rivals;
pub mod route;
pub mod secrets;
pub mod session;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod traffic;

use std::collections::BTreeSet;

use sluice_proxy_core::model::Resource;

use crate::control::{
    objects::{Name, Objects, RouteName},
    ports::PortAllocations,
    shared_map::SharedMap,
};

pub use class::ClassPlan;
pub use gateway::GatewayPlan;
pub use incremental::Translator;
pub use listener_set::ListenerSetPlan;
pub use policy::PolicyPlan;
pub use rivals::Rivals;
pub use route::RoutePlan;

use incremental::Index;
use route::{Outcome, Place};

/// What follows from the objects of one moment. Copies share what is the same in them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What data planes are to serve, by key.
    pub resources: SharedMap<String, Resource>,
    /// GatewayClasses of ours.
    pub classes: Vec<ClassPlan>,
    /// Gateways of ours.
    pub gateways: SharedMap<Name, GatewayPlan>,
    /// ListenerSets of Gateways of ours.
    pub listener_sets: SharedMap<Name, ListenerSetPlan>,
    /// Every route, also those that have no parent of ours (any more).
    pub routes: SharedMap<RouteName, RoutePlan>,
    /// Every BackendTLSPolicy, also those that bear on nothing of ours (any more).
    pub policies: SharedMap<Name, PolicyPlan>,
    /// The same for BackendTrafficPolicies.
    pub traffic_policies: SharedMap<Name, PolicyPlan>,
}

/// Translates all objects for the controller of this name.
pub fn translate(objects: &Objects, ports: &PortAllocations, controller: &str) -> Translation {
    whole(objects, ports, controller).0
}

/// The same, with what hangs together in it.
fn whole(objects: &Objects, ports: &PortAllocations, controller: &str) -> (Translation, Index) {
    let classes = class::plans(objects, controller);
    let mut gateways = gateway::plans(objects, &classes, ports);
    let listener_sets = listener_set::plans(objects, &mut gateways).into_iter().collect();
    let gateways = gateways.into_iter().collect();
    let mut translation = Translation { classes, gateways, listener_sets, ..Translation::default() };
    let mut rivals = Rivals::default();
    let mut policies = policy::Policies::new(objects);
    let mut index = Index::new(policies.targets());
    for object in rivals::by_age(objects) {
        let Outcome { plan, resource, reach } = route::plan(object, &translation.gateways, &mut rivals, objects);
        policies.reach(&reach.backends, &reach.gateways());
        translation.count(&reach.attached, 1);
        if let Some(route) = resource {
            translation.insert(Resource::Route(route));
        }
        translation.routes.insert(object.name(), plan);
        index.insert(object.name(), reach);
    }
    for collector in translation.gateways.values().filter_map(|gateway| gateway.collector.as_ref()) {
        index.collect(collector);
    }
    for reference in index.used() {
        translation.insert(Resource::Backend(backend::backend(reference, &policies, objects)));
    }
    let plans = policies.plans();
    translation.traffic_policies = plans.traffic.into_iter().collect();
    for (name, plan) in plans.tls {
        if let Some(tls) = plan.resource.clone() {
            translation.insert(Resource::BackendTls(tls));
        }
        translation.policies.insert(name, plan);
    }
    translation.insert_listeners();
    (translation, index)
}

impl Translation {
    /// Has data planes serve a resource.
    fn insert(&mut self, resource: Resource) {
        self.resources.set(resource.key(), resource);
    }

    fn insert_listeners(&mut self) {
        let parameters: Vec<_> = self.gateways.values().filter_map(|gateway| gateway.parameters.clone()).collect();
        for parameters in parameters {
            self.insert(Resource::Gateway(parameters));
        }
        for plan in self.gateways.clone().values().flat_map(|gateway| &gateway.listeners) {
            let Some(listener) = &plan.resource else { continue };
            self.insert(Resource::Listener(listener.clone()));
            for certificate in &plan.certificates {
                self.insert(Resource::Certificate(certificate.clone()));
            }
        }
    }

    /// Counts a route at each of these listeners once more or less.
    fn count(&mut self, attached: &BTreeSet<Place>, by: i32) {
        for (gateway, index) in attached {
            if let Some(listener) = self.gateways.get_mut(gateway).and_then(|plan| plan.listeners.get_mut(*index)) {
                listener.attached += by;
            }
        }
    }

    /// What this one says, sharing with an older one what is equal in both.
    fn sharing_with(self, older: &Self) -> Self {
        let Self { resources, classes, gateways, listener_sets, routes, policies, traffic_policies } = self;
        Self {
            resources: resources.sharing_with(&older.resources),
            classes,
            gateways: gateways.sharing_with(&older.gateways),
            listener_sets: listener_sets.sharing_with(&older.listener_sets),
            routes: routes.sharing_with(&older.routes),
            policies: policies.sharing_with(&older.policies),
            traffic_policies: traffic_policies.sharing_with(&older.traffic_policies),
        }
    }
}
