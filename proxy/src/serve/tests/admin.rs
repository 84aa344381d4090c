//! What others see of us: whether to send clients here, and the series.

use sluice_proxy_core::model::{Listener, Protocol, Resource};

use super::fixtures::{Client, Echo, Proxy, run};
use crate::serve::admin;
use crate::serve::plane::Stage;

#[test]
fn readiness_follows_the_stage_and_metrics_show_what_was_served() {
    run(async {
        let echo = Echo::start("echo", Protocol::Http1).await;
        let proxy = Proxy::idle();
        let address = admin::start("127.0.0.1:0".parse().expect("address"), &proxy.plane).await.expect("bound");
        let ask = async |path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n");
            Client::connect(address).await.exchange(&request).await
        };
        assert_eq!(ask("/livez").await.status, 200);
        assert_eq!(ask("/readyz").await.status, 503);

        proxy.put(Resource::Listener(Listener::http("l", proxy.port, 80)));
        proxy.split(1, &[("b", 1)]);
        proxy.endpoints("b", Protocol::Http1, &[echo.address]);
        proxy.apply().await.expect("applied");
        assert_eq!(ask("/readyz").await.status, 200);

        assert_eq!(proxy.client().await.get().await.status, 200);
        proxy.settled("b").await;
        let metrics = ask("/metrics").await;
        let served =
            r#"sluice_proxy_requests_total{route="HTTPRoute/default/r",rule="0",backend="b",code_class="2xx"} 1"#;
        assert!(metrics.body.contains(served), "{}", metrics.body);

        proxy.plane.stage.send_replace(Stage::Draining);
        assert_eq!(ask("/readyz").await.status, 503);
        assert_eq!(ask("/livez").await.status, 200);
        assert_eq!(ask("/").await.status, 404);
    });
}
