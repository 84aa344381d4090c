//! What one change costs at many routes: `cargo bench -p sluice-proxy-core`.
#![allow(missing_docs, reason = "a program without an interface")]

use std::time::{Duration, Instant};

use sluice_proxy_core::cells::Cells;
use sluice_proxy_core::model::{
    Backend, Endpoint, Listener, Match, PathMatch, Protocol, Resource, Route, Rule, WeightedBackend,
};
use sluice_proxy_core::table::{Compiler, Snapshot};

const ROUTES: u32 = 5_000;
const RUNS: usize = 51;

fn listener() -> Resource {
    Resource::Listener(Listener::http("ns/gw/http", 20_000, 80))
}

fn backend(number: u32, endpoints: u16) -> Resource {
    let address = |port| ([10, 0, (number >> 8) as u8, number as u8], 8_000 + port).into();
    let endpoints = (0..endpoints).map(|port| Endpoint { address: address(port), ready: true }).collect();
    Resource::Backend(Backend::new(format!("ns/app-{number}:80"), Protocol::Http1, endpoints))
}

fn route(number: u32, weight: u32) -> Resource {
    let to = |number: u32, weight| WeightedBackend {
        backend: format!("ns/app-{number}:80"),
        weight,
        valid: true,
        filters: Vec::new(),
    };
    let prefix = Match { path: Some(PathMatch::Prefix("/api".into())), ..Match::default() };
    let rule = Rule {
        name: "0".into(),
        matches: vec![prefix],
        backends: vec![to(number, 100 - weight), to((number + 1) % ROUTES, weight)],
        ..Rule::default()
    };
    Resource::Route(Route {
        id: format!("HTTPRoute/ns/app-{number}"),
        generation: i64::from(weight),
        created: 0,
        listeners: vec!["ns/gw/http".into()],
        hostnames: vec![format!("app-{number}.example.com")],
        rules: vec![rule],
    })
}

/// Median and longest time of many runs.
fn measure(what: &str, mut run: impl FnMut(u32)) {
    let mut times: Vec<Duration> = (0..RUNS as u32)
        .map(|number| {
            let started = Instant::now();
            run(number);
            started.elapsed()
        })
        .collect();
    times.sort();
    println!("{what:<50} median {:>10.1?}  longest {:>10.1?}", times[RUNS / 2], times[RUNS - 1]);
}

fn main() {
    let resources: Vec<Resource> =
        [listener()].into_iter().chain((0..ROUTES).flat_map(|number| [backend(number, 2), route(number, 0)])).collect();
    println!("{ROUTES} routes, {ROUTES} backends of 2 endpoints, {RUNS} runs");
    measure("everything compiled anew", |_| {
        drop(Snapshot::build(&resources, &mut Cells::default()).expect("snapshot"));
    });
    let (mut compiler, mut cells) = (Compiler::default(), Cells::default());
    let everything = resources.iter().map(|resource| (resource.key(), Some(resource)));
    let mut served = compiler.update(everything, &mut cells).expect("snapshot");
    let mut change = |resource: Option<&Resource>, key: String| {
        served = compiler.update([(key, resource)], &mut cells).expect("snapshot");
    };
    measure("one weight changed", |run| {
        let changed = route(run * 7, run % 99 + 1);
        change(Some(&changed), changed.key());
    });
    measure("one endpoint gone", |run| {
        let changed = backend(run * 7, 1);
        change(Some(&changed), changed.key());
    });
    measure("one route added", |run| {
        let changed = route(ROUTES + run, 1);
        change(Some(&changed), changed.key());
    });
    measure("one route removed", |run| change(None, route(ROUTES + run, 1).key()));
}
