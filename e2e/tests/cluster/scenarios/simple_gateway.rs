//! docs/scenarios/01-simple-gateway.md

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use sluice_e2e::scenario;

use super::answers;

#[tokio::test]
async fn all_traffic_of_a_simple_gateway_goes_to_one_service() -> Result<()> {
    scenario::run("01-simple-gateway", async |scenario| {
        let address = SocketAddr::new(scenario.address("simple-gateway", "web").await?, 80);
        for url in ["foo.example.com/", "whatever.example.org/a/b?c=d"] {
            answers(address, url, &[], (200, "foo")).await?;
        }
        scenario.shows("attachedRoutes", "1").await?;
        let gateway = scenario.command("get -n simple-gateway gateways").await?;
        ensure!(gateway.contains("sluice") && gateway.contains(&address.ip().to_string()), "{gateway}");
        Ok(())
    })
    .await
}
