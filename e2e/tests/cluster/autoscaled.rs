//! A workload that an autoscaler scales in the middle of a run: the run follows, and never writes what is the autoscaler's.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use serde_json::json;
use sluice_crds::{Phase, RolloutStatus, names};
use sluice_e2e::{
    app::App,
    cluster::Cluster,
    install::deployment_ready,
    manifest, suite,
    wait::{until, when},
};

/// How long a part may take: metrics come each 10 s, and the autoscaler looks at them each 15 s.
const DEADLINE: Duration = Duration::from_mins(4);
/// What the load makes of the Deployment's 4 replicas.
const SCALED: i32 = 6;

#[tokio::test]
async fn an_autoscaled_workload_is_followed_and_promoted_at_its_size() -> Result<()> {
    suite::run("autoscaled", async |cluster, namespace| {
        metrics_server(&cluster).await?;
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 20, "hold": {"min": "10m"}}]))?;
        let address = app.serve().await?;
        let route = app.route_spec().await?;
        let follow = app.adopt().await?;
        let load = app.load(address, 200.0)?;
        app.push("v2", "0").await?;
        let is_live = |status: &RolloutStatus| status.reason.as_deref() == Some("MinimumHold");
        follow.until("the step live", DEADLINE, is_live).await?;
        ensure!(canary_size(&app).await? == 1, "20% of 4 is 1 pod");

        manifest::apply(&cluster.client, &[autoscaler(&app)]).await?;
        until("the workload scaled up in the middle of the run", DEADLINE, async || {
            let (stable, canary) = (size(&app, &app.name).await?, canary_size(&app).await?);
            // 20% of 6, rounded up.
            Ok(when(stable == SCALED && canary == 2, || format!("stable {stable}, canary {canary}")))
        })
        .await?;
        follow.until("the step live with more pods", DEADLINE, is_live).await?;

        let promote = ["patch", "rollouts.sluice.dev", &app.name, "-n", &namespace, "--type=merge", "-p"];
        let said = cluster.kubectl(&[&promote[..], &[r#"{"operation":{"type":"Promote"}}"#]].concat()).await?;
        ensure!(said.success, "{said:?}");
        let promoted = |status: &RolloutStatus| {
            status.phase == Some(Phase::Stable) && status.history.first().is_some_and(|run| run.outcome == "Promoted")
        };
        follow.until("a promotion", DEADLINE, promoted).await?;
        app.restored(&route, DEADLINE).await?;
        let pods = app.pods_of("v2").await?.len();
        ensure!(i32::try_from(pods)? == SCALED, "promoted with {pods} pods");
        load.stop().await?.lost_nothing_but(None)?;

        until("the workload scaled down after the run", DEADLINE, async || {
            let stable = size(&app, &app.name).await?;
            Ok(when(stable == 4, || format!("{stable} replicas")))
        })
        .await?;
        let autoscalers = cluster.api::<HorizontalPodAutoscaler>(&namespace);
        let autoscaler = autoscalers.get(&app.name).await?;
        let managers = autoscaler.managed_fields().iter().filter_map(|of| of.manager.as_deref());
        let foreign: Vec<_> = managers.filter(|manager| manager.contains("sluice-operator")).collect();
        ensure!(foreign.is_empty(), "the autoscaler was written by {foreign:?}");
        Ok(())
    })
    .await
}

/// Brings metrics-server up where no server of resource metrics is known yet.
async fn metrics_server(cluster: &Cluster) -> Result<()> {
    if cluster.kubectl(&["get", "apiservice", "v1beta1.metrics.k8s.io"]).await?.success {
        return Ok(());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("metrics-server.yaml");
    manifest::apply(&cluster.client, &manifest::read(&path)?).await?;
    deployment_ready(cluster, "kube-system", "metrics-server", DEADLINE).await
}

/// Any load is more than a pod is meant to carry, and none is less.
fn autoscaler(app: &App) -> serde_json::Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": app.name, "namespace": app.namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": app.name},
            "minReplicas": 4, "maxReplicas": SCALED,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "AverageValue", "averageValue": "2m"}}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    })
}

async fn canary_size(app: &App) -> Result<i32> {
    size(app, &format!("{}{}", app.name, names::CANARY_SUFFIX)).await
}

async fn size(app: &App, deployment: &str) -> Result<i32> {
    app.deployments().get(deployment).await?.spec.replicas.context("no replicas")
}
