//! Secrets and ConfigMaps that a translation asks for, one by one. Watching them would need the right to list them all,
//! with what is in them; so they are read by name, when they are named first and then every few seconds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

use crate::control::objects::{Asked, Name, Objects};

/// How often what is known is read again: a renewed certificate is served after this time at most.
pub const REFRESH: Duration = Duration::from_secs(5);
/// How many are read at once.
const AT_ONCE: usize = 16;
/// How long to wait before what cannot be read is tried again, and how often, before it is taken for missing: what one
/// object is refused for must not hold up all others.
const RETRY: Duration = Duration::from_millis(500);
const TRIES: u32 = 5;

/// What was looked up. None: it does not exist.
pub struct Lookups {
    client: Client,
    known: BTreeMap<Asked, Option<Found>>,
    refreshed: Instant,
}

/// One object. It is not shown: it may be a key.
#[derive(Clone, PartialEq)]
enum Found {
    Secret(Arc<Secret>),
    ConfigMap(Arc<ConfigMap>),
}

impl Lookups {
    /// Nothing yet.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone(), known: BTreeMap::new(), refreshed: Instant::now() }
    }

    /// When to refresh.
    pub fn due(&self) -> Instant {
        self.refreshed + REFRESH
    }

    /// Puts what is known among the objects.
    pub fn fill(&self, objects: &mut Objects) {
        for (asked, found) in &self.known {
            match found {
                Some(Found::Secret(secret)) => drop(objects.secrets.insert(asked.name().clone(), Arc::clone(secret))),
                Some(Found::ConfigMap(map)) => drop(objects.config_maps.insert(asked.name().clone(), Arc::clone(map))),
                None => {}
            }
        }
    }

    /// Reads what was asked for and is not known, and forgets what was not asked for. Returns whether anything was read.
    pub async fn follow(&mut self, objects: &Objects) -> bool {
        let asked = objects.asked();
        self.known.retain(|known, _| asked.contains(known));
        let new: Vec<_> = asked.into_iter().filter(|asked| !self.known.contains_key(asked)).collect();
        let found = self.read(&new).await;
        self.known.extend(new.iter().cloned().map(|asked| (asked, None)));
        self.known.extend(found);
        !new.is_empty()
    }

    /// Reads again what is known. What cannot be read stays as it was. Returns whether anything has changed.
    pub async fn refresh(&mut self) -> bool {
        self.refreshed = Instant::now();
        let asked: Vec<_> = self.known.keys().cloned().collect();
        let found = self.read(&asked).await;
        let changed = found.iter().any(|(asked, found)| self.known.get(asked) != Some(found));
        self.known.extend(found);
        changed
    }

    async fn read(&self, asked: &[Asked]) -> Vec<(Asked, Option<Found>)> {
        let reads = stream::iter(asked).map(|asked| async {
            match self.read_one(asked).await {
                Ok(found) => Some((asked.clone(), found)),
                Err(error) => {
                    tracing::warn!(%error, name = %asked.name(), "Cannot read an object that a Gateway or a policy names");
                    None
                }
            }
        });
        reads.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
    }

    async fn read_one(&self, asked: &Asked) -> kube::Result<Option<Found>> {
        let mut tries = 1;
        loop {
            let found = match asked {
                Asked::Secret(name) => get(&self.client, name).await.map(|found| found.map(Found::Secret)),
                Asked::ConfigMap(name) => get(&self.client, name).await.map(|found| found.map(Found::ConfigMap)),
            };
            match found {
                // The API server has spoken: asking again does not change its mind.
                Err(kube::Error::Api(status)) if status.code == 403 => return Err(kube::Error::Api(status)),
                Err(_) if tries < TRIES => tries += 1,
                found => return found,
            }
            sleep(RETRY).await;
        }
    }
}

async fn get<K>(client: &Client, name: &Name) -> kube::Result<Option<Arc<K>>>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &name.namespace);
    let found = api.get_opt(&name.name).await?;
    Ok(found.map(|mut object| {
        object.meta_mut().managed_fields = None;
        Arc::new(object)
    }))
}
