//! What people ask for: what is out of date is refused, what applies is obeyed once, and whoever asked is on record. The
//! commands are those of docs/operations.md.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_crds::{OperationResult, Phase, RolloutStatus};
use sluice_e2e::{
    app::{App, SETUP_DEADLINE},
    docs,
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

/// One story, with requests all the time: a run is paused and resumed, aborted, tried again and undone; the undone revision
/// is declared again, held, tried again and promoted in full.
#[tokio::test]
async fn the_documented_commands_do_what_they_say() -> Result<()> {
    suite::run("documented", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 20, "hold": {"min": "10m"}}, {"approval": {}}]))?;
        let address = app.serve().await?;
        let (route, pods) = (app.route_spec().await?, app.pods_of("v1").await?);
        let follow = app.adopt().await?;
        let load = app.load(address, 100.0)?;

        app.push("v2", "0").await?;
        at_step(&follow, "1/2").await?;
        let paused = obeyed(&app, &follow, "Pause").await?;
        let pause = paused.pause.clone().context("no status.pause")?;
        ensure!(Some(&pause.by) == asker(&paused) && pause.reason.is_some(), "{pause:?}");
        let is_held = |status: &RolloutStatus| status.reason.as_deref() == Some("Paused");
        let held = follow.until("reason Paused", DEADLINE, is_held).await?;
        ensure!(held.phase == Some(Phase::Stepping) && held.weight.as_deref() == Some("20%"), "{held:?}");
        let resumed = obeyed(&app, &follow, "Resume").await?;
        ensure!(resumed.pause.is_none() && resumed.reason.as_deref() == Some("MinimumHold"), "{resumed:?}");

        obeyed(&app, &follow, "Abort").await?;
        follow.until_phase(Phase::RolledBack, DEADLINE).await?;
        obeyed(&app, &follow, "Retry").await?;
        at_step(&follow, "1/2").await?;

        obeyed(&app, &follow, "Undo").await?;
        let undone = follow.until_phase(Phase::Stable, DEADLINE).await?;
        let newest = undone.history.first().context("no history")?;
        ensure!(newest.reason == "Undone" && newest.by.as_ref() == asker(&undone), "{newest:?}");
        declares(&app, "v1").await?;
        app.restored(&route, DEADLINE).await?;
        ensure!(pods == app.pods_of("v1").await?, "pods of the stable version were touched");

        app.push("v2", "0").await?;
        let held = follow.until_phase(Phase::RolledBack, DEADLINE).await?;
        ensure!(held.reason.as_deref() == Some("Undone"), "{held:?}");
        obeyed(&app, &follow, "Retry").await?;
        at_step(&follow, "1/2").await?;
        obeyed(&app, &follow, "PromoteFull").await?;
        let promoted = follow.until_phase(Phase::Stable, DEADLINE).await?;
        let newest = promoted.history.first().context("no history")?;
        ensure!(newest.outcome == "Promoted" && newest.by.as_ref() == asker(&promoted), "{newest:?}");
        declares(&app, "v2").await?;
        app.restored(&route, DEADLINE).await?;

        let asked: Vec<_> = promoted.operations.iter().rev().map(|operation| operation.type_.as_str()).collect();
        ensure!(asked == ["Pause", "Resume", "Abort", "Retry", "Undo", "Retry", "PromoteFull"], "{asked:?}");
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}

/// Who asked last.
fn asker(status: &RolloutStatus) -> Option<&String> {
    status.last_operation.as_ref().map(|last| &last.by)
}

/// Asks with the documented command, which must take effect and say who asked.
async fn obeyed(app: &App, follow: &Follow, type_: &str) -> Result<RolloutStatus> {
    let status = ask(app, follow, &documented(type_)?).await?;
    let last = status.last_operation.as_ref().context("no lastOperation")?;
    ensure!(last.type_ == type_ && last.result == OperationResult::Done, "{last:?}");
    ensure!(!last.by.is_empty() && last.by != "unknown", "who asked was not stamped: {last:?}");
    Ok(status)
}

/// What the documented command for an operation writes.
fn documented(type_: &str) -> Result<String> {
    let lines = docs::kubectl_lines("operations.md")?;
    let command = "patch rollouts.sluice.dev podinfo -n shop --type merge -p '{\"operation\":";
    let asks = format!("{{\"type\":\"{type_}\"");
    let line = lines.iter().filter_map(|line| line.strip_prefix(command)).find(|rest| rest.starts_with(&asks));
    let line = line.with_context(|| format!("docs/operations.md has no command for {type_}"))?;
    Ok(line.strip_suffix("}'").context("not one object")?.to_owned())
}

/// The Deployment declares this version and is not paused.
async fn declares(app: &App, version: &str) -> Result<()> {
    sluice_e2e::wait::until(&format!("{version} declared and not paused"), DEADLINE, async || {
        let spec = app.deployment().await?.spec;
        let is_declared = serde_json::to_string(&spec.template)?.contains(&format!("\"{version}\""));
        let is_there = is_declared && spec.paused != Some(true);
        Ok(sluice_e2e::wait::when(is_there, || format!("declared {is_declared}, paused {:?}", spec.paused)))
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
