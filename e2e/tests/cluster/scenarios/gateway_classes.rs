//! docs/scenarios/10-gateway-classes.md

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use serde_json::Value;
use sluice_e2e::scenario::{self, Scenario};

use super::answers;

const NAMESPACE: &str = "gateway-classes";
/// How Services say which Gateway they are of.
const GATEWAY_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

#[tokio::test]
async fn each_controller_minds_its_own_class_and_nobody_the_third() -> Result<()> {
    scenario::run("10-gateway-classes", async |scenario| {
        for (gateway, namespace, others) in
            [("ours", "sluice-system", "other-proxy"), ("theirs", "other-proxy", "sluice-system")]
        {
            let address = SocketAddr::new(scenario.address(NAMESPACE, gateway).await?, 80);
            answers(address, &format!("{gateway}.example.com/"), &[], (200, "foo")).await?;
            answers(address, "both.example.com/", &[], (200, "foo")).await?;
            ensure!(services(scenario, namespace, gateway).await? == 1, "{gateway}: no Service in {namespace}");
            ensure!(services(scenario, others, gateway).await? == 0, "{gateway}: a Service of another controller");
        }
        scenario.shows("httproute ours", "ours=sluice.dev/gateway-controller").await?;
        scenario.shows("httproute theirs", "theirs=example.net/gateway-controller").await?;
        let both = scenario.command("httproute both").await?;
        let mut answered: Vec<_> = both.split_whitespace().collect();
        answered.sort_unstable();
        ensure!(answered == ["ours=sluice.dev/gateway-controller", "theirs=example.net/gateway-controller"], "{both}");

        // Both controllers have looked at everything by now, this too.
        let routes = scenario.cluster.gateway_api(NAMESPACE, "HTTPRoute", "httproutes");
        let status = routes.get("unserved").await?.data.get("status").cloned().unwrap_or_default();
        let parents = status.get("parents").and_then(Value::as_array).map_or(0, Vec::len);
        ensure!(parents == 0, "somebody answers for what is nobody's: {status}");
        scenario.shows("gateway unserved", "Accepted=Unknown Programmed=Unknown").await?;
        scenario.shows("get gatewayclasses", "sluice=True other=True nobody=Unknown").await
    })
    .await
}

/// How many Services in a namespace of a controller are of a Gateway here.
async fn services(scenario: &Scenario, namespace: &str, gateway: &str) -> Result<usize> {
    let services = scenario.cluster.api::<Service>(namespace);
    Ok(services.list(&ListParams::default().labels(&format!("{GATEWAY_LABEL}={gateway}"))).await?.items.len())
}
