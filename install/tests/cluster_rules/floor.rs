//! While a run is in progress the workload does not fall below the replicas with which it began, whoever scales it.

use crate::shared::{SETTLED, deployment, in_namespace, objects, succeeds, without_operator};
use anyhow::{Context, Result, ensure};
use http::Request;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use sluice_crds::Rollout;
use sluice_e2e::{
    cluster::Cluster,
    manifest::{self, text},
    wait::{until, when},
};

/// Replicas of the workload when the run of the tests began.
const FLOOR: i32 = 3;

/// The autoscaler, as a cluster runs it.
const AUTOSCALER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// A Rollout of a Deployment, and its status as the operator would write it.
async fn rollout(cluster: &Cluster, namespace: &str, workload: &str, floor: Option<i32>) -> Result<()> {
    let object = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
        "metadata": { "name": workload, "namespace": namespace },
        "spec": {
            "workload": { "kind": "Deployment", "name": workload },
            "routes": [{ "kind": "HTTPRoute", "name": workload }],
            "strategy": { "canary": { "steps": [{ "weight": 50 }] } },
        },
    });
    manifest::apply(&cluster.client, &[object]).await?;
    let mut run = json!({ "revision": "abc", "startedAt": "2026-01-01T00:00:00Z", "replicas": FLOOR, "state": {} });
    // A merge patch takes a field away with null.
    run["floor"] = json!(floor);
    let patch = Patch::Merge(json!({ "status": { "run": run } }));
    cluster.api::<Rollout>(namespace).patch_status(workload, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits until the API server has heard of the Rollout's status: the policies read Rollouts from a cache.
async fn expect_floor(cluster: &Cluster, namespace: &str, workload: &str, held: bool) -> Result<()> {
    until(&format!("the floor holds: {held}"), SETTLED, async || {
        let patch = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let scale = cluster.api::<Deployment>(namespace).patch_scale(workload, &params, &patch).await?;
        let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
        Ok(when((replicas == FLOOR) == held, || format!("{replicas} replicas")))
    })
    .await
}

async fn replicas(cluster: &Cluster, namespace: &str, name: &str) -> Result<i32> {
    let deployment = cluster.api::<Deployment>(namespace).get(name).await?;
    deployment.spec.replicas.context("no spec.replicas")
}

/// A Deployment of [`FLOOR`] replicas that is paused, so that no pod is ever made.
fn paused(name: &str, namespace: &str) -> Value {
    let mut object = deployment(name, namespace, "sluice.dev/rollout");
    object["spec"]["paused"] = json!(true);
    object["spec"]["replicas"] = json!(FLOOR);
    object
}

/// A namespace with a Deployment `web` in the middle of a run, and one of another name.
async fn in_a_run(test: impl AsyncFnOnce(&Cluster, &str) -> Result<()>) -> Result<()> {
    in_namespace("floor", async |cluster, namespace| {
        without_operator(cluster, async || {
            manifest::apply(&cluster.client, &[paused("web", namespace), paused("other", namespace)]).await?;
            rollout(cluster, namespace, "web", Some(FLOOR)).await?;
            expect_floor(cluster, namespace, "web", true).await?;
            test(cluster, namespace).await
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_person_who_scales_below_the_floor_is_told_how_to_go_on() -> Result<()> {
    in_a_run(async |cluster, namespace| {
        for wanted in ["1", "0"] {
            let wanted = format!("--replicas={wanted}");
            let said = succeeds(cluster, namespace, &["scale", "deployment/web", &wanted]).await?;
            ensure!(said.contains("does not fall below 3 replicas"), "{said}");
            ensure!(said.contains("patch rollouts.sluice.dev web") && said.contains(r#""type":"Abort""#), "{said}");
            ensure!(replicas(cluster, namespace, "web").await? == FLOOR);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn above_the_floor_scaling_is_free() -> Result<()> {
    in_a_run(async |cluster, namespace| {
        for (wanted, expected) in [("5", 5), ("4", 4), ("2", FLOOR)] {
            let wanted = format!("--replicas={wanted}");
            let said = succeeds(cluster, namespace, &["scale", "deployment/web", &wanted]).await?;
            ensure!(said.contains("Warning") == (expected == FLOOR), "{said}");
            ensure!(replicas(cluster, namespace, "web").await? == expected);
        }
        succeeds(cluster, namespace, &["scale", "deployment/other", "--replicas=0"]).await?;
        ensure!(replicas(cluster, namespace, "other").await? == 0, "a Deployment without a run was held");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_write_of_the_deployment_itself_is_held_too() -> Result<()> {
    in_a_run(async |cluster, namespace| {
        for patch in [r#"{"spec":{"replicas":1}}"#, r#"{"spec":{"replicas":0}}"#, r#"{"spec":{"replicas":null}}"#] {
            succeeds(cluster, namespace, &["patch", "deployment", "web", "-p", patch]).await?;
            ensure!(replicas(cluster, namespace, "web").await? == FLOOR, "{patch}");
        }
        let mut declared = paused("web", namespace);
        declared["spec"]["replicas"] = json!(1);
        for _ in 0..2 {
            manifest::apply(&cluster.client, &[declared.clone()]).await?;
            ensure!(replicas(cluster, namespace, "web").await? == FLOOR, "server-side apply");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_autoscaler_is_held_without_a_word() -> Result<()> {
    in_a_run(async |cluster, namespace| {
        let uri = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web/scale");
        let mut scale: Value = cluster.client.request(Request::get(&uri).body(Vec::new())?).await?;
        scale["spec"]["replicas"] = json!(1);
        let put = Request::put(&uri)
            .header("content-type", "application/json")
            .header("impersonate-user", AUTOSCALER)
            .header("impersonate-group", "system:serviceaccounts:kube-system");
        let answer: Value = cluster.client.request(put.body(serde_json::to_vec(&scale)?)?).await?;
        ensure!(answer.pointer("/spec/replicas") == Some(&json!(FLOOR)), "{answer}");
        ensure!(replicas(cluster, namespace, "web").await? == FLOOR);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn after_the_run_a_person_may_scale_to_zero_and_back() -> Result<()> {
    in_a_run(async |cluster, namespace| {
        rollout(cluster, namespace, "web", None).await?;
        expect_floor(cluster, namespace, "web", false).await?;
        for wanted in [0, 2] {
            let argument = format!("--replicas={wanted}");
            let said = succeeds(cluster, namespace, &["scale", "deployment/web", &argument]).await?;
            ensure!(!said.contains("Warning"), "{said}");
            ensure!(replicas(cluster, namespace, "web").await? == wanted);
        }
        Ok(())
    })
    .await
}

/// A copy of the policy that is about Deployments with another name, and asks for a Role in another namespace.
fn trial(name: &str, operator_namespace: &str) -> Result<Vec<Value>> {
    let is_floor = |object: &Value| {
        text(object, "/metadata/name") == "sluice-floor" && text(object, "/kind").starts_with("Mutating")
    };
    let of_operator = |object: &Value| {
        text(object, "/metadata/namespace") == "sluice-system" && text(object, "/kind").starts_with("Role")
    };
    let mut copies = objects()?.into_iter().filter(|object| is_floor(object) || of_operator(object)).map(|object| {
        let about = "params.spec.workload.name + '-trial' ==";
        let copy = object.to_string().replace("params.spec.workload.name ==", about);
        Ok(serde_json::from_str(&copy.replace("sluice-system", operator_namespace).replace("sluice-floor", name))?)
    });
    copies.by_ref().collect()
}

#[tokio::test]
async fn the_floor_ends_with_the_namespace_of_the_operator() -> Result<()> {
    in_a_run(async |cluster, namespace| {
        let operator_namespace = format!("{namespace}-operator");
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let home = serde_json::from_value(json!({ "metadata": { "name": operator_namespace } }))?;
        namespaces.create(&PostParams::default(), &home).await?;
        let copies = trial(namespace, &operator_namespace)?;
        let course = async {
            manifest::apply(&cluster.client, &[paused("web-trial", namespace)]).await?;
            manifest::apply(&cluster.client, &copies).await?;
            expect_floor(cluster, namespace, "web-trial", true).await?;
            namespaces.delete(&operator_namespace, &DeleteParams::default()).await?;
            expect_floor(cluster, namespace, "web-trial", false).await
        };
        let result = course.await;
        for object in copies.iter().filter(|object| text(object, "/kind").starts_with("Mutating")) {
            let kind = text(object, "/kind").to_lowercase();
            succeeds(cluster, namespace, &["delete", &kind, namespace]).await?;
        }
        // A failure must not leave it behind; that it is going already is no error.
        let _ = namespaces.delete(&operator_namespace, &DeleteParams::default()).await;
        result
    })
    .await
}
