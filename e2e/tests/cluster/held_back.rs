//! Nothing that people do to the Deployment ships a revision that was not judged: not in the middle of a run, not after
//! a rollback.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};
use sluice_crds::Phase;
use sluice_e2e::{
    app::{App, PodIdentity},
    cluster::look_at,
    suite,
    wait::{until, when},
};

/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn resume_and_replace_ship_nothing_that_was_not_judged() -> Result<()> {
    suite::run("held", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 20, "hold": {"min": "10m"}}]))?;
        app.serve().await?;
        let pods = app.pods_of("v1").await?;
        let follow = app.adopt().await?;
        app.push("v2", "0").await?;
        follow
            .until("20% live", DEADLINE, |status| {
                status.phase == Some(Phase::Stepping) && status.weight.as_deref() == Some("20%")
            })
            .await?;
        resume_is_refused(&app).await?;
        only_the_canary_runs_v2(&app, &pods).await?;
        replace_is_refused(&app).await?;
        only_the_canary_runs_v2(&app, &pods).await?;
        ensure!(follow.status().phase == Some(Phase::Stepping), "the run was disturbed: {}", app.say().await);

        let abort = r#"{"operation":{"type":"Abort"}}"#;
        let arguments = ["patch", "rollouts.sluice.dev", &app.name, "-n", &namespace, "--type", "merge", "-p", abort];
        ensure!(cluster.kubectl(&arguments).await?.success, "kubectl patch");
        follow.until_phase(Phase::RolledBack, DEADLINE).await?;
        until("pods of v2 gone", DEADLINE, async || {
            let left = app.pods_of("v2").await?;
            Ok(when(left.is_empty(), || format!("{left:?}")))
        })
        .await?;
        resume_is_refused(&app).await?;
        replace_is_refused(&app).await?;
        ensure!(app.pods_of("v2").await?.is_empty(), "a rejected revision was shipped");
        ensure!(pods == app.pods_of("v1").await?, "pods of the stable version were touched");
        ensure!(follow.status().phase == Some(Phase::RolledBack), "the Rollout was disturbed: {}", app.say().await);
        Ok(())
    })
    .await
}

async fn resume_is_refused(app: &App) -> Result<()> {
    let said =
        app.cluster.kubectl(&["rollout", "resume", "-n", &app.namespace, &format!("deployment/{}", app.name)]).await?;
    println!("kubectl rollout resume: {} {}", said.stdout.trim(), said.stderr.trim());
    stays_paused(app, &said.stderr).await
}

/// Replaces the Deployment by itself without `paused`, as a GitOps tool with `replace` would.
async fn replace_is_refused(app: &App) -> Result<()> {
    let deployment = app.deployment().await?;
    let mut object = serde_json::to_value(&deployment)?;
    for (path, field) in [("/metadata", "resourceVersion"), ("/metadata", "managedFields"), ("/spec", "paused")] {
        object.pointer_mut(path).and_then(Value::as_object_mut).and_then(|parent| parent.remove(field));
    }
    let types = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
    for (name, value) in types.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
    let file = std::env::temp_dir().join(format!("{}-replace.json", app.namespace));
    fs::write(&file, object.to_string())?;
    let said = app.cluster.kubectl(&["replace", "-f", &file.display().to_string()]).await;
    fs::remove_file(&file)?;
    let said = said?;
    ensure!(said.success, "kubectl replace: {}", said.stderr);
    println!("kubectl replace: {} {}", said.stdout.trim(), said.stderr.trim());
    stays_paused(app, &said.stderr).await
}

/// The write was taken without its effect, the person was warned, and the Deployment controller has seen all of it.
async fn stays_paused(app: &App, warnings: &str) -> Result<()> {
    ensure!(
        warnings.contains("Warning") && warnings.contains("operation"),
        "no warning that names operation: {warnings}"
    );
    let observed = |deployment: &Deployment| {
        let seen = deployment.status.as_ref().and_then(|status| status.observed_generation);
        when(seen >= deployment.metadata.generation, || format!("observed {seen:?}"))
    };
    until("the write seen by the Deployment controller", DEADLINE, async || {
        look_at(&app.deployments(), &app.name, observed).await
    })
    .await?;
    ensure!(app.deployment().await?.spec.paused == Some(true), "the Deployment was resumed");
    Ok(())
}

/// Every pod of v2 is the canary's, and those of v1 are the same as before.
async fn only_the_canary_runs_v2(app: &App, pods: &[PodIdentity]) -> Result<()> {
    ensure!(pods == app.pods_of("v1").await?, "pods of the stable version were touched");
    let canary = format!("{}{}-", app.name, sluice_crds::names::CANARY_SUFFIX);
    let shipped: Vec<_> = app.pods_of("v2").await?.into_iter().filter(|pod| !pod.name.starts_with(&canary)).collect();
    ensure!(shipped.is_empty(), "v2 runs outside the canary: {shipped:?}");
    let all = app.cluster.api::<Pod>(&app.namespace).list(&ListParams::default()).await?;
    ensure!(
        all.items.len() > pods.len(),
        "there is no canary: {:?}",
        all.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
    );
    Ok(())
}
