//! Sluice is uninstalled in the middle of a run with the commands of docs/uninstall.md, and installed again together with
//! the Rollout, whose kind is not a second old then.

use std::{path::Path, time::Duration};

use anyhow::{Result, bail, ensure};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use sluice_crds::{Phase, RolloutStatus, names};
use sluice_e2e::{
    app::{App, PodIdentity},
    cluster::Cluster,
    docs,
    install::manifest_path,
    manifest, suite,
    wait::{until, when},
};

/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn uninstalled_in_the_middle_of_a_run_and_installed_again() -> Result<()> {
    suite::run("uninstall", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 50, "hold": {"min": "10m"}}]))?;
        let address = app.serve().await?;
        let (route, pods) = (app.route_spec().await?, app.pods_of("v1").await?);
        let load = app.load(address, 200.0)?;
        let follow = app.adopt().await?;
        app.push("v2", "0").await?;
        follow.until_live("50%", DEADLINE).await?;
        drop(follow);

        let lines = docs::kubectl_lines("uninstall.md")?;
        let [api, rest, ..] = &lines[..] else { bail!("docs/uninstall.md has not two commands: {lines:?}") };
        kubectl(&cluster, api).await?;
        // kubectl has waited for it: nothing more is.
        everything_is_put_back(&app, &route, &pods).await?;
        load.stop().await?.lost_nothing_but(None)?;

        let gateways = cluster.gateway_api(&namespace, "Gateway", "gateways");
        gateways.delete(&app.gateway, &DeleteParams::default()).await?;
        kubectl(&cluster, rest).await?;
        nothing_is_left(&cluster).await?;

        app.set_steps(json!([{"weight": 50, "hold": {"min": "3s"}}]))?;
        installed_again(&app).await
    })
    .await
}

/// Runs a documented command from the root of the checkout.
async fn kubectl(cluster: &Cluster, command: &str) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let words: Vec<_> = command
        .split_whitespace()
        .map(|word| if word.starts_with("install/") { root.join(word).display().to_string() } else { word.to_owned() })
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let said = cluster.kubectl(&words).await?;
    ensure!(said.success, "kubectl {command}: {}{}", said.stdout, said.stderr);
    Ok(())
}

/// The route is the user's, the canary is gone, and v2, which was not promoted, stays held back.
async fn everything_is_put_back(app: &App, route: &Value, pods: &[PodIdentity]) -> Result<()> {
    ensure!(app.route_spec().await? == *route, "the route is not the user's: {}", app.route_spec().await?);
    ensure!(app.canary_objects().await?.is_empty(), "left: {:?}", app.canary_objects().await?);
    let deployment = app.deployment().await?;
    let labels = deployment.metadata.labels.unwrap_or_default();
    ensure!(!labels.contains_key(names::LABEL_ROLLOUT), "the label is left: {labels:?}");
    ensure!(deployment.spec.paused == Some(true), "v2 was let go, unjudged");
    ensure!(pods == app.pods_of("v1").await?, "pods of the stable version were touched");
    ensure!(app.pods_of("v2").await?.is_empty(), "pods of v2 run");
    Ok(())
}

/// Neither the API nor the namespace.
async fn nothing_is_left(cluster: &Cluster) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let definition = definitions.get_opt("rollouts.sluice.dev").await?;
    ensure!(definition.is_none(), "the definition is left");
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    until("sluice-system gone", DEADLINE, async || {
        let left = namespaces.get_opt("sluice-system").await?;
        Ok(when(left.is_none(), || format!("{:?}", left.and_then(|namespace| namespace.status))))
    })
    .await
}

/// Everything is applied in one go, as `kubectl apply -f install.yaml -f app/` does. The run of the version that was left
/// held back begins anew, and ends well.
async fn installed_again(app: &App) -> Result<()> {
    manifest::apply(&app.cluster.client, &manifest::read(&manifest_path())?).await?;
    app.apply(|kind| kind == "Rollout").await?;
    let follow = app.follow();
    app.apply(|kind| kind == "Gateway").await?;
    let load = app.load(app.answering().await?, 200.0)?;
    let is_promoted = |status: &RolloutStatus| status.phase == Some(Phase::Stable) && !status.history.is_empty();
    let status = follow.until("a promotion", DEADLINE, is_promoted).await?;
    let outcomes: Vec<_> = status.history.iter().map(|run| run.outcome.as_str()).collect();
    ensure!(outcomes == ["Promoted"], "{outcomes:?}");
    ensure!(app.pods_of("v1").await?.is_empty(), "pods of v1 are left");
    load.stop().await?.lost_nothing_but(None)
}
