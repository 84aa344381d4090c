//! One configuration after the other.

use std::sync::Arc;

use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};

use super::{get, listener, prefix, route, weighted};
use crate::cells::Cells;
use crate::model::{
    Authorities, Backend, BackendTls, Endpoint, Listener, Match, PathMatch, Protocol, Resource, Route, Rule, Transport,
};
use crate::table::{Action, Compiler, Snapshot, Target};

/// Resources of few names, so that changes meet each other.
fn common_resource() -> impl Strategy<Value = Resource> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let host = || prop::option::of(prop::sample::select(vec!["x.test", "*.test", "y.x.test"]));
    let listeners = (name(), 0_u16..2, host()).prop_map(|(id, bind_port, hostname)| {
        let hostname = hostname.map(str::to_owned);
        Resource::Listener(Listener { hostname, ..Listener::http(id, bind_port, 80) })
    });
    let rules = prop::collection::vec((prop::sample::select(vec!["/", "/a", "/a/b", "("]), name(), 0_u32..3), 0..4);
    let routes = (name(), prop::collection::vec(name(), 0..3), host(), rules, 0_i64..2).prop_map(
        |(id, listeners, hostname, rules, created)| {
            let rules = rules.into_iter().map(|(path, backend, weight)| Rule {
                name: path.to_owned(),
                matches: vec![if path == "(" {
                    Match { path: Some(PathMatch::Regex(path.into())), ..Match::default() }
                } else {
                    prefix(path)
                }],
                backends: vec![weighted(backend, weight), weighted("a", 1)],
                ..Rule::default()
            });
            let hostnames: Vec<_> = hostname.into_iter().collect();
            Resource::Route(Route { created, rules: rules.collect(), ..route(id, &listeners, &hostnames, vec![]) })
        },
    );
    let endpoints = prop::collection::vec((0_u16..3, any::<bool>()), 0..3);
    let tls = || prop::option::of(name());
    let backends = (name(), tls(), endpoints).prop_map(|(id, tls, endpoints)| {
        let endpoints =
            endpoints.into_iter().map(|(port, ready)| Endpoint { address: ([10, 0, 0, 1], port).into(), ready });
        let (id, tls) = (id.to_owned(), tls.map(str::to_owned));
        Resource::Backend(Backend { tls, ..Backend::new(id, Protocol::Http1, endpoints.collect()) })
    });
    let policies = (name(), name()).prop_map(|(id, hostname)| backend_tls(id, hostname));
    prop_oneof![listeners, routes, backends, policies]
}

fn backend_tls(id: &str, hostname: &str) -> Resource {
    let (id, hostname) = (id.to_owned(), hostname.to_owned());
    Resource::BackendTls(BackendTls { id, hostname, names: vec![], authorities: Authorities::System })
}

fn target(port: u16, tls: Option<&str>) -> Target {
    Target { address: ([10, 0, 0, 1], port).into(), protocol: Protocol::Http1, tls: tls.map(Arc::from) }
}

/// What a snapshot does with every request that can differ.
fn behaviour(snapshot: &Snapshot) -> Vec<String> {
    let mut seen = Vec::new();
    for (port, host) in [0, 1].into_iter().flat_map(|port| ["x.test", "y.x.test", "z"].map(|host| (port, host))) {
        for path in ["/", "/a", "/a/b", "/c"] {
            let (head, ()) = get(path).into_parts();
            let rule = snapshot.route(port, None, host, path, &head).ok().and_then(|matched| snapshot.rule(matched));
            let arms = rule.map(|rule| match &rule.action {
                Action::Forward { split, arms } => {
                    let arms: Vec<_> = arms.iter().map(|arm| (&arm.backend, snapshot.backend(arm))).collect();
                    format!("{} {} {split:?} {arms:?}", rule.route, rule.name)
                }
                Action::NoBackend | Action::Redirect(_) => format!("{} {} nothing", rule.route, rule.name),
            });
            seen.push(format!("{port} {host} {path}: {arms:?}"));
        }
    }
    for (port, tls) in (0..3).flat_map(|port| [None, Some("a"), Some("b"), Some("c")].map(|tls| (port, tls))) {
        seen.push(format!("{:?}", snapshot.readiness(&target(port, tls))));
    }
    seen.extend(snapshot.backend_tls().map(|tls| format!("{tls:?}")));
    seen.push(format!("{:?} {}", snapshot.ports(Transport::Tcp).collect::<Vec<_>>(), snapshot.arms().count()));
    seen
}

proptest! {
    /// However a configuration came about, it is served as if it had been compiled at once; and of what was refused or
    /// is gone nothing is left.
    #[test]
    fn changes_come_to_the_same_as_compiling_anew(
        changes in prop::collection::vec(prop::collection::vec((common_resource(), prop::bool::weighted(0.8)), 1..4), 1..12),
    ) {
        let (mut compiler, mut cells) = (Compiler::default(), Cells::default());
        let mut served = std::collections::BTreeMap::<String, Resource>::new();
        for step in changes {
            let mut wanted = served.clone();
            let mut keys = std::collections::BTreeSet::new();
            for (resource, there) in step {
                keys.insert(resource.key());
                if there { wanted.insert(resource.key(), resource) } else { wanted.remove(&resource.key()) };
            }
            let before = behaviour(compiler.current());
            let updated = compiler.update(keys.into_iter().map(|key| { let resource = wanted.get(&key); (key, resource) }), &mut cells);
            match (updated, Snapshot::build(wanted.values(), &mut Cells::default())) {
                (Ok(updated), Ok(anew)) => {
                    proptest::prop_assert_eq!(behaviour(&updated), behaviour(&anew));
                    served = wanted;
                }
                (Err(_), Err(_)) => proptest::prop_assert_eq!(behaviour(compiler.current()), before),
                (updated, anew) => proptest::prop_assert!(false, "{:?} but anew {:?}", updated.err(), anew.err()),
            }
        }
        compiler.update(served.keys().map(|key| (key.clone(), None)), &mut cells).expect("empty");
        proptest::prop_assert!(compiler.is_empty());
    }
}

#[test]
fn a_weight_makes_no_table_and_no_other_route_anew() {
    let mut cells = Cells::default();
    let mut compiler = Compiler::default();
    let mut update = |resources: &[Resource]| {
        let changes = resources.iter().map(|resource| (resource.key(), Some(resource)));
        compiler.update(changes, &mut cells).expect("snapshot")
    };
    let one = |weight: u32| {
        let mut one = route("one", &["l"], &["one.test"], vec![(prefix("/"), "b")]);
        one.rules[0].backends[0].weight = weight;
        Resource::Route(one)
    };
    let other = Resource::Route(route("other", &["l"], &["other.test"], vec![(prefix("/"), "b")]));
    let backend = Resource::Backend(Backend::new("b", Protocol::Http1, Vec::new()));
    let before = update(&[listener("l", None), one(1), other, backend]);
    let after = update(&[one(2)]);
    let table =
        |snapshot: &Snapshot| Arc::as_ptr(snapshot.ports[0].1.listeners.matching("").next().expect("a listener"));
    assert_eq!(table(&before), table(&after));
    assert!(after.has_endpoints_of(&before));
    let rule = |snapshot: &Snapshot, host: &str| {
        let (head, ()) = get("/").into_parts();
        let matched = snapshot.route(8080, None, host, "/", &head).expect("a match");
        std::ptr::from_ref(snapshot.rule(matched).expect("a rule"))
    };
    assert_eq!(rule(&before, "other.test"), rule(&after, "other.test"));
    assert_ne!(rule(&before, "one.test"), rule(&after, "one.test"));
}

#[test]
fn an_address_is_wanted_in_the_way_in_which_its_backends_are_spoken_to() {
    let mut cells = Cells::default();
    let mut compiler = Compiler::default();
    let mut update = |resources: &[Resource]| {
        let changes = resources.iter().map(|resource| (resource.key(), Some(resource)));
        compiler.update(changes, &mut cells).expect("snapshot")
    };
    let backend = |id: &str, tls: Option<&str>| {
        let endpoints = vec![Endpoint { address: ([10, 0, 0, 1], 1).into(), ready: true }];
        Resource::Backend(Backend { tls: tls.map(str::to_owned), ..Backend::new(id, Protocol::Http1, endpoints) })
    };
    let wanted =
        |snapshot: &Snapshot| [None, Some("p"), Some("q")].map(|tls| snapshot.readiness(&target(1, tls)).is_some());
    let before = update(&[backend("a", Some("p")), backend("b", None), backend_tls("p", "x.test")]);
    assert_eq!(wanted(&before), [true, true, false]);
    let after = update(&[backend("a", Some("q"))]);
    assert_eq!(wanted(&after), [true, false, true]);
    // What a way consists of is another matter: who keeps connections has to ask.
    let after = update(&[backend_tls("p", "y.test")]);
    assert_eq!(wanted(&after), [true, false, true]);
    assert_eq!(after.backend_tls().map(|tls| tls.hostname.as_str()).collect::<Vec<_>>(), ["y.test"]);
}
