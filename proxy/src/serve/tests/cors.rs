//! Web pages of other origins.

use sluice_proxy_core::model::{Cors, Filter, Protocol, Rule};

use super::fixtures::{Echo, HOST, Proxy, run};

fn allowing(origin: &str) -> Rule {
    let cors = Cors { origins: vec![origin.into()], methods: vec!["PUT".into()], max_age: 5, ..Cors::default() };
    Rule { filters: vec![Filter::Cors(cors)], ..Rule::default() }
}

fn asking(method: &str, origin: &str, more: &str) -> String {
    format!("{method} / HTTP/1.1\r\nhost: {HOST}\r\norigin: {origin}\r\n{more}\r\n")
}

#[test]
fn a_preflight_never_reaches_the_backend_and_other_requests_do() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::ruled("b", &[echo.address], allowing("https://good.test")).await;
        let mut client = proxy.client().await;
        for (origin, allowed) in [("https://good.test", true), ("https://bad.test", false)] {
            let answer = client.exchange(&asking("OPTIONS", origin, "access-control-request-method: PUT\r\n")).await;
            assert_eq!(answer.status, 204);
            assert_eq!(answer.head.contains("access-control-allow-methods: put"), allowed, "{}", answer.head);
            assert_eq!(echo.served.get(), 0);
        }
        for (origin, allowed) in [("https://good.test", true), ("https://bad.test", false)] {
            let answer = client.exchange(&asking("OPTIONS", origin, "")).await;
            assert!(answer.body.starts_with("echo OPTIONS"));
            let line = format!("access-control-allow-origin: {origin}");
            assert_eq!(answer.head.contains(&line), allowed, "{}", answer.head);
        }
        assert_eq!(proxy.settled("b").await.started, 2, "a preflight is no request of the backend's");
    });
}

#[test]
fn a_page_may_read_why_there_is_no_response() {
    run(async {
        let proxy = Proxy::ruled("b", &[], allowing("https://good.test")).await;
        let answer = proxy.client().await.exchange(&asking("GET", "https://good.test", "")).await;
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("access-control-allow-origin: https://good.test"), "{}", answer.head);
    });
}
