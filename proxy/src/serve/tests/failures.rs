//! Backends that fail: what is tried again, what is answered, and where it is counted.

use sluice_proxy_core::model::Protocol;

use super::fixtures::{Echo, HOST, Proxy, Step, run, scripted, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn a_connection_that_was_just_closed_is_not_the_clients_problem() {
    run(async {
        // The second request on the first connection is met by its end.
        let address = scripted(&[&[Step::Say(OK), Step::Close], &[Step::Say(OK)]]).await;
        let proxy = Proxy::serving(&[("b", 1, &[address])]).await;
        let mut client = proxy.client().await;
        assert_eq!(client.get().await.status, 200);
        assert_eq!(client.get().await.status, 200);
        let totals = proxy.settled("b").await;
        assert_eq!((totals.responses[1], totals.connection_failures, totals.disruptions), (2, 0, 0));
    });
}

#[test]
fn what_must_not_be_done_twice_is_not_tried_again() {
    run(async {
        let address = scripted(&[&[Step::Say(OK), Step::Close], &[Step::Say(OK)]]).await;
        let proxy = Proxy::serving(&[("b", 1, &[address])]).await;
        let mut client = proxy.client().await;
        assert_eq!(client.get().await.status, 200);
        assert_eq!(client.post("pay once").await.status, 502);
        let totals = proxy.settled("b").await;
        assert_eq!((totals.responses[4], totals.connection_failures, totals.disruptions), (1, 1, 0));
    });
}

#[test]
fn a_fresh_connection_that_breaks_is_a_failure() {
    run(async {
        let address = scripted(&[&[Step::Close], &[Step::Say(OK)]]).await;
        let proxy = Proxy::serving(&[("b", 1, &[address])]).await;
        assert_eq!(proxy.client().await.get().await.status, 502);
        let totals = proxy.settled("b").await;
        assert_eq!((totals.responses[4], totals.connection_failures), (1, 1));
    });
}

#[test]
fn an_endpoint_that_refuses_is_left_out_and_disrupts_only_when_it_is_alone() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let gone = Echo::start("gone", Protocol::Http1).await;
        gone.stop();
        until("it refuses", async || tokio::net::TcpStream::connect(gone.address).await.is_err()).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address, gone.address])]).await;
        let mut client = proxy.client().await;
        for _ in 0..20 {
            assert_eq!(client.post("x").await.status, 200);
        }
        let totals = proxy.settled("b").await;
        assert_eq!((totals.started, totals.responses[1], totals.disruptions), (20, 20, 0));
        proxy.endpoints("b", Protocol::Http1, &[gone.address]);
        proxy.apply().await.expect("applied");
        assert_eq!(client.get().await.status, 502);
        let totals = proxy.settled("b").await;
        assert_eq!((totals.started, totals.responses[4], totals.disruptions), (21, 0, 1));
    });
}

#[test]
fn a_connection_that_breaks_while_its_endpoint_leaves_is_a_disruption() {
    run(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let proxy = Proxy::serving(&[("b", 1, &[listener.local_addr().expect("address")])]).await;
        let mut client = proxy.client().await;
        client.send(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        let (backend, _) = listener.accept().await.expect("a connection");
        until("the request is in flight", async || proxy.counted("b").await.in_flight() == 1).await;
        assert_eq!(proxy.counted("b").await.ages.iter().sum::<u64>(), 1);
        proxy.endpoints("b", Protocol::Http1, &[]);
        proxy.apply().await.expect("applied");
        drop(backend);
        assert_eq!(client.answer().await.expect("an answer").status, 502);
        let totals = proxy.settled("b").await;
        assert_eq!((totals.started, totals.disruptions, totals.responses), (1, 1, [0; 5]));
    });
}

#[test]
fn a_client_that_goes_away_is_neither_success_nor_failure() {
    run(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let proxy = Proxy::serving(&[("b", 1, &[listener.local_addr().expect("address")])]).await;
        let mut client = proxy.client().await;
        client.send(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        let (_backend, _) = listener.accept().await.expect("a connection");
        until("the request is in flight", async || proxy.counted("b").await.in_flight() == 1).await;
        drop(client);
        let totals = proxy.settled("b").await;
        assert_eq!((totals.started, totals.ended), (1, 1));
        assert_eq!((totals.responses, totals.connection_failures, totals.disruptions), ([0; 5], 0, 0));
    });
}

#[test]
fn what_is_not_a_response_is_a_bad_gateway() {
    const SCRIPTS: [&[&[Step]]; 3] = [
        &[&[Step::SayAndClose("rubbish\r\n\r\n")]],
        &[&[Step::Say("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")]],
        &[&[Step::Say("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ncontent-length: nine\r\n\r\n")]],
    ];
    run(async {
        for script in SCRIPTS {
            let proxy = Proxy::serving(&[("b", 1, &[scripted(script).await])]).await;
            assert_eq!(proxy.client().await.get().await.status, 502, "{script:?}");
            assert_eq!(proxy.settled("b").await.connection_failures, 1);
        }
    });
}
