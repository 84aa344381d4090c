//! Resources to snapshots: each one from the one before it and from what has changed since.
//!
//! Everything that can be wrong is found before anything is changed, so that a configuration is refused whole and the
//! last good one is still there to build on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::build::{self, Backends, Problem, Surroundings};
use super::place::{Listeners, Placing, check_listeners};
use super::slots::Places;
use super::{Backend, Condition, Readiness, Rule, Snapshot, Target, Whereabouts};
use crate::cells::Cells;
use crate::model::{self, Match, Resource, Route};

/// A resource that cannot be served, and why.
#[derive(Debug, thiserror::Error)]
#[error("{resource}: {problem}")]
pub struct BuildError {
    /// Key of the resource.
    pub resource: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Makes snapshots, one after the other.
#[derive(Debug, Default)]
pub struct Compiler {
    current: Snapshot,
    listeners: Listeners,
    routes: HashMap<Arc<str>, Known>,
    places: Places,
    backends: Backends,
    /// Which backends have an address, by slot.
    addresses: HashMap<Target, Vec<(u32, Readiness)>>,
    here: Whereabouts,
}

/// A route in the current snapshot.
#[derive(Debug)]
struct Known {
    slot: u32,
    source: Route,
    conditions: Vec<Arc<Condition>>,
    /// The backends of its arms, each as often as it is named.
    uses: Vec<Arc<str>>,
}

/// A route on its way into the next snapshot.
struct Prepared<'a> {
    id: Arc<str>,
    source: &'a Route,
    rules: Arc<[Rule]>,
    /// None when those of the current snapshot stand where they are to stand.
    conditions: Option<Vec<Arc<Condition>>>,
    uses: Vec<Arc<str>>,
}

/// What is to change, checked.
#[derive(Default)]
struct Changes<'a> {
    /// All of them, when one differs.
    listeners: Option<Listeners>,
    backends: Vec<(String, Option<Backend>)>,
    backend_tls: Vec<(String, Option<&'a model::BackendTls>)>,
    certificates: Vec<(String, Option<&'a model::Certificate>)>,
    gateways: Vec<(String, Option<&'a model::Gateway>)>,
    gone: Vec<String>,
    routes: Vec<Prepared<'a>>,
}

impl Compiler {
    /// Makes snapshots for a data plane that is here.
    pub fn at(here: Whereabouts) -> Self {
        Self { here, ..Self::default() }
    }

    /// The snapshot after these changes: by key, the resource as it is now, or none when it is gone. References to what
    /// is not there are not an error: a route waits for its listener, and a backend that is not there has no endpoints.
    /// After an error everything is as before.
    pub fn update<'a>(
        &mut self,
        changes: impl IntoIterator<Item = (String, Option<&'a Resource>)>,
        cells: &mut Cells,
    ) -> Result<Snapshot, BuildError> {
        let mut prepared = Changes::default();
        if let Err(error) = self.prepare(changes, cells, &mut prepared) {
            for route in &prepared.routes {
                self.backends.release_all(&route.uses);
            }
            return Err(error);
        }
        let mut next = self.current.clone();
        for (id, backend) in std::mem::take(&mut prepared.backends) {
            self.put_backend(&mut next, &id, backend);
        }
        put_all(&mut next.backend_tls, &prepared.backend_tls);
        put_all(&mut next.certificates, &prepared.certificates);
        put_all(&mut next.gateways, &prepared.gateways);
        self.put_routes(&mut next, prepared);
        self.current = next.clone();
        Ok(next)
    }

    /// The newest snapshot.
    pub fn current(&self) -> &Snapshot {
        &self.current
    }

    /// Keys of everything in the current snapshot.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        let backends = self.current.backends.iter().map(|backend| format!("backend/{}", backend.id));
        let listeners = self.listeners.keys().map(|id| format!("listener/{id}"));
        let certificates = self.current.certificates.keys().map(|id| format!("certificate/{id}"));
        let gateways = self.current.gateways.keys().map(|id| format!("gateway/{id}"));
        let tls = self.current.backend_tls.keys().map(|id| format!("backend-tls/{id}"));
        backends
            .chain(tls)
            .chain(certificates)
            .chain(gateways)
            .chain(listeners)
            .chain(self.routes.keys().map(|id| format!("route/{id}")))
    }

    /// Whether nothing is kept of what is gone.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.routes.is_empty() && self.backends.is_empty() && self.addresses.is_empty()
    }

    fn prepare<'a>(
        &mut self,
        changes: impl IntoIterator<Item = (String, Option<&'a Resource>)>,
        cells: &mut Cells,
        prepared: &mut Changes<'a>,
    ) -> Result<(), BuildError> {
        let mut listeners = BTreeMap::<String, Option<&model::Listener>>::new();
        for (key, resource) in changes {
            match (resource, key.split_once('/')) {
                (Some(Resource::Backend(backend)), _) => {
                    let compiled = build::backend(backend, Arc::from(backend.id.as_str()), &self.here)
                        .map_err(|problem| BuildError { resource: key, problem })?;
                    prepared.backends.push((backend.id.clone(), Some(compiled)));
                }
                (Some(Resource::BackendTls(tls)), _) => prepared.backend_tls.push((tls.id.clone(), Some(tls))),
                (Some(Resource::Certificate(certificate)), _) => {
                    prepared.certificates.push((certificate.id.clone(), Some(certificate)));
                }
                (Some(Resource::Gateway(gateway)), _) => prepared.gateways.push((gateway.id.clone(), Some(gateway))),
                (Some(Resource::Listener(listener)), _) => drop(listeners.insert(listener.id.clone(), Some(listener))),
                (Some(Resource::Route(route)), _) => {
                    if self.routes.get(route.id.as_str()).is_none_or(|known| known.source != *route) {
                        self.prepare_route(route, cells, prepared)
                            .map_err(|problem| BuildError { resource: key, problem })?;
                    }
                }
                (None, Some(("backend", id))) => prepared.backends.push((id.to_owned(), None)),
                (None, Some(("backend-tls", id))) => prepared.backend_tls.push((id.to_owned(), None)),
                (None, Some(("certificate", id))) => prepared.certificates.push((id.to_owned(), None)),
                (None, Some(("gateway", id))) => prepared.gateways.push((id.to_owned(), None)),
                (None, Some(("listener", id))) => drop(listeners.insert(id.to_owned(), None)),
                (None, Some(("route", id))) => prepared.gone.push(id.to_owned()),
                (None, _) => {}
            }
        }
        if listeners.iter().any(|(id, listener)| self.listeners.get(id) != *listener) {
            let mut all = self.listeners.clone();
            for (id, listener) in listeners {
                match listener {
                    Some(listener) => drop(all.insert(id, listener.clone())),
                    None => drop(all.remove(&id)),
                }
            }
            check_listeners(&all)?;
            prepared.listeners = Some(all);
        }
        Ok(())
    }

    fn prepare_route<'a>(
        &mut self,
        source: &'a Route,
        cells: &mut Cells,
        prepared: &mut Changes<'a>,
    ) -> Result<(), Problem> {
        let known = self.routes.get_key_value(source.id.as_str());
        let id = known.map_or_else(|| Arc::from(source.id.as_str()), |(id, _)| Arc::clone(id));
        let stands = known.is_some_and(|(_, known)| stand_alike(&known.source, source));
        let conditions = if stands { None } else { Some(build::conditions(source, &id)?) };
        let mut uses = Vec::new();
        let mut around = Surroundings { backends: &mut self.backends, cells, uses: &mut uses };
        match build::rules(source, &id, &mut around) {
            Ok(rules) => {
                prepared.routes.push(Prepared { id, source, rules, conditions, uses });
                Ok(())
            }
            Err(problem) => {
                self.backends.release_all(&uses);
                Err(problem)
            }
        }
    }

    fn put_backend(&mut self, next: &mut Snapshot, id: &str, new: Option<Backend>) {
        let (id, slot) = self.backends.acquire(id);
        let new = new.map(|new| Backend { id: Arc::clone(&id), ..new });
        let old = next.backends.get(slot);
        if old == new.as_ref() {
            return self.backends.release(&id);
        }
        let addresses = |backend: &Backend| -> Vec<_> {
            backend.endpoints.iter().map(|address| backend.target(*address)).collect()
        };
        let left = old.map(addresses).unwrap_or_default();
        let entered = new.as_ref().map(addresses).unwrap_or_default();
        let was_there = old.is_some();
        for address in &left {
            if let Some(slots) = self.addresses.get_mut(address) {
                slots.retain(|(of, _)| *of != slot);
            }
        }
        if let Some(backend) = &new {
            for address in &entered {
                self.addresses.entry(address.clone()).or_default().push((slot, backend.readiness));
            }
        }
        let wanted = Arc::make_mut(&mut next.wanted);
        for address in left.into_iter().chain(entered) {
            // An address that one Service calls ready and another does not is ready.
            let of = self.addresses.get(&address);
            if let Some(readiness) = of.and_then(|of| of.iter().map(|(_, readiness)| *readiness).max()) {
                wanted.insert(address, readiness);
            } else {
                wanted.remove(&address);
                self.addresses.remove(&address);
            }
        }
        let is_there = new.is_some();
        next.backends.set(slot, new.map(Arc::new));
        // Being there is one use of it; this look at it is another.
        if was_there || !is_there {
            self.backends.release(&id);
        }
        if was_there && !is_there {
            self.backends.release(&id);
        }
    }

    fn put_routes(&mut self, next: &mut Snapshot, changes: Changes<'_>) {
        let anew = changes.listeners.is_some();
        if let Some(listeners) = changes.listeners {
            self.listeners = listeners;
        }
        let gone: Vec<Known> = changes.gone.iter().filter_map(|id| self.routes.remove(id.as_str())).collect();
        let moved = changes.routes.iter().filter(|route| route.conditions.is_some());
        let moved: Vec<_> = moved.filter_map(|route| self.routes.get(&route.id)).collect();
        let mut placing = Placing::new(next, &self.listeners);
        if anew {
            placing.clear();
        } else {
            placing.remove(gone.iter().chain(moved).map(|known| (&known.source, known.slot)));
        }
        let mut replaced = Vec::with_capacity(changes.routes.len());
        for Prepared { id, source, rules, conditions, uses } in changes.routes {
            let old = self.routes.remove(&id);
            let slot = old.as_ref().map_or_else(|| self.places.take(), |known| known.slot);
            let (kept, released) = old.map(|known| (known.conditions, known.uses)).unwrap_or_default();
            if let (Some(conditions), false) = (&conditions, anew) {
                placing.add(source, slot, conditions);
            }
            let known = Known { slot, source: source.clone(), conditions: conditions.unwrap_or(kept), uses };
            self.routes.insert(id, known);
            replaced.push((slot, rules, released));
        }
        if anew {
            for known in self.routes.values() {
                placing.add(&known.source, known.slot, &known.conditions);
            }
        }
        placing.finish();
        for (slot, rules, released) in replaced {
            next.routes.set(slot, Some(rules));
            self.backends.release_all(&released);
        }
        for known in gone {
            next.routes.set(known.slot, None);
            self.backends.release_all(&known.uses);
            self.places.give_back(known.slot);
        }
    }
}

/// One that is as before stays the same, so that what was made of it does.
fn put_all<T: Clone + PartialEq>(all: &mut Arc<BTreeMap<String, Arc<T>>>, changes: &[(String, Option<&T>)]) {
    for (id, change) in changes {
        if all.get(id).map(|known| &**known) == *change {
            continue;
        }
        let all = Arc::make_mut(all);
        match change {
            Some(change) => drop(all.insert(id.clone(), Arc::new((*change).clone()))),
            None => drop(all.remove(id)),
        }
    }
}

/// Whether the conditions of two versions of a route are the same and stand in the same places.
fn stand_alike(one: &Route, other: &Route) -> bool {
    fn matches(route: &Route) -> impl Iterator<Item = &Vec<Match>> {
        route.rules.iter().map(|rule| &rule.matches)
    }
    one.created == other.created
        && one.listeners == other.listeners
        && one.hostnames == other.hostnames
        && matches(one).eq(matches(other))
}
