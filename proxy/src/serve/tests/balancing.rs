//! How the endpoints of one backend share its requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sluice_proxy_core::model::{Backend, Balancing, Endpoint, HashOn, Outliers, Protocol, Resource, Traffic};

use super::fixtures::{Client, Echo, HOST, Proxy, Step, run, scripted};

const FAULT: Step = Step::Say("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
/// One connection's worth of it.
const FAULTS: &[Step] = &[FAULT; 200];

#[test]
fn an_endpoint_that_fails_at_once_does_not_draw_the_requests() {
    run(async {
        let (echo, failing) = (Echo::start("echo", Protocol::Http1).await, scripted(&[FAULTS; 8]).await);
        let proxy = Proxy::serving(&[("b", 1, &[echo.address, failing])]).await;
        let mut client = proxy.client().await;
        for _ in 0..200 {
            client.get().await;
        }
        let totals = proxy.settled("b").await;
        let failures = totals.responses[4];
        // It is asked again every few seconds, and each time once.
        assert!((1..=12).contains(&failures), "{totals:?}");
        assert_eq!(totals.responses[1] + failures, 200, "what it answered is counted");
    });
}

/// A data plane with one backend of which this is said.
async fn serving(addresses: &[SocketAddr], traffic: Traffic) -> Proxy {
    let proxy = Proxy::serving(&[("b", 1, &[])]).await;
    let endpoints = addresses.iter().map(|address| Endpoint { address: *address, ready: true }).collect();
    let backend = Backend { traffic: Some(traffic), ..Backend::new("b", Protocol::Http1, endpoints) };
    proxy.put(Resource::Backend(backend));
    proxy.apply().await.expect("applied");
    proxy
}

fn balanced(balancing: Balancing) -> Traffic {
    Traffic { balancing, ..Traffic::default() }
}

/// As long as a test can last.
fn ejecting(most: u8) -> Traffic {
    let outliers =
        Outliers { server_errors: 3, gateway_errors: 0, interval: 60_000, ejection: 3_600_000, most, recovery: 0 };
    Traffic { outliers: Some(outliers), ..balanced(Balancing::RoundRobin) }
}

async fn echoes(names: &[&'static str]) -> (Vec<Echo>, Vec<SocketAddr>) {
    let mut echoes = Vec::new();
    for name in names {
        echoes.push(Echo::start(name, Protocol::Http1).await);
    }
    let addresses = echoes.iter().map(|echo| echo.address).collect();
    (echoes, addresses)
}

/// How often each endpoint answers requests with this header.
async fn answers(client: &mut Client, header: &str, count: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let answer = client.exchange(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{header}\r\n")).await;
        *seen.entry(answer.body.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    seen
}

#[test]
fn an_endpoint_that_fails_in_a_row_is_left_out() {
    run(async {
        let (_echoes, mut addresses) = echoes(&["a", "b", "c"]).await;
        addresses.push(scripted(&[FAULTS; 8]).await);
        let proxy = serving(&addresses, ejecting(50)).await;
        let mut client = proxy.client().await;
        let seen = answers(&mut client, "", 200).await;
        // Those of the endpoint that fails have no name.
        assert_eq!((seen[""], seen.len()), (3, 4), "{seen:?}");
        let totals = proxy.settled("b").await;
        assert_eq!((totals.responses[4], totals.responses[1]), (3, 197), "its failures are counted");
        assert_eq!(proxy.plane.ejections(), 1);
    });
}

/// A version that fails everywhere cannot hide it.
#[test]
fn never_is_every_endpoint_left_out() {
    run(async {
        let addresses = [scripted(&[FAULTS; 8]).await, scripted(&[FAULTS; 8]).await];
        let proxy = serving(&addresses, ejecting(100)).await;
        let mut client = proxy.client().await;
        assert_eq!(answers(&mut client, "", 50).await[""], 50);
        assert_eq!(proxy.settled("b").await.responses[4], 50);
        assert_eq!(proxy.plane.ejections(), 1);
    });
}

#[test]
fn endpoints_take_turns_or_are_drawn() {
    run(async {
        let (_echoes, addresses) = echoes(&["a", "b", "c"]).await;
        let proxy = serving(&addresses, balanced(Balancing::RoundRobin)).await;
        let seen = answers(&mut proxy.client().await, "", 30).await;
        assert!(seen.values().all(|count| *count == 10) && seen.len() == 3, "{seen:?}");
        let proxy = serving(&addresses, balanced(Balancing::Random)).await;
        let seen = answers(&mut proxy.client().await, "", 100).await;
        assert_eq!(seen.len(), 3, "{seen:?}");
    });
}

#[test]
fn requests_with_something_in_common_get_the_same_endpoint() {
    run(async {
        let (_echoes, addresses) = echoes(&["a", "b", "c"]).await;
        let by_header = Balancing::ConsistentHash(HashOn::Header("x-user".into()));
        let proxy = serving(&addresses, balanced(by_header)).await;
        let mut all = BTreeMap::new();
        for user in 0..20 {
            let mut client = proxy.client().await;
            let seen = answers(&mut client, &format!("x-user: {user}\r\n"), 5).await;
            assert_eq!(seen.len(), 1, "{seen:?}");
            all.extend(seen);
        }
        assert_eq!(all.len(), 3, "{all:?}");
        let by_source = Balancing::ConsistentHash(HashOn::SourceAddress);
        let proxy = serving(&addresses, balanced(by_source)).await;
        assert_eq!(answers(&mut proxy.client().await, "", 20).await.len(), 1);
    });
}

#[test]
fn a_connection_is_used_for_so_many_requests() {
    run(async {
        let (echoes, addresses) = echoes(&["a"]).await;
        let traffic = Traffic { requests_per_connection: Some(3), ..Traffic::default() };
        let proxy = serving(&addresses, traffic).await;
        answers(&mut proxy.client().await, "", 9).await;
        assert_eq!(echoes[0].accepted(), 3);
    });
}
