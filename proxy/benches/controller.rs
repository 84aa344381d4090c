//! What one change costs the controller at many routes: `cargo bench -p sluice-proxy`.
#![allow(missing_docs, reason = "a program without an interface")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_gateway_types::HttpRoute;
use sluice_proxy::control::objects::{Name, Objects};
use sluice_proxy::control::ports::PortAllocations;
use sluice_proxy::control::publish::{Publisher, Sent};
use sluice_proxy::control::translate::Translator;

const ROUTES: u32 = 5_000;
const RUNS: u32 = 21;
const CONTROLLER: &str = "sluice.dev/gateway-controller";

fn read<K: DeserializeOwned>(object: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(object).expect("an object"))
}

fn route(number: u32, weight: u32) -> (Name, Arc<HttpRoute>) {
    let name = format!("app-{number}");
    let backends = json!([
        {"name": name, "port": 80, "weight": 100 - weight},
        {"name": format!("app-{}", (number + 1) % ROUTES), "port": 80, "weight": weight},
    ]);
    let rules = json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/api"}}], "backendRefs": backends}]);
    let metadata = json!({"name": name, "namespace": "ns", "uid": name, "generation": weight, "resourceVersion": weight.to_string()});
    let spec = json!({"parentRefs": [{"name": "gw"}], "hostnames": [format!("{name}.example.com")], "rules": rules});
    (Name::new("ns", &name), read(json!({"metadata": metadata, "spec": spec})))
}

fn objects() -> Objects {
    let mut objects = Objects::default();
    let gateway = json!({"metadata": {"name": "gw", "namespace": "ns"}, "spec": {"gatewayClassName": "sluice",
        "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}});
    objects.classes.push(read(json!({"metadata": {"name": "sluice"}, "spec": {"controllerName": CONTROLLER}})));
    objects.gateways.insert(Name::new("ns", "gw"), read(gateway));
    objects.namespaces.insert("ns".to_owned(), std::collections::BTreeMap::new());
    for number in 0..ROUTES {
        let name = format!("app-{number}");
        let service = json!({"metadata": {"name": name, "namespace": "ns"}, "spec": {"ports": [{"port": 80}]}});
        objects.services.insert(Name::new("ns", &name), read(service));
        let endpoints: Vec<_> =
            (0..2).map(|nth| json!({"addresses": [format!("10.{nth}.{}.{}", number >> 8, number & 255)]})).collect();
        objects.add_slice(read(json!({"metadata": {"name": name, "namespace": "ns",
            "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4", "ports": [{"port": 8080}],
            "endpoints": endpoints})));
        objects.routes.extend([route(number, 1)]);
    }
    objects
}

/// Prints median and longest.
fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    println!("{what:<50} median {:>10.1?}  longest {:>10.1?}", times[times.len() / 2], times[times.len() - 1]);
}

fn main() {
    let mut objects = objects();
    let (ports, publisher, mut sent) = (PortAllocations::identity(), Publisher::default(), Sent::default());
    let mut translator = Translator::default();
    let [mut translating, mut publishing, mut advancing] = [vec![], vec![], vec![]];
    let mut bytes = 0;
    println!("{ROUTES} routes, {ROUTES} Services of 2 endpoints, {RUNS} weight changes");
    for run in 0..=RUNS {
        objects.routes.extend([route(run * 7, 2 + run)]);
        let started = Instant::now();
        let translation = translator.translate(&objects, &ports, CONTROLLER);
        let translated = Instant::now();
        publisher.publish(&translation.resources).expect("published");
        let out = Instant::now();
        let update = sent.advance(&publisher.newest()).expect("an update");
        if run > 0 {
            assert_eq!(update.upsert.len(), 1);
            bytes = update.upsert[0].json.len();
            translating.push(translated - started);
            publishing.push(out - translated);
            advancing.push(out.elapsed());
        }
    }
    report("translated", &mut translating);
    report("published", &mut publishing);
    report("found what one data plane lacks", &mut advancing);
    println!("{bytes} bytes of configuration for each data plane");
}
