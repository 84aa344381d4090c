//! Who asked for an operation is stamped, who may ask is RBAC, and a Rollout lends nobody rights.

use crate::shared::{SETTLED, in_namespace, is_refused, kubectl, succeeds, without_operator};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sluice_crds::OperationType;
use sluice_e2e::{
    cluster::Cluster,
    manifest,
    wait::{until, when},
};

/// Three routes, so that more than one of the validations for routes has something to do.
async fn with_rollout(test: impl AsyncFnOnce(&Cluster, &str) -> Result<()>) -> Result<()> {
    in_namespace("rights", async |cluster, namespace| {
        let routes: Vec<_> = ["a", "b", "c"].map(|name| json!({ "kind": "HTTPRoute", "name": name })).into();
        let rollout = json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
            "metadata": { "name": "web", "namespace": namespace },
            "spec": {
                "workload": { "kind": "Deployment", "name": "web" },
                "routes": routes,
                "strategy": { "canary": { "steps": [{ "weight": 50 }] } },
            },
        });
        manifest::apply(&cluster.client, &[rollout]).await?;
        test(cluster, namespace).await
    })
    .await
}

fn patch<'a>(body: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["patch", "rollouts.sluice.dev", "web", "--type=merge", "-p", body], more].concat()
}

async fn operation(cluster: &Cluster, namespace: &str) -> Result<Value> {
    let read = succeeds(cluster, namespace, &["get", "rollouts.sluice.dev", "web", "-ojson"]).await?;
    Ok(serde_json::from_str::<Value>(&read)?["operation"].take())
}

/// A ServiceAccount of the namespace with a Role; waits until the API server knows it.
async fn allow(cluster: &Cluster, namespace: &str, role: &str, verbs: &str, resource: &[&str]) -> Result<()> {
    let create = [&["create", "role", role, &format!("--verb={verbs}"), "--resource", resource[0]], &resource[1..]];
    succeeds(cluster, namespace, &create.concat()).await?;
    let account = format!("--serviceaccount={namespace}:dev");
    succeeds(cluster, namespace, &["create", "rolebinding", role, "--role", role, &account]).await?;
    let verb = verbs.split(',').next().unwrap_or_default();
    let name = resource.get(1).and_then(|option| option.strip_prefix("--resource-name=")).unwrap_or_default();
    let object = if name.is_empty() { resource[0].to_owned() } else { format!("{}/{name}", resource[0]) };
    can_i(cluster, namespace, &developer(namespace), verb, &object, true).await
}

fn developer(namespace: &str) -> String {
    format!("system:serviceaccount:{namespace}:dev")
}

async fn can_i(cluster: &Cluster, namespace: &str, who: &str, verb: &str, what: &str, may: bool) -> Result<()> {
    until(&format!("{who} may {verb} {what}: {may}"), SETTLED, async || {
        let seen = kubectl(cluster, namespace, &["auth", "can-i", verb, what, "--as", who]).await?;
        Ok(when(seen.success == may, || seen.stdout + &seen.stderr))
    })
    .await
}

#[tokio::test]
async fn an_operation_is_stamped_with_who_asked_and_no_forgery_stays() -> Result<()> {
    with_rollout(async |cluster, namespace| {
        without_operator(cluster, async || stamps_are_kept(cluster, namespace).await).await
    })
    .await
}

async fn stamps_are_kept(cluster: &Cluster, namespace: &str) -> Result<()> {
    let forged = r#"{"operation":{"type":"Promote","by":"somebody","id":"forged"}}"#;
    let as_ann = ["--as=ann", "--as-group=system:masters"];
    succeeds(cluster, namespace, &patch(forged, &as_ann)).await?;
    let stamped = operation(cluster, namespace).await?;
    ensure!(stamped["by"] == "ann" && stamped["id"] != "forged", "{stamped}");

    // The same operation again, also with the stamps of another, keeps its own.
    let as_bob = ["--as=bob", "--as-group=system:masters"];
    succeeds(cluster, namespace, &patch(forged, &as_bob)).await?;
    let again = operation(cluster, namespace).await?;
    ensure!(again == stamped, "{again} is not {stamped}");

    let abort = r#"{"operation":{"type":"Abort"}}"#;
    succeeds(cluster, namespace, &patch(abort, &as_bob)).await?;
    let aborted = operation(cluster, namespace).await?;
    ensure!(aborted["by"] == "bob" && aborted["id"] != stamped["id"], "{aborted}");
    Ok(())
}

#[tokio::test]
async fn promoting_takes_the_verb_promote() -> Result<()> {
    with_rollout(async |cluster, namespace| {
        allow(cluster, namespace, "write", "patch,get", &["rollouts.sluice.dev"]).await?;
        let dev = developer(namespace);
        let as_dev = ["--as", &*dev];
        let promote = r#"{"operation":{"type":"Promote"}}"#;
        is_refused(cluster, namespace, &patch(promote, &as_dev), "RBAC verb promote on rollouts.sluice.dev").await?;

        allow(cluster, namespace, "promote", "promote", &["rollouts.sluice.dev"]).await?;
        succeeds(cluster, namespace, &patch(promote, &as_dev)).await?;
        let abort = r#"{"operation":{"type":"Abort"}}"#;
        is_refused(cluster, namespace, &patch(abort, &as_dev), "RBAC verb abort on rollouts.sluice.dev").await?;

        // Consuming it, and any other write, asks for no verb.
        succeeds(cluster, namespace, &patch(r#"{"metadata":{"labels":{"team":"shop"}}}"#, &as_dev)).await?;
        succeeds(cluster, namespace, &patch(r#"{"operation":null}"#, &as_dev)).await?;
        Ok(())
    })
    .await
}

/// Each type of operation takes the verb of its name, and no other. A dry run asks the policies and leaves nothing that
/// would have to be consumed first.
#[tokio::test]
async fn each_operation_takes_its_own_verb() -> Result<()> {
    with_rollout(async |cluster, namespace| {
        allow(cluster, namespace, "write", "patch,get", &["rollouts.sluice.dev"]).await?;
        let dev = developer(namespace);
        let as_dev = ["--as", &*dev, "--dry-run=server"];
        let ask = |type_: OperationType| json!({ "operation": { "type": type_ } }).to_string();
        let message = |type_: OperationType| format!("RBAC verb {} on rollouts.sluice.dev", type_.verb());
        for type_ in OperationType::ALL {
            is_refused(cluster, namespace, &patch(&ask(type_), &as_dev), &message(type_)).await?;
        }
        for (index, type_) in OperationType::ALL.into_iter().enumerate() {
            let verb = type_.verb();
            allow(cluster, namespace, &verb, &verb, &["rollouts.sluice.dev"]).await?;
            succeeds(cluster, namespace, &patch(&ask(type_), &as_dev)).await?;
            if let Some(next) = OperationType::ALL.get(index + 1) {
                is_refused(cluster, namespace, &patch(&ask(*next), &as_dev), &message(*next)).await?;
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_rollout_names_only_what_its_author_may_patch() -> Result<()> {
    with_rollout(async |cluster, namespace| {
        allow(cluster, namespace, "write", "patch,get", &["rollouts.sluice.dev"]).await?;
        let dev = developer(namespace);
        let as_dev = ["--as", &*dev];
        let change = r#"{"spec":{"service":"other"}}"#;
        is_refused(cluster, namespace, &patch(change, &as_dev), "may not patch Deployment web").await?;

        allow(cluster, namespace, "workload", "patch", &["deployments.apps", "--resource-name=web"]).await?;
        is_refused(cluster, namespace, &patch(change, &as_dev), "may not patch every HTTPRoute of a, b, c").await?;

        let routes = "httproutes.gateway.networking.k8s.io";
        let two = [routes, "--resource-name=a", "--resource-name=b"];
        allow(cluster, namespace, "two", "patch", &two).await?;
        is_refused(cluster, namespace, &patch(change, &as_dev), "may not patch every HTTPRoute of a, b, c").await?;

        allow(cluster, namespace, "third", "patch", &[routes, "--resource-name=c"]).await?;
        succeeds(cluster, namespace, &patch(change, &as_dev)).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_built_in_roles_contain_rollouts() -> Result<()> {
    in_namespace("roles", async |cluster, namespace| {
        let operations = OperationType::ALL.map(OperationType::verb);
        let verbs = |may: bool| {
            let operations = operations.iter().map(move |verb| (verb.as_str(), may));
            [("get", true), ("patch", may)].into_iter().chain(operations)
        };
        for role in ["view", "edit", "admin"] {
            let account = format!("--serviceaccount={namespace}:{role}");
            succeeds(cluster, namespace, &["create", "rolebinding", role, "--clusterrole", role, &account]).await?;
            let who = format!("system:serviceaccount:{namespace}:{role}");
            for (verb, may) in verbs(role != "view") {
                can_i(cluster, namespace, &who, verb, "rollouts.sluice.dev", may).await?;
            }
        }
        Ok(())
    })
    .await
}
