//! What our data plane is told to serve: routes that differ in host and path, each with a Service of its own.

use serde_json::{Value, json};
use sluice_e2e::load::Target;

/// Routes in one file: what reads YAML bounds the size of each.
const ROUTES_A_FILE: usize = 1000;

/// A Gateway on `port` and so many routes to the one backend, as the content of some files.
pub(crate) fn of(routes: u32, port: u16, backend: u16) -> Vec<Value> {
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "edge"},
        "spec": {"gatewayClassName": "sluice", "listeners": [{"name": "http", "port": port, "protocol": "HTTP"}]},
    });
    let numbers: Vec<_> = (0..routes).collect();
    let lists = numbers.chunks(ROUTES_A_FILE).map(|numbers| {
        let objects = numbers.iter().flat_map(|&number| [route(number), service(number), endpoints(number, backend)]);
        json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Value>()})
    });
    std::iter::once(gateway).chain(lists).collect()
}

/// A request for each of the routes.
pub(crate) fn targets(routes: u32) -> Vec<Target> {
    (0..routes).map(|number| Target { host: host(number), path: format!("{}/item", prefix(number)) }).collect()
}

fn host(number: u32) -> String {
    format!("host-{number}.bench.example")
}

fn prefix(number: u32) -> String {
    format!("/prefix-{number}")
}

fn name(number: u32) -> String {
    format!("app-{number}")
}

fn route(number: u32) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name(number)},
        "spec": {
            "parentRefs": [{"name": "edge"}], "hostnames": [host(number)],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": prefix(number)}}],
                "backendRefs": [{"name": name(number), "port": 80}],
            }],
        },
    })
}

fn service(number: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name(number)}, "spec": {"ports": [{"port": 80}]},
    })
}

fn endpoints(number: u32, backend: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name(number), "labels": {"kubernetes.io/service-name": name(number)}},
        "addressType": "IPv4", "ports": [{"port": backend}], "endpoints": [{"addresses": ["127.0.0.1"]}],
    })
}
