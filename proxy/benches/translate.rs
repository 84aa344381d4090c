//! What one change costs the controller at many routes, from the changed object to what goes down a stream:
//! `cargo bench -p sluice-proxy`.
#![allow(missing_docs, reason = "a program without an interface")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Service;
use serde_json::json;
use sluice_gateway_types::HttpRoute;
use sluice_proxy::control::{
    changes::{Change, Changes},
    files,
    objects::{Name, Objects, RouteKind, RouteName},
    ports::PortAllocations,
    publish::{Publisher, Sent},
    translate::Translator,
};

const ROUTES: u32 = 5_000;
const RUNS: u32 = 51;
const CONTROLLER: &str = "sluice.dev/gateway-controller";

/// A route of one host to two Services.
fn route(number: u32, weight: u32) -> Arc<HttpRoute> {
    let to = |number: u32, weight| json!({"name": format!("app-{}", number % ROUTES), "port": 80, "weight": weight});
    let route = json!({
        "metadata": {"name": format!("app-{number}"), "namespace": "ns", "generation": weight},
        "spec": {
            "parentRefs": [{"name": "gw"}], "hostnames": [format!("app-{number}.example.com")],
            "rules": [{"backendRefs": [to(number, 100 - weight), to(number + 1, weight)]}],
        },
    });
    Arc::new(serde_json::from_value(route).expect("route"))
}

/// A Service's endpoints.
fn slice(number: u32, endpoints: u32) -> serde_json::Value {
    let endpoints: Vec<_> =
        (0..endpoints).map(|at| json!({"addresses": [format!("10.{at}.{}.{}", number >> 8, number & 255)]})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("app-{number}"), "namespace": "ns",
            "labels": {"kubernetes.io/service-name": format!("app-{number}")}},
        "ports": [{"port": 8080}], "endpoints": endpoints,
    })
}

fn objects() -> Objects {
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw", "namespace": "ns"},
        "spec": {"gatewayClassName": "sluice", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    });
    let service = json!({"spec": {"ports": [{"port": 80}]}});
    let service: Arc<Service> = Arc::new(serde_json::from_value(service).expect("service"));
    let mut objects = files::parse(&gateway.to_string()).expect("objects");
    for number in 0..ROUTES {
        objects.http_routes.insert(name(number), route(number, 1));
        objects.services.insert(name(number), Arc::clone(&service));
        objects.add_slice(Arc::new(serde_json::from_value(slice(number, 2)).expect("slice")));
    }
    objects
}

fn name(number: u32) -> Name {
    Name::new("ns", format!("app-{number}"))
}

struct Controller {
    objects: Objects,
    translator: Translator,
    publisher: Publisher,
    sent: Sent,
}

impl Controller {
    /// From a change of the objects to an update of one data plane; returns how many resources that has.
    fn follow(&mut self, change: Change) -> usize {
        let mut changes = Changes::default();
        changes.read(change);
        let translation = self.translator.update(&changes, &self.objects, &PortAllocations::identity(), CONTROLLER);
        self.publisher.publish(&translation.resources).expect("published");
        self.sent.advance(&self.publisher.newest()).map_or(0, |update| update.upsert.len() + update.remove.len())
    }

    /// Median and longest time of many changes, each of which is made before the time is taken.
    fn measure(&mut self, what: &str, mut make: impl FnMut(&mut Objects, u32) -> Change) {
        let mut resources = 0;
        let mut times: Vec<Duration> = (0..RUNS)
            .map(|number| {
                let change = make(&mut self.objects, number);
                let started = Instant::now();
                resources = self.follow(change);
                started.elapsed()
            })
            .collect();
        times.sort();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{what:<40} {resources:>6} resources, median {median:>10.1?}  longest {longest:>10.1?}");
    }
}

fn main() {
    let (objects, translator) = (objects(), Translator::default());
    let mut controller = Controller { objects, translator, publisher: Publisher::default(), sent: Sent::default() };
    println!("{ROUTES} routes, {ROUTES} Services of 2 endpoints, {RUNS} runs");
    controller.follow(Change::Everything);
    let of_route = |number| Change::Route(RouteName { kind: RouteKind::Http, name: name(number) });
    controller.measure("everything, and nothing has changed", |_, _| Change::Everything);
    controller.measure("one weight", |objects, run| {
        objects.http_routes.insert(name(run * 7), route(run * 7, run % 98 + 2));
        of_route(run * 7)
    });
    controller.measure("one endpoint gone", |objects, run| {
        let number = run * 7;
        let now = Arc::new(serde_json::from_value(slice(number, 1)).expect("slice"));
        let (service, slice) = (name(number), format!("app-{number}"));
        objects.replace_slice(&service, &slice, Some(&now));
        Change::Endpoints { service, slice }
    });
    controller.measure("one route more", |objects, run| {
        objects.http_routes.insert(name(ROUTES + run), route(ROUTES + run, 1));
        of_route(ROUTES + run)
    });
    controller.measure("one route less", |objects, run| {
        objects.http_routes.remove(&name(ROUTES + run));
        of_route(ROUTES + run)
    });
}
