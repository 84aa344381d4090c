//! What the operator needs stays until the API of Rollouts is gone, and nothing else is in anybody's way.

use crate::shared::{SETTLED, in_namespace, kubectl, objects, succeeds, without_operator};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sluice_e2e::{
    manifest::{self, label, text},
    wait::{until, when},
};

/// Kinds that go at the first try: the API, whose end is waited for, and what cannot be guarded or need not be.
const GOES_FIRST: [&str; 6] = [
    "CustomResourceDefinition",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "PodDisruptionBudget",
];

/// Where an object of the manifest is, as arguments of `kubectl delete`.
fn address(object: &Value) -> [String; 3] {
    let group = text(object, "/apiVersion").split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    let namespace = text(object, "/metadata/namespace");
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    [
        format!("{}{group}", text(object, "/kind").to_lowercase()),
        text(object, "/metadata/name").to_owned(),
        format!("--namespace={namespace}"),
    ]
}

#[tokio::test]
async fn only_the_api_and_the_policies_go_at_first() -> Result<()> {
    in_namespace("guard", async |cluster, namespace| {
        let mut guarded = 0;
        for object in objects()? {
            let address = address(&object);
            let delete = ["delete", &address[0], &address[1], &address[2], "--dry-run=server", "--ignore-not-found"];
            let may_go = GOES_FIRST.contains(&text(&object, "/kind"));
            until(&format!("{} goes: {may_go}", label(&object)), SETTLED, async || {
                let done = cluster.kubectl(&delete).await?;
                // What needs images is not installed where only the rules are tested.
                let is_absent = done.success && done.stdout.trim().is_empty();
                let says_what_to_do = done.stderr.contains("kubectl delete crd rollouts.sluice.dev");
                guarded += i32::from(!done.success && says_what_to_do);
                let as_wanted = if may_go { done.success } else { says_what_to_do || is_absent };
                Ok(when(as_wanted, || format!("{}{}", done.stdout, done.stderr)))
            })
            .await?;
        }
        // The Namespace, and each ClusterRole and ClusterRoleBinding: what is there without images.
        ensure!(guarded >= 7, "only {guarded} objects are guarded");
        // What only has the same label is not the manifest's.
        succeeds(cluster, namespace, &["create", "serviceaccount", "shop"]).await?;
        succeeds(cluster, namespace, &["label", "serviceaccount/shop", "app.kubernetes.io/part-of=sluice"]).await?;
        succeeds(cluster, namespace, &["delete", "serviceaccount", "shop"]).await?;
        Ok(())
    })
    .await
}

/// The policies on Rollouts are not bound to the operator's Namespace, as they guard the API; without an operator they
/// must let a Rollout go all the same.
#[tokio::test]
async fn without_an_operator_no_policy_keeps_a_rollout_from_being_edited_or_removed() -> Result<()> {
    in_namespace("gone", async |cluster, namespace| {
        let rollout = json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout",
            "metadata": { "name": "web", "namespace": namespace, "finalizers": ["sluice.dev/rollout"] },
            "spec": {
                "workload": { "kind": "Deployment", "name": "web" },
                "routes": [{ "kind": "HTTPRoute", "name": "web" }],
                "strategy": { "canary": { "steps": [{ "weight": 50 }] } },
            },
        });
        without_operator(cluster, async || {
            manifest::apply(&cluster.client, std::slice::from_ref(&rollout)).await?;
            let patch = ["patch", "rollouts.sluice.dev", "web", "--type=merge", "-p"];
            let patched = async |body| succeeds(cluster, namespace, &[&patch[..], &[body]].concat()).await;
            patched(r#"{"operation":{"type":"Abort"}}"#).await?;
            succeeds(cluster, namespace, &["delete", "rollouts.sluice.dev", "web", "--wait=false"]).await?;
            patched(r#"{"spec":{"strategy":{"canary":{"steps":[{"weight":60}]}}}}"#).await?;
            patched(r#"{"metadata":{"finalizers":null}}"#).await?;
            until("the Rollout gone", SETTLED, async || {
                let seen = kubectl(cluster, namespace, &["get", "rollouts.sluice.dev", "web"]).await?;
                Ok(when(seen.stderr.contains("NotFound"), || seen.stdout + &seen.stderr))
            })
            .await
        })
        .await
    })
    .await
}
