//! One cache: the watch that fills it, and what it tells of each event.

use std::{collections::BTreeMap, fmt::Debug, hash::Hash, sync::Arc, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Lookup, ObjectRef, Store},
        watcher::{self, Config, ExponentialBackoff},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::Signs;
use crate::control::{changes::Watched, guard::DeserializeGuard, objects::Name};

/// A dead connection to the API server is noticed after this many seconds, not after the default of five minutes.
const TIMEOUT_SECONDS: u32 = 30;

/// The cache of a kind that a cluster may not have, because its Gateway API is older.
pub(super) struct Optional<K: Resource<DynamicType = ()> + Clone + 'static> {
    pub(super) store: Store<DeserializeGuard<K>>,
    /// Whether the API server has said that there is no such kind.
    absent: watch::Receiver<bool>,
}

impl<K> Optional<K>
where
    K: Resource<DynamicType = ()> + Watched + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    pub(super) fn start(api: Api<DeserializeGuard<K>>, signs: &Arc<Signs>) -> Self {
        let (is_absent, absent) = watch::channel(false);
        let events = watcher::watcher(api, config()).inspect(move |event| {
            is_absent.send_replace(is_missing(event));
        });
        Self { store: keep(events, signs), absent }
    }

    /// Waits until it is filled, or until it is known that there is nothing to fill it with. The kind may come later.
    pub(super) async fn wait(&self) -> anyhow::Result<()> {
        let mut absent = self.absent.clone();
        tokio::select! {
            filled = self.store.wait_until_ready() => Ok(filled?),
            known = absent.wait_for(|absent| *absent) => {
                known?;
                tracing::warn!(kind = %K::kind(&()), "The cluster does not have this kind; it is looked for again");
                Ok(())
            }
        }
    }
}

/// Whether the API server does not know the kind.
fn is_missing<K>(event: &watcher::Result<watcher::Event<K>>) -> bool {
    use kube::Error::Api;
    use watcher::Error::{InitialListFailed, WatchStartFailed};
    matches!(event, Err(InitialListFailed(Api(status)) | WatchStartFailed(Api(status))) if status.code == 404)
}

pub(super) fn cache<K>(api: Api<K>, signs: &Arc<Signs>) -> Store<K>
where
    K: Resource<DynamicType = ()>
        + Lookup<DynamicType = ()>
        + Watched
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    keep(watcher::watcher(api, config()), signs)
}

fn config() -> Config {
    Config::default().timeout(TIMEOUT_SECONDS)
}

/// Waits after a watch that failed. kube's own grow to a minute, and what happened while the API server was away would be
/// seen as late as that. By chance each is up to twice as long, so that not everybody comes back at once.
fn backoff() -> ExponentialBackoff {
    let waits = backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(4))
        .with_jitter()
        .without_max_times();
    waits.into()
}

/// Keeps a cache for as long as the process runs.
fn keep<K>(
    events: impl futures::Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    signs: &Arc<Signs>,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Watched + Clone + Send + Sync + 'static,
    <K as Lookup>::DynamicType: Eq + Hash + Clone,
{
    let (store, mut writer) = reflector::store();
    let pruned = events.backoff(backoff()).modify(|object| object.meta_mut().managed_fields = None);
    let (signs, cache) = (Arc::clone(signs), store.clone());
    tokio::spawn(pruned.for_each(move |event| {
        signs.see(&event);
        match event {
            Ok(event) => {
                let before = known(&cache, &event);
                writer.apply_watcher_event(&event);
                match &event {
                    // While a list comes in, the cache still shows what was before.
                    watcher::Event::Init | watcher::Event::InitApply(_) => {}
                    watcher::Event::InitDone => signs.note(|changes| changes.everything = true),
                    watcher::Event::Apply(now) => signs.note(|changes| changes.note(before.as_deref(), Some(now))),
                    watcher::Event::Delete(last) => {
                        signs.note(|changes| changes.note(before.as_deref().or(Some(last)), None));
                    }
                }
            }
            Err(error) => tracing::warn!(%error, kind = %<K as Resource>::kind(&()), "Watch failed; tried again"),
        }
        std::future::ready(())
    }));
    store
}

/// What the cache has of the object of an event.
fn known<K>(cache: &Store<K>, event: &watcher::Event<K>) -> Option<Arc<K>>
where
    K: Lookup<DynamicType = ()> + Clone,
{
    match event {
        watcher::Event::Apply(object) | watcher::Event::Delete(object) => cache.get(&object.to_object_ref(())),
        watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::InitDone => None,
    }
}

/// The objects of a cache that can be read.
pub(super) fn readable<K: Resource<DynamicType = ()> + Clone + 'static>(
    store: &Store<DeserializeGuard<K>>,
) -> Vec<Arc<K>> {
    store.state().iter().filter_map(|object| read(object)).collect()
}

/// The object of this name, if it can be read.
pub(super) fn of_name<K>(store: &Store<DeserializeGuard<K>>, name: &Name) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    read(&*store.get(&ObjectRef::new(&name.name).within(&name.namespace))?)
}

fn read<K: Resource<DynamicType = ()> + Clone>(object: &DeserializeGuard<K>) -> Option<Arc<K>> {
    match &object.0 {
        Ok(object) => Some(Arc::clone(object)),
        Err(invalid) => {
            let (kind, name) = (K::kind(&()), Name::of(&invalid.metadata));
            tracing::warn!(%kind, %name, error = invalid.error, "Object left out");
            None
        }
    }
}

pub(super) fn by_name<K: Resource>(objects: Vec<Arc<K>>) -> BTreeMap<Name, Arc<K>> {
    objects.into_iter().map(|object| (Name::of(object.meta()), object)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::backoff;

    #[test]
    fn a_watch_that_fails_is_tried_again_for_ever_and_never_late() {
        let waits: Vec<_> = backoff().take(1_000).collect();
        assert_eq!(waits.len(), 1_000);
        assert!(waits[0] <= Duration::from_secs(1), "{:?}", waits[0]);
        assert!(waits.iter().skip(3).all(|wait| (4..=8).contains(&wait.as_secs())), "{waits:?}");
    }
}
