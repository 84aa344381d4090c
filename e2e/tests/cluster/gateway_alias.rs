//! A Gateway with `spec.infrastructure` has a Service of its own namespace that carries it.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt, api::DeleteParams};
use serde_json::json;
use sluice_e2e::{
    app::SETUP_DEADLINE,
    cluster::{Cluster, look_at},
    manifest, suite,
    wait::{until, when},
};

#[tokio::test]
async fn the_service_beside_a_gateway_has_its_labels_and_goes_with_it() -> Result<()> {
    suite::run("alias", async |cluster, namespace| {
        let services: Api<Service> = cluster.api(&namespace);
        apply(&cluster, &namespace, "a").await?;
        has_team(&services, "a").await?;
        let spec = services.get("web-sluice").await?.spec.unwrap_or_default();
        ensure!(spec.external_name.is_some_and(|name| name.ends_with(".sluice-system.svc.cluster.local")));
        apply(&cluster, &namespace, "b").await?;
        has_team(&services, "b").await?;
        let gateways = cluster.gateway_api(&namespace, "Gateway", "gateways");
        gateways.delete("web", &DeleteParams::default()).await?;
        until("the Service gone with its Gateway", SETUP_DEADLINE, async || {
            let left = services.get_opt("web-sluice").await?;
            Ok(when(left.is_none(), || "still there".to_owned()))
        })
        .await
    })
    .await
}

async fn apply(cluster: &Cluster, namespace: &str, team: &str) -> Result<()> {
    let spec = json!({
        "gatewayClassName": "sluice",
        "infrastructure": {"labels": {"team": team}},
        "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
    });
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": spec,
    });
    manifest::apply(&cluster.client, &[gateway]).await
}

async fn has_team(services: &Api<Service>, team: &str) -> Result<()> {
    until(&format!("the Service of team {team}"), SETUP_DEADLINE, async || {
        look_at(services, "web-sluice", |service| {
            let found = service.labels().get("team");
            when(found.is_some_and(|found| found == team), || format!("{found:?}"))
        })
        .await
    })
    .await
}
