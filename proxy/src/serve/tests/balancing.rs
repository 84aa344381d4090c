//! How the endpoints of one backend share its requests.

use sluice_proxy_core::model::Protocol;

use super::fixtures::{Echo, Proxy, Step, run, scripted};

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
