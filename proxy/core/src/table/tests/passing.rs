//! Which rule a connection or datagram finds that is passed on as it is.

use super::{build, route, weighted};
use crate::model::{Listener, ListenerProtocol, Resource, Route, Rule, Transport};
use crate::table::{Action, Snapshot};

fn listener(id: &str, protocol: ListenerProtocol, hostname: Option<&str>) -> Resource {
    let hostname = hostname.map(Into::into);
    Resource::Listener(Listener { protocol, hostname, ..Listener::http(id, 8080, 443) })
}

/// A route of one rule without matches, whose backend has the route's name.
fn passing(name: &str, created: i64, listeners: &[&str], hostnames: &[&str]) -> Resource {
    let rule = Rule { name: "0".into(), backends: vec![weighted(name, 1)], ..Rule::default() };
    Resource::Route(Route { created, rules: vec![rule], ..route(name, listeners, hostnames, vec![]) })
}

/// The listener of a server name, and the backend of the rule that is found on it.
fn found<'a>(snapshot: &'a Snapshot, transport: Transport, server_name: &'a str) -> Option<(&'a str, Option<&'a str>)> {
    let listener = snapshot.listener(transport, 8080, server_name)?;
    let backend = snapshot.passing_rule(listener, server_name).and_then(|rule| match &rule.action {
        Action::Forward { arms, .. } => Some(&*arms[0].backend),
        Action::NoBackend | Action::Redirect(_) => None,
    });
    Some((&listener.id, backend))
}

#[test]
fn the_server_name_finds_the_most_specific_listener_and_on_it_the_most_specific_route() {
    use ListenerProtocol::{Https, Tls};
    let snapshot = build(&[
        listener("exact", Tls, Some("a.example.com")),
        listener("narrow", Tls, Some("*.b.example.com")),
        listener("wide", Tls, Some("*.example.com")),
        listener("https", Https, Some("web.example.com")),
        passing("named", 9, &["exact"], &["a.example.com"]),
        passing("wildcard", 1, &["exact", "wide"], &["*.example.com"]),
        passing("younger", 2, &["wide"], &["*.example.com", "c.example.com"]),
        passing("elsewhere", 0, &["narrow"], &["x.b.example.com", "d.example.com"]),
    ]);
    let cases = [
        // A younger route with the very name goes before an older one with a wildcard.
        ("a.example.com", Some(("exact", Some("named")))),
        ("x.b.example.com", Some(("narrow", Some("elsewhere")))),
        // What its own listener has no route for is not looked up on another one.
        ("y.b.example.com", Some(("narrow", None))),
        ("web.example.com", Some(("https", None))),
        // Names of a route that its listener does not have are not served.
        ("d.example.com", Some(("wide", Some("wildcard")))),
        ("z.example.com", Some(("wide", Some("wildcard")))),
        ("c.example.com", Some(("wide", Some("younger")))),
        ("example.com", None),
        ("other.test", None),
        ("", None),
    ];
    for (server_name, expected) in cases {
        assert_eq!(found(&snapshot, Transport::Tcp, server_name), expected, "{server_name}");
    }
}

#[test]
fn where_there_is_nothing_to_choose_by_the_oldest_route_is_found() {
    for (protocol, transport, other) in [
        (ListenerProtocol::Tcp, Transport::Tcp, Transport::Udp),
        (ListenerProtocol::Udp, Transport::Udp, Transport::Tcp),
    ] {
        let snapshot =
            build(&[listener("l", protocol, None), passing("younger", 2, &["l"], &[]), passing("z", 1, &["l"], &[])]);
        assert_eq!(found(&snapshot, transport, ""), Some(("l", Some("z"))));
        assert_eq!(found(&snapshot, other, ""), None);
    }
}
