//! What data planes are to serve, numbered, and what one of them still lacks of it.
//!
//! There is one newest state and no queue: a data plane that reads slowly is sent the difference between what it was
//! sent last and what is newest, however many changes lie between.

use std::{borrow::Borrow, collections::BTreeSet, sync::Arc};

use sluice_proxy_core::model::Resource;
use sluice_wire::v1;
use tokio::sync::watch;

use crate::control::shared_map::SharedMap;

/// Generations of a route for which it is remembered when they were published.
const REMEMBERED_GENERATIONS: usize = 8;
/// Numbers of ready endpoints of a backend for which this is remembered.
const REMEMBERED_READY: usize = 8;

/// One state of the configuration.
#[derive(Debug, Default)]
pub struct Published {
    /// Its number; 0 before there is one.
    pub update: u64,
    resources: SharedMap<String, Resource>,
    entries: SharedMap<String, Entry>,
}

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

impl Entry {
    fn new(resource: &Arc<Resource>, update: u64, before: Option<&Self>) -> Result<Self, serde_json::Error> {
        let mut ready = before.map(|entry| entry.ready.clone()).unwrap_or_default();
        if let Resource::Backend(backend) = &**resource {
            let now = backend.endpoints.iter().filter(|endpoint| endpoint.ready).count() as u32;
            if ready.last().is_none_or(|(before, _)| *before != now) {
                ready.push((now, update));
            }
            ready.drain(..ready.len().saturating_sub(REMEMBERED_READY));
        }
        let mut generations = before.map(|entry| entry.generations.clone()).unwrap_or_default();
        if let Resource::Route(route) = &**resource {
            if generations.last().is_none_or(|(generation, _)| *generation != route.generation) {
                generations.push((route.generation, update));
            }
            generations.drain(..generations.len().saturating_sub(REMEMBERED_GENERATIONS));
        }
        let json = serde_json::to_vec(&**resource)?;
        Ok(Self { resource: Arc::clone(resource), json, changed: update, ready, generations })
    }
}

impl Published {
    /// The state after this one, or none when nothing differs. What both share is not looked at.
    fn next(&self, resources: &SharedMap<String, Resource>) -> Result<Option<Self>, serde_json::Error> {
        let update = self.update + 1;
        let mut same = self.update > 0;
        let mut entries = self.entries.clone();
        for (key, resource) in resources.news(&self.resources) {
            let before = self.entries.get(key);
            match resource {
                Some(resource) if before.is_some_and(|before| before.resource == *resource) => continue,
                Some(resource) => entries.insert(key.clone(), Entry::new(resource, update, before)?),
                None => entries.remove(key),
            }
            same = false;
        }
        Ok((!same).then(|| Self { update, resources: resources.clone(), entries }))
    }

    /// The update that brought this resource as it is.
    pub fn changed(&self, key: &str) -> Option<u64> {
        self.entries.get(key).map(|entry| entry.changed)
    }

    /// The generation of a route that a data plane serves which serves this update: 0 when none that is remembered. None
    /// when the route is not published.
    pub fn generation_at(&self, route: &str, update: u64) -> Option<i64> {
        let known = &self.entries.get(&format!("route/{route}"))?.generations;
        Some(known.iter().rev().find(|(_, since)| *since <= update).map_or(0, |(generation, _)| *generation))
    }
}

impl Published {
    /// Ids of the backends that the rules of a published route name.
    pub fn backends_of(&self, route: &str) -> BTreeSet<&str> {
        let rules = match self.resources.get(&format!("route/{route}")) {
            Some(Resource::Route(route)) => &route.rules[..],
            _ => &[],
        };
        rules.iter().flat_map(|rule| &rule.backends).map(|backend| backend.backend.as_str()).collect()
    }

    /// Ready endpoints of a backend at a data plane that serves this update: 0 when none that is remembered, or when the
    /// backend is not published.
    pub fn ready_at(&self, backend: &str, update: u64) -> u32 {
        let known = self.entries.get(&format!("backend/{backend}")).map_or(&[][..], |entry| &entry.ready);
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
    pub fn publish(&self, resources: impl Borrow<SharedMap<String, Resource>>) -> Result<u64, serde_json::Error> {
        let next = self.newest.borrow().next(resources.borrow())?;
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
pub struct Sent(Arc<Published>);

impl Sent {
    /// The update that brings the stream to this state: full when it is the first. None when it is there, or when nothing
    /// was published yet.
    pub fn advance(&mut self, to: &Arc<Published>) -> Option<v1::Update> {
        let Published { update, entries, .. } = &*self.0;
        if to.update <= *update {
            return None;
        }
        let (mut upsert, mut remove) = (Vec::new(), Vec::new());
        for (key, entry) in to.entries.news(entries) {
            match entry {
                Some(entry) => upsert.push(v1::Resource { key: key.clone(), json: entry.json.clone() }),
                None => remove.push(key.clone()),
            }
        }
        let full = *update == 0;
        self.0 = Arc::clone(to);
        Some(v1::Update { update: to.update, full, upsert, remove })
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
        Resource::Backend(Backend::new(format!("shop/{name}:80"), Protocol::Http1, vec![]))
    }

    fn set(resources: &[Resource]) -> SharedMap<String, Resource> {
        resources.iter().map(|resource| (resource.key(), resource.clone())).collect()
    }

    fn keys(update: &v1::Update) -> Vec<&str> {
        update.upsert.iter().map(|resource| resource.key.as_str()).collect()
    }

    #[test]
    fn a_stream_gets_everything_first_and_then_only_what_changed() {
        let publisher = Publisher::default();
        let mut sent = Sent::default();
        assert_eq!(sent.advance(&publisher.newest()), None);
        publisher.publish(set(&[route("a", 1), route("b", 1), backend("x")])).unwrap();
        let first = sent.advance(&publisher.newest()).unwrap();
        assert!(first.full && first.update == 1 && first.upsert.len() == 3);
        publisher.publish(set(&[route("a", 2), route("b", 1), backend("x")])).unwrap();
        let second = sent.advance(&publisher.newest()).unwrap();
        assert_eq!((second.full, second.update, keys(&second)), (false, 2, vec!["route/HTTPRoute/shop/a"]));
        assert_eq!(sent.advance(&publisher.newest()), None);
    }

    #[test]
    fn a_slow_stream_gets_the_newest_state_at_once() {
        let publisher = Publisher::default();
        let mut sent = Sent::default();
        publisher.publish(set(&[route("a", 1), route("b", 1)])).unwrap();
        sent.advance(&publisher.newest()).unwrap();
        for generation in 2..50 {
            publisher.publish(set(&[route("a", generation), backend("x")])).unwrap();
        }
        let update = sent.advance(&publisher.newest()).unwrap();
        assert_eq!(keys(&update), ["backend/shop/x:80", "route/HTTPRoute/shop/a"]);
        assert_eq!((update.update, update.remove), (49, vec!["route/HTTPRoute/shop/b".to_owned()]));
    }

    #[test]
    fn equal_resources_are_not_an_update_but_the_first_empty_state_is() {
        let publisher = Publisher::default();
        assert_eq!(publisher.publish(SharedMap::default()).unwrap(), 1);
        assert_eq!(publisher.publish(SharedMap::default()).unwrap(), 1);
        assert_eq!(publisher.publish(set(&[route("a", 1)])).unwrap(), 2);
        assert_eq!(publisher.publish(set(&[route("a", 1)])).unwrap(), 2);
    }

    #[test]
    fn endpoints_are_ready_from_the_update_that_brought_them() {
        let with = |ready: &[bool]| {
            let endpoint =
                |(port, ready): (u16, &bool)| Endpoint { address: ([10, 0, 0, 1], port).into(), ready: *ready };
            let endpoints = (1..).zip(ready).map(endpoint).collect();
            Resource::Backend(Backend::new("shop/x:80", Protocol::Http1, endpoints))
        };
        let publisher = Publisher::default();
        publisher.publish(set(&[with(&[])])).unwrap();
        publisher.publish(set(&[with(&[true, false])])).unwrap();
        publisher.publish(set(&[with(&[true, false]), route("a", 1)])).unwrap();
        publisher.publish(set(&[with(&[true, true]), route("a", 1)])).unwrap();
        let newest = publisher.newest();
        assert_eq!([0, 1, 2, 3, 4].map(|update| newest.ready_at("shop/x:80", update)), [0, 0, 1, 1, 2]);
        assert_eq!(newest.ready_at("shop/y:80", 4), 0);
        publisher.publish(set(&[route("a", 1)])).unwrap();
        assert_eq!(publisher.newest().ready_at("shop/x:80", 4), 0, "a backend that is gone is nobody's");
    }

    #[test]
    fn a_generation_is_served_from_the_update_that_brought_it() {
        let publisher = Publisher::default();
        publisher.publish(set(&[backend("x")])).unwrap();
        publisher.publish(set(&[backend("x"), route("a", 4)])).unwrap();
        publisher.publish(set(&[route("a", 4)])).unwrap();
        publisher.publish(set(&[route("a", 5)])).unwrap();
        let newest = publisher.newest();
        let at = |update| newest.generation_at("HTTPRoute/shop/a", update);
        assert_eq!([at(0), at(1), at(2), at(3), at(4)], [Some(0), Some(0), Some(4), Some(4), Some(5)]);
        assert_eq!(newest.generation_at("HTTPRoute/shop/b", 4), None);
    }
}
