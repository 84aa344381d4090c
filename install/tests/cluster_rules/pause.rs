//! An adopted Deployment is held back, whoever writes it and however.

use crate::shared::{OPERATOR, SETTLED, deployment, in_namespace, kubectl, objects, succeeds};
use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use sluice_e2e::{
    cluster::Cluster,
    manifest::{self, text},
    wait::{until, when},
};

/// Whether the Deployment is paused, and the image that it declares.
async fn state(cluster: &Cluster, namespace: &str, name: &str) -> Result<(bool, String)> {
    let read = succeeds(cluster, namespace, &["get", "deployment", name, "-ojson"]).await?;
    let object: Value = serde_json::from_str(&read)?;
    let image = text(&object, "/spec/template/spec/containers/0/image").to_owned();
    Ok((object.pointer("/spec/paused") == Some(&json!(true)), image))
}

/// Paused, and adopted still.
async fn is_held(cluster: &Cluster, namespace: &str) -> Result<bool> {
    let label = r"jsonpath={.spec.paused} {.metadata.labels.sluice\.dev/rollout}";
    Ok(succeeds(cluster, namespace, &["get", "deployment", "web", "-o", label]).await?.trim() == "true web")
}

/// A namespace with an adopted Deployment `web`.
async fn with_web(test: impl AsyncFnOnce(&Cluster, &str) -> Result<()>) -> Result<()> {
    in_namespace("pause", async |cluster, namespace| {
        manifest::apply(&cluster.client, &[deployment("web", namespace, "sluice.dev/rollout")]).await?;
        test(cluster, namespace).await
    })
    .await
}

#[tokio::test]
async fn a_new_template_is_held_back_and_the_writer_told() -> Result<()> {
    with_web(async |cluster, namespace| {
        let said = succeeds(cluster, namespace, &["set", "image", "deployment/web", "app=app:2"]).await?;
        ensure!(said.contains("the new template is held back"), "{said}");
        ensure!(said.contains("rollouts.sluice.dev web"), "{said}");
        ensure!(state(cluster, namespace, "web").await? == (true, "app:2".to_owned()));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_changes_no_template_changes_no_pause() -> Result<()> {
    with_web(async |cluster, namespace| {
        let said = succeeds(cluster, namespace, &["label", "deployment/web", "team=shop"]).await?;
        ensure!(!said.contains("Warning"), "{said}");
        succeeds(cluster, namespace, &["scale", "deployment/web", "--replicas=1"]).await?;
        succeeds(cluster, namespace, &["scale", "deployment/web", "--replicas=0"]).await?;
        ensure!(!state(cluster, namespace, "web").await?.0);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn only_the_operator_resumes() -> Result<()> {
    with_web(async |cluster, namespace| {
        succeeds(cluster, namespace, &["set", "image", "deployment/web", "app=app:2"]).await?;
        let resume = r#"{"spec":{"paused":false}}"#;
        for arguments in [
            vec!["rollout", "resume", "deployment/web"],
            vec!["patch", "deployment", "web", "-p", resume],
            vec!["patch", "deployment", "web", "--type=json", "-p", r#"[{"op":"remove","path":"/spec/paused"}]"#],
        ] {
            let said = succeeds(cluster, namespace, &arguments).await?;
            ensure!(said.contains(r#""operation":{"type":"Promote"}"#), "{said}");
            ensure!(said.contains("break the glass"), "{said}");
            ensure!(state(cluster, namespace, "web").await?.0, "{arguments:?}");
        }
        let said =
            succeeds(cluster, namespace, &["patch", "deployment", "web", "-p", resume, "--as", OPERATOR]).await?;
        ensure!(!said.contains("Warning"), "{said}");
        ensure!(!state(cluster, namespace, "web").await?.0);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_template_that_comes_with_a_resume_is_held_back_even_from_the_operator() -> Result<()> {
    with_web(async |cluster, namespace| {
        succeeds(cluster, namespace, &["set", "image", "deployment/web", "app=app:2"]).await?;
        let both = r#"{"spec":{"paused":false,"template":{"spec":{"containers":[{"name":"app","image":"app:3"}]}}}}"#;
        succeeds(cluster, namespace, &["patch", "deployment", "web", "-p", both, "--as", OPERATOR]).await?;
        ensure!(state(cluster, namespace, "web").await? == (true, "app:3".to_owned()));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_gitops_sync_is_held_back_and_does_not_fail() -> Result<()> {
    with_web(async |cluster, namespace| {
        let mut declared = deployment("web", namespace, "sluice.dev/rollout");
        declared["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:2");
        declared["spec"]["paused"] = json!(false);
        for _ in 0..2 {
            manifest::apply(&cluster.client, &[declared.clone()]).await?;
            ensure!(state(cluster, namespace, "web").await? == (true, "app:2".to_owned()));
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_the_label_a_person_is_free_again() -> Result<()> {
    with_web(async |cluster, namespace| {
        succeeds(cluster, namespace, &["set", "image", "deployment/web", "app=app:2"]).await?;
        // A write that wants more than to take the label away is held, and the label stays: it is two writes.
        let both = r#"{"metadata":{"labels":{"sluice.dev/rollout":null}},"spec":{"paused":false}}"#;
        let said = succeeds(cluster, namespace, &["patch", "deployment", "web", "-p", both]).await?;
        ensure!(said.contains("break the glass"), "{said}");
        ensure!(is_held(cluster, namespace).await?, "{said}");
        succeeds(cluster, namespace, &["label", "deployment/web", "sluice.dev/rollout-"]).await?;
        let said = succeeds(cluster, namespace, &["rollout", "resume", "deployment/web"]).await?;
        ensure!(!said.contains("Warning"), "{said}");
        ensure!(!state(cluster, namespace, "web").await?.0);
        Ok(())
    })
    .await
}

/// A copy of the policy for another label and another operator, whose Namespace can be taken away.
fn trial(namespace: &str, operator_namespace: &str) -> Result<Vec<Value>> {
    let policy = objects()?.into_iter().filter(|object| text(object, "/metadata/name") == "sluice-pause");
    let renamed = policy.map(|object| {
        let copy = object.to_string().replace("sluice.dev/rollout", "trial.sluice.dev/rollout");
        let copy = copy.replace("sluice-system", operator_namespace).replace("sluice-pause", namespace);
        Ok(serde_json::from_str(&copy)?)
    });
    renamed.collect()
}

async fn expect_held(cluster: &Cluster, namespace: &str, held: bool) -> Result<()> {
    until(&format!("held back: {held}"), SETTLED, async || {
        let change = ["set", "image", "deployment/web", "app=app:2", "--dry-run=server", "-ojson"];
        let seen = kubectl(cluster, namespace, &change).await?;
        let is_held = seen.stdout.contains(r#""paused": true"#);
        Ok(when(seen.success && is_held == held, || format!("{}{}", seen.stdout, seen.stderr)))
    })
    .await
}

#[tokio::test]
async fn the_policy_ends_with_the_namespace_of_the_operator() -> Result<()> {
    in_namespace("outlive", async |cluster, namespace| {
        let operator_namespace = format!("{namespace}-operator");
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let home = serde_json::from_value(json!({ "metadata": { "name": operator_namespace } }))?;
        namespaces.create(&PostParams::default(), &home).await?;
        let policy = trial(namespace, &operator_namespace)?;
        let course = async {
            manifest::apply(&cluster.client, &[deployment("web", namespace, "trial.sluice.dev/rollout")]).await?;
            manifest::apply(&cluster.client, &policy).await?;
            expect_held(cluster, namespace, true).await?;
            // Something in it does not go, so it is going for long.
            let hook = r#"[{"op":"add","path":"/metadata/finalizers","value":["sluice.dev/test"]}]"#;
            let slow = ["configmap", "kube-root-ca.crt", "--type=json", "-p"];
            let patch = |body| [&["patch", "--namespace", &operator_namespace][..], &slow, &[body]].concat();
            until("its ConfigMap", SETTLED, async || {
                let done = cluster.kubectl(&patch(hook)).await?;
                Ok(when(done.success, || done.stderr))
            })
            .await?;
            namespaces.delete(&operator_namespace, &DeleteParams::default()).await?;
            expect_held(cluster, namespace, false).await?;
            let is_there = namespaces.get_opt(&operator_namespace).await?.is_some();
            let unhook = r#"[{"op":"remove","path":"/metadata/finalizers"}]"#;
            ensure!(cluster.kubectl(&patch(unhook)).await?.success, "the finalizer stays");
            ensure!(is_there, "it was not seen while its namespace was going");
            until("the namespace gone", SETTLED, async || {
                Ok(when(namespaces.get_opt(&operator_namespace).await?.is_none(), || "there".to_owned()))
            })
            .await?;
            expect_held(cluster, namespace, false).await
        };
        let result = course.await;
        for object in &policy {
            let kind = text(object, "/kind").to_lowercase();
            kubectl(cluster, namespace, &["delete", &kind, namespace]).await?;
        }
        result
    })
    .await
}
