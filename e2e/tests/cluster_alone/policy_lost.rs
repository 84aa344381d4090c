//! Somebody deletes the binding of the policy that holds templates back, in the middle of a run, and then resumes the
//! workload. It is paused again, the status says what is missing, and the run goes on to its end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use sluice_crds::{RolloutStatus, names};
use sluice_e2e::{
    app::App,
    cluster::Cluster,
    follow::has_condition,
    install::{install, manifest_path},
    outage::Outage,
    suite,
    wait::{until, when},
};

/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(2);
/// Name of the policy and of its binding.
const POLICY: &str = "sluice-pause";
/// What rolls a resumed Deployment out. While it is silent nothing is, so that it is not a question of who was faster.
const CONTROLLERS: &str = "kube-controller-manager";

#[tokio::test]
async fn a_run_survives_the_loss_of_the_policy() -> Result<()> {
    suite::run("unbound", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 50, "hold": {"min": "20s"}}]))?;
        let address = app.serve().await?;
        let (route, pods) = (app.route_spec().await?, app.pods_of("v1").await?);
        let follow = app.adopt().await?;
        let load = app.load(address, 200.0)?;
        app.push("v2", "0").await?;
        follow.until_live("50%", DEADLINE).await?;

        let lost = bindings(&cluster).delete(POLICY, &DeleteParams::default()).await;
        lost.context("delete the binding")?;
        resume_is_taken_back(&app).await?;
        let is_told = |status: &RolloutStatus| {
            status
                .conditions
                .iter()
                .any(|condition| condition.type_ == names::CONDITION_ADOPTED && condition.reason == "PolicyMissing")
        };
        follow.until("PolicyMissing", DEADLINE, is_told).await?;
        ensure!(pods == app.pods_of("v1").await?, "the resume touched the stable pods");

        install(&cluster, &manifest_path()).await?;
        let adopted = |status: &RolloutStatus| has_condition(status, names::CONDITION_ADOPTED, "True");
        follow.until("the policy seen again", DEADLINE, adopted).await?;
        follow.until("a promotion", DEADLINE, |status| !status.history.is_empty()).await?;
        let outcomes: Vec<_> = follow.status().history.into_iter().map(|run| run.outcome).collect();
        ensure!(outcomes == ["Promoted"], "{outcomes:?}");
        app.restored(&route, DEADLINE).await?;
        ensure!(app.pods_of("v1").await?.is_empty(), "pods of v1 are left");
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}

fn bindings(cluster: &Cluster) -> Api<MutatingAdmissionPolicyBinding> {
    Api::all(cluster.client.clone())
}

/// A resume, as `kubectl rollout resume` writes it, which nothing holds back any more: the operator pauses again.
async fn resume_is_taken_back(app: &App) -> Result<()> {
    let silent = Outage::freeze(CONTROLLERS).await?;
    until("a resume that the API server accepts", DEADLINE, async || {
        let resume = Patch::Merge(json!({"spec": {"paused": null}}));
        let resumed = app.deployments().patch(&app.name, &PatchParams::default(), &resume).await?;
        // Each API server notices after a moment that the binding is gone.
        Ok(when(resumed.spec.paused != Some(true), || "still held".to_owned()))
    })
    .await?;
    until("paused again", DEADLINE, async || {
        let paused = app.deployment().await?.spec.paused;
        Ok(when(paused == Some(true), || format!("paused: {paused:?}")))
    })
    .await?;
    silent.end().await.map(drop)
}
