//! Backends: from a reference to a port of a Service, and from there to its endpoints.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::{Endpoint, EndpointHints, EndpointSlice},
};
use sluice_gateway_types::{GROUP, HttpBackendRef};
use sluice_proxy_core::model::{self, Protocol};

use crate::control::{
    objects::{Name, Objects, RouteKind},
    translate::{
        conditions::{Condition, RESOLVED_REFS},
        policy::Policies,
        reference::{self, From, To},
    },
};

/// A port of a Service that exists, and the kind of route that uses it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceRef {
    /// The Service.
    pub service: Name,
    /// Its port.
    pub port: u16,
    /// What the port is used as.
    pub kind: RouteKind,
}

impl ServiceRef {
    /// The id of its backend.
    pub fn id(&self) -> String {
        format!("{}:{}{}", self.service, self.port, suffix(self.kind))
    }

    /// The one that comes before all others of a Service.
    pub fn first_of(service: &Name) -> Self {
        Self { service: service.clone(), port: 0, kind: RouteKind::Grpc }
    }
}

/// Who refers to a backend.
#[derive(Clone, Copy, Debug)]
pub struct Referrer<'a> {
    /// The kind of the route.
    pub kind: RouteKind,
    /// Its namespace.
    pub namespace: &'a str,
}

/// What the id of a backend ends in: one port may be spoken to in different ways by different kinds of routes.
fn suffix(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Grpc => "+h2c",
        RouteKind::Http | RouteKind::Tcp | RouteKind::Tls => "",
        RouteKind::Udp => "+udp",
    }
}

/// The id of the backend of a reference, whether it can be used or not.
pub fn id(reference: &HttpBackendRef, from: Referrer<'_>) -> String {
    let namespace = reference.namespace.as_deref().unwrap_or(from.namespace);
    format!("{namespace}/{}:{}{}", reference.name, reference.port.unwrap_or_default(), suffix(from.kind))
}

/// The Service that a reference from a namespace names, if it names one.
pub fn service_of(reference: &HttpBackendRef, namespace: &str) -> Name {
    Name::new(reference.namespace.as_deref().unwrap_or(namespace), &reference.name)
}

/// Resolves a reference of a route, or says as a condition why it cannot be used. Permission is asked
/// for before existence, so that a route cannot find out what exists in another namespace.
pub fn resolve(reference: &HttpBackendRef, from: Referrer<'_>, objects: &Objects) -> Result<ServiceRef, Condition> {
    let route = From { group: GROUP, kind: from.kind.name(), namespace: from.namespace };
    resolve_as(reference, route, from.kind, objects)
}

/// The same for a reference of any object, which uses the port as a kind of route does.
pub fn resolve_as(
    reference: &HttpBackendRef,
    from: From<'_>,
    used: RouteKind,
    objects: &Objects,
) -> Result<ServiceRef, Condition> {
    let no = |reason, message| Err(Condition::no(RESOLVED_REFS, reason, message));
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or("Service");
    if !group.is_empty() || kind != "Service" {
        let shown = if group.is_empty() { "core" } else { group };
        return no("InvalidKind", format!("backends of kind {kind} in group {shown} are not supported; Service is"));
    }
    let service = service_of(reference, from.namespace);
    let to = To { group, kind, namespace: &service.namespace, name: &service.name };
    if !reference::permitted(objects, from, to) {
        return no("RefNotPermitted", format!("no ReferenceGrant permits the reference to Service {service}"));
    }
    let Some(object) = objects.services.get(&service) else {
        return no("BackendNotFound", format!("Service {service} does not exist"));
    };
    if object.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        // It would let a route's author reach any host that the data plane can reach.
        return no("InvalidKind", format!("Service {service} is of type ExternalName, which is not supported"));
    }
    let Some(wanted) = reference.port else {
        return no("BackendNotFound", format!("the reference to Service {service} names no port"));
    };
    let found = u16::try_from(wanted).ok().filter(|port| port_of(object, *port, used).is_some());
    let Some(port) = found else {
        return no("BackendNotFound", format!("Service {service} has no {} port {wanted}", transport(used)));
    };
    Ok(ServiceRef { service, port, kind: used })
}

/// The port of a Service with its endpoints.
pub fn backend(reference: &ServiceRef, policies: &Policies<'_>, objects: &Objects) -> model::Backend {
    let service = objects.services.get(&reference.service);
    let port = service.and_then(|service| port_of(service, reference.port, reference.kind));
    let uid = service.and_then(|service| service.metadata.uid.as_deref());
    let slices = objects.slices.get(&reference.service).map_or(&[][..], Vec::as_slice);
    let slices = slices.iter().filter(|slice| !is_of_an_earlier_service(slice, uid));
    let name = port.and_then(|port| port.name.as_deref()).unwrap_or_default();
    let mut endpoints: BTreeMap<SocketAddr, Readiness> = BTreeMap::new();
    let mut hints = BTreeMap::new();
    for (address, readiness, hint) in slices.flat_map(|slice| addresses(slice, name)) {
        let allowed = reachable(address.ip()) && !objects.own_addresses.contains(&address.ip());
        if allowed || objects.any_endpoint {
            // A pod that moves from one slice to another is in both for a moment.
            let known = endpoints.entry(address).or_insert(readiness);
            *known = readiness.max(*known);
            hints.extend(hint.map(|hint| (address, hint)));
        }
    }
    let worst = if objects.spares_unready && endpoints.values().all(|readiness| *readiness == Readiness::Unready) {
        Readiness::Unready
    } else {
        Readiness::Leaving
    };
    endpoints.retain(|_, readiness| *readiness >= worst);
    let near = near(&endpoints, &hints);
    let endpoint = |(address, readiness)| model::Endpoint { address, ready: readiness == Readiness::Ready };
    let port_name = port.and_then(|port| port.name.as_deref());
    model::Backend {
        id: reference.id(),
        protocol: match (reference.kind, port.and_then(|port| port.app_protocol.as_deref())) {
            (RouteKind::Grpc, _) | (_, Some("kubernetes.io/h2c")) => Protocol::H2c,
            _ => Protocol::Http1,
        },
        tls: match reference.kind {
            // TLS is for streams.
            RouteKind::Udp => None,
            _ => policies.tls(&reference.service, port_name).map(Name::to_string),
        },
        traffic: policies.traffic(&reference.service, port_name),
        endpoints: endpoints.into_iter().map(endpoint).collect(),
        near,
    }
}

/// By place, the ready endpoints that are hinted to be for it. A hint that not every ready endpoint has is not followed, as
/// kube-proxy has it: the hints are not complete then.
fn near(
    endpoints: &BTreeMap<SocketAddr, Readiness>,
    hints: &BTreeMap<SocketAddr, &EndpointHints>,
) -> BTreeMap<String, Vec<SocketAddr>> {
    let ready =
        || endpoints.iter().filter(|(_, readiness)| **readiness == Readiness::Ready).map(|(address, _)| address);
    let mut near = BTreeMap::<String, Vec<SocketAddr>>::new();
    for places in [nodes, zones] {
        let of = |address: &SocketAddr| hints.get(address).map(|hints| places(hints)).unwrap_or_default();
        if ready().all(|address| !of(address).is_empty()) {
            for address in ready() {
                for place in of(address) {
                    near.entry(place).or_default().push(*address);
                }
            }
        }
    }
    near
}

fn nodes(hints: &EndpointHints) -> Vec<String> {
    hints.for_nodes.iter().flatten().map(|node| format!("node/{}", node.name)).collect()
}

fn zones(hints: &EndpointHints) -> Vec<String> {
    hints.for_zones.iter().flatten().map(|zone| format!("zone/{}", zone.name)).collect()
}

/// A Service that is made again soon after it was deleted meets the slices of the old one, until the garbage collector has
/// taken them. Nobody keeps them up to date any more: pods that are gone are ready in them.
fn is_of_an_earlier_service(slice: &EndpointSlice, service: Option<&str>) -> bool {
    let mut owners = slice.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.kind == "Service" && service.is_some_and(|uid| uid != owner.uid))
}

/// The protocol of a Service's port that a kind of route can use.
fn transport(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Grpc | RouteKind::Http | RouteKind::Tcp | RouteKind::Tls => "TCP",
        RouteKind::Udp => "UDP",
    }
}

fn port_of(service: &Service, port: u16, kind: RouteKind) -> Option<&ServicePort> {
    let is = |candidate: &ServicePort| {
        candidate.port == i32::from(port) && candidate.protocol.as_deref().unwrap_or("TCP") == transport(kind)
    };
    service.spec.as_ref()?.ports.as_ref()?.iter().find(|candidate| is(candidate))
}

/// Whether an endpoint may get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Readiness {
    /// It says that it may not.
    Unready,
    /// On its way out and still serving: where none is ready (KEP-1669).
    Leaving,
    /// It may.
    Ready,
}

/// Endpoints of a slice that are not gone, at its port of this name.
fn addresses<'a>(slice: &'a EndpointSlice, port: &str) -> Vec<(SocketAddr, Readiness, Option<&'a EndpointHints>)> {
    let mut ports = slice.ports.iter().flatten();
    let found = ports.find(|candidate| candidate.name.as_deref().unwrap_or_default() == port);
    let Some(number) = found.and_then(|port| u16::try_from(port.port?).ok()) else { return vec![] };
    let usable = slice.endpoints.iter().flatten().filter_map(|endpoint| Some((endpoint, readiness(endpoint)?)));
    let located = usable.flat_map(|(endpoint, readiness)| {
        let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
        addresses.map(move |ip| (SocketAddr::new(ip, number), readiness, endpoint.hints.as_ref()))
    });
    located.collect()
}

/// The readiness of an endpoint; none when it is on its way out and does not serve any more. What a condition does not
/// say counts as the API defines: unknown readiness is ready, unknown serving is readiness.
fn readiness(endpoint: &Endpoint) -> Option<Readiness> {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    match (ready, serving, conditions.terminating.unwrap_or(false)) {
        (true, _, _) => Some(Readiness::Ready),
        (false, true, true) => Some(Readiness::Leaving),
        (false, false, true) => None,
        (false, _, false) => Some(Readiness::Unready),
    }
}

/// Addresses that a Service may name and that no data plane may be sent to: they are the data plane's own, or those of
/// its node's services.
fn reachable(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use sluice_proxy_core::model::Endpoint;

    use super::{ServiceRef, backend};
    use crate::control::{
        files,
        objects::{Name, RouteKind},
        translate::policy::Policies,
    };

    /// Addresses of the endpoints of the only backend, those that are not ready in brackets.
    fn endpoints(conditions: &[&str], spares_unready: bool) -> Vec<String> {
        let mut manifests = "
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app-1, namespace: shop, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
"
        .to_owned();
        for (number, conditions) in conditions.iter().enumerate() {
            writeln!(manifests, "- {{addresses: [10.0.0.{number}], conditions: {{{conditions}}}}}").unwrap();
        }
        let mut objects = files::parse(&manifests).unwrap();
        objects.spares_unready = spares_unready;
        let reference = ServiceRef { service: Name::new("shop", "app"), port: 80, kind: RouteKind::Http };
        let backend = backend(&reference, &Policies::new(&objects), &objects);
        let show = |endpoint: &Endpoint| {
            let ip = endpoint.address.ip();
            if endpoint.ready { ip.to_string() } else { format!("({ip})") }
        };
        backend.endpoints.iter().map(show).collect()
    }

    #[test]
    fn hints_that_every_ready_endpoint_has_are_passed_on() {
        for (hints, expected) in [
            (["forZones: [{name: a}]", "forZones: [{name: a}, {name: b}]"], "zone/a: 1 2, zone/b: 2"),
            (["forZones: [{name: a}], forNodes: [{name: n1}]", "forZones: [{name: b}]"], "zone/a: 1, zone/b: 2"),
            (["forZones: [{name: a}]", ""], ""),
            (["forNodes: [{name: n1}]", "forNodes: [{name: m1}]"], "node/m1: 2, node/n1: 1"),
        ] {
            let [one, two] = hints;
            let text = format!(
                "
kind: Service
metadata: {{name: app, namespace: shop}}
spec: {{ports: [{{port: 80}}]}}
---
kind: EndpointSlice
metadata: {{name: app-1, namespace: shop, labels: {{kubernetes.io/service-name: app}}}}
addressType: IPv4
ports: [{{port: 8080}}]
endpoints:
- {{addresses: [10.0.0.1], hints: {{{one}}}}}
- {{addresses: [10.0.0.2], hints: {{{two}}}}}
- {{addresses: [10.0.0.3], conditions: {{ready: false}}}}
"
            );
            let objects = files::parse(&text).unwrap();
            let reference = ServiceRef { service: Name::new("shop", "app"), port: 80, kind: RouteKind::Http };
            let near = backend(&reference, &Policies::new(&objects), &objects).near;
            let shown = near.iter().map(|(place, addresses)| {
                let hosts = addresses.iter().map(|address| address.ip().to_string().split_off("10.0.0.".len()));
                format!("{place}: {}", hosts.collect::<Vec<_>>().join(" "))
            });
            assert_eq!(shown.collect::<Vec<_>>().join(", "), expected, "{hints:?}");
        }
    }

    #[test]
    fn after_an_outage_unready_endpoints_are_used_where_there_is_no_other() {
        let (ready, unready) = ("ready: true", "ready: false");
        let leaving = "ready: false, serving: true, terminating: true";
        let left = "ready: false, serving: false, terminating: true";
        for (conditions, as_ever, after_an_outage) in [
            (&[unready, unready][..], &[][..], &["(10.0.0.0)", "(10.0.0.1)"][..]),
            (&[unready, ready], &["10.0.0.1"], &["10.0.0.1"]),
            (&[unready, leaving], &["(10.0.0.1)"], &["(10.0.0.1)"]),
            (&[left], &[], &[]),
            (&[left, unready], &[], &["(10.0.0.1)"]),
        ] {
            assert_eq!(endpoints(conditions, false), as_ever, "{conditions:?}");
            assert_eq!(endpoints(conditions, true), after_an_outage, "{conditions:?}, after an outage");
        }
    }
}
