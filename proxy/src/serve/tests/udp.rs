//! UDP listeners: datagrams of one client stay with one backend, and go nowhere where there is nobody.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use sluice_proxy_core::model::{Listener, ListenerProtocol, Protocol, Resource};
use tokio::net::UdpSocket;

use super::fixtures::{Proxy, passing_route, run, until};

const ID: &str = "a/b:53+udp";

async fn serving(backends: &[(&str, u32, SocketAddr)]) -> Proxy {
    let proxy = Proxy::idle();
    let listener = Listener { protocol: ListenerProtocol::Udp, ..Listener::http("l", proxy.port, 53) };
    proxy.put(Resource::Listener(listener));
    route(&proxy, &backends.iter().map(|(name, weight, _)| (*name, *weight)).collect::<Vec<_>>());
    for (name, _, address) in backends {
        proxy.endpoints(name, Protocol::Http1, &[*address]);
    }
    proxy.apply().await.expect("applied");
    proxy
}

fn route(proxy: &Proxy, backends: &[(&str, u32)]) {
    passing_route(proxy, "UDPRoute/default/r", 0, backends);
}

/// A backend that answers each datagram with its name and the datagram, and how many it has had.
async fn echo(name: &'static str) -> (SocketAddr, Rc<Cell<u32>>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let (address, heard) = (socket.local_addr().expect("address"), Rc::new(Cell::new(0)));
    let count = Rc::clone(&heard);
    tokio::task::spawn_local(async move {
        let mut bytes = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut bytes).await {
            count.set(count.get() + 1);
            let answer = [name.as_bytes(), &bytes[..length]].concat();
            let _ = socket.send_to(&answer, client).await;
        }
    });
    (address, heard)
}

struct Client(UdpSocket);

impl Client {
    async fn connect(proxy: &Proxy) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        socket.connect((Ipv4Addr::LOCALHOST, proxy.port)).await.expect("connected");
        Self(socket)
    }

    async fn say(&self, text: &str) {
        self.0.send(text.as_bytes()).await.expect("sent");
    }

    async fn hear(&self) -> String {
        let mut bytes = [0; 2048];
        let length = self.0.recv(&mut bytes).await.expect("received");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    async fn ask(&self, text: &str) -> String {
        self.say(text).await;
        self.hear().await
    }
}

#[test]
fn datagrams_pass_both_ways_and_are_one_request() {
    run(async {
        let proxy = serving(&[(ID, 1, echo("b ").await.0)]).await;
        let client = Client::connect(&proxy).await;
        for text in ["one", "", "three"] {
            assert_eq!(client.ask(text).await, format!("b {text}"));
        }
        let totals = proxy.settled("a/b:53").await;
        assert_eq!((totals.started, totals.responses), (1, [0, 1, 0, 0, 0]));
        assert_eq!((totals.open(), totals.received_bytes, totals.sent_bytes), (1, 8, 14));
    });
}

#[test]
fn each_flow_keeps_its_backend_and_flows_are_split_by_weight() {
    run(async {
        let (one, two) = (echo("1").await.0, echo("2").await.0);
        let proxy = serving(&[("one", 3, one), ("two", 1, two)]).await;
        let mut of_two = 0;
        for _ in 0..60 {
            let client = Client::connect(&proxy).await;
            let first = client.ask("").await;
            for _ in 0..3 {
                assert_eq!(client.ask("").await, first);
            }
            of_two += u32::from(first == "2");
        }
        assert!((3..=30).contains(&of_two), "{of_two} of 60");
    });
}

#[test]
fn the_share_of_nobody_is_dropped_until_there_is_somebody() {
    run(async {
        let (address, heard) = echo("b").await;
        let proxy = serving(&[(ID, 0, address)]).await;
        route(&proxy, &[("invalid", 1)]);
        proxy.apply().await.expect("applied");
        let client = Client::connect(&proxy).await;
        client.say("lost").await;
        client.say("lost too").await;
        until("the flow is counted", async || proxy.counted("invalid").await.started > 0).await;
        assert_eq!(proxy.settled("invalid").await.responses, [0, 0, 0, 0, 1], "once for the flow");
        route(&proxy, &[(ID, 1)]);
        proxy.apply().await.expect("applied");
        assert_eq!(client.ask("now").await, "bnow");
        assert_eq!(heard.get(), 1);
    });
}

#[test]
fn a_flow_moves_when_its_endpoint_goes() {
    run(async {
        let (old, new) = (echo("old").await.0, echo("new").await.0);
        let proxy = serving(&[(ID, 1, old)]).await;
        let client = Client::connect(&proxy).await;
        assert_eq!(client.ask("").await, "old");
        proxy.endpoints(ID, Protocol::Http1, &[new]);
        proxy.apply().await.expect("applied");
        assert_eq!(client.ask("").await, "new");
        until("the old flow is closed", async || proxy.counted("a/b:53").await.open() == 1).await;
    });
}

#[test]
fn an_endpoint_that_refuses_is_a_disruption_and_the_next_datagram_tries_another() {
    run(async {
        let gone = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound").local_addr().expect("address");
        let proxy = serving(&[(ID, 1, gone)]).await;
        let client = Client::connect(&proxy).await;
        client.say("lost").await;
        until("refused", async || proxy.counted("a/b:53").await.disruptions == 1).await;
        proxy.endpoints(ID, Protocol::Http1, &[gone, echo("b").await.0]);
        proxy.apply().await.expect("applied");
        // Each worker learns by itself who refuses, and this one has.
        assert_eq!(client.ask("now").await, "bnow");
    });
}

#[test]
fn a_port_that_is_gone_is_closed_and_may_come_back() {
    run(async {
        let address = echo("b").await.0;
        let proxy = serving(&[(ID, 1, address)]).await;
        let client = Client::connect(&proxy).await;
        assert_eq!(client.ask("").await, "b");
        let listener = Listener { protocol: ListenerProtocol::Udp, ..Listener::http("l", proxy.port, 53) };
        proxy.put(Resource::Listener(Listener::http("l", proxy.port, 53)));
        proxy.apply().await.expect("applied");
        // The kernel says that nobody listens as soon as every worker has closed its socket.
        until("closed", async || {
            let sent = client.0.send(b"lost").await;
            let heard = tokio::time::timeout(Duration::from_millis(5), client.0.recv(&mut [0; 8])).await;
            sent.is_err() || heard.is_ok_and(|heard| heard.is_err())
        })
        .await;
        until("the flow is closed", async || proxy.counted("a/b:53").await.open() == 0).await;
        proxy.put(Resource::Listener(listener));
        proxy.apply().await.expect("applied");
        assert_eq!(Client::connect(&proxy).await.ask("again").await, "bagain");
    });
}
