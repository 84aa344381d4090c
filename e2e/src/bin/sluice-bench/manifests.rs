//! What our data plane is told to serve: routes that differ in host and path, each with a Service of its own.

use serde_json::{Value, json};
use sluice_e2e::load::Target;

/// Routes in one file: what reads YAML bounds the size of each.
const ROUTES_A_FILE: usize = 1000;

/// A Gateway on `port` and so many routes to the one backend, as the content of some files.
pub(crate) fn of(routes: u32, port: u16, backend: u16) -> Vec<Value> {
    let numbers: Vec<_> = (0..routes).collect();
    let lists = numbers.chunks(ROUTES_A_FILE).map(|numbers| {
        let objects = numbers.iter().flat_map(|&number| {
            let refs = json!([{"name": name(number), "port": 80}]);
            [route(number, &refs), service(number), endpoints(number, backend)]
        });
        list(&objects.collect())
    });
    std::iter::once(gateway(port)).chain(lists).collect()
}

/// A Gateway on `port` and a route for each pair of weights. Its backends are one, which says in its answer by which
/// reference the request came.
pub(crate) fn splits(weights: &[[u32; 2]], port: u16, backend: u16) -> Vec<Value> {
    let objects = weights.iter().enumerate().flat_map(|(number, weights)| {
        let refs = [0, 1].map(|arm| {
            let header = json!({"set": [{"name": "x-arm", "value": version(number, arm)}]});
            let filters = json!([{"type": "RequestHeaderModifier", "requestHeaderModifier": header}]);
            json!({"name": name(number as u32), "port": 80, "weight": weights[arm], "filters": filters})
        });
        let number = number as u32;
        [route(number, &json!(refs)), service(number), endpoints(number, backend)]
    });
    vec![gateway(port), list(&objects.collect())]
}

/// What the backend answers as its version for this reference of a route.
pub(crate) fn version(route: usize, arm: usize) -> String {
    format!("{route}-{arm}")
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

fn list(items: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn gateway(port: u16) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "edge"},
        "spec": {"gatewayClassName": "sluice", "listeners": [{"name": "http", "port": port, "protocol": "HTTP"}]},
    })
}

fn route(number: u32, refs: &Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name(number)},
        "spec": {
            "parentRefs": [{"name": "edge"}], "hostnames": [host(number)],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": prefix(number)}}],
                "backendRefs": refs,
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
