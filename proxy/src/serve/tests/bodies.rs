//! Bodies: how they end, and what their end means.

use sluice_proxy_core::model::Protocol;

use super::fixtures::{Echo, HOST, Proxy, Step, run, scripted, until};

#[test]
fn a_response_before_the_request_was_read_ends_both_connections() {
    run(async {
        let address = scripted(&[
            &[Step::Say("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 4\r\n\r\nlong")],
            &[Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")],
        ])
        .await;
        let proxy = Proxy::serving(&[("b", 1, &[address])]).await;
        let mut client = proxy.client().await;
        client.send(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1000\r\n\r\nonly this")).await;
        let answer = client.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (413, "long"));
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        assert!(client.is_ended().await);
        // The backend's second connection answers: the first was not used again.
        assert_eq!(proxy.client().await.get().await.status, 200);
    });
}

#[test]
fn a_response_that_breaks_off_breaks_off_for_the_client_and_is_a_failure() {
    run(async {
        let address = scripted(&[&[Step::SayAndClose("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")]]).await;
        let proxy = Proxy::serving(&[("b", 1, &[address])]).await;
        let mut client = proxy.client().await;
        client.send(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        assert!(client.answer().await.is_none());
        let totals = proxy.settled("b").await;
        assert_eq!((totals.connection_failures, totals.responses), (1, [0, 0, 0, 0, 1]));
    });
}

#[test]
fn a_client_that_stops_within_its_body_does_not_blame_the_backend() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let mut client = proxy.client().await;
        client.send(&format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 1000\r\n\r\nonly this")).await;
        until("the request is in flight", async || proxy.counted("b").await.in_flight() == 1).await;
        drop(client);
        let totals = proxy.settled("b").await;
        assert_eq!((totals.responses, totals.connection_failures, totals.disruptions), ([0; 5], 0, 0));
    });
}

#[test]
fn large_bodies_pass_both_ways() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::serving(&[("b", 1, &[echo.address])]).await;
        let body = "0123456789abcdef".repeat(64 * 1024);
        let mut client = proxy.client().await;
        for _ in 0..2 {
            let answer = client.post(&body).await;
            assert_eq!(answer.status, 200);
            assert!(answer.body.ends_with(&body));
        }
    });
}

#[test]
fn responses_without_a_body_leave_the_connection_usable() {
    run(async {
        let address = scripted(&[&[
            Step::Say("HTTP/1.1 204 No Content\r\n\r\n"),
            Step::Say("HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n"),
            Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ]])
        .await;
        let proxy = Proxy::serving(&[("b", 1, &[address])]).await;
        let mut client = proxy.client().await;
        for status in [204, 304, 200] {
            assert_eq!(client.get().await.status, status);
        }
        assert_eq!(proxy.settled("b").await.responses, [0, 2, 1, 0, 0]);
    });
}
