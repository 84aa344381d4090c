//! Everything that a translation reads, as one value: from the cluster's caches or from a folder of manifests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, Secret, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use sluice_crds::{BackendTrafficPolicy, GatewayParameters};
use sluice_gateway_types::{
    BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, ParentReference, ReferenceGrant,
    TcpRoute, TlsRoute, UdpRoute,
};

use sluice_proxy_core::cidr::Cidr;

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

    /// The name of the parent of an object in `namespace`.
    pub fn of_parent(parent: &ParentReference, namespace: &str) -> Self {
        Self::new(parent.namespace.as_deref().unwrap_or(namespace), &parent.name)
    }

    /// The name in an object's metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// The kinds of routes that are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// GRPCRoute
    Grpc,
    /// HTTPRoute
    Http,
    /// TCPRoute
    Tcp,
    /// TLSRoute
    Tls,
    /// UDPRoute
    Udp,
}

impl RouteKind {
    /// As in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "GRPCRoute",
            Self::Http => "HTTPRoute",
            Self::Tcp => "TCPRoute",
            Self::Tls => "TLSRoute",
            Self::Udp => "UDPRoute",
        }
    }
}

/// Kind, namespace and name of a route. Shown as the id of its resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// Its kind.
    pub kind: RouteKind,
    /// Its name.
    pub name: Name,
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.name)
    }
}

/// A route of any kind.
#[derive(Clone, Copy, Debug)]
pub enum AnyRoute<'a> {
    /// A GRPCRoute.
    Grpc(&'a GrpcRoute),
    /// An HTTPRoute.
    Http(&'a HttpRoute),
    /// A TCPRoute.
    Tcp(&'a TcpRoute),
    /// A TLSRoute.
    Tls(&'a TlsRoute),
    /// A UDPRoute.
    Udp(&'a UdpRoute),
}

impl<'a> AnyRoute<'a> {
    /// Its kind.
    pub fn kind(self) -> RouteKind {
        match self {
            Self::Grpc(_) => RouteKind::Grpc,
            Self::Http(_) => RouteKind::Http,
            Self::Tcp(_) => RouteKind::Tcp,
            Self::Tls(_) => RouteKind::Tls,
            Self::Udp(_) => RouteKind::Udp,
        }
    }

    /// Its metadata.
    pub fn metadata(self) -> &'a ObjectMeta {
        match self {
            Self::Grpc(route) => &route.metadata,
            Self::Http(route) => &route.metadata,
            Self::Tcp(route) => &route.metadata,
            Self::Tls(route) => &route.metadata,
            Self::Udp(route) => &route.metadata,
        }
    }

    /// Kind and name.
    pub fn name(self) -> RouteName {
        RouteName { kind: self.kind(), name: Name::of(self.metadata()) }
    }

    /// Where it wants to be attached.
    pub fn parent_refs(self) -> &'a [ParentReference] {
        match self {
            Self::Grpc(route) => &route.spec.parent_refs,
            Self::Http(route) => &route.spec.parent_refs,
            Self::Tcp(route) => &route.spec.parent_refs,
            Self::Tls(route) => &route.spec.parent_refs,
            Self::Udp(route) => &route.spec.parent_refs,
        }
    }

    /// Its host names, as written; a route of a kind that knows none has none.
    pub fn hostnames(self) -> &'a [String] {
        match self {
            Self::Grpc(route) => &route.spec.hostnames,
            Self::Http(route) => &route.spec.hostnames,
            Self::Tls(route) => &route.spec.hostnames,
            Self::Tcp(_) | Self::Udp(_) => &[],
        }
    }

    /// When it was made, in seconds since the epoch.
    pub fn created(self) -> i64 {
        self.metadata().creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
    }
}

/// An object that is only looked up when something names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// A Secret.
    Secret(Name),
    /// A ConfigMap.
    ConfigMap(Name),
}

impl Asked {
    /// Its name.
    pub fn name(&self) -> &Name {
        match self {
            Self::Secret(name) | Self::ConfigMap(name) => name,
        }
    }
}

/// What was asked for, noted by who answers.
#[derive(Debug, Default)]
pub struct Questions(Mutex<BTreeSet<Asked>>);

/// The objects of one moment.
#[derive(Debug, Default)]
pub struct Objects {
    /// Every GatewayClass, whoever minds it.
    pub classes: Vec<Arc<GatewayClass>>,
    /// Every Gateway.
    pub gateways: BTreeMap<Name, Arc<Gateway>>,
    /// Every GatewayParameters.
    pub gateway_parameters: BTreeMap<Name, Arc<GatewayParameters>>,
    /// Every GRPCRoute.
    pub grpc_routes: BTreeMap<Name, Arc<GrpcRoute>>,
    /// Every HTTPRoute.
    pub http_routes: BTreeMap<Name, Arc<HttpRoute>>,
    /// Every TCPRoute.
    pub tcp_routes: BTreeMap<Name, Arc<TcpRoute>>,
    /// Every TLSRoute.
    pub tls_routes: BTreeMap<Name, Arc<TlsRoute>>,
    /// Every UDPRoute.
    pub udp_routes: BTreeMap<Name, Arc<UdpRoute>>,
    /// Every BackendTLSPolicy.
    pub backend_tls_policies: BTreeMap<Name, Arc<BackendTlsPolicy>>,
    /// Every BackendTrafficPolicy.
    pub backend_traffic_policies: BTreeMap<Name, Arc<BackendTrafficPolicy>>,
    /// Every ListenerSet.
    pub listener_sets: BTreeMap<Name, Arc<ListenerSet>>,
    /// Every ReferenceGrant.
    pub grants: Vec<Arc<ReferenceGrant>>,
    /// Labels of the namespaces.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Every Service.
    pub services: BTreeMap<Name, Arc<Service>>,
    /// EndpointSlices by the Service that they name.
    pub slices: BTreeMap<Name, Vec<Arc<EndpointSlice>>>,
    /// Secrets that were looked up.
    pub secrets: BTreeMap<Name, Arc<Secret>>,
    /// ConfigMaps that were looked up.
    pub config_maps: BTreeMap<Name, Arc<ConfigMap>>,
    /// What was asked for of these, found or not.
    pub questions: Questions,
    /// Addresses of our own pods, which no route may reach.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Whether a Service may have any endpoint. In a cluster its authors are not trusted with what only the data plane
    /// reaches; a folder's owner is, and backends on loopback are what a folder is for.
    pub any_endpoint: bool,
    /// Whether an endpoint that is not ready is used where no ready one is.
    pub spares_unready: bool,
    /// Addresses that Gateways may ask for.
    pub address_pools: Vec<Cidr>,
}

impl Objects {
    /// The routes of all kinds.
    pub fn routes(&self) -> impl Iterator<Item = AnyRoute<'_>> {
        let grpc = self.grpc_routes.values().map(|route| AnyRoute::Grpc(route));
        let http = self.http_routes.values().map(|route| AnyRoute::Http(route));
        let tcp = self.tcp_routes.values().map(|route| AnyRoute::Tcp(route));
        let tls = self.tls_routes.values().map(|route| AnyRoute::Tls(route));
        let udp = self.udp_routes.values().map(|route| AnyRoute::Udp(route));
        grpc.chain(http).chain(tcp).chain(tls).chain(udp)
    }

    /// The route of this name.
    pub fn route(&self, name: &RouteName) -> Option<AnyRoute<'_>> {
        let RouteName { kind, name } = name;
        match kind {
            RouteKind::Grpc => self.grpc_routes.get(name).map(|route| AnyRoute::Grpc(route)),
            RouteKind::Http => self.http_routes.get(name).map(|route| AnyRoute::Http(route)),
            RouteKind::Tcp => self.tcp_routes.get(name).map(|route| AnyRoute::Tcp(route)),
            RouteKind::Tls => self.tls_routes.get(name).map(|route| AnyRoute::Tls(route)),
            RouteKind::Udp => self.udp_routes.get(name).map(|route| AnyRoute::Udp(route)),
        }
    }

    /// A Secret that something names and may name.
    pub fn secret(&self, name: &Name) -> Option<&Secret> {
        self.note(Asked::Secret(name.clone()));
        self.secrets.get(name).map(|secret| &**secret)
    }

    /// A ConfigMap that something names and may name.
    pub fn config_map(&self, name: &Name) -> Option<&ConfigMap> {
        self.note(Asked::ConfigMap(name.clone()));
        self.config_maps.get(name).map(|map| &**map)
    }

    fn note(&self, asked: Asked) {
        self.questions.0.lock().unwrap_or_else(PoisonError::into_inner).insert(asked);
    }

    /// Secrets and ConfigMaps that were asked for so far, found or not.
    pub fn asked(&self) -> BTreeSet<Asked> {
        self.questions.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a slice under the Service that it names, if it names one.
    pub fn add_slice(&mut self, slice: Arc<EndpointSlice>) {
        if let Some(service) = service_of(&slice.metadata) {
            self.slices.entry(service).or_default().push(slice);
        }
    }

    /// Puts what a name stands for now in the place of the slice that a Service had under it. It may name another Service
    /// now.
    pub fn replace_slice(&mut self, service: &Name, slice: &str, now: Option<&Arc<EndpointSlice>>) {
        if let Some(slices) = self.slices.get_mut(service) {
            slices.retain(|known| known.metadata.name.as_deref() != Some(slice));
            if slices.is_empty() {
                self.slices.remove(service);
            }
        }
        if let Some(now) = now.filter(|now| service_of(&now.metadata).as_ref() == Some(service)) {
            self.add_slice(Arc::clone(now));
        }
    }
}

/// The Service that an EndpointSlice with this metadata names.
pub fn service_of(slice: &ObjectMeta) -> Option<Name> {
    let service = slice.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Name::new(slice.namespace.clone().unwrap_or_default(), service))
}

/// Puts what a name stands for now in the place of what it stood for.
pub fn put<T>(objects: &mut BTreeMap<Name, T>, name: &Name, now: Option<T>) {
    match now {
        Some(object) => drop(objects.insert(name.clone(), object)),
        None => drop(objects.remove(name)),
    }
}
