//! A translation that is kept: a change translates anew what it bears on, and the rest stays as it was.
//!
//! | change of | translated anew |
//! |---|---|
//! | an EndpointSlice | the backends of its Service |
//! | a Service | its backends, and the routes that name it |
//! | a route | the route, the counts of its listeners, and backends that come into use or go out of it |
//! | anything else | everything |
//!
//! A route or a Service can bear on others in three ways that are not followed: routes of two kinds take hosts from each
//! other, a policy tells of the Gateways whose routes lead to it, and a Gateway of the Service that its spans go to. Where one of these is at hand, everything is translated
//! anew as well. So [`translate`](super::translate) stays the only place that says what objects come to; that both come to
//! the same is what the test of this module shows.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use sluice_proxy_core::model::Resource;

use crate::control::{
    changes::Changes,
    objects::{Name, Objects, RouteName},
    ports::PortAllocations,
    translate::{
        Translation,
        backend::{self, ServiceRef},
        host,
        parameters::Collector,
        policy::Policies,
        rivals::{self, Rivals},
        route::{self, Place, Reach},
        whole,
    },
};

/// The newest translation, and what hangs together in it.
#[derive(Debug, Default)]
pub struct Translator {
    newest: Translation,
    index: Index,
}

/// What hangs together in a translation.
#[derive(Debug, Default)]
pub struct Index {
    /// Each route's.
    routes: BTreeMap<RouteName, Reach>,
    /// Routes by the Services that they name.
    naming: BTreeMap<Name, BTreeSet<RouteName>>,
    /// Backends that data planes have, and how many served routes lead to each.
    used: BTreeMap<ServiceRef, usize>,
    /// Services that policies are for.
    targets: BTreeSet<Name>,
    /// Services that Gateways' spans go to.
    collectors: BTreeSet<Name>,
}

impl Index {
    /// Nothing yet but the Services that policies are for.
    pub fn new(targets: BTreeSet<Name>) -> Self {
        Self { targets, ..Self::default() }
    }

    /// Notes what a route has to do with.
    pub fn insert(&mut self, name: RouteName, reach: Reach) {
        for service in &reach.named {
            self.naming.entry(service.clone()).or_default().insert(name.clone());
        }
        for backend in reach.used() {
            *self.used.entry(backend.clone()).or_default() += 1;
        }
        self.routes.insert(name, reach);
    }

    /// Notes where the spans of a Gateway go.
    pub fn collect(&mut self, collector: &Collector) {
        self.collectors.insert(collector.service.clone());
        if let Ok(used) = &collector.found {
            *self.used.entry(used.clone()).or_default() += 1;
        }
    }

    /// Forgets a route, and returns what it had to do with.
    fn remove(&mut self, name: &RouteName) -> Reach {
        let Some(reach) = self.routes.remove(name) else { return Reach::default() };
        for service in &reach.named {
            let Some(naming) = self.naming.get_mut(service) else { continue };
            naming.remove(name);
            if naming.is_empty() {
                self.naming.remove(service);
            }
        }
        for backend in reach.used() {
            let Some(uses) = self.used.get_mut(backend) else { continue };
            *uses -= 1;
            if *uses == 0 {
                self.used.remove(backend);
            }
        }
        reach
    }

    /// Backends that data planes have.
    pub fn used(&self) -> impl Iterator<Item = &ServiceRef> {
        self.used.keys()
    }

    /// The same of one Service.
    fn used_of(&self, service: &Name) -> impl Iterator<Item = &ServiceRef> {
        self.used
            .range(ServiceRef::first_of(service)..)
            .map(|(used, _)| used)
            .take_while(move |u| u.service == *service)
    }

    /// Whether what a policy says of Gateways can differ between a route as it was and as it is.
    fn bears_on_policies(&self, before: &Reach, after: &Reach) -> bool {
        let differs = before.backends != after.backends || before.attached != after.attached;
        differs && before.backends.union(&after.backends).any(|backend| self.targets.contains(&backend.service))
    }
}

impl Translator {
    /// The translation of these objects, which differ in `changes` from those of the last call. Where `changes` is not
    /// everything, the ports and the controller are those of the last call.
    pub fn update(
        &mut self,
        changes: &Changes,
        objects: &Objects,
        ports: &PortAllocations,
        controller: &str,
    ) -> Translation {
        if changes.everything || !self.follow(changes, objects) {
            let (translation, index) = whole(objects, ports, controller);
            self.newest = translation.sharing_with(&self.newest);
            self.index = index;
        }
        self.newest.clone()
    }

    /// Translates anew what the changes bear on. False, with the work half done, where that is not known.
    fn follow(&mut self, changes: &Changes, objects: &Objects) -> bool {
        let Index { targets, collectors, .. } = &self.index;
        if changes.services.iter().any(|service| targets.contains(service) || collectors.contains(service)) {
            return false;
        }
        let naming = changes.services.iter().filter_map(|service| self.index.naming.get(service)).flatten();
        let routes: BTreeSet<RouteName> = naming.chain(&changes.routes).cloned().collect();
        let mut stale = BTreeSet::new();
        for name in routes {
            if !self.follow_route(name, objects, &mut stale) {
                return false;
            }
        }
        for service in changes.services.iter().chain(changes.endpoints.iter().map(|(service, _)| service)) {
            stale.extend(self.index.used_of(service).cloned());
        }
        self.renew_backends(&stale, objects);
        true
    }

    /// The same for one route; adds the backends whose use has changed.
    fn follow_route(&mut self, name: RouteName, objects: &Objects, stale: &mut BTreeSet<ServiceRef>) -> bool {
        // Rivals are looked for below.
        let plan = |object| route::plan(object, &self.newest.gateways, &mut Rivals::default(), objects);
        let (outcome, reach) = match objects.route(&name).map(plan) {
            Some(outcome) => (Some((outcome.plan, outcome.resource)), outcome.reach),
            None => (None, Reach::default()),
        };
        let before = self.index.remove(&name);
        let bears_on_others = self.has_rival(&name, &before)
            || self.has_rival(&name, &reach)
            || self.index.bears_on_policies(&before, &reach);
        if bears_on_others {
            return false;
        }
        if before.attached != reach.attached {
            self.newest.count(&before.attached, -1);
            self.newest.count(&reach.attached, 1);
        }
        stale.extend(before.used().chain(reach.used()).cloned());
        let (plan, resource) = outcome.unzip();
        match resource.flatten() {
            Some(resource) => self.newest.insert(Resource::Route(resource)),
            None => self.newest.resources.remove(&format!("route/{name}")),
        }
        match plan {
            Some(plan) => {
                self.newest.routes.set(name.clone(), plan);
                self.index.insert(name, reach);
            }
            None => self.newest.routes.remove(&name),
        }
        true
    }

    /// Whether a route that wants this and one of another kind can take a host from each other.
    fn has_rival(&self, name: &RouteName, reach: &Reach) -> bool {
        let Some(kind) = rivals::rival(name.kind) else { return false };
        let first = RouteName { kind, name: Name::default() };
        let mut others = self.index.routes.range(first..).take_while(|(other, _)| other.kind == kind);
        let listener = |place: &Place| self.newest.gateways.get(&place.0)?.listeners.get(place.1)?.hostname.as_deref();
        others.any(|(_, other)| {
            let mut common = reach.wanted.intersection(&other.wanted);
            common.any(|place| host::share(listener(place), &reach.hostnames, &other.hostnames))
        })
    }

    fn renew_backends(&mut self, stale: &BTreeSet<ServiceRef>, objects: &Objects) {
        let policies = Policies::new(objects);
        for reference in stale {
            let id = reference.id();
            // Several kinds of routes may use one backend.
            match self.index.used_of(&reference.service).find(|used| used.id() == id) {
                Some(used) => self.newest.insert(Resource::Backend(backend::backend(used, &policies, objects))),
                None => self.newest.resources.remove(&format!("backend/{id}")),
            }
        }
    }
}
