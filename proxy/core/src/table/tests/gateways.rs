//! What Gateways ask for beyond their listeners, port by port.

use crate::cells::Cells;
use crate::model::{Gateway, Limits, Listener, ListenerProtocol, Resource};
use crate::table::{Compiler, Snapshot};

fn listener(id: &str, port: u16, gateway: Option<&str>) -> Resource {
    let hostname = Some(format!("{id}.test"));
    Resource::Listener(Listener { gateway: gateway.map(Into::into), hostname, ..Listener::http(id, port, 80) })
}

fn gateway(connections: usize) -> Resource {
    let limits = Limits { connections: Some(connections), ..Limits::default() };
    Resource::Gateway(Gateway { id: "g".into(), limits, ..Gateway::default() })
}

fn asked(snapshot: &Snapshot) -> Vec<(u16, Option<usize>)> {
    snapshot.gateways().map(|(port, gateway)| (port, gateway.limits.connections)).collect()
}

#[test]
fn each_port_for_streams_has_what_its_gateway_asks_for() {
    let datagrams = Listener { protocol: ListenerProtocol::Udp, ..Listener::http("u", 3, 53) };
    let resources = [
        gateway(5),
        listener("a", 1, Some("g")),
        listener("b", 1, Some("g")),
        listener("c", 2, None),
        listener("d", 4, Some("gone")),
        Resource::Listener(Listener { gateway: Some("g".into()), ..datagrams }),
    ];
    let snapshot = Snapshot::build(&resources, &mut Cells::default()).expect("snapshot");
    assert_eq!(asked(&snapshot), [(1, Some(5))]);
}

#[test]
fn it_changes_comes_and_goes_without_the_listeners() {
    let (mut compiler, mut cells) = (Compiler::default(), Cells::default());
    let mut update = |changes: &[(&str, Option<&Resource>)]| {
        let changes = changes.iter().map(|(key, resource)| ((*key).to_owned(), *resource));
        asked(&compiler.update(changes, &mut cells).expect("snapshot"))
    };
    let of_port = listener("a", 1, Some("g"));
    assert_eq!(update(&[("listener/a", Some(&of_port))]), []);
    for connections in [5, 6] {
        assert_eq!(update(&[("gateway/g", Some(&gateway(connections)))]), [(1, Some(connections))]);
    }
    assert_eq!(update(&[("gateway/g", None)]), []);
}

#[test]
fn one_port_cannot_have_two_ways() {
    for other in [None, Some("h")] {
        let resources = [gateway(5), listener("a", 1, Some("g")), listener("b", 1, other)];
        let error = Snapshot::build(&resources, &mut Cells::default()).expect_err("two ways").to_string();
        assert_eq!(error, "listener/b: a has the same port and other parameters");
    }
}
