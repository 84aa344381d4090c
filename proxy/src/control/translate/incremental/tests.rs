//! Thousands of random changes, after each of which the kept translation must be what translating everything comes to.

use std::sync::Arc;

use fastrand::Rng;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource as KubeResource;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::control::{
    changes::Watched,
    files,
    objects::{RouteKind, put},
    publish::{Publisher, Sent},
    translate::translate,
};

const CONTROLLER: &str = "sluice.dev/gateway-controller";
const CLASSES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: sluice.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: theirs}
spec: {controllerName: example.com/other}
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: grant, namespace: a}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: b}]
  to: [{group: '', kind: Service}]
";

/// A small cluster that changes by chance.
struct Cluster {
    random: Rng,
    objects: Objects,
    slices: BTreeMap<Name, Arc<EndpointSlice>>,
    changes: Changes,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let objects = files::parse(CLASSES).unwrap();
        Self { random: Rng::with_seed(seed), objects, slices: BTreeMap::new(), changes: Changes::everything() }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn in_ten(&mut self, times: u8) -> bool {
        self.random.u8(..10) < times
    }

    /// One change of anything.
    fn change(&mut self) {
        let number = self.random.u8(..8);
        match self.random.u8(..100) {
            0..4 => replace(self, "gateway", number % 3, |o| &mut o.gateways, Self::gateway),
            4..7 => replace(self, "set", number % 2, |o| &mut o.listener_sets, Self::listener_set),
            7..10 => replace(self, "policy", number % 2, |o| &mut o.backend_tls_policies, Self::policy),
            10..12 => self.change_namespace(),
            12..13 => replace(self, "parameters", number % 2, |o| &mut o.gateway_parameters, Self::parameters),
            13..16 => replace(self, "traffic", number % 2, |o| &mut o.backend_traffic_policies, Self::traffic),
            16..30 => replace(self, "service", number % 6, |o| &mut o.services, Self::service),
            30..50 => self.change_slice(number),
            50..75 => replace(self, "http", number, |o| &mut o.http_routes, |c| c.route(RouteKind::Http)),
            75..85 => replace(self, "grpc", number % 4, |o| &mut o.grpc_routes, |c| c.route(RouteKind::Grpc)),
            85..90 => replace(self, "tcp", number % 3, |o| &mut o.tcp_routes, |c| c.route(RouteKind::Tcp)),
            90..95 => replace(self, "tls", number % 3, |o| &mut o.tls_routes, |c| c.route(RouteKind::Tls)),
            _ => replace(self, "udp", number % 3, |o| &mut o.udp_routes, |c| c.route(RouteKind::Udp)),
        }
    }

    fn change_namespace(&mut self) {
        let labels = if self.in_ten(5) { [("team".to_owned(), "x".to_owned())].into() } else { BTreeMap::new() };
        let namespace = self.one(&["a", "b"]);
        self.objects.namespaces.insert(namespace.to_owned(), labels);
        self.changes.everything = true;
    }

    fn change_slice(&mut self, number: u8) {
        let name = name("slice", number);
        let now = (!self.in_ten(2)).then(|| Arc::new(read::<EndpointSlice>(&name, self.slice())));
        let before = self.slices.get(&name).cloned();
        let mut changes = Changes::default();
        changes.note(before.as_deref(), now.as_deref());
        for (service, slice) in &changes.endpoints {
            self.objects.replace_slice(service, slice, now.as_ref());
        }
        put(&mut self.slices, &name, now);
        self.changes.extend(changes);
    }

    /// A Service by name, in one of two namespaces.
    fn target(&mut self) -> Value {
        let number = self.random.u8(..7);
        let namespace = if number.is_multiple_of(2) { "a" } else { "b" };
        json!({"name": format!("service-{number}"), "namespace": namespace})
    }

    fn metadata(&mut self) -> Value {
        let created = format!("2026-01-01T00:00:0{}Z", self.random.u8(..4));
        json!({"generation": self.random.u8(..3), "creationTimestamp": created})
    }

    fn allowed(&mut self) -> Value {
        let selector = json!({"from": "Selector", "selector": {"matchLabels": {"team": "x"}}});
        let all = json!({"from": "All"});
        if self.in_ten(7) { all } else { selector }
    }

    fn listeners(&mut self) -> Value {
        let all =
            [("http", "HTTP", 80), ("more", "HTTP", 80), ("tcp", "TCP", 81), ("udp", "UDP", 53), ("tls", "TLS", 443)];
        let mut listeners = vec![];
        for (name, protocol, port) in all {
            if self.in_ten(3) {
                continue;
            }
            let mut listener = json!({"name": name, "protocol": protocol, "port": port});
            listener["allowedRoutes"] = json!({"namespaces": self.allowed()});
            if ["HTTP", "TLS"].contains(&protocol) {
                listener["hostname"] = json!(self.one(&[None, Some("*.test"), Some("a.test")]));
            }
            if protocol == "TLS" {
                listener["tls"] = json!({"mode": "Passthrough"});
            }
            listeners.push(listener);
        }
        listeners.into()
    }

    fn gateway(&mut self) -> Value {
        let class = if self.in_ten(9) { "ours" } else { "theirs" };
        let allowed = json!({"namespaces": self.allowed()});
        let mut gateway = json!({"metadata": self.metadata(), "spec": {
            "gatewayClassName": class, "listeners": self.listeners(), "allowedListeners": allowed,
        }});
        if self.in_ten(2) {
            let name = self.one(&["parameters-0", "parameters-1"]);
            let reference = json!({"group": "sluice.dev", "kind": "GatewayParameters", "name": name});
            gateway["spec"]["infrastructure"] = json!({"parametersRef": reference});
        }
        gateway
    }

    fn parameters(&mut self) -> Value {
        let mut collector = self.target();
        collector["port"] = json!(self.one(&[80, 53]));
        json!({"metadata": self.metadata(), "spec": {"tracing": {"mode": "Enabled", "collector": collector}}})
    }

    fn listener_set(&mut self) -> Value {
        let parent = json!({"name": "gateway-0", "namespace": "a"});
        json!({"metadata": self.metadata(), "spec": {"parentRef": parent, "listeners": self.listeners()}})
    }

    fn policy(&mut self) -> Value {
        let target = json!({"group": "", "kind": "Service", "name": self.target()["name"]});
        let validation = json!({"hostname": "app.test", "wellKnownCACertificates": "System"});
        json!({"metadata": self.metadata(), "spec": {"targetRefs": [target], "validation": validation}})
    }

    fn traffic(&mut self) -> Value {
        let target = json!({"name": self.target()["name"]});
        let connect = self.one(&["1s", "1h"]);
        json!({"metadata": self.metadata(), "spec": {"targetRefs": [target], "connectTimeout": connect}})
    }

    fn service(&mut self) -> Value {
        let mut ports = vec![];
        for (port, protocol) in [(80, "TCP"), (81, "TCP"), (53, "UDP")] {
            if self.in_ten(8) {
                ports.push(json!({"name": format!("port-{port}"), "port": port, "protocol": protocol}));
            }
        }
        let external = self.in_ten(1).then_some("ExternalName");
        let mut metadata = self.metadata();
        metadata["uid"] = json!(self.one(&["one", "two"]));
        json!({"metadata": metadata, "spec": {"type": external, "ports": ports}})
    }

    fn slice(&mut self) -> Value {
        let endpoint = |number: u8| json!({"addresses": [format!("10.0.0.{number}")]});
        let endpoints: Vec<_> = (0..self.random.u8(..3)).map(|_| endpoint(self.random.u8(1..9))).collect();
        let ports: Vec<_> = [80, 81, 53].map(|port| json!({"name": format!("port-{port}"), "port": port})).into();
        json!({
            "metadata": {"labels": {"kubernetes.io/service-name": self.target()["name"]}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
        })
    }

    fn route(&mut self, kind: RouteKind) -> Value {
        let mut spec =
            json!({"parentRefs": [self.parent()], "rules": [{"backendRefs": [self.backend(), self.backend()]}]});
        if self.in_ten(3) {
            spec["parentRefs"] = json!([self.parent(), self.parent()]);
        }
        if matches!(kind, RouteKind::Http | RouteKind::Grpc | RouteKind::Tls) {
            let hosts: &[&str] =
                self.one(&[&["a.test"][..], &["b.test"], &["a.test", "c.test"], &["*.test"], &["d.org"]]);
            spec["hostnames"] = json!(hosts);
        }
        if kind == RouteKind::Http && self.in_ten(2) {
            spec["rules"][0]["filters"] =
                json!([{"type": "RequestMirror", "requestMirror": {"backendRef": self.backend()}}]);
        }
        if kind == RouteKind::Http && self.in_ten(1) {
            spec["rules"][0]["matches"] = json!([{"path": {"type": "RegularExpression", "value": "("}}]);
        }
        json!({"metadata": self.metadata(), "spec": spec, "status": {"parents": [self.random.u8(..3)]}})
    }

    fn parent(&mut self) -> Value {
        let section = if self.in_ten(3) { Some("http") } else { None };
        let number = self.random.u8(..3);
        let namespace = if number.is_multiple_of(2) { "a" } else { "b" };
        if self.in_ten(8) {
            json!({"name": format!("gateway-{number}"), "namespace": namespace, "sectionName": section})
        } else {
            json!({"name": "set-0", "namespace": "a", "kind": "ListenerSet", "sectionName": section})
        }
    }

    fn backend(&mut self) -> Value {
        let mut backend = self.target();
        backend["port"] = json!(self.one(&[80, 80, 81, 53]));
        backend["weight"] = json!(self.random.u8(..3));
        backend
    }
}

/// The name of an object of a kind, in one of two namespaces.
fn name(kind: &str, number: u8) -> Name {
    let namespace = if number.is_multiple_of(2) { "a" } else { "b" };
    Name::new(namespace, format!("{kind}-{number}"))
}

/// Replaces, changes or deletes the object of a kind with this number.
fn replace<K>(
    cluster: &mut Cluster,
    kind: &str,
    number: u8,
    objects: fn(&mut Objects) -> &mut BTreeMap<Name, Arc<K>>,
    make: impl Fn(&mut Cluster) -> Value,
) where
    K: KubeResource<DynamicType = ()> + Watched + DeserializeOwned + Clone,
{
    let name = name(kind, number);
    let mut now = (!cluster.in_ten(2)).then(|| read::<K>(&name, make(cluster)));
    let before = objects(&mut cluster.objects).get(&name).cloned();
    if let Some(before) = before.as_deref().filter(|_| cluster.in_ten(1)) {
        // Only what every write changes.
        let mut same = before.clone();
        same.meta_mut().resource_version = Some(cluster.random.u8(..).to_string());
        now = Some(same);
    }
    cluster.changes.note(before.as_deref(), now.as_ref());
    put(objects(&mut cluster.objects), &name, now.map(Arc::new));
}

fn read<K: DeserializeOwned>(name: &Name, mut object: Value) -> K {
    object["metadata"]["name"] = json!(name.name);
    object["metadata"]["namespace"] = json!(name.namespace);
    serde_json::from_value(object).unwrap()
}

/// What a data plane has that follows the updates.
fn receive(sent: &mut Sent, publisher: &Publisher, has: &mut BTreeMap<String, Vec<u8>>) {
    let Some(update) = sent.advance(&publisher.newest()) else { return };
    for key in update.remove {
        assert!(has.remove(&key).is_some(), "{key} is taken away once");
    }
    has.extend(update.upsert.into_iter().map(|resource| (resource.key, resource.json)));
}

#[test]
fn what_is_kept_is_what_everything_comes_to() {
    let ports = PortAllocations::identity();
    let (mut followed, mut anew, mut served) = (0, 0, 0);
    for seed in 0..12 {
        let mut cluster = Cluster::new(seed);
        let mut translator = Translator::default();
        let (publisher, mut sent, mut has) = (Publisher::default(), Sent::default(), BTreeMap::new());
        for step in 0..400 {
            let changes = std::mem::take(&mut cluster.changes);
            let is_followed = !changes.everything && translator.follow(&changes, &cluster.objects);
            let rest = if is_followed { Changes::default() } else { Changes::everything() };
            let kept = translator.update(&rest, &cluster.objects, &ports, CONTROLLER);
            let whole = translate(&cluster.objects, &ports, CONTROLLER);
            assert_eq!(kept, whole, "seed {seed}, step {step}: {changes:?}");
            publisher.publish(&kept.resources).unwrap();
            receive(&mut sent, &publisher, &mut has);
            let wanted =
                whole.resources.iter().map(|(key, resource)| (key.clone(), serde_json::to_vec(resource).unwrap()));
            assert_eq!(has, wanted.collect(), "seed {seed}, step {step}");
            *(if is_followed { &mut followed } else { &mut anew }) += 1;
            served += whole.resources.keys().filter(|key| key.starts_with("route/")).count();
            for _ in 0..cluster.random.u8(1..3) {
                cluster.change();
            }
        }
    }
    assert!(followed > 1_000 && anew > 1_000 && served > 10_000, "{followed} followed, {anew} anew, {served} served");
}
