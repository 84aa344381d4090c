//! Caches of everything that a translation reads, each kept by a watch of its own.
//!
//! An object that cannot be read is logged and left out; it never stops the others. Nothing is translated before every
//! cache has been filled once: an empty list and a list that has not come yet look the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::{
    core::v1::{Namespace, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Lookup, ObjectRef, Store},
        watcher::{self, Config, ExponentialBackoff},
    },
};
use serde::de::DeserializeOwned;
use sluice_crds::BackendTrafficPolicy;
use sluice_gateway_types::{
    BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, ReferenceGrant, TcpRoute, TlsRoute,
    UdpRoute,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::control::{
    changes::{Changes, Watched},
    guard::DeserializeGuard,
    objects::{Name, Objects, RouteKind, put},
    outage::Outage,
    services::DATA_PLANE,
};

/// A dead connection to the API server is noticed after this many seconds, not after the default of five minutes.
const TIMEOUT_SECONDS: u32 = 30;

/// The caches.
pub struct Caches {
    namespace: String,
    backend_tls_policies: Optional<BackendTlsPolicy>,
    backend_traffic_policies: Optional<BackendTrafficPolicy>,
    classes: Store<DeserializeGuard<GatewayClass>>,
    gateways: Store<DeserializeGuard<Gateway>>,
    grpc_routes: Optional<GrpcRoute>,
    listener_sets: Optional<ListenerSet>,
    http_routes: Store<DeserializeGuard<HttpRoute>>,
    tcp_routes: Optional<TcpRoute>,
    tls_routes: Optional<TlsRoute>,
    udp_routes: Optional<UdpRoute>,
    grants: Store<DeserializeGuard<ReferenceGrant>>,
    namespaces: Store<PartialObjectMeta<Namespace>>,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    pods: Store<Pod>,
    signs: Arc<Signs>,
}

/// What the watches tell those who use the caches.
#[derive(Debug, Default)]
pub struct Signs {
    /// Something has changed.
    changed: Notify,
    /// What that is, for the translation and for what follows it.
    changes: Mutex<[Changes; 2]>,
    outage: Mutex<Outage>,
}

impl Signs {
    fn note(&self, note: impl Fn(&mut Changes)) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().for_each(note);
        self.changed.notify_one();
    }

    fn take(&self, reader: usize) -> Changes {
        std::mem::take(&mut self.changes.lock().unwrap_or_else(PoisonError::into_inner)[reader])
    }

    fn see<T>(&self, event: &watcher::Result<T>) {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).see(event, Instant::now());
    }
}

/// The pods of our namespace, as far as they matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Names of all of them.
    pub existing: BTreeSet<String>,
    /// Names of the data planes that may be serving: ready ones, and those on their way out.
    pub serving: BTreeSet<String>,
}

impl Caches {
    /// Starts every watch, and returns when each cache has been filled once.
    pub async fn start(client: &Client, namespace: &str) -> anyhow::Result<Self> {
        let all = client.clone();
        let signs = Arc::new(Signs::default());
        let caches = Self {
            namespace: namespace.to_owned(),
            backend_tls_policies: Optional::start(Api::all(all.clone()), &signs),
            backend_traffic_policies: Optional::start(Api::all(all.clone()), &signs),
            classes: cache(Api::all(all.clone()), &signs),
            gateways: cache(Api::all(all.clone()), &signs),
            grpc_routes: Optional::start(Api::all(all.clone()), &signs),
            listener_sets: Optional::start(Api::all(all.clone()), &signs),
            http_routes: cache(Api::all(all.clone()), &signs),
            tcp_routes: Optional::start(Api::all(all.clone()), &signs),
            tls_routes: Optional::start(Api::all(all.clone()), &signs),
            udp_routes: Optional::start(Api::all(all.clone()), &signs),
            grants: cache(Api::all(all.clone()), &signs),
            namespaces: cache(Api::all(all.clone()), &signs),
            services: cache(Api::all(all.clone()), &signs),
            slices: cache(Api::all(all.clone()), &signs),
            pods: cache(Api::namespaced(all, namespace), &signs),
            signs,
        };
        caches.wait().await?;
        Ok(caches)
    }

    async fn wait(&self) -> anyhow::Result<()> {
        tokio::try_join!(
            self.classes.wait_until_ready(),
            self.gateways.wait_until_ready(),
            self.http_routes.wait_until_ready(),
            self.grants.wait_until_ready(),
            self.namespaces.wait_until_ready(),
            self.services.wait_until_ready(),
            self.slices.wait_until_ready(),
            self.pods.wait_until_ready(),
        )?;
        tokio::try_join!(
            self.backend_tls_policies.wait(),
            self.backend_traffic_policies.wait(),
            self.grpc_routes.wait(),
            self.listener_sets.wait(),
            self.tcp_routes.wait(),
            self.tls_routes.wait(),
            self.udp_routes.wait(),
        )?;
        Ok(())
    }

    /// The objects that routes depend on, of which there are few, at this moment.
    pub fn parents(&self) -> Objects {
        Objects {
            backend_tls_policies: by_name(readable(&self.backend_tls_policies.store)),
            backend_traffic_policies: by_name(readable(&self.backend_traffic_policies.store)),
            classes: readable(&self.classes),
            gateways: by_name(readable(&self.gateways)),
            listener_sets: by_name(readable(&self.listener_sets.store)),
            ..Objects::default()
        }
    }

    /// The objects of this moment.
    pub fn objects(&self) -> Objects {
        let mut objects = Objects {
            grpc_routes: by_name(readable(&self.grpc_routes.store)),
            http_routes: by_name(readable(&self.http_routes)),
            tcp_routes: by_name(readable(&self.tcp_routes.store)),
            tls_routes: by_name(readable(&self.tls_routes.store)),
            udp_routes: by_name(readable(&self.udp_routes.store)),
            grants: readable(&self.grants),
            services: self.services.state().into_iter().map(|service| (Name::of(&service.metadata), service)).collect(),
            ..self.parents()
        };
        for namespace in self.namespaces.state() {
            let labels = namespace.metadata.labels.clone().unwrap_or_default();
            objects.namespaces.insert(namespace.metadata.name.clone().unwrap_or_default(), labels);
        }
        for slice in self.slices.state() {
            objects.add_slice(slice);
        }
        for pod in self.pods.state() {
            let addresses = pod.status.as_ref().and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
            objects.own_addresses.extend(addresses.filter_map(|address| address.ip.parse::<std::net::IpAddr>().ok()));
        }
        objects
    }

    /// Brings objects of an earlier moment up to this one, between which this has changed and not everything.
    pub fn update(&self, objects: &mut Objects, changes: &Changes) {
        for route in changes.routes.iter().chain(&changes.seen) {
            let name = &route.name;
            match route.kind {
                RouteKind::Grpc => put(&mut objects.grpc_routes, name, of_name(&self.grpc_routes.store, name)),
                RouteKind::Http => put(&mut objects.http_routes, name, of_name(&self.http_routes, name)),
                RouteKind::Tcp => put(&mut objects.tcp_routes, name, of_name(&self.tcp_routes.store, name)),
                RouteKind::Tls => put(&mut objects.tls_routes, name, of_name(&self.tls_routes.store, name)),
                RouteKind::Udp => put(&mut objects.udp_routes, name, of_name(&self.udp_routes.store, name)),
            }
        }
        for name in &changes.services {
            put(&mut objects.services, name, self.service(name));
        }
        for (service, slice) in &changes.endpoints {
            let found = self.slices.get(&ObjectRef::new(slice).within(&service.namespace));
            objects.replace_slice(service, slice, found.as_ref());
        }
    }

    /// What has changed since the last call, for the translation.
    pub fn take_changes(&self) -> Changes {
        self.signs.take(0)
    }

    /// The same for what follows the translation.
    pub fn take_followed(&self) -> Changes {
        self.signs.take(1)
    }

    /// Waits for a change since the last wait.
    pub async fn changed(&self) {
        self.signs.changed.notified().await;
    }

    /// Until when the readiness of endpoints is not to be relied on, if it is not now.
    pub fn aftermath(&self) -> Option<Instant> {
        self.signs.outage.lock().unwrap_or_else(PoisonError::into_inner).aftermath(Instant::now())
    }

    /// A Service of any namespace.
    pub fn service(&self, name: &Name) -> Option<Arc<Service>> {
        self.services.get(&ObjectRef::new(&name.name).within(&name.namespace))
    }

    /// The Services of our namespace, by name.
    pub fn own_services(&self) -> BTreeMap<String, Arc<Service>> {
        let ours = self.services.state_filter(|s| s.metadata.namespace.as_deref() == Some(&*self.namespace));
        ours.into_iter().filter_map(|service| Some((service.metadata.name.clone()?, service))).collect()
    }

    /// The pods of our namespace.
    pub fn pods(&self) -> Pods {
        let mut pods = Pods::default();
        for pod in self.pods.state() {
            let Some(name) = pod.metadata.name.clone() else { continue };
            let labels = pod.metadata.labels.as_ref();
            let is_data_plane = DATA_PLANE
                .iter()
                .all(|(key, value)| labels.and_then(|l| l.get(*key)).is_some_and(|found| found == value));
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
            let is_ready =
                conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            let is_leaving = pod.metadata.deletion_timestamp.is_some();
            if is_data_plane && (is_ready || is_leaving) {
                pods.serving.insert(name.clone());
            }
            pods.existing.insert(name);
        }
        pods
    }
}

/// The cache of a kind that a cluster may not have, because its Gateway API is older.
struct Optional<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<DeserializeGuard<K>>,
    /// Whether the API server has said that there is no such kind.
    absent: watch::Receiver<bool>,
}

impl<K> Optional<K>
where
    K: Resource<DynamicType = ()> + Watched + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    fn start(api: Api<DeserializeGuard<K>>, signs: &Arc<Signs>) -> Self {
        let (is_absent, absent) = watch::channel(false);
        let events = watcher::watcher(api, config()).inspect(move |event| {
            is_absent.send_replace(is_missing(event));
        });
        Self { store: keep(events, signs), absent }
    }

    /// Waits until it is filled, or until it is known that there is nothing to fill it with. The kind may come later.
    async fn wait(&self) -> anyhow::Result<()> {
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

fn cache<K>(api: Api<K>, signs: &Arc<Signs>) -> Store<K>
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
fn readable<K: Resource<DynamicType = ()> + Clone + 'static>(store: &Store<DeserializeGuard<K>>) -> Vec<Arc<K>> {
    store.state().iter().filter_map(|object| read(object)).collect()
}

/// The object of this name, if it can be read.
fn of_name<K>(store: &Store<DeserializeGuard<K>>, name: &Name) -> Option<Arc<K>>
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

fn by_name<K: Resource>(objects: Vec<Arc<K>>) -> BTreeMap<Name, Arc<K>> {
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
