//! Which endpoints data planes of different places use.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{listener, prefix, route};
use crate::cells::Cells;
use crate::model::{Backend, Endpoint, Protocol, Resource};
use crate::table::{Compiler, Whereabouts};

#[test]
fn endpoints_near_by_are_used_while_one_of_them_is_ready() {
    let address = |host: u8| -> SocketAddr { ([10, 0, 0, host], 80).into() };
    let endpoint = |(host, ready)| Endpoint { address: address(host), ready };
    let near = [("node/n1", vec![1]), ("zone/a", vec![1, 2]), ("zone/b", vec![3])];
    let near: BTreeMap<_, Vec<_>> =
        near.into_iter().map(|(place, hosts)| (place.to_owned(), hosts.into_iter().map(address).collect())).collect();
    let at = |node: &str, zone: &str, ready: [bool; 3]| {
        let given = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        let mut compiler = Compiler::at(Whereabouts { node: given(node), zone: given(zone) });
        let endpoints = (1..).zip(ready).map(endpoint).collect();
        let backend =
            Resource::Backend(Backend { near: near.clone(), ..Backend::new("b", Protocol::Http1, endpoints) });
        let route = Resource::Route(route("r", &["l"], &[], vec![(prefix("/"), "b")]));
        let all = [backend, route, listener("l", None)];
        let changes = all.iter().map(|resource| (resource.key(), Some(resource)));
        let snapshot = compiler.update(changes, &mut Cells::default()).expect("snapshot");
        let arm = snapshot.arms().next().expect("an arm");
        let backend = snapshot.backend(arm).expect("a backend");
        backend.endpoints.iter().map(|address| address.ip().to_string().pop().expect("a digit")).collect::<String>()
    };
    for (node, zone, ready, expected) in [
        ("n1", "a", [true, true, true], "1"),
        ("n1", "a", [false, true, true], "23"),
        ("n2", "a", [true, true, true], "12"),
        ("n2", "b", [true, true, false], "12"),
        ("n2", "c", [true, true, true], "123"),
        ("", "", [true, true, true], "123"),
        ("n2", "b", [false, false, false], "123"),
    ] {
        assert_eq!(at(node, zone, ready), expected, "node {node}, zone {zone}, {ready:?}");
    }
}
