//! What data planes are to serve, numbered, and what one of them still lacks of it.
//!
//! There is one newest state and no queue: a data plane that reads slowly is sent the difference between what it was
//! sent last and what is newest, however many changes lie between.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sluice_proxy_core::model::Resource;
use sluice_wire::v1;
use tokio::sync::watch;

/// Generations of a route for which it is remembered when they were published.
const REMEMBERED_GENERATIONS: usize = 8;
/// Numbers of ready endpoints of a backend for which this is remembered.
const REMEMBERED_READY: usize = 8;

/// One state of the configuration.
#[derive(Debug, Default)]
pub struct Published {
    /// Its number; 0 before there is one.
    pub update: u64,
    entries: BTreeMap<Arc<str>, Arc<Entry>>,
}

/// What is published, by key. What stays the same from one translation to the next is best the very same value.
pub type Resources = BTreeMap<Arc<str>, Arc<Resource>>;

#[derive(Debug)]
struct Entry {
    resource: Arc<Resource>,
    json: Vec<u8>,
    /// The update that brought it as it is.
    changed: u64,
    /// Of a backend: numbers of ready endpoints, with the update that brought each, oldest first.
    ready: Vec<(u32, u64)>,
    /// Of a route: its generations, with the update that brought each, oldest first.
    generations: Vec<(i64, u64)>,
}

/// Notes that something is `now` since `update`, if it has been something else, and forgets what is more than `most` ago.
fn note<T: PartialEq>(known: &mut Vec<(T, u64)>, now: T, update: u64, most: usize) {
    if known.last().is_none_or(|(before, _)| *before != now) {
        known.push((now, update));
    }
    known.drain(..known.len().saturating_sub(most));
}

impl Entry {
    fn new(resource: &Arc<Resource>, update: u64, before: Option<&Self>) -> Result<Self, serde_json::Error> {
        let (mut ready, mut generations) =
            before.map(|entry| (entry.ready.clone(), entry.generations.clone())).unwrap_or_default();
        match &**resource {
            Resource::Backend(backend) => {
                let now = backend.endpoints.iter().filter(|endpoint| endpoint.ready).count() as u32;
                note(&mut ready, now, update, REMEMBERED_READY);
            }
            Resource::Route(route) => note(&mut generations, route.generation, update, REMEMBERED_GENERATIONS),
            Resource::Listener(_) => {}
        }
        let json = serde_json::to_vec(&**resource)?;
        Ok(Self { resource: Arc::clone(resource), json, changed: update, ready, generations })
    }

    fn is(&self, resource: &Arc<Resource>) -> bool {
        Arc::ptr_eq(&self.resource, resource) || self.resource == *resource
    }
}

impl Published {
    /// The state after this one, or none when nothing differs.
    fn next(&self, resources: &Resources) -> Result<Option<Self>, serde_json::Error> {
        let update = self.update + 1;
        let mut same = self.update > 0 && self.entries.len() == resources.len();
        let mut entries = Vec::with_capacity(resources.len());
        // Both are sorted, so one walk finds what is in both.
        let mut known = self.entries.iter().peekable();
        for (key, resource) in resources {
            while known.next_if(|(earlier, _)| *earlier < key).is_some() {}
            let before = known.next_if(|(earlier, _)| *earlier == key).map(|(_, entry)| entry);
            let entry = if let Some(entry) = before.filter(|entry| entry.is(resource)) {
                Arc::clone(entry)
            } else {
                same = false;
                Arc::new(Entry::new(resource, update, before.map(|entry| &**entry))?)
            };
            entries.push((Arc::clone(key), entry));
        }
        Ok((!same).then(|| Self { update, entries: entries.into_iter().collect() }))
    }

    /// The update that brought this resource as it is.
    pub fn changed(&self, key: &str) -> Option<u64> {
        self.entries.get(key).map(|entry| entry.changed)
    }

    /// The generation of a route that a data plane serves which serves this update: 0 when none that is remembered. None
    /// when the route is not published.
    pub fn generation_at(&self, route: &str, update: u64) -> Option<i64> {
        let known = &self.entries.get(&*format!("route/{route}"))?.generations;
        Some(known.iter().rev().find(|(_, since)| *since <= update).map_or(0, |(generation, _)| *generation))
    }
}

impl Published {
    /// The backends that the rules of a published route name.
    pub fn backends_of(&self, route: &str) -> BTreeSet<&str> {
        let rules = match self.entries.get(&*format!("route/{route}")).map(|entry| &*entry.resource) {
            Some(Resource::Route(route)) => &route.rules[..],
            Some(Resource::Backend(_) | Resource::Listener(_)) | None => &[],
        };
        rules.iter().flat_map(|rule| &rule.backends).map(|backend| backend.backend.as_str()).collect()
    }

    /// Ready endpoints of a backend at a data plane that serves this update: 0 when none that is remembered, or when the
    /// backend is not published.
    pub fn ready_at(&self, backend: &str, update: u64) -> u32 {
        let known = self.entries.get(&*format!("backend/{backend}")).map_or(&[][..], |entry| &entry.ready);
        known.iter().rev().find(|(_, since)| *since <= update).map_or(0, |(ready, _)| *ready)
    }
}

/// Holds the newest state.
#[derive(Debug)]
pub struct Publisher {
    newest: watch::Sender<Arc<Published>>,
}

impl Default for Publisher {
    fn default() -> Self {
        Self { newest: watch::Sender::new(Arc::default()) }
    }
}

impl Publisher {
    /// Makes these resources the newest state if they differ from it; returns its number.
    pub fn publish(&self, resources: &Resources) -> Result<u64, serde_json::Error> {
        let next = self.newest.borrow().next(resources)?;
        if let Some(next) = next {
            self.newest.send_replace(Arc::new(next));
        }
        Ok(self.newest.borrow().update)
    }

    /// The newest state.
    pub fn newest(&self) -> Arc<Published> {
        self.newest.borrow().clone()
    }

    /// Follows the newest state.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Published>> {
        self.newest.subscribe()
    }
}

/// What one stream was sent.
#[derive(Debug, Default)]
pub struct Sent {
    state: Arc<Published>,
}

impl Sent {
    /// The update that brings the stream to this state: full when it is the first. None when it is there, or when nothing
    /// was published yet.
    pub fn advance(&mut self, to: &Arc<Published>) -> Option<v1::Update> {
        if to.update <= self.state.update {
            return None;
        }
        let from = std::mem::replace(&mut self.state, Arc::clone(to));
        let (mut upsert, mut remove) = (vec![], vec![]);
        let mut known = from.entries.iter().peekable();
        for (key, entry) in &to.entries {
            while let Some((gone, _)) = known.next_if(|(earlier, _)| *earlier < key) {
                remove.push(gone.to_string());
            }
            let before = known.next_if(|(earlier, _)| *earlier == key);
            if before.is_none_or(|(_, before)| before.changed != entry.changed) {
                upsert.push(v1::Resource { key: key.to_string(), json: entry.json.clone() });
            }
        }
        remove.extend(known.map(|(gone, _)| gone.to_string()));
        Some(v1::Update { update: to.update, full: from.update == 0, upsert, remove })
    }
}

#[cfg(test)]
mod tests {
    use sluice_proxy_core::model::{Backend, Endpoint, Protocol, Route};

    use super::*;

    fn route(name: &str, generation: i64) -> Resource {
        let (id, listeners) = (format!("HTTPRoute/shop/{name}"), vec!["shop/web/http".to_owned()]);
        Resource::Route(Route { id, generation, created: 0, listeners, hostnames: vec![], rules: vec![] })
    }

    fn backend(name: &str) -> Resource {
        Resource::Backend(Backend { id: format!("shop/{name}:80"), protocol: Protocol::Http1, endpoints: vec![] })
    }

    fn set(resources: &[Resource]) -> Resources {
        resources.iter().map(|resource| (resource.key().into(), Arc::new(resource.clone()))).collect()
    }

    fn keys(update: &v1::Update) -> Vec<&str> {
        update.upsert.iter().map(|resource| resource.key.as_str()).collect()
    }

    #[test]
    fn a_stream_gets_everything_first_and_then_only_what_changed() {
        let publisher = Publisher::default();
        let mut sent = Sent::default();
        assert_eq!(sent.advance(&publisher.newest()), None);
        publisher.publish(&set(&[route("a", 1), route("b", 1), backend("x")])).unwrap();
        let first = sent.advance(&publisher.newest()).unwrap();
        assert!(first.full && first.update == 1 && first.upsert.len() == 3);
        publisher.publish(&set(&[route("a", 2), route("b", 1), backend("x")])).unwrap();
        let second = sent.advance(&publisher.newest()).unwrap();
        assert_eq!((second.full, second.update, keys(&second)), (false, 2, vec!["route/HTTPRoute/shop/a"]));
        assert_eq!(sent.advance(&publisher.newest()), None);
    }

    #[test]
    fn a_slow_stream_gets_the_newest_state_at_once() {
        let publisher = Publisher::default();
        let mut sent = Sent::default();
        publisher.publish(&set(&[route("a", 1), route("b", 1)])).unwrap();
        sent.advance(&publisher.newest()).unwrap();
        for generation in 2..50 {
            publisher.publish(&set(&[route("a", generation), backend("x")])).unwrap();
        }
        let update = sent.advance(&publisher.newest()).unwrap();
        assert_eq!(keys(&update), ["backend/shop/x:80", "route/HTTPRoute/shop/a"]);
        assert_eq!((update.update, update.remove), (49, vec!["route/HTTPRoute/shop/b".to_owned()]));
    }

    #[test]
    fn equal_resources_are_not_an_update_but_the_first_empty_state_is() {
        let publisher = Publisher::default();
        assert_eq!(publisher.publish(&Resources::new()).unwrap(), 1);
        assert_eq!(publisher.publish(&Resources::new()).unwrap(), 1);
        assert_eq!(publisher.publish(&set(&[route("a", 1)])).unwrap(), 2);
        assert_eq!(publisher.publish(&set(&[route("a", 1)])).unwrap(), 2);
    }

    #[test]
    fn endpoints_are_ready_from_the_update_that_brought_them() {
        let with = |ready: &[bool]| {
            let endpoint =
                |(port, ready): (u16, &bool)| Endpoint { address: ([10, 0, 0, 1], port).into(), ready: *ready };
            let endpoints = (1..).zip(ready).map(endpoint).collect();
            Resource::Backend(Backend { id: "shop/x:80".to_owned(), protocol: Protocol::Http1, endpoints })
        };
        let publisher = Publisher::default();
        publisher.publish(&set(&[with(&[])])).unwrap();
        publisher.publish(&set(&[with(&[true, false])])).unwrap();
        publisher.publish(&set(&[with(&[true, false]), route("a", 1)])).unwrap();
        publisher.publish(&set(&[with(&[true, true]), route("a", 1)])).unwrap();
        let newest = publisher.newest();
        assert_eq!([0, 1, 2, 3, 4].map(|update| newest.ready_at("shop/x:80", update)), [0, 0, 1, 1, 2]);
        assert_eq!(newest.ready_at("shop/y:80", 4), 0);
        publisher.publish(&set(&[route("a", 1)])).unwrap();
        assert_eq!(publisher.newest().ready_at("shop/x:80", 4), 0, "a backend that is gone is nobody's");
    }

    #[test]
    fn a_generation_is_served_from_the_update_that_brought_it() {
        let publisher = Publisher::default();
        publisher.publish(&set(&[backend("x")])).unwrap();
        publisher.publish(&set(&[backend("x"), route("a", 4)])).unwrap();
        publisher.publish(&set(&[route("a", 4)])).unwrap();
        publisher.publish(&set(&[route("a", 5)])).unwrap();
        let newest = publisher.newest();
        let at = |update| newest.generation_at("HTTPRoute/shop/a", update);
        assert_eq!([at(0), at(1), at(2), at(3), at(4)], [Some(0), Some(0), Some(4), Some(4), Some(5)]);
        assert_eq!(newest.generation_at("HTTPRoute/shop/b", 4), None);
    }
}
