//! Caches of everything that a translation reads, each kept by a watch of its own.
//!
//! An object that cannot be read is logged and left out; it never stops the others. Nothing is translated before every
//! cache has been filled once: an empty list and a list that has not come yet look the same.

mod cache;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::{
    core::v1::{Namespace, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    core::PartialObjectMeta,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use sluice_crds::{BackendTrafficPolicy, GatewayParameters};
use sluice_gateway_types::{
    BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, ReferenceGrant, TcpRoute, TlsRoute,
    UdpRoute,
};
use tokio::{sync::Notify, time::Instant};

use self::cache::{Optional, by_name, cache, of_name, readable};
use crate::control::{
    changes::Changes,
    guard::DeserializeGuard,
    objects::{Name, Objects, RouteKind, put},
    outage::Outage,
    services::DATA_PLANE,
};

/// The caches.
pub struct Caches {
    namespace: String,
    backend_tls_policies: Optional<BackendTlsPolicy>,
    backend_traffic_policies: Optional<BackendTrafficPolicy>,
    classes: Store<DeserializeGuard<GatewayClass>>,
    gateways: Store<DeserializeGuard<Gateway>>,
    gateway_parameters: Optional<GatewayParameters>,
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
            gateway_parameters: Optional::start(Api::all(all.clone()), &signs),
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
            self.gateway_parameters.wait(),
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
            gateway_parameters: by_name(readable(&self.gateway_parameters.store)),
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
