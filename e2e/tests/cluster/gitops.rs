//! The owner's tools write the route again in the middle of a run, in each of the ways in which tools write: their edits
//! stay, the run's weights come back, and a tool that never stops is left alone and named. What docs/gitops.md says.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use serde_json::{Value, json};
use sluice_crds::{Phase, RolloutStatus, names};
use sluice_e2e::{
    app::{App, SETUP_DEADLINE},
    cluster::Kubectl,
    suite,
    wait::{until, when},
};

/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(2);

/// Ways to write, and the field manager that each leaves.
const BY_FORCE: [&str; 6] = ["apply", "--server-side", "--force-conflicts", "--field-manager", "a-gitops-tool", "-f-"];
const WITHOUT_FORCE: [&str; 5] = ["apply", "--server-side", "--field-manager", "another-tool", "-f-"];
const CLIENT_SIDE: [&str; 2] = ["apply", "-f-"];
const PUT: [&str; 2] = ["replace", "-f-"];

#[tokio::test]
async fn a_route_that_is_applied_again_keeps_its_edits_and_the_runs_weights() -> Result<()> {
    suite::run("gitops", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 20, "hold": {"min": "10m"}}]))?;
        let address = app.serve().await?;
        let follow = app.adopt().await?;
        let load = app.load(address, 100.0)?;
        app.push("v2", "0").await?;
        let at_step = |status: &RolloutStatus| status.reason.as_deref() == Some("MinimumHold");
        let started = follow.until("the step live", SETUP_DEADLINE, at_step).await?.run.context("no run")?.started_at;

        let refused = write(&app, &WITHOUT_FORCE, "9s").await?;
        ensure!(!refused.success, "taken from the run without force: {}", refused.stdout);
        ensure!(refused.stderr.contains("conflict") && refused.stderr.contains("sluice-operator"), "{refused:?}");
        merged(&app, None).await?;

        for (how, timeout) in [(&BY_FORCE[..], "8s"), (&CLIENT_SIDE, "7s"), (&PUT, "6s"), (&PUT, "5s")] {
            written(&app, how, timeout).await?;
            merged(&app, Some(timeout)).await?;
        }
        let going_on = follow.status();
        ensure!(going_on.phase == Some(Phase::Stepping), "it does not go on: {}", app.say().await);
        ensure!(going_on.run.as_ref().is_some_and(|run| run.started_at == started), "another run: {going_on:?}");

        written(&app, &BY_FORCE, "4s").await?;
        let is_contested = |status: &RolloutStatus| status.reason.as_deref() == Some("RouteContested");
        let contested = follow.until("reason RouteContested", DEADLINE, is_contested).await?;
        let said = contested.message.clone().unwrap_or_default();
        ensure!(said.contains("a-gitops-tool"), "it does not say who: {said}");
        ensure!(canary_of(&app.route_spec().await?).is_none(), "a contested route was written");

        let abort = ["patch", "rollouts.sluice.dev", &app.name, "-n", &namespace, "--type=merge"];
        let abort = [&abort[..], &["-p", r#"{"operation":{"type":"Abort"}}"#]].concat();
        let aborted = cluster.kubectl(&abort).await?;
        ensure!(aborted.success, "{aborted:?}");
        follow.until_phase(Phase::RolledBack, DEADLINE).await?;
        app.restored(&as_written(&app, "4s")?["spec"], DEADLINE).await?;
        let managers =
            app.routes().get(&app.name).await?.managed_fields().iter().map(|of| of.manager.clone()).collect();
        let managers: Vec<Option<String>> = managers;
        ensure!(managers.iter().flatten().all(|manager| manager != "sluice-operator"), "{managers:?}");
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}

/// The route in the owner's repository.
fn as_written(app: &App, timeout: &str) -> Result<Value> {
    let route = app.objects.iter().find(|object| object["kind"] == "HTTPRoute");
    let mut route = route.context("the example has no HTTPRoute")?.clone();
    // As the API server fills them in, so that the whole can be compared.
    route["spec"]["parentRefs"] =
        json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": app.gateway}]);
    route["spec"]["rules"] = json!([{
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "timeouts": {"request": timeout},
        "backendRefs": [{"group": "", "kind": "Service", "name": app.name, "port": 80, "weight": 1}],
    }]);
    Ok(route)
}

async fn write(app: &App, how: &[&str], timeout: &str) -> Result<Kubectl> {
    app.cluster.kubectl_with(how, &as_written(app, timeout)?.to_string()).await
}

async fn written(app: &App, how: &[&str], timeout: &str) -> Result<()> {
    let said = write(app, how, timeout).await?;
    ensure!(said.success, "kubectl {}: {}", how.join(" "), said.stderr);
    Ok(())
}

/// Waits until the owner's edit and the step's weight are both in the route.
async fn merged(app: &App, timeout: Option<&str>) -> Result<()> {
    until(&format!("20% and the timeout {timeout:?}"), DEADLINE, async || {
        let spec = app.route_spec().await?;
        let is_merged = canary_of(&spec) == Some(0.2)
            && spec.pointer("/rules/0/timeouts/request").and_then(Value::as_str) == timeout;
        Ok(when(is_merged, || spec.to_string()))
    })
    .await
}

/// The share of the canary, where it is named at all.
fn canary_of(spec: &Value) -> Option<f64> {
    let refs = spec.pointer("/rules/0/backendRefs")?.as_array()?;
    let weight = |backend: &&Value| backend["weight"].as_f64().unwrap_or(1.0);
    let is_canary =
        |backend: &&Value| backend["name"].as_str().is_some_and(|name| name.ends_with(names::CANARY_SUFFIX));
    let canary = refs.iter().find(is_canary)?;
    Some(weight(&canary) / refs.iter().map(|backend| weight(&backend)).sum::<f64>())
}
