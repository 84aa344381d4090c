//! Everything that a translation reads, as one value: from the cluster's caches or from a folder of manifests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{
    api::{core::v1::Service, discovery::v1::EndpointSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use sluice_gateway_types::{Gateway, GatewayClass, HttpRoute, ReferenceGrant};

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Namespace and name of an object. The namespace of a cluster-scoped one is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The namespace.
    pub namespace: String,
    /// The name in it.
    pub name: String,
}

impl Name {
    /// The name `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The name in an object's metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The objects of one moment.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Every GatewayClass, whoever minds it.
    pub classes: Vec<Arc<GatewayClass>>,
    /// Every Gateway.
    pub gateways: BTreeMap<Name, Arc<Gateway>>,
    /// Every HTTPRoute.
    pub routes: BTreeMap<Name, Arc<HttpRoute>>,
    /// Every ReferenceGrant.
    pub grants: Vec<Arc<ReferenceGrant>>,
    /// Labels of the namespaces.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Every Service.
    pub services: BTreeMap<Name, Arc<Service>>,
    /// EndpointSlices by the Service that they name.
    pub slices: BTreeMap<Name, Vec<Arc<EndpointSlice>>>,
    /// Addresses of our own pods, which no route may reach.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Whether a Service may have any endpoint. In a cluster its authors are not trusted with what only the data plane
    /// reaches; a folder's owner is, and backends on loopback are what a folder is for.
    pub any_endpoint: bool,
}

impl Objects {
    /// Adds a slice under the Service that it names, if it names one.
    pub fn add_slice(&mut self, slice: Arc<EndpointSlice>) {
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) else { return };
        let namespace = slice.metadata.namespace.clone().unwrap_or_default();
        self.slices.entry(Name::new(namespace, service)).or_default().push(slice);
    }
}
