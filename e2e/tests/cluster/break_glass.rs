//! A person ships what a Deployment declares, past every step, with the two lines of docs/break-glass.md; the operator
//! follows, and no request is lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use serde_json::json;
use sluice_crds::{Phase, RolloutStatus, names};
use sluice_e2e::{
    app::App,
    docs,
    install::deployment_ready,
    suite,
    wait::{until, when},
};

/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn who_breaks_the_glass_is_followed() -> Result<()> {
    suite::run("glass", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 20, "hold": {"min": "10m"}}]))?;
        let address = app.serve().await?;
        let (route, pods) = (app.route_spec().await?, app.pods_of("v1").await?.len());
        let follow = app.adopt().await?;
        let load = app.load(address, 100.0)?;
        let lines = docs::kubectl_lines("break-glass.md")?;
        let [unlabel, resume] = &lines[..] else { anyhow::bail!("not two lines: {lines:?}") };

        kubectl(&app, unlabel).await?;
        labelled(&app).await?;

        app.push("v2", "0").await?;
        follow.until_live("20%", DEADLINE).await?;
        kubectl(&app, unlabel).await?;
        kubectl(&app, resume).await?;
        let is_over = |status: &RolloutStatus| status.phase == Some(Phase::Stable) && !status.history.is_empty();
        follow.until("the rollout followed to its end", DEADLINE, is_over).await?;
        labelled(&app).await?;
        deployment_ready(&cluster, &namespace, &app.name, DEADLINE).await?;
        app.restored(&route, DEADLINE).await?;
        ensure!(app.pods_of("v1").await?.is_empty() && app.pods_of("v2").await?.len() == pods, "v2 was not shipped");

        let serving = |status: &RolloutStatus| status.reason.as_deref() == Some("Serving");
        let stable = follow.until("reason Serving", DEADLINE, serving).await?;
        let newest = stable.history.first().context("no history")?;
        ensure!(newest.outcome == "RolledBack" && newest.reason == "Unpaused", "{newest:?}");
        let events = ["get", "events", "-n", &namespace, "--field-selector", "reason=ChangedUnjudged", "-oname"];
        let told = cluster.kubectl(&events).await?;
        ensure!(!told.stdout.trim().is_empty(), "nobody was told that it was not judged: {}", told.stderr);
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}

/// Runs a documented command, in this test's namespace.
async fn kubectl(app: &App, command: &str) -> Result<()> {
    let words = command.split_whitespace().map(|word| if word == "shop" { app.namespace.as_str() } else { word });
    let said = app.cluster.kubectl(&words.collect::<Vec<_>>()).await?;
    ensure!(said.success, "kubectl {command}: {}", said.stderr);
    ensure!(!said.stderr.contains("Warning"), "kubectl {command} was held: {}", said.stderr);
    Ok(())
}

/// Waits until the Deployment is adopted again.
async fn labelled(app: &App) -> Result<()> {
    until("the label put back", DEADLINE, async || {
        let label = app.deployment().await?.labels().get(names::LABEL_ROLLOUT).cloned();
        Ok(when(label.as_ref() == Some(&app.name), || format!("{label:?}")))
    })
    .await
}
