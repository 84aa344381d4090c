//! Which object wakes which Rollout.
//!
//! ```text
//! Deployment ---- name, label sluice.dev/rollout ---+
//! ReplicaSet ---- its Deployment's name ------------+
//! Service ------- name -----------------------------+--> Rollout
//! HTTPRoute ----- name -----------------------------+
//! Rollout ------- itself; those that want the same -+
//! ```
//!
//! Only Rollouts are kept; of the others the metadata passes through. A wake says that something changed, never what:
//! the look that follows reads everything live.

mod synced;

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use futures::{
    Stream, StreamExt,
    stream::{BoxStream, SelectAll, iter},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource,
    api::DynamicObject,
    core::{DeserializeGuard, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        controller::ReconcileRequest,
        reflector::{self, ObjectRef, store::Writer},
        watcher::{self, Event, ExponentialBackoff, watcher},
    },
};
use sluice_crds::{
    Rollout,
    names::{CANARY_SUFFIX, LABEL_ROLLOUT},
};

pub(crate) use self::synced::Synced;
use crate::{cluster::Kind, model::claims};

/// A Rollout, or why it could not be read: one that is broken must not keep the others from being seen.
pub(crate) type Guarded = DeserializeGuard<Rollout>;
/// The Rollouts that are known.
pub(crate) type Store = reflector::Store<Guarded>;
/// Wakes of Rollouts.
type Wakes = BoxStream<'static, Result<ReconcileRequest<Guarded>, Infallible>>;

/// How long one watch request lasts, in seconds: a connection that died silently is noticed no later.
const WATCH_SECONDS: u32 = 30;
/// Kinds whose objects wake Rollouts.
const WATCHED: [Kind; 4] = [Kind::Deployment, Kind::ReplicaSet, Kind::Service, Kind::HttpRoute];

/// The wakes of all Rollouts of a namespace, or of the cluster, and the store that they are found in.
///
/// `gone` is called with namespace and name of each Rollout that ceased to exist.
pub(crate) fn wakes(
    client: &Client,
    namespace: Option<&str>,
    synced: &Synced,
    gone: impl Fn(&str, &str) + Send + 'static,
) -> (Store, SelectAll<Wakes>) {
    let (store, writer) = reflector::store();
    let mut streams = SelectAll::new();
    let api = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    streams.push(rollouts(api, writer, store.clone(), synced.expect("rollouts", namespace), gone));
    for kind in WATCHED {
        let resource = kind.resource();
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        streams.push(others(api, kind, store.clone(), synced.expect(kind.plural(), namespace)));
    }
    (store, streams)
}

/// Wakes of all Rollouts that are known, at each beginning of a term of office.
pub(crate) fn all_at(
    terms: impl Stream<Item = u64> + Send + 'static,
    store: Store,
) -> impl Stream<Item = Result<ReconcileRequest<Guarded>, Infallible>> + Send + 'static {
    terms.flat_map(move |_| iter(all(&store)))
}

/// Wakes of all Rollouts that are known.
fn all(store: &Store) -> Vec<Result<ReconcileRequest<Guarded>, Infallible>> {
    store.state().iter().map(|rollout| Ok(ObjectRef::from_obj(&**rollout).into())).collect()
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
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

fn rollouts(
    api: Api<Guarded>,
    writer: Writer<Guarded>,
    store: Store,
    mut synced: impl FnMut() + Send + 'static,
    gone: impl Fn(&str, &str) + Send + 'static,
) -> Wakes {
    let mut known = Known::default();
    let wakes = watcher(api, config()).backoff(backoff()).modify(prune).reflect(writer).flat_map(move |event| {
        let woken = match told("rollouts", event) {
            Some(Event::InitDone) => {
                synced();
                let keys = store.state().iter().map(|rollout| key(rollout.meta())).collect();
                for (namespace, name) in known.retain(&keys) {
                    gone(&namespace, &name);
                }
                // Who began to lead in the middle of the list found none of them in the store.
                store.state().iter().map(|rollout| ObjectRef::from_obj(&**rollout)).collect()
            }
            Some(Event::Apply(rollout) | Event::InitApply(rollout)) if known.is_news(rollout.meta()) => {
                related(&store.state(), &rollout, true)
            }
            Some(Event::Delete(rollout)) => {
                let (namespace, name) = key(rollout.meta());
                known.forget(&(namespace.clone(), name.clone()));
                gone(&namespace, &name);
                related(&store.state(), &rollout, false)
            }
            Some(Event::Apply(_) | Event::InitApply(_) | Event::Init) | None => Vec::new(),
        };
        iter(woken.into_iter().map(|rollout| Ok(rollout.into())))
    });
    wakes.boxed()
}

fn others(
    api: Api<PartialObjectMeta<DynamicObject>>,
    kind: Kind,
    store: Store,
    mut synced: impl FnMut() + Send + 'static,
) -> Wakes {
    let wakes = watcher(api, config()).backoff(backoff()).flat_map(move |event| {
        let woken = match told(kind.plural(), event) {
            Some(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) => {
                woken_by(kind, &object.metadata, &store.state())
            }
            Some(Event::InitDone) => {
                synced();
                Vec::new()
            }
            Some(Event::Init) | None => Vec::new(),
        };
        iter(woken.into_iter().map(|rollout| Ok(rollout.into())))
    });
    wakes.boxed()
}

/// The event; an error is told in the log, and the watch goes on by itself after a while.
fn told<T>(what: &str, event: watcher::Result<Event<T>>) -> Option<Event<T>> {
    let tell = |error: &watcher::Error| match error {
        // History is compacted all the time; the watch lists anew.
        watcher::Error::WatchError(status) if status.code == 410 => {
            tracing::debug!(%error, "the watch of {what} starts over");
        }
        _ => tracing::warn!(%error, "the watch of {what} is interrupted"),
    };
    event.inspect_err(tell).ok()
}

/// Leaves out what is read live anyway and would only take memory.
fn prune(rollout: &mut Guarded) {
    if let Ok(rollout) = &mut rollout.0 {
        rollout.status = None;
    }
    let meta = rollout.meta_mut();
    meta.managed_fields = None;
    meta.annotations = None;
}

fn key(meta: &ObjectMeta) -> (String, String) {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// What has been seen of each Rollout, so that our own writes of its status wake nobody.
#[derive(Default)]
struct Known(HashMap<(String, String), Version>);

/// What of a Rollout matters: its UID, its generation, its finalizers and whether it is being deleted.
type Version = (Option<String>, Option<i64>, Option<Vec<String>>, bool);

impl Known {
    /// True when anything but the status or an annotation is new.
    fn is_news(&mut self, meta: &ObjectMeta) -> bool {
        let version = (meta.uid.clone(), meta.generation, meta.finalizers.clone(), meta.deletion_timestamp.is_some());
        self.0.insert(key(meta), version.clone()) != Some(version)
    }

    fn forget(&mut self, key: &(String, String)) {
        self.0.remove(key);
    }

    /// Keeps these alone; returns those that are gone.
    fn retain(&mut self, keys: &std::collections::HashSet<(String, String)>) -> Vec<(String, String)> {
        let gone: Vec<_> = self.0.keys().filter(|key| !keys.contains(*key)).cloned().collect();
        for key in &gone {
            self.forget(key);
        }
        gone
    }
}

/// The Rollout itself, if it exists, and those that want what it wants.
fn related(rollouts: &[Arc<Guarded>], changed: &Guarded, exists: bool) -> Vec<ObjectRef<Guarded>> {
    let mut woken: Vec<_> = exists.then(|| ObjectRef::from_obj(changed)).into_iter().collect();
    let Ok(changed) = &changed.0 else { return woken };
    let rivals = rollouts.iter().filter(|other| {
        other.meta().uid != changed.metadata.uid && other.0.as_ref().is_ok_and(|other| claims::overlap(changed, other))
    });
    woken.extend(rivals.map(|rival| ObjectRef::from_obj(&**rival)));
    woken
}

/// The Rollouts that an object of another kind wakes.
fn woken_by(kind: Kind, meta: &ObjectMeta, rollouts: &[Arc<Guarded>]) -> Vec<ObjectRef<Guarded>> {
    let Some(name) = meta.name.as_deref() else { return Vec::new() };
    let label = meta.labels.as_ref().and_then(|labels| labels.get(LABEL_ROLLOUT));
    let owners = || meta.owner_references.iter().flatten().map(|owner| owner.name.as_str());
    let is_or_is_canary_of = |name: &str, base: &str| name == base || name.strip_suffix(CANARY_SUFFIX) == Some(base);
    let is_woken = |rollout: &Rollout| match kind {
        Kind::Deployment => {
            is_or_is_canary_of(name, &rollout.spec.workload.name) || label == rollout.metadata.name.as_ref()
        }
        Kind::ReplicaSet => owners().any(|owner| is_or_is_canary_of(owner, &rollout.spec.workload.name)),
        Kind::Service => is_or_is_canary_of(name, rollout.service_name()),
        Kind::HttpRoute => rollout.spec.routes.iter().any(|route| route.name == name),
        // What is not watched wakes nobody.
        _ => false,
    };
    let in_namespace = rollouts.iter().filter(|rollout| rollout.meta().namespace == meta.namespace);
    let woken = in_namespace.filter(|rollout| rollout.0.as_ref().is_ok_and(is_woken));
    woken.map(|rollout| ObjectRef::from_obj(&**rollout)).collect()
}

#[cfg(test)]
mod tests;
