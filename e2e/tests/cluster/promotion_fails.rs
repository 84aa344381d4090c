//! The workload's own rollout cannot come to its end while the canary carries everything: no request is lost on the way
//! back, whichever way that is, and the history says why.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use sluice_crds::{Phase, RolloutStatus, names};
use sluice_e2e::{
    app::App,
    cluster::Cluster,
    follow::Follow,
    load::Load,
    suite,
    wait::{until, when},
};

/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(3);
/// Pods of the workload.
const REPLICAS: usize = 4;
/// So many of them are away while it rolls out.
const AWAY: usize = 2;

/// A promotion that has come half way and gets no further.
struct Scene {
    app: App,
    /// As the owner wrote it.
    route: Value,
    follow: Follow,
    load: Load,
}

impl Scene {
    async fn half_way(cluster: &Cluster, namespace: &str, on_failure: &str) -> Result<Self> {
        let app = cannot_finish(cluster, namespace, on_failure)?;
        let address = app.serve().await?;
        let route = app.route_spec().await?;
        let follow = app.adopt().await?;
        let load = app.load(address, 100.0)?;
        declare(&app, "v2", &stuck("v2")).await?;
        half_way(&app, &follow, "v2").await?;
        Ok(Self { app, route, follow, load })
    }
}

#[tokio::test]
async fn a_promotion_that_fails_is_rolled_back_by_replica_sets() -> Result<()> {
    suite::run("unfinished", async |cluster, namespace| {
        let Scene { app, route, follow, load } = Scene::half_way(&cluster, &namespace, "RollBack").await?;
        // A newer template comes in the middle: what has rolled out goes, and the newer one has a run of its own.
        declare(&app, "v3", &stuck("v3")).await?;
        half_way(&app, &follow, "v3").await?;
        let ended = follow.until_phase(Phase::RolledBack, DEADLINE).await?;

        let told: Vec<_> = ended.history.iter().map(|run| (run.outcome.as_str(), run.reason.as_str())).collect();
        ensure!(told == [("RolledBack", "PromotionFailed"), ("Superseded", "Superseded")], "{told:?}");
        ensure!(ended.history[0].message.contains("Unschedulable"), "it does not say why: {:?}", ended.history[0]);
        app.restored(&route, DEADLINE).await?;
        serves_v1_alone(&app).await?;
        ensure!(app.deployment().await?.spec.paused == Some(true), "the rejected template was let go");
        let left = replica_sets(&app).await?;
        ensure!(left == [i32::try_from(REPLICAS)?], "ReplicaSets of failed promotions are left, of sizes {left:?}");
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}

#[tokio::test]
async fn a_promotion_that_fails_waits_for_a_person_and_goes_back_when_the_old_template_is_declared() -> Result<()> {
    suite::run("half-way", async |cluster, namespace| {
        let Scene { app, route, follow, load } = Scene::half_way(&cluster, &namespace, "Pause").await?;
        let is_failed = |status: &RolloutStatus| status.reason.as_deref() == Some("PromotionFailed");
        let failed = follow.until("reason PromotionFailed", DEADLINE, is_failed).await?;
        ensure!(failed.phase == Some(Phase::Promoting) && failed.weight.as_deref() == Some("100%"), "{failed:?}");
        let message = failed.message.unwrap_or_default();
        for word in ["Unschedulable", "Abort", "Retry"] {
            ensure!(message.contains(word), "{word:?} is not named in: {message}");
        }
        until("the workload paused", DEADLINE, async || {
            let paused = app.deployment().await?.spec.paused;
            Ok(when(paused == Some(true), || format!("{paused:?}")))
        })
        .await?;
        ensure!(app.pods_of("v1").await?.len() == REPLICAS - AWAY, "pods of the stable version went on going");

        declare(&app, "v1", &json!({"metadata": {"labels": {"version": null}}, "spec": {"affinity": null}})).await?;
        let stable = follow.until_phase(Phase::Stable, DEADLINE).await?;
        let newest = stable.history.first().context("no history")?;
        ensure!(newest.outcome == "RolledBack" && newest.reason == "Reverted", "{newest:?}");
        ensure!(newest.message.contains("Unschedulable"), "the history does not say what failed: {newest:?}");
        app.restored(&route, DEADLINE).await?;
        serves_v1_alone(&app).await?;
        ensure!(app.deployment().await?.spec.paused != Some(true), "the stable template is held");
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}

/// The example, promoted after a second at 50 %, and given up when its rollout has stood still for a while.
fn cannot_finish(cluster: &Cluster, namespace: &str, on_failure: &str) -> Result<App> {
    let mut app = suite::first_light(cluster, namespace)?;
    app.set_steps(json!([{"weight": 50, "hold": {"min": "1s"}}]))?;
    let spec = app.object_mut("Rollout")?.get_mut("spec").context("no spec")?;
    spec["strategy"]["canary"]["progressDeadline"] = json!("20s");
    spec["strategy"]["canary"]["promotion"] = json!({"onFailure": on_failure});
    // What is shown here is no matter of metrics.
    spec.as_object_mut().context("no object")?.remove("analysis");
    let spec = app.object_mut("Deployment")?.get_mut("spec").context("no spec")?;
    spec["replicas"] = json!(REPLICAS);
    spec["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": AWAY}});
    Ok(app)
}

/// Pods of such a version stand no pod of it with another `app`, anywhere. Those of the canary come first; so those of the
/// workload cannot be scheduled as long as there is a canary.
fn stuck(version: &str) -> Value {
    let other = json!({
        "labelSelector": {"matchLabels": {"version": version}},
        "mismatchLabelKeys": ["app"],
        "topologyKey": "kubernetes.io/os",
    });
    json!({
        "metadata": {"labels": {"version": version}},
        "spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [other]}}},
    })
}

/// Declares a version whose template differs in this, too.
async fn declare(app: &App, version: &str, template: &Value) -> Result<()> {
    let mut template = template.clone();
    template["spec"]["containers"] = json!([{"name": app.name, "env": [{"name": "VERSION", "value": version}]}]);
    let patch = Patch::Strategic(json!({"spec": {"template": template}}));
    app.deployments().patch(&app.name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The canary of this version carries everything, and some of stable's pods are gone for pods that do not come.
async fn half_way(app: &App, follow: &Follow, version: &str) -> Result<()> {
    let is_rolling = |status: &RolloutStatus| status.reason.as_deref() == Some("WaitingForRollout");
    until(&format!("half of the workload at {version}"), DEADLINE, async || {
        let is_rolling = is_rolling(&follow.status());
        let (old, new) = (app.pods_of("v1").await?.len(), own_pods(app, version).await?);
        let seen = || format!("rolling out {is_rolling}, {old} pods of v1, {new} of {version}");
        Ok(when(is_rolling && old == REPLICAS - AWAY && new == AWAY, seen))
    })
    .await?;
    let canary = format!("{}{}", app.name, names::CANARY_SUFFIX);
    let share = follow.weights().last().map(|weights| weights.share(&canary));
    ensure!(share == Some(1.0), "the canary carries {share:?}");
    Ok(())
}

/// The workload's own pods of a version.
async fn own_pods(app: &App, version: &str) -> Result<usize> {
    let canary = format!("{}{}-", app.name, names::CANARY_SUFFIX);
    Ok(app.pods_of(version).await?.iter().filter(|pod| !pod.name.starts_with(&canary)).count())
}

/// As many pods of v1 as the workload wants, and none of another version.
async fn serves_v1_alone(app: &App) -> Result<()> {
    until("pods of v1 alone", DEADLINE, async || {
        let mut pods = Vec::new();
        for version in ["v1", "v2", "v3"] {
            pods.push(app.pods_of(version).await?.len());
        }
        Ok(when(pods == [REPLICAS, 0, 0], || format!("{pods:?}")))
    })
    .await
}

/// Sizes of the namespace's ReplicaSets.
async fn replica_sets(app: &App) -> Result<Vec<i32>> {
    let sets = app.cluster.api::<ReplicaSet>(&app.namespace).list(&ListParams::default()).await?;
    Ok(sets.into_iter().map(|set| set.spec.replicas.unwrap_or(1)).collect())
}
