//! The data plane is replaced pod by pod under load on kept-alive connections, and nothing is lost.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use sluice_e2e::{
    cluster::Cluster,
    install::deployment_ready,
    suite,
    wait::{until, when},
};

/// Namespace and name of the data plane's Deployment.
const DATA_PLANE: (&str, &str) = ("sluice-system", "sluice-proxy");
/// A pod drains for at most 60 s, and they go one after the other.
const DEADLINE: Duration = Duration::from_mins(4);

#[tokio::test]
async fn a_rolling_restart_of_the_data_plane_loses_no_request() -> Result<()> {
    suite::run("drain", async |cluster, namespace| {
        let app = suite::first_light(&cluster, &namespace)?;
        let address = app.serve().await?;
        let load = app.load(address, 200.0)?;
        let before = pods(&cluster).await?;

        let now = jiff::Timestamp::now().to_string();
        let patch =
            json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
        let api = cluster.api::<Deployment>(DATA_PLANE.0);
        api.patch(DATA_PLANE.1, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        deployment_ready(&cluster, DATA_PLANE.0, DATA_PLANE.1, DEADLINE).await?;
        until("the old pods gone", DEADLINE, async || {
            let left: Vec<_> = pods(&cluster).await?.into_iter().filter(|pod| before.contains(pod)).collect();
            Ok(when(left.is_empty(), || format!("{left:?}")))
        })
        .await?;

        let finished = load.stop().await?;
        println!("{} requests, {} failed", finished.summary.sent, finished.summary.failures());
        finished.lost_nothing_but(None)
    })
    .await
}

/// Names of the data plane's pods, the leaving ones too.
async fn pods(cluster: &Cluster) -> Result<Vec<String>> {
    let deployment = cluster.api::<Deployment>(DATA_PLANE.0).get(DATA_PLANE.1).await?;
    let labels = deployment.spec.selector.match_labels.context("the data plane has no labels")?;
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let params = ListParams::default().labels(&labels.join(","));
    Ok(cluster.api::<Pod>(DATA_PLANE.0).list(&params).await?.iter().map(ResourceExt::name_any).collect())
}
