//! A good version goes from adoption to promotion, and the Rollout goes again, under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::{ResourceExt, api::DeleteParams};
use sluice_crds::{RolloutStatus, names};
use sluice_e2e::{
    app::App,
    follow::{Follow, has_condition},
    load::Load,
    share::{fits, measured},
    suite,
    wait::{until, when},
};

/// How long a run may take.
const RUN_DEADLINE: Duration = Duration::from_mins(4);
/// Fewer requests would show nothing about a share.
const ENOUGH: u64 = 300;

#[tokio::test]
async fn a_good_version_is_promoted_and_no_request_is_lost() -> Result<()> {
    suite::run("promote", async |cluster, namespace| {
        let app = suite::first_light(&cluster, &namespace)?;
        let address = app.serve().await?;
        let (route, pods) = (app.route_spec().await?, app.pods_of("v1").await?);
        let load = app.load(address, 100.0)?;

        let follow = app.adopt().await?;
        ensure!(pods == app.pods_of("v1").await?, "adoption touched the pods");
        ensure!(label(&app).await?.as_deref() == Some(app.name.as_str()), "the Deployment has no label");
        ensure!(!paused(&app).await?, "adoption left the Deployment paused");

        app.push("v2", "0").await?;
        follow.until("a promotion", RUN_DEADLINE, |status| outcome(status) == Some("Promoted")).await?;
        follow
            .until("condition Ready", RUN_DEADLINE, |status| has_condition(status, names::CONDITION_READY, "True"))
            .await?;
        ensure!(
            has_condition(&follow.status(), names::CONDITION_PROMOTED, "True"),
            "not Promoted: {}",
            app.say().await
        );
        app.restored(&route, RUN_DEADLINE).await?;
        ensure!(!paused(&app).await?, "the promotion left the Deployment paused");
        ensure!(app.pods_of("v1").await?.is_empty(), "pods of v1 are left");
        ensure!(app.pods_of("v2").await?.len() == pods.len(), "v2 has another number of pods");
        shares(&app, &follow, &load)?;

        delete_rollout(&app).await?;
        ensure!(label(&app).await?.is_none(), "the label is left on the Deployment");
        ensure!(!paused(&app).await?, "the deletion left the Deployment paused");
        app.restored(&route, RUN_DEADLINE).await?;
        let finished = load.stop().await?;
        println!("{} requests, {} failed", finished.summary.sent, finished.summary.failures());
        finished.lost_nothing_but(None)
    })
    .await
}

/// In each held step the measured share fits the weight.
fn shares(app: &App, follow: &Follow, load: &Load) -> Result<()> {
    let canary = format!("{}{}", app.name, names::CANARY_SUFFIX);
    for percent in [10_u32, 50] {
        let step = measured(follow, load, percent, "v2")?;
        println!("configured {percent}%, measured {:.2}% ({} of {})", step.percent(), step.hits, step.all);
        ensure!(step.all >= ENOUGH, "only {} requests at {percent}%", step.all);
        ensure!(fits(step.hits, step.all, f64::from(percent) / 100.0, 0.999), "{step:?} is not {percent}%");
    }
    let weights = follow.weights();
    let most = weights.iter().map(|weights| weights.share(&canary)).fold(0.0, f64::max);
    ensure!((most - 1.0).abs() < 1e-9, "the canary never carried everything while the workload rolled: {most}");
    Ok(())
}

async fn delete_rollout(app: &App) -> Result<()> {
    app.rollouts().delete(&app.name, &DeleteParams::default()).await?;
    until("the Rollout gone", RUN_DEADLINE, async || {
        let left = app.rollouts().get_opt(&app.name).await?;
        Ok(when(left.is_none(), || format!("{:?}", left.and_then(|rollout| rollout.status?.message))))
    })
    .await
}

fn outcome(status: &RolloutStatus) -> Option<&str> {
    status.history.first().map(|run| run.outcome.as_str())
}

async fn label(app: &App) -> Result<Option<String>> {
    Ok(app.deployment().await?.labels().get(names::LABEL_ROLLOUT).cloned())
}

async fn paused(app: &App) -> Result<bool> {
    Ok(app.deployment().await?.spec.paused.unwrap_or(false))
}
