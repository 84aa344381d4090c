//! Writes status: only what differs, only over what was looked at, and again after a conflict.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sluice_crds::BackendTrafficPolicy;
use sluice_gateway_types::{
    BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, TcpRoute, TlsRoute, UdpRoute,
};

use crate::control::{metrics::Metrics, objects::Name};

const FIELD_MANAGER: &str = "sluice-proxy-controller";
/// Tries at one object before the next pass takes over.
const TRIES: usize = 3;

/// An object with a status that we write.
pub trait WithStatus: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync {
    /// Its status as it is; null when there is none.
    fn status(&self) -> Value;
}

macro_rules! with_status {
    ($($kind:ty),*) => {$(
        impl WithStatus for $kind {
            fn status(&self) -> Value {
                self.status.clone().unwrap_or_default()
            }
        }
    )*};
}
with_status!(BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, TcpRoute, TlsRoute, UdpRoute);

impl WithStatus for BackendTrafficPolicy {
    fn status(&self) -> Value {
        json!(self.status)
    }
}

/// Writes status and remembers what it wrote until the caches show it.
pub struct StatusWriter {
    client: Client,
    metrics: Metrics,
    /// By UID.
    written: Mutex<HashMap<String, Written>>,
}

/// A write.
struct Written {
    /// The version that was written over.
    over: String,
    newest: Live,
}

/// The newest status of an object that is known, and its version.
#[derive(Clone, Debug)]
struct Live {
    status: Value,
    version: String,
}

impl StatusWriter {
    /// A writer through this client.
    pub fn new(client: &Client, metrics: &Metrics) -> Self {
        Self { client: client.clone(), metrics: metrics.clone(), written: Mutex::default() }
    }

    /// Forgets objects that do not exist any more.
    pub fn retain<'a>(&self, uids: impl Iterator<Item = &'a str>) {
        let uids: HashSet<&str> = uids.collect();
        self.written().retain(|uid, _| uids.contains(uid.as_str()));
    }

    fn written(&self) -> MutexGuard<'_, HashMap<String, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status of an object: what was written, until the cache has it.
    pub fn status<K: WithStatus>(&self, cached: &K) -> Value {
        self.live(cached).status
    }

    fn live<K: WithStatus>(&self, cached: &K) -> Live {
        let version = cached.meta().resource_version.clone().unwrap_or_default();
        let uid = cached.meta().uid.as_deref().unwrap_or_default();
        // While the cache still shows what was written over, what came of it is the newer one.
        let newer = self.written().get(uid).filter(|written| written.over == version).map(|w| w.newest.clone());
        newer.unwrap_or_else(|| Live { status: cached.status(), version })
    }

    /// Brings the status of an object to what `wanted` makes of the live one; none means that it is to stay. Nothing is
    /// written for another generation than the one that `wanted` speaks of: the caches will bring that one. A failure
    /// is logged and concerns this object alone. Returns whether it went well.
    pub async fn write<K: WithStatus>(
        &self,
        api: &Api<K>,
        cached: &K,
        generation: i64,
        wanted: impl Fn(&Value) -> Option<Value>,
    ) -> bool {
        let Err(error) = self.try_write(api, cached, generation, wanted).await else { return true };
        self.metrics.status_failures.inc();
        tracing::warn!(%error, kind = %K::kind(&()), name = %Name::of(cached.meta()), "Cannot write status; tried again");
        false
    }

    async fn try_write<K: WithStatus>(
        &self,
        api: &Api<K>,
        cached: &K,
        generation: i64,
        wanted: impl Fn(&Value) -> Option<Value>,
    ) -> Result<(), kube::Error> {
        let name = Name::of(cached.meta());
        let uid = cached.meta().uid.clone().unwrap_or_default();
        let Live { status: mut live, mut version } = self.live(cached);
        for _ in 0..TRIES {
            let Some(status) = wanted(&live).filter(|status| *status != live) else { return Ok(()) };
            let body = json!({"metadata": {"resourceVersion": version, "uid": uid}, "status": status});
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            match api.patch_status(&name.name, &params, &Patch::Merge(body)).await {
                Ok(object) => {
                    self.metrics.status_writes.inc();
                    let became = object.meta().resource_version.clone().unwrap_or_default();
                    let over = cached.meta().resource_version.clone().unwrap_or_default();
                    let newest = Live { status: object.status(), version: became };
                    self.written().insert(uid, Written { over, newest });
                    return Ok(());
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let Some(object) = api.get_opt(&name.name).await? else { return Ok(()) };
                    if object.meta().uid.as_ref() != Some(&uid) || object.meta().generation != Some(generation) {
                        return Ok(());
                    }
                    version = object.meta().resource_version.clone().unwrap_or_default();
                    live = object.status();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The API of namespaced objects.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The API of cluster-scoped objects.
    pub fn cluster_api<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }
}
