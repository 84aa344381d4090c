//! Which rule a request finds, by tables; and that no resources make building panic.

mod changes;
mod gateways;
mod near;
mod passing;

use http::Request;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use super::{Action, Problem, Readiness, Snapshot, Target, Unmatched};
use crate::cells::Cells;
use crate::model::{
    Backend, Endpoint, GrpcMethod, Listener, ListenerProtocol, Match, PathMatch, Protocol, Resource, Route, Rule,
    Transport, ValueMatch, WeightedBackend,
};

fn listener(id: &str, hostname: Option<&str>) -> Resource {
    Resource::Listener(Listener { hostname: hostname.map(Into::into), ..Listener::http(id, 8080, 80) })
}

fn prefix(path: &str) -> Match {
    Match { path: Some(PathMatch::Prefix(path.into())), ..Match::default() }
}

fn exact(path: &str) -> Match {
    Match { path: Some(PathMatch::Exact(path.into())), ..Match::default() }
}

fn value(name: &str, value: &str) -> ValueMatch {
    ValueMatch { name: name.into(), value: value.into(), regex: false }
}

fn weighted(backend: &str, weight: u32) -> WeightedBackend {
    WeightedBackend { backend: backend.into(), weight, valid: true, filters: Vec::new() }
}

/// A route whose rules have one match each; the backend's name tells which rule was found.
fn route(name: &str, listeners: &[&str], hostnames: &[&str], rules: Vec<(Match, &str)>) -> Route {
    let rules = rules.into_iter().enumerate().map(|(index, (condition, backend))| Rule {
        name: index.to_string(),
        matches: vec![condition],
        backends: vec![weighted(backend, 1)],
        ..Rule::default()
    });
    Route {
        id: format!("HTTPRoute/default/{name}"),
        generation: 1,
        created: 0,
        listeners: listeners.iter().map(ToString::to_string).collect(),
        hostnames: hostnames.iter().map(ToString::to_string).collect(),
        rules: rules.collect(),
    }
}

fn build(resources: &[Resource]) -> Snapshot {
    Snapshot::build(resources, &mut Cells::default()).expect("snapshot")
}

fn found(snapshot: &Snapshot, host: &str, request: &Request<()>) -> Option<String> {
    let (head, ()) = request.clone().into_parts();
    let matched = snapshot.route(8080, None, host, head.uri.path(), &head).ok()?;
    match &snapshot.rule(matched)?.action {
        Action::Forward { arms, .. } => Some(arms[0].backend.to_string()),
        Action::NoBackend | Action::Redirect(_) => None,
    }
}

fn get(uri: &str) -> Request<()> {
    Request::builder().uri(uri).body(()).expect("request")
}

#[test]
fn host_names_isolate_listeners_and_fall_through_between_routes() {
    let snapshot = build(&[
        listener("any", None),
        listener("wildcard", Some("*.example.com")),
        listener("exact", Some("foo.example.com")),
        Resource::Route(route("all", &["any", "wildcard"], &[], vec![(prefix("/"), "all")])),
        Resource::Route(route("broad", &["wildcard"], &["*.example.com"], vec![(prefix("/broad"), "broad")])),
        Resource::Route(route("bar", &["wildcard"], &["bar.example.com"], vec![(prefix("/bar"), "bar")])),
        Resource::Route(route("foo", &["exact"], &["*.example.com"], vec![(prefix("/foo"), "foo")])),
        Resource::Route(route("other", &["exact"], &["very.different.com"], vec![(prefix("/"), "other")])),
    ]);
    let cases = [
        ("anything.org", "/x", Some("all")),
        ("bar.example.com", "/bar", Some("bar")),
        ("bar.example.com", "/broad", Some("broad")),
        ("bar.example.com", "/x", Some("all")),
        ("foo.example.com", "/foo", Some("foo")),
        ("foo.example.com", "/broad", None),
        ("very.different.com", "/foo", Some("all")),
        ("example.com", "/bar", Some("all")),
    ];
    for (host, path, expected) in cases {
        assert_eq!(found(&snapshot, host, &get(path)).as_deref(), expected, "{host}{path}");
    }
    let (head, ()) = get("/").into_parts();
    assert_eq!(snapshot.route(9090, None, "anything.org", "/", &head), Err(Unmatched::NoRoute));
}

#[test]
fn a_longer_prefix_of_a_less_specific_host_does_not_win() {
    let snapshot = build(&[
        listener("l", Some("abc.example.com")),
        Resource::Route(route("older", &["l"], &["*.example.com"], vec![(prefix("/long/prefix"), "older")])),
        Resource::Route(Route {
            created: 9,
            ..route("newer", &["l"], &["abc.example.com"], vec![(prefix("/long"), "newer")])
        }),
    ]);
    assert_eq!(found(&snapshot, "abc.example.com", &get("/long/prefix")).as_deref(), Some("newer"));
}

#[test]
fn rules_win_by_path_then_method_then_headers_then_query() {
    let with_headers = |condition: Match, names: &[&str]| Match {
        headers: names.iter().map(|name| value(name, "1")).collect(),
        ..condition
    };
    let rules = vec![
        (prefix("/"), "catch-all"),
        (Match { path: Some(PathMatch::Regex("/v[0-9]+/.*".into())), ..Match::default() }, "regex"),
        (prefix("/v2"), "v2"),
        (with_headers(prefix("/"), &["a"]), "one-header"),
        (with_headers(prefix("/"), &["a", "b"]), "two-headers"),
        (Match { query: vec![value("q", "1")], ..prefix("/") }, "query"),
        (Match { method: Some("POST".into()), ..prefix("/") }, "method"),
        (exact("/v2/exact"), "exact"),
        (prefix("/v2"), "second-v2"),
    ];
    let snapshot = build(&[listener("l", None), Resource::Route(route("r", &["l"], &[], rules))]);
    let request = |method: &str, uri: &str, headers: &[&str]| {
        let builder = Request::builder().method(method).uri(uri);
        headers.iter().fold(builder, |builder, name| builder.header(*name, "1")).body(()).expect("request")
    };
    let cases = [
        (request("GET", "/", &[]), "catch-all"),
        (request("GET", "/v2", &["a", "b"]), "v2"),
        (request("GET", "/v2/x", &[]), "regex"),
        (request("POST", "/v2/exact", &[]), "exact"),
        (request("GET", "/x", &["a"]), "one-header"),
        (request("GET", "/x?q=1", &["a", "b"]), "two-headers"),
        (request("GET", "/x?q=1", &[]), "query"),
        (request("POST", "/x?q=1", &["a", "b"]), "method"),
        (request("HEAD", "/x", &[]), "catch-all"),
    ];
    for (request, expected) in cases {
        assert_eq!(found(&snapshot, "h", &request).as_deref(), Some(expected), "{request:?}");
    }
}

#[test]
fn grpc_rules_win_by_service_then_method_then_headers() {
    let grpc = |service: &str, method: &str| {
        let part = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        let of = GrpcMethod { service: part(service), method: part(method), regex: false };
        Match { path: Some(PathMatch::Grpc(of)), ..Match::default() }
    };
    let rules = vec![
        (Match::default(), "all"),
        (Match { headers: vec![value("a", "1")], ..Match::default() }, "header"),
        (grpc("", "Say"), "method"),
        (grpc("a.Echo", ""), "service"),
        (grpc("a.Echo", "Say"), "both"),
        (Match { headers: vec![value("a", "1")], ..grpc("a.Echo", "") }, "service-and-header"),
    ];
    let snapshot = build(&[listener("l", None), Resource::Route(route("r", &["l"], &[], rules))]);
    let cases = [
        ("/b/Other", "", "all"),
        ("/b/Other", "a", "header"),
        ("/b/Say", "a", "method"),
        ("/a.Echo/Other", "", "service"),
        ("/a.Echo/Other", "a", "service-and-header"),
        ("/a.Echo/Say", "a", "both"),
    ];
    for (path, header, expected) in cases {
        let request = Request::post(path).header(if header.is_empty() { "x" } else { header }, "1");
        let request = request.body(()).expect("request");
        assert_eq!(found(&snapshot, "h", &request).as_deref(), Some(expected), "{path} {header}");
    }
}

#[test]
fn of_equal_matches_the_oldest_route_wins_then_the_first_by_name() {
    let at = |name: &str, created: i64| Route { created, ..route(name, &["l"], &[], vec![(prefix("/"), name)]) };
    let routes = |routes: [Route; 2]| {
        let resources: Vec<_> = routes.into_iter().map(Resource::Route).chain([listener("l", None)]).collect();
        found(&build(&resources), "h", &get("/"))
    };
    assert_eq!(routes([at("a", 2), at("b", 1)]).as_deref(), Some("b"));
    assert_eq!(routes([at("b", 1), at("a", 1)]).as_deref(), Some("a"));
}

#[test]
fn endpoints_are_the_ready_ones_or_else_those_that_still_serve() {
    let backend = |id: &str, endpoints: &[(&str, bool)]| {
        let endpoints = endpoints
            .iter()
            .map(|(address, ready)| Endpoint { address: address.parse().expect("address"), ready: *ready });
        Resource::Backend(Backend::new(id, Protocol::Http1, endpoints.collect()))
    };
    let mut both = route("r", &["l"], &[], vec![(prefix("/"), "mixed")]);
    both.rules[0].backends = vec![weighted("mixed", 1), weighted("leaving", 1), weighted("absent", 1)];
    let snapshot = build(&[
        listener("l", None),
        backend("mixed", &[("10.0.0.1:80", true), ("10.0.0.2:80", false)]),
        backend("leaving", &[("10.0.0.3:80", false)]),
        Resource::Route(both),
    ]);
    let endpoints: Vec<_> = snapshot
        .arms()
        .map(|arm| snapshot.backend(arm).map(|backend| backend.endpoints.iter().map(ToString::to_string).collect()))
        .collect();
    let expected: Vec<Option<Vec<String>>> =
        vec![Some(vec!["10.0.0.1:80".into()]), Some(vec!["10.0.0.3:80".into()]), None];
    assert_eq!(endpoints, expected);
    let readiness = |address: &str| {
        let address = address.parse().expect("address");
        snapshot.readiness(&Target { address, protocol: Protocol::Http1, tls: None })
    };
    assert_eq!(readiness("10.0.0.1:80"), Some(Readiness::Ready));
    assert_eq!(readiness("10.0.0.2:80"), None);
    assert_eq!(readiness("10.0.0.3:80"), Some(Readiness::Terminating));
}

#[test]
fn cells_stay_the_same_while_the_generation_does() {
    let mut cells = Cells::default();
    let mut resources = vec![listener("l", None), Resource::Route(route("r", &["l"], &[], vec![(prefix("/"), "a")]))];
    let cell = |resources: &[Resource], cells: &mut Cells| {
        let snapshot = Snapshot::build(resources, cells).expect("snapshot");
        snapshot.arms().map(|arm| arm.cell).collect::<Vec<_>>()
    };
    let first = cell(&resources, &mut cells);
    assert_eq!(cell(&resources, &mut cells), first);
    if let Resource::Route(route) = &mut resources[1] {
        route.generation = 2;
    }
    assert_ne!(cell(&resources, &mut cells), first);
    assert_eq!(cells.len(), 2);
}

#[test]
fn a_bad_resource_is_named() {
    let with =
        |condition: Match| vec![listener("l", None), Resource::Route(route("r", &["l"], &[], vec![(condition, "a")]))];
    let regex = with(Match { path: Some(PathMatch::Regex("(".into())), ..Match::default() });
    let method = with(Match { method: Some("G T".into()), ..Match::default() });
    let twice = vec![listener("l", None), listener("l", None)];
    let conflict = vec![listener("l", None), listener("m", None)];
    let problem = |resources: &[Resource]| Snapshot::build(resources, &mut Cells::default()).expect_err("refused");
    assert!(matches!(problem(&regex).problem, Problem::Regex(_)));
    assert_eq!(problem(&regex).resource, "route/HTTPRoute/default/r");
    assert!(matches!(problem(&method).problem, Problem::Method(_)));
    assert!(matches!(problem(&twice).problem, Problem::Duplicate));
    assert!(matches!(problem(&conflict).problem, Problem::ListenerConflict(..)));
}

/// The table of the specification (GEP-3567): connections by server name, requests by host.
#[test]
fn a_request_for_another_listener_than_its_connections_is_misdirected() {
    let secure = |id: &str, hostname: Option<&str>| {
        let hostname = hostname.map(Into::into);
        Resource::Listener(Listener { protocol: ListenerProtocol::Https, hostname, ..Listener::http(id, 8080, 443) })
    };
    let hosts = ["example.org", "second-example.org", "third-example.wildcard.org", "fourth-example.wildcard.org"];
    let listeners = ["any", "second", "wildcard", "fourth"];
    let snapshot = build(&[
        secure("any", None),
        secure("second", Some("second-example.org")),
        secure("wildcard", Some("*.wildcard.org")),
        secure("fourth", Some("fourth-example.wildcard.org")),
        Resource::Route(route("r", &listeners, &[hosts[0], hosts[1], "*.wildcard.org"], vec![(prefix("/"), "a")])),
    ]);
    let cases = [
        ("example.org", "example.org", Ok(())),
        ("example.org", "second-example.org", Err(Unmatched::Misdirected)),
        ("example.org", "unknown-example.org", Err(Unmatched::NoRoute)),
        ("second-example.org", "second-example.org", Ok(())),
        ("second-example.org", "example.org", Err(Unmatched::Misdirected)),
        ("second-example.org", "unknown-example.org", Err(Unmatched::Misdirected)),
        ("third-example.wildcard.org", "third-example.wildcard.org", Ok(())),
        ("third-example.wildcard.org", "fith-example.wildcard.org", Ok(())),
        ("third-example.wildcard.org", "fourth-example.wildcard.org", Err(Unmatched::Misdirected)),
        ("third-example.wildcard.org", "second-example.org", Err(Unmatched::Misdirected)),
        ("third-example.wildcard.org", "unknown-example.org", Err(Unmatched::Misdirected)),
        ("fourth-example.wildcard.org", "fourth-example.wildcard.org", Ok(())),
        ("fourth-example.wildcard.org", "fith-example.wildcard.org", Err(Unmatched::Misdirected)),
        ("unknown-example.org", "example.org", Ok(())),
        ("unknown-example.org", "unknown-example.org", Err(Unmatched::NoRoute)),
        ("", "example.org", Ok(())),
    ];
    let (head, ()) = Request::get("/").body(()).expect("request").into_parts();
    for (server_name, host, expected) in cases {
        let listener = snapshot.listener(Transport::Tcp, 8080, server_name).expect("a listener");
        let found = snapshot.route(8080, Some(&listener.id), host, "/", &head).map(drop);
        assert_eq!(found, expected, "{server_name} -> {host}");
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-c*./]{0,6}", "[ -~]{0,8}", any::<String>()]
}

fn condition() -> impl Strategy<Value = Match> {
    let path = prop_oneof![
        Just(None),
        text().prop_map(|path| Some(PathMatch::Exact(path))),
        text().prop_map(|path| Some(PathMatch::Prefix(path))),
        text().prop_map(|path| Some(PathMatch::Regex(path))),
    ];
    let values = |values: Vec<(String, String, bool)>| -> Vec<ValueMatch> {
        values.into_iter().map(|(name, value, regex)| ValueMatch { name, value, regex }).collect()
    };
    let some = || prop::collection::vec((text(), text(), any::<bool>()), 0..3);
    (path, some(), some(), prop::option::of(text())).prop_map(move |(path, headers, query, method)| Match {
        path,
        headers: values(headers),
        query: values(query),
        method,
    })
}

fn resource() -> impl Strategy<Value = Resource> {
    let listeners = (text(), 0_u16..3, prop::option::of(text())).prop_map(|(id, bind_port, hostname)| {
        Resource::Listener(Listener { hostname, ..Listener::http(id, bind_port, 80) })
    });
    let rules = prop::collection::vec((condition(), prop::collection::vec(any::<u32>(), 0..3)), 0..3);
    let routes = (text(), prop::collection::vec(text(), 0..3), prop::collection::vec(text(), 0..3), rules).prop_map(
        |(name, listeners, hostnames, rules)| {
            let rules = rules.into_iter().map(|(condition, weights)| Rule {
                matches: vec![condition],
                backends: weights.into_iter().map(|weight| weighted("b", weight)).collect(),
                ..Rule::default()
            });
            let rules = rules.collect();
            Resource::Route(Route { id: name, generation: 1, created: 0, listeners, hostnames, rules })
        },
    );
    prop_oneof![listeners, routes]
}

proptest! {
    #[test]
    fn no_resources_make_building_or_routing_panic(
        resources in prop::collection::vec(resource(), 0..6),
        host in text(),
        path in "/[a-c/.%]{0,8}",
    ) {
        if let Ok(snapshot) = Snapshot::build(&resources, &mut Cells::default()) {
            let (head, ()) = get(&path).into_parts();
            for port in 0..3 {
                if let Ok(matched) = snapshot.route(port, None, &host, &path, &head) {
                    snapshot.rule(matched);
                }
            }
        }
    }
}

#[test]
fn timeouts_mirrors_and_filters_of_a_rule_are_compiled() {
    use crate::model::{Filter, Mirror, Timeouts};
    let mirror = |numerator, denominator| Filter::Mirror(Mirror { backend: "b".into(), numerator, denominator });
    let with = |rule: Rule| {
        let route = Route { rules: vec![rule], ..route("r", &["l"], &[], vec![]) };
        let backend = Resource::Backend(Backend::new("b", Protocol::Http1, Vec::new()));
        Snapshot::build(&[listener("l", None), backend, Resource::Route(route)], &mut Cells::default())
    };
    let rule = Rule {
        filters: vec![mirror(1, 4), mirror(0, 1), mirror(1, 1)],
        timeouts: Timeouts { request: Some(0), backend: Some(500) },
        ..Rule::default()
    };
    let snapshot = with(rule).expect("snapshot");
    let (head, ()) = get("/").into_parts();
    let rule = snapshot.rule(snapshot.route(8080, None, "h", "/", &head).expect("a match")).expect("a rule");
    assert_eq!((rule.request_timeout, rule.backend_timeout), (None, Some(std::time::Duration::from_millis(500))));
    let takes = |random: u64| rule.mirrors.iter().map(|mirror| mirror.takes(random)).collect::<Vec<_>>();
    assert_eq!(takes(0), [true, false, true]);
    assert_eq!(takes(u64::MAX / 4 + 2), [false, false, true]);
    assert_eq!(snapshot.mirrored(rule.mirrors[0]).map(|backend| &*backend.id), Some("b"));
    for (filters, backend_filters) in
        [(vec![mirror(2, 1)], vec![]), (vec![mirror(0, 0)], vec![]), (vec![], vec![mirror(1, 1)])]
    {
        let backends = vec![WeightedBackend { filters: backend_filters, ..weighted("b", 1) }];
        assert!(with(Rule { filters, backends, ..Rule::default() }).is_err());
    }
}
