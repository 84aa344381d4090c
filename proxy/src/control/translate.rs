//! The translation: objects in, configuration and status out. Pure; the same for a cluster and for a folder of manifests.
//!
//! ```text
//! GatewayClass ──► Gateway ──► listeners ◄── HTTPRoute ──► Service ──► EndpointSlices
//!                     │            │             │             │
//!                  service     Listener        Route        Backend        (resources for data planes)
//!                     └────────────┴── status ───┘
//! ```

pub mod backend;
pub mod class;
pub mod conditions;
pub mod duration;
pub mod filter;
pub mod gateway;
pub mod host;
pub mod reference;
pub mod route;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use sluice_gateway_types::{HttpRoute, ReferenceGrant};
use sluice_proxy_core::model::Resource;

use crate::control::{
    objects::{Name, Objects},
    ports::PortAllocations,
    publish::Resources,
};

use backend::ServiceRef;
pub use class::ClassPlan;
pub use gateway::GatewayPlan;
pub use route::RoutePlan;

/// What follows from the objects of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// What data planes are to serve, by key.
    pub resources: Resources,
    /// GatewayClasses of ours.
    pub classes: Vec<ClassPlan>,
    /// Gateways of ours.
    pub gateways: BTreeMap<Name, GatewayPlan>,
    /// Every HTTPRoute, also those that have no parent of ours (any more).
    pub routes: BTreeMap<Name, Arc<RoutePlan>>,
}

/// Translates all objects for the controller of this name.
pub fn translate(objects: &Objects, ports: &PortAllocations, controller: &str) -> Translation {
    Translator::default().translate(objects, ports, controller)
}

/// Translates again and again. What it remembers changes nothing of what comes out: the outcome of an object is kept for
/// as long as everything that it was made from is the very same.
#[derive(Debug, Default)]
pub struct Translator {
    surroundings: Option<Surroundings>,
    routes: BTreeMap<Name, (Arc<HttpRoute>, Arc<route::Outcome>)>,
    backends: Backends,
}

/// What routes are translated with.
#[derive(Debug)]
struct Surroundings {
    /// Before any route is attached.
    gateways: BTreeMap<Name, GatewayPlan>,
    grants: Vec<Arc<ReferenceGrant>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    services: BTreeMap<Name, Arc<Service>>,
}

/// What a backend is made from.
#[derive(Debug)]
struct Sources {
    service: Option<Arc<Service>>,
    slices: Vec<Arc<EndpointSlice>>,
    own_addresses: BTreeSet<IpAddr>,
    any_endpoint: bool,
}

impl Translator {
    /// Translates all objects for the controller of this name.
    pub fn translate(&mut self, objects: &Objects, ports: &PortAllocations, controller: &str) -> Translation {
        let classes = class::plans(objects, controller);
        let mut gateways = gateway::plans(objects, &classes, ports);
        let kept = self.surroundings.as_ref().is_some_and(|known| known.are_those_of(objects, &gateways));
        self.plan_routes(objects, &gateways, kept);
        if !kept {
            self.surroundings = Some(Surroundings::of(objects, &gateways));
        }
        for (_, outcome) in self.routes.values() {
            route::count(&outcome.attached, &mut gateways);
        }
        let mut resources = vec![];
        let mut wanted = HashSet::new();
        for (_, outcome) in self.routes.values() {
            if let Some((key, resource)) = &outcome.resource {
                wanted.extend(&outcome.backends);
                resources.push((Arc::clone(key), Arc::clone(resource)));
            }
        }
        make_backends(&mut self.backends, &wanted, objects, &mut resources);
        let listeners = gateways.values().flat_map(|gateway| &gateway.listeners);
        for listener in listeners.filter_map(|plan| plan.resource.clone()) {
            let resource = Resource::Listener(listener);
            resources.push((resource.key().into(), Arc::new(resource)));
        }
        let routes = self.routes.iter().map(|(name, (_, outcome))| (name.clone(), Arc::clone(&outcome.plan)));
        Translation { resources: resources.into_iter().collect(), classes, routes: routes.collect(), gateways }
    }

    /// Brings the outcomes of routes up to date; `kept` says that their surroundings are.
    fn plan_routes(&mut self, objects: &Objects, gateways: &BTreeMap<Name, GatewayPlan>, kept: bool) {
        // Both are sorted, so one walk finds what is in both.
        let mut known = std::mem::take(&mut self.routes).into_iter().peekable();
        let outcomes = objects.routes.iter().map(|(name, object)| {
            while known.next_if(|(earlier, _)| earlier < name).is_some() {}
            match known.next_if(|(earlier, _)| earlier == name) {
                Some((name, (source, outcome))) if kept && Arc::ptr_eq(&source, object) => (name, (source, outcome)),
                earlier => {
                    let earlier = earlier.as_ref().map(|(_, (_, outcome))| &**outcome);
                    let outcome = Arc::new(route::plan(object, gateways, objects, earlier));
                    (name.clone(), (Arc::clone(object), outcome))
                }
            }
        });
        self.routes = outcomes.collect();
    }
}

/// Backends by what they are made from.
type Backends = HashMap<ServiceRef, (Sources, Arc<str>, Arc<Resource>)>;

/// Adds the resources of the backends that are wanted, and forgets the others.
fn make_backends(
    known: &mut Backends,
    wanted: &HashSet<&ServiceRef>,
    objects: &Objects,
    resources: &mut Vec<(Arc<str>, Arc<Resource>)>,
) {
    known.retain(|reference, _| wanted.contains(reference));
    for reference in wanted {
        let earlier = known.get(*reference).filter(|(sources, ..)| sources.are_those_of(reference, objects));
        let (key, resource) = if let Some((_, key, resource)) = earlier {
            (Arc::clone(key), Arc::clone(resource))
        } else {
            let resource = Arc::new(Resource::Backend(backend::backend(reference, objects)));
            let (key, sources) = (Arc::<str>::from(resource.key()), Sources::of(reference, objects));
            known.insert((*reference).clone(), (sources, Arc::clone(&key), Arc::clone(&resource)));
            (key, resource)
        };
        resources.push((key, resource));
    }
}

impl Surroundings {
    fn of(objects: &Objects, gateways: &BTreeMap<Name, GatewayPlan>) -> Self {
        Self {
            gateways: gateways.clone(),
            grants: objects.grants.clone(),
            namespaces: objects.namespaces.clone(),
            services: objects.services.clone(),
        }
    }

    fn are_those_of(&self, objects: &Objects, gateways: &BTreeMap<Name, GatewayPlan>) -> bool {
        self.services.len() == objects.services.len()
            && self.gateways == *gateways
            && self.namespaces == objects.namespaces
            && are_same(&self.grants, &objects.grants)
            // The very same Service has the same name.
            && self.services.values().zip(objects.services.values()).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Sources {
    fn of(reference: &ServiceRef, objects: &Objects) -> Self {
        Self {
            service: objects.services.get(&reference.service).cloned(),
            slices: objects.slices.get(&reference.service).cloned().unwrap_or_default(),
            own_addresses: objects.own_addresses.clone(),
            any_endpoint: objects.any_endpoint,
        }
    }

    fn are_those_of(&self, reference: &ServiceRef, objects: &Objects) -> bool {
        let slices = objects.slices.get(&reference.service).map_or(&[][..], Vec::as_slice);
        let same_service = match (&self.service, objects.services.get(&reference.service)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_service
            && are_same(&self.slices, slices)
            && self.any_endpoint == objects.any_endpoint
            && self.own_addresses == objects.own_addresses
    }
}

/// Whether two lists hold the very same objects.
fn are_same<T>(some: &[Arc<T>], others: &[Arc<T>]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
}
