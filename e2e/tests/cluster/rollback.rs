//! A bad version is rolled back; nobody but its own first requests saw it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sluice_crds::{Phase, RolloutStatus, names};
use sluice_e2e::{
    app::App,
    follow::{Follow, has_condition},
    load::Load,
    suite,
    wait::{until, when},
};

/// How long a run may take.
const RUN_DEADLINE: Duration = Duration::from_mins(4);
/// All new requests go to stable so long after the decision.
const SAFE_WITHIN: Duration = Duration::from_secs(2);
/// So long without a request of the bad version, and it is gone.
const QUIET: Duration = Duration::from_secs(3);

#[tokio::test]
async fn five_percent_of_errors_are_rolled_back() -> Result<()> {
    bad_version_is_rolled_back("0.05", |_| Ok(())).await
}

#[tokio::test]
async fn twenty_percent_of_errors_behind_a_listener_set_are_rolled_back() -> Result<()> {
    bad_version_is_rolled_back("0.2", behind_a_listener_set).await
}

async fn bad_version_is_rolled_back(error_rate: &str, prepare: impl FnOnce(&mut App) -> Result<()>) -> Result<()> {
    suite::run("rollback", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        prepare(&mut app)?;
        let address = app.serve().await?;
        let (route, pods) = (app.route_spec().await?, app.pods_of("v1").await?);
        let follow = app.adopt().await?;
        let load = app.load(address, 100.0)?;

        app.push("v3", error_rate).await?;
        let status = follow.until_phase(Phase::RolledBack, RUN_DEADLINE).await?;
        println!("{error_rate}: {}", status.message.as_deref().unwrap_or_default());
        ensure!(outcome(&status) == Some("RolledBack"), "history says {:?}", status.history.first());
        ensure!(has_condition(&status, names::CONDITION_STALLED, "True"), "not Stalled: {}", app.say().await);
        quiet(&load).await?;
        safe_in_time(error_rate, &follow, &load)?;
        app.restored(&route, RUN_DEADLINE).await?;
        until("pods of v3 gone", RUN_DEADLINE, async || {
            let left = app.pods_of("v3").await?;
            Ok(when(left.is_empty(), || format!("{left:?}")))
        })
        .await?;
        stays_on_stable(&app, &pods).await?;

        app.push("v1", "0").await?;
        follow
            .until("Stalled ends", RUN_DEADLINE, |status| {
                status.phase == Some(Phase::Stable) && !has_condition(status, names::CONDITION_STALLED, "True")
            })
            .await?;
        until("the Deployment resumed", RUN_DEADLINE, async || {
            let paused = app.deployment().await?.spec.paused;
            Ok(when(paused != Some(true), || format!("paused: {paused:?}")))
        })
        .await?;
        ensure!(pods == app.pods_of("v1").await?, "the revert touched the pods");
        load.stop().await?.lost_nothing_but(Some("v3"))
    })
    .await
}

/// Has the route attached to a ListenerSet, whose listener is all that there is on the port.
fn behind_a_listener_set(app: &mut App) -> Result<()> {
    let gateway = &mut app.object_mut("Gateway")?["spec"];
    gateway["allowedListeners"] = json!({"namespaces": {"from": "Same"}});
    let own = json!([{"name": "own", "protocol": "HTTP", "port": 8080}]);
    let listeners = std::mem::replace(&mut gateway["listeners"], own);
    app.object_mut("HTTPRoute")?["spec"]["parentRefs"] = json!([{"kind": "ListenerSet", "name": "more"}]);
    app.objects.push(json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "ListenerSet",
        "metadata": {"name": "more", "namespace": app.namespace},
        "spec": {"parentRef": {"name": app.gateway}, "listeners": listeners},
    }));
    Ok(())
}

/// The Deployment declares v3 and runs v1: paused, with the pods that it had.
async fn stays_on_stable(app: &App, pods: &[sluice_e2e::app::PodIdentity]) -> Result<()> {
    let deployment = app.deployment().await?;
    ensure!(deployment.spec.paused == Some(true), "the Deployment is not paused");
    let declared = serde_json::to_string(&deployment.spec.template)?;
    ensure!(declared.contains("\"v3\""), "the user's template was changed: {declared}");
    ensure!(pods == app.pods_of("v1").await?, "the rollback touched the pods");
    Ok(())
}

async fn quiet(load: &Load) -> Result<()> {
    until("no request to v3 any more", RUN_DEADLINE, async || {
        let last = load.record().last_sent_to("v3").unwrap_or_default();
        let quiet = load.elapsed().saturating_sub(last);
        Ok(when(quiet >= QUIET, || format!("last sent {quiet:?} ago")))
    })
    .await
}

fn safe_in_time(error_rate: &str, follow: &Follow, load: &Load) -> Result<()> {
    let record = load.record();
    let first = record.first_error_of("v3").context("v3 never failed")?;
    let last = record.last_sent_to("v3").context("v3 got no request")?;
    let moments = follow.moments();
    let rolling_back = |status: &RolloutStatus| matches!(status.phase, Some(Phase::RollingBack | Phase::RolledBack));
    let decided = moments.iter().find(|moment| moment.status.as_ref().is_some_and(rolling_back));
    let decided = load.at(decided.context("no decision was seen")?.at);
    let after = last.saturating_sub(decided);
    println!(
        "{error_rate}: {:.2} s from the first error to the last request of v3, {:.2} s of them after the decision",
        last.saturating_sub(first).as_secs_f64(),
        after.as_secs_f64()
    );
    ensure!(after <= SAFE_WITHIN, "v3 got requests until {after:?} after the decision");
    Ok(())
}

fn outcome(status: &RolloutStatus) -> Option<&str> {
    status.history.first().map(|run| run.outcome.as_str())
}
