//! Nothing that people do to the Deployment ships a revision that was not judged: not in the middle of a run, not after
//! a rollback.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{ResourceExt, api::ListParams};
use serde_json::json;
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
async fn resume_replace_and_apply_ship_nothing_that_was_not_judged() -> Result<()> {
    suite::run("held", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 20, "hold": {"min": "10m"}}]))?;
        app.serve().await?;
        let pods = app.pods_of("v1").await?;
        let follow = app.adopt().await?;
        app.push("v2", "0").await?;
        follow.until_live("20%", DEADLINE).await?;
        resume_is_refused(&app).await?;
        only_the_canary_runs_v2(&app, &pods).await?;
        tools_are_refused(&app).await?;
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
        tools_are_refused(&app).await?;
        ensure!(app.pods_of("v2").await?.is_empty(), "a rejected revision was shipped");
        ensure!(pods == app.pods_of("v1").await?, "pods of the stable version were touched");
        ensure!(follow.status().phase == Some(Phase::RolledBack), "the Rollout was disturbed: {}", app.say().await);
        scaled_to_zero_and_back(&app, pods.len()).await?;
        ensure!(follow.status().phase == Some(Phase::RolledBack), "scaling disturbed it: {}", app.say().await);
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

/// Writes the Deployment by itself without the pause, as GitOps tools do it: those that replace leave it out, and those
/// that apply, like Helm, say that there is none and take the fields of others.
async fn tools_are_refused(app: &App) -> Result<()> {
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=helm"];
    for (command, paused) in [(&["replace"][..], None), (&apply[..], Some(false))] {
        let mut object = serde_json::to_value(app.deployment().await?)?;
        for field in ["resourceVersion", "managedFields"] {
            object["metadata"].as_object_mut().and_then(|metadata| metadata.remove(field));
        }
        object["spec"]["paused"] = json!(paused);
        (object["apiVersion"], object["kind"]) = (json!("apps/v1"), json!("Deployment"));
        let file = std::env::temp_dir().join(format!("{}-deployment.json", app.namespace));
        fs::write(&file, object.to_string())?;
        let said = app.cluster.kubectl(&[command, &["-f", &file.display().to_string()]].concat()).await;
        fs::remove_file(&file)?;
        let said = said?;
        ensure!(said.success, "kubectl {command:?}: {}", said.stderr);
        println!("kubectl {command:?}: {} {}", said.stdout.trim(), said.stderr.trim());
        stays_paused(app, &said.stderr).await?;
    }
    Ok(())
}

/// The Deployment is paused on its rejected template; scaled to nothing and up again it comes back with the stable one.
async fn scaled_to_zero_and_back(app: &App, size: usize) -> Result<()> {
    for replicas in [0, size] {
        let (of, to) = (format!("deployment/{}", app.name), format!("--replicas={replicas}"));
        let said = app.cluster.kubectl(&["scale", "-n", &app.namespace, &of, &to]).await?;
        ensure!(said.success, "kubectl scale: {}", said.stderr);
        until(&format!("{replicas} pods"), DEADLINE, async || {
            let pods = app.pods_of("v1").await?.len();
            Ok(when(pods == replicas, || format!("{pods} of v1")))
        })
        .await?;
    }
    ensure!(app.pods_of("v2").await?.is_empty(), "a rejected revision came up");
    Ok(())
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
