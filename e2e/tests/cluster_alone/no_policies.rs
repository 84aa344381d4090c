//! An API server without MutatingAdmissionPolicy: a lasting pause holds templates back there, and no pod runs a version
//! that was not judged.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::DeleteParams,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use sluice_crds::{Phase, RolloutStatus, names};
use sluice_e2e::{
    app::{App, version_of},
    follow::Follow,
    outage::{API_SERVER, Outage},
    suite,
    wait::{Steadily, until, when},
};

/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(4);
/// An API server as before Kubernetes 1.36.
const WITHOUT: [&str; 2] = [
    "--feature-gates=MutatingAdmissionPolicy=false",
    "--runtime-config=admissionregistration.k8s.io/v1/mutatingadmissionpolicies=false,\
     admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings=false",
];

/// When the workload itself, its canary apart, first had a pod of which version.
struct Shipped {
    seen: Arc<Mutex<BTreeMap<String, Instant>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Shipped {
    fn watch(app: &App) -> Self {
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let (told, canary) = (Arc::clone(&seen), format!("{}{}-", app.name, names::CANARY_SUFFIX));
        let pods = app.cluster.api::<Pod>(&app.namespace);
        let task = tokio::spawn(async move {
            let watch = watcher(pods, watcher::Config::default()).backoff(Steadily).applied_objects();
            let mut watch = std::pin::pin!(watch);
            while let Some(event) = watch.next().await {
                let Ok(pod) = event else { continue };
                if let Some(version) = version_of(&pod).filter(|_| !pod.name_any().starts_with(&canary)) {
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    told.entry(version.to_owned()).or_insert_with(Instant::now);
                }
            }
        });
        Self { seen, task }
    }

    fn first(&self, version: &str) -> Option<Instant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(version).copied()
    }
}

impl Drop for Shipped {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_lasting_pause_holds_back_what_no_policy_does() -> Result<()> {
    suite::run("unheld", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 50, "hold": {"min": "3s"}}]))?;
        let address = app.serve().await?;
        let route = app.route_spec().await?;
        let without = Outage::of_flags(API_SERVER, &WITHOUT).await?;
        let shipped = Shipped::watch(&app);
        let follow = app.adopt().await?;
        says_so(&follow)?;
        stays_paused(&app).await?;

        let load = app.load(address, 200.0)?;
        good_version(&app, &follow, &shipped).await?;
        app.restored(&route, DEADLINE).await?;
        stays_paused(&app).await?;
        let pods = app.pods_of("v2").await?;
        load.stop().await?.lost_nothing_but(None)?;

        let load = app.load(address, 200.0)?;
        app.push("v3", "0.2").await?;
        follow.until_phase(Phase::RolledBack, DEADLINE).await?;
        app.restored(&route, DEADLINE).await?;
        ensure!(shipped.first("v3").is_none(), "a pod of the bad version ran outside the canary");
        ensure!(pods == app.pods_of("v2").await?, "the rollback touched the pods");
        app.push("v2", "0").await?;
        follow.until_phase(Phase::Stable, DEADLINE).await?;
        stays_paused(&app).await?;
        load.stop().await?.lost_nothing_but(Some("v3"))?;

        let_go(&app).await?;
        ensure!(pods == app.pods_of("v2").await?, "the deletion touched the pods");
        without.end().await.map(drop)
    })
    .await
}

/// The Rollout says by what the workload is held back.
fn says_so(follow: &Follow) -> Result<()> {
    let status = follow.status();
    let reasons: Vec<_> = status.conditions.iter().map(|condition| condition.reason.as_str()).collect();
    ensure!(reasons.contains(&"PausedBetweenRuns"), "conditions give the reasons {reasons:?}");
    Ok(())
}

async fn stays_paused(app: &App) -> Result<()> {
    until("the workload paused", DEADLINE, async || {
        let paused = app.deployment().await?.spec.paused;
        Ok(when(paused == Some(true), || format!("paused: {paused:?}")))
    })
    .await
}

/// It is promoted, and nothing of it ran outside the canary before.
async fn good_version(app: &App, follow: &Follow, shipped: &Shipped) -> Result<()> {
    app.push("v2", "0").await?;
    follow.until("a promotion", DEADLINE, |status| !status.history.is_empty()).await?;
    let history: Vec<_> = follow.status().history.iter().map(|run| run.outcome.clone()).collect();
    ensure!(history == ["Promoted"], "{history:?}");
    let is_promoting = |status: &RolloutStatus| status.phase == Some(Phase::Promoting);
    let moments = follow.moments();
    let promoting = moments.iter().find(|moment| moment.status.as_ref().is_some_and(is_promoting));
    let promoting = promoting.context("the promotion was not seen")?.at;
    let first = shipped.first("v2").context("no pod of v2 was seen")?;
    ensure!(first > promoting, "v2 ran outside the canary {:?} before its promotion", promoting - first);
    Ok(())
}

/// The Rollout goes, and takes its pause with it.
async fn let_go(app: &App) -> Result<()> {
    app.rollouts().delete(&app.name, &DeleteParams::default()).await?;
    until("the Rollout gone and the workload let go", DEADLINE, async || {
        let left = app.rollouts().get_opt(&app.name).await?.is_some();
        let deployment = app.deployment().await?;
        let is_held = deployment.spec.paused == Some(true) || deployment.labels().contains_key(names::LABEL_ROLLOUT);
        Ok(when(!left && !is_held, || format!("Rollout: {left}, held: {is_held}")))
    })
    .await
}
