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
pub mod l4;
pub mod listener_set;
pub mod protocol;
pub mod reference;
pub mod rivals;
pub mod route;
pub mod secrets;
pub mod session;
#[cfg(test)]
mod tests;
pub mod tls;

use std::collections::{BTreeMap, BTreeSet};

use sluice_proxy_core::model::Resource;

use crate::control::{
    objects::{Name, Objects, RouteName},
    ports::PortAllocations,
};

pub use backend_tls::PolicyPlan;
pub use class::ClassPlan;
pub use gateway::GatewayPlan;
pub use listener_set::ListenerSetPlan;
pub use rivals::Rivals;
pub use route::RoutePlan;

/// What follows from the objects of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What data planes are to serve, by key.
    pub resources: BTreeMap<String, Resource>,
    /// GatewayClasses of ours.
    pub classes: Vec<ClassPlan>,
    /// Gateways of ours.
    pub gateways: BTreeMap<Name, GatewayPlan>,
    /// ListenerSets of Gateways of ours.
    pub listener_sets: BTreeMap<Name, ListenerSetPlan>,
    /// Every route, also those that have no parent of ours (any more).
    pub routes: BTreeMap<RouteName, RoutePlan>,
    /// Every BackendTLSPolicy, also those that bear on nothing of ours (any more).
    pub policies: BTreeMap<Name, PolicyPlan>,
}

/// Translates all objects for the controller of this name.
pub fn translate(objects: &Objects, ports: &PortAllocations, controller: &str) -> Translation {
    let classes = class::plans(objects, controller);
    let mut gateways = gateway::plans(objects, &classes, ports);
    let mut resources = BTreeMap::new();
    let mut routes = BTreeMap::new();
    let mut backends = BTreeSet::new();
    let mut rivals = Rivals::default();
    let mut policies = backend_tls::Policies::new(objects);
    for object in rivals::by_age(objects) {
        let outcome = route::plan(object, &mut gateways, &mut rivals, objects);
        policies.reach(&outcome.backends, &outcome.gateways);
        if let Some(route) = outcome.resource {
            backends.extend(outcome.backends);
            insert(&mut resources, Resource::Route(route));
        }
        routes.insert(object.name(), outcome.plan);
    }
    let listener_sets = listener_set::plans(objects, &mut gateways);
    for reference in backends {
        insert(&mut resources, Resource::Backend(backend::backend(&reference, &policies, objects)));
    }
    let policies = policies.plans();
    for tls in policies.values().filter_map(|plan| plan.resource.clone()) {
        insert(&mut resources, Resource::BackendTls(tls));
    }
    for plan in gateways.values().flat_map(|gateway| &gateway.listeners) {
        let Some(listener) = &plan.resource else { continue };
        insert(&mut resources, Resource::Listener(listener.clone()));
        for certificate in &plan.certificates {
            insert(&mut resources, Resource::Certificate(certificate.clone()));
        }
    }
    Translation { resources, classes, gateways, listener_sets, routes, policies }
}

fn insert(resources: &mut BTreeMap<String, Resource>, resource: Resource) {
    resources.insert(resource.key(), resource);
}
