//! Copies of requests.

use sluice_proxy_core::model::{Filter, HeaderEdit, Mirror, Protocol, Rule};

use super::fixtures::{Echo, Proxy, Step, run, scripted, until};

fn mirror(backend: &str) -> Filter {
    Filter::Mirror(Mirror { backend: backend.into(), numerator: 1, denominator: 1 })
}

#[test]
fn each_mirror_gets_the_request_with_its_body_and_the_client_hears_of_none() {
    run(async {
        let (main, one) = (Echo::start("main", Protocol::Http1).await, Echo::start("one", Protocol::H2c).await);
        let broken = scripted(&[&[Step::Close], &[Step::Close], &[Step::Close], &[Step::Close]]).await;
        let set = HeaderEdit { set: vec![("x-set".into(), "yes".into())], ..HeaderEdit::default() };
        let filters = vec![mirror("one"), mirror("broken"), mirror("absent"), Filter::RequestHeaders(set)];
        let proxy = Proxy::ruled("main", &[main.address], Rule { filters, ..Rule::default() }).await;
        proxy.endpoints("one", Protocol::H2c, &[one.address]);
        proxy.endpoints("broken", Protocol::Http1, &[broken]);
        proxy.apply().await.expect("applied");
        let mut client = proxy.client().await;
        assert!(client.get().await.body.starts_with("main GET /"));
        until("the copy has come", async || one.heard().len() == 1).await;
        assert!(client.post("payload").await.body.ends_with("payload"));
        until("the copy has come", async || one.heard().len() == 2).await;
        let heard = one.heard();
        assert!(heard[0].starts_with("one GET http://app.test/\n"), "{}", heard[0]);
        assert!(heard[1].ends_with("payload"), "{}", heard[1]);
        assert!(heard.iter().all(|request| request.contains("x-set: yes\n")), "{heard:?}");
        let totals = proxy.settled("main").await;
        assert_eq!((totals.started, totals.responses[1]), (2, 2));
        assert_eq!(proxy.counted("one").await.started, 0, "a copy counts nowhere");
    });
}

#[test]
fn what_is_too_large_to_keep_is_not_copied_and_passes_as_ever() {
    run(async {
        let (main, one) = (Echo::start("main", Protocol::Http1).await, Echo::start("one", Protocol::Http1).await);
        let rule = Rule { filters: vec![mirror("one")], ..Rule::default() };
        let proxy = Proxy::ruled("main", &[main.address], rule).await;
        proxy.endpoints("one", Protocol::Http1, &[one.address]);
        proxy.apply().await.expect("applied");
        let mut client = proxy.client().await;
        let large = "x".repeat(65 * 1024);
        assert!(client.post(&large).await.body.ends_with(&large));
        assert_eq!(client.post("small").await.status, 200);
        until("the copy has come", async || !one.heard().is_empty()).await;
        assert!(one.heard().iter().all(|request| request.ends_with("small")));
    });
}
