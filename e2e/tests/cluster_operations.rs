//! What people ask for in the middle of a run: what is out of date is refused, Promote and Abort are obeyed once, and
//! whoever asked is on record.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_crds::{OperationResult, Phase, RolloutStatus};
use sluice_e2e::{
    app::{App, SETUP_DEADLINE},
    follow::Follow,
    suite,
};

/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn operations_are_refused_or_obeyed_and_say_who_asked() -> Result<()> {
    suite::run("operations", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 20, "hold": {"min": "10m"}}, {"approval": {}}]))?;
        app.serve().await?;
        let route = app.route_spec().await?;
        let pods = app.pods_of("v1").await?;
        let follow = app.adopt().await?;
        app.push("v2", "0").await?;
        at_step(&follow, "1/2").await?;

        let refused = ask(&app, &follow, r#"{"type":"Promote","revision":"gone","by":"mallory"}"#).await?;
        let last = refused.last_operation.clone().context("no lastOperation")?;
        ensure!(last.result == OperationResult::Refused, "{last:?}");
        ensure!(last.message.as_deref().is_some_and(|message| message.contains("gone")), "{last:?}");
        ensure!(last.by != "mallory" && !last.by.is_empty(), "who asked was not stamped: {last:?}");
        ensure!(refused.step.as_deref() == Some("1/2") && refused.weight.as_deref() == Some("20%"), "it did something");

        let revision = refused.run.context("no run")?.revision;
        let promote = json!({"type": "Promote", "revision": revision}).to_string();
        let done = ask(&app, &follow, &promote).await?.last_operation.context("no lastOperation")?;
        ensure!(done.result == OperationResult::Done, "{done:?}");
        let waiting = at_step(&follow, "2/2").await?;
        ensure!(waiting.weight.as_deref() == Some("20%"), "an approval changed the weight: {:?}", waiting.weight);

        let done = ask(&app, &follow, r#"{"type":"Abort","reason":"not today"}"#).await?;
        let done = done.last_operation.context("no lastOperation")?;
        ensure!(done.result == OperationResult::Done, "{done:?}");
        let ended = follow.until_phase(Phase::RolledBack, DEADLINE).await?;
        let newest = ended.history.first().context("no history")?;
        ensure!(newest.outcome == "RolledBack" && newest.reason == "Aborted", "{newest:?}");
        ensure!(newest.by.as_deref() == Some(done.by.as_str()), "the history does not say who: {newest:?}");
        ensure!(newest.message.contains("not today"), "the history does not say why: {newest:?}");
        app.restored(&route, DEADLINE).await?;
        ensure!(pods == app.pods_of("v1").await?, "pods of the stable version were touched");

        let late = ask(&app, &follow, r#"{"type":"Promote"}"#).await?.last_operation.context("no lastOperation")?;
        ensure!(late.result == OperationResult::Refused, "{late:?}");
        ensure!(follow.status().phase == Some(Phase::RolledBack), "a refused operation did something");
        Ok(())
    })
    .await
}

/// Asks as a person does, and waits until it is consumed: gone from the object, with a new `lastOperation`.
async fn ask(app: &App, follow: &Follow, operation: &str) -> Result<RolloutStatus> {
    let before = follow.status().last_operation.map(|last| last.id);
    let patch = format!("{{\"operation\":{operation}}}");
    let arguments = ["patch", "rollouts.sluice.dev", &app.name, "-n", &app.namespace, "--type", "merge", "-p", &patch];
    let said = app.cluster.kubectl(&arguments).await?;
    ensure!(said.success, "kubectl patch: {}", said.stderr);
    let what = format!("operation {operation} consumed");
    let is_new =
        |status: &RolloutStatus| status.last_operation.as_ref().is_some_and(|last| Some(&last.id) != before.as_ref());
    let status = follow.until(&what, DEADLINE, is_new).await?;
    sluice_e2e::wait::until("the operation gone from the object", DEADLINE, async || {
        let operation = app.rollouts().get(&app.name).await?.operation;
        Ok(sluice_e2e::wait::when(operation.is_none(), || format!("{operation:?}")))
    })
    .await?;
    Ok(status)
}

/// Waits until a step is live.
async fn at_step(follow: &Follow, step: &str) -> Result<RolloutStatus> {
    let live = |status: &RolloutStatus| {
        status.phase == Some(Phase::Stepping)
            && status.step.as_deref() == Some(step)
            && status.weight.as_deref() == Some("20%")
    };
    follow.until(&format!("step {step} live"), SETUP_DEADLINE, live).await
}
