//! How long and how often a request is tried.

use std::net::SocketAddr;

use sluice_proxy_core::model::{Protocol, Retry, Rule, Timeouts};

use super::fixtures::{Answer, Echo, HOST, Proxy, Step, run, scripted, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
const FAULT: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";

fn retry(codes: &[u16], attempts: u32) -> Retry {
    Retry { codes: codes.to_vec(), attempts, backoff: Some(1) }
}

fn within(request: Option<u64>, backend: Option<u64>) -> Timeouts {
    Timeouts { request, backend }
}

async fn get(addresses: &[SocketAddr], rule: Rule) -> (Proxy, Answer) {
    let proxy = Proxy::ruled("b", addresses, rule).await;
    let answer = proxy.client().await.get().await;
    (proxy, answer)
}

/// A backend that takes connections and says nothing.
async fn silent() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
    let address = listener.local_addr().expect("address");
    (listener, address)
}

#[test]
fn codes_that_are_named_are_tried_again_and_the_last_answer_is_the_clients() {
    run(async {
        let cases: [(&'static [&'static [Step]], _, u16); 4] = [
            (&[&[Step::Say(BUSY)], &[Step::Say(BUSY)], &[Step::Say(OK)]], retry(&[503], 2), 200),
            (&[&[Step::Say(BUSY)], &[Step::Say(BUSY)], &[Step::Say(OK)]], retry(&[503], 1), 503),
            (&[&[Step::Say(FAULT)], &[Step::Say(OK)]], retry(&[503], 3), 500),
            (&[&[Step::Say(BUSY)], &[Step::Say(OK)]], retry(&[503], 0), 503),
        ];
        for (script, retry, status) in cases {
            let (proxy, answer) = get(&[scripted(script).await], Rule { retry: Some(retry), ..Rule::default() }).await;
            assert_eq!(answer.status, status, "{answer:?}");
            let totals = proxy.settled("b").await;
            assert_eq!((totals.started, totals.responses.iter().sum::<u64>()), (1, 1), "tries are not requests");
        }
    });
}

#[test]
fn a_body_is_sent_again_with_its_request() {
    run(async {
        let (busy, echo) = (scripted(&[&[Step::Say(BUSY)]]).await, Echo::start("echo", Protocol::Http1).await);
        let proxy = Proxy::ruled("b", &[busy], Rule { retry: Some(retry(&[503], 1)), ..Rule::default() }).await;
        let mut client = proxy.client().await;
        proxy.endpoints("b", Protocol::Http1, &[busy, echo.address]);
        proxy.apply().await.expect("applied");
        // Whichever endpoint is asked first, the second one is the other.
        while echo.served.get() < 3 {
            let answer = client.post("payload").await;
            assert!(answer.status == 200 && answer.body.ends_with("payload"), "{answer:?}");
        }
    });
}

#[test]
fn a_refused_connection_is_tried_elsewhere_as_often_as_the_rule_allows() {
    run(async {
        let gone = Echo::start("gone", Protocol::Http1).await;
        gone.stop();
        until("it refuses", async || tokio::net::TcpStream::connect(gone.address).await.is_err()).await;
        let echo = Echo::start("echo", Protocol::Http1).await;
        for (attempts, least) in [(1, 20), (0, 1)] {
            let rule = Rule { retry: Some(retry(&[], attempts)), ..Rule::default() };
            let proxy = Proxy::ruled("b", &[gone.address, echo.address], rule).await;
            let mut good = 0;
            for _ in 0..20 {
                // Each worker finds out for itself that the endpoint refuses; by then it is left out for a while.
                let status = proxy.client().await.post("x").await.status;
                assert!(status == 200 || (attempts == 0 && status == 502), "{status}");
                good += usize::from(status == 200);
            }
            assert!(good >= least);
        }
        let rule = Rule { retry: Some(retry(&[], 2)), ..Rule::default() };
        let (proxy, answer) = get(&[gone.address], rule).await;
        assert_eq!(answer.status, 502);
        assert_eq!(proxy.settled("b").await.disruptions, 1);
    });
}

#[test]
fn a_request_that_takes_too_long_is_answered_and_counted_as_a_failure() {
    run(async {
        let (_listener, address) = silent().await;
        for timeouts in [within(Some(50), None), within(None, Some(50)), within(Some(0), Some(50))] {
            let (proxy, answer) = get(&[address], Rule { timeouts, ..Rule::default() }).await;
            assert_eq!(answer.status, 504, "{timeouts:?}");
            assert_eq!(proxy.settled("b").await.responses, [0, 0, 0, 0, 1]);
        }
    });
}

#[test]
fn a_response_that_takes_too_long_breaks_off() {
    run(async {
        let address = scripted(&[&[Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")]]).await;
        let proxy = Proxy::ruled("b", &[address], Rule { timeouts: within(Some(50), None), ..Rule::default() }).await;
        let mut client = proxy.client().await;
        client.send(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n")).await;
        assert!(client.answer().await.is_none());
        assert_eq!(proxy.settled("b").await.responses, [0, 0, 0, 0, 1]);
    });
}

#[test]
fn a_try_that_takes_too_long_is_followed_by_another() {
    run(async {
        let (_listener, slow) = silent().await;
        let echo = Echo::start("echo", Protocol::Http1).await;
        let rule = Rule { retry: Some(retry(&[], 1)), timeouts: within(None, Some(50)), ..Rule::default() };
        let proxy = Proxy::ruled("b", &[slow, echo.address], rule).await;
        let mut client = proxy.client().await;
        for _ in 0..8 {
            assert_eq!(client.get().await.status, 200);
        }
        // The time for the whole request ends all tries.
        let rule = Rule { retry: Some(retry(&[], 1_000)), timeouts: within(Some(120), Some(20)), ..Rule::default() };
        let (proxy, answer) = get(&[slow], rule).await;
        assert_eq!(answer.status, 504);
        assert_eq!(proxy.settled("b").await.started, 1);
    });
}
