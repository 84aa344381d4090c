//! What protects stable's pods protects the canary's: copies in a run, none before and after it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{networking::v1::NetworkPolicy, policy::v1::PodDisruptionBudget};
use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};
use sluice_crds::{BackendTrafficPolicy, Phase, RolloutStatus, names};
use sluice_e2e::{
    app::App,
    cluster::look_at,
    manifest, suite,
    wait::{until, when},
};

/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn what_protects_stable_is_copied_for_a_run() -> Result<()> {
    suite::run("coverage", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 30, "hold": {"min": "10m"}}]))?;
        app.object_mut("Rollout")?["spec"]["strategy"]["canary"]["mirrorPolicies"] = json!(true);
        app.object_mut("Deployment")?["spec"]["template"]["spec"]["containers"][0]["envFrom"] =
            json!([{"configMapRef": {"name": app.name, "optional": true}}]);
        let address = app.serve().await?;
        manifest::apply(&cluster.client, &protections(&app)).await?;
        says_why_it_is_not_in_force(&app).await?;
        says_that_it_is_in_force(&app).await?;
        let load = app.load(address, 50.0)?;
        let follow = app.adopt().await?;
        ensure!(copies(&app).await?.is_empty(), "copies without a run: {:?}", copies(&app).await?);

        app.push("v2", "0").await?;
        follow.until_live("30%", DEADLINE).await?;
        let copied = copies(&app).await?;
        let canary = format!("{}{}", app.name, names::CANARY_SUFFIX);
        let expected: Vec<_> = ["BackendTLSPolicy", "BackendTrafficPolicy", "NetworkPolicy", "PodDisruptionBudget"]
            .iter()
            .map(|kind| format!("{kind}/{canary}"))
            .collect();
        ensure!(copied == expected, "copied: {copied:?}");
        let budget = cluster.api::<PodDisruptionBudget>(&namespace).get(&canary).await?;
        let selector = serde_json::to_value(budget.spec.and_then(|spec| spec.selector))?;
        ensure!(selector == json!({"matchLabels": {"app": canary}}), "the copy selects {selector}");

        let abort = r#"{"operation":{"type":"Abort"}}"#;
        let arguments = ["patch", "rollouts.sluice.dev", &app.name, "-n", &namespace, "--type", "merge", "-p", abort];
        ensure!(cluster.kubectl(&arguments).await?.success, "kubectl patch");
        follow.until_phase(Phase::RolledBack, DEADLINE).await?;
        ensure!(copies(&app).await?.is_empty(), "copies are left: {:?}", copies(&app).await?);
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}

/// The kind of a policy of another project, as far as it is looked at.
const POLICIES: &str = r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "securitypolicies.gateway.envoyproxy.io"},
    "spec": {"group": "gateway.envoyproxy.io", "scope": "Namespaced",
        "names": {"plural": "securitypolicies", "kind": "SecurityPolicy"},
        "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
            {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}"#;

#[tokio::test]
async fn a_policy_on_one_rule_holds_a_run_that_would_copy_the_rule() -> Result<()> {
    suite::run("attached", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"match": {"headers": [{"name": "env", "value": "canary"}]}, "hold": {"min": "10m"}}]))?;
        app.object_mut("HTTPRoute")?["spec"]["rules"][0]["name"] = json!("shop");
        app.object_mut("Rollout")?["spec"].as_object_mut().context("no spec")?.remove("analysis");
        app.serve().await?;
        let target = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": app.name,
            "sectionName": "shop"});
        let policy = json!({"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "SecurityPolicy",
            "metadata": {"name": "jwt", "namespace": namespace}, "spec": {"targetRefs": [target]}});
        manifest::apply(&cluster.client, &[serde_json::from_str(POLICIES)?, policy]).await?;
        let follow = app.adopt().await?;
        app.push("v2", "0").await?;
        let is_held = |status: &RolloutStatus| status.reason.as_deref() == Some("PolicyNotCopied");
        let held = follow.until("reason PolicyNotCopied", DEADLINE, is_held).await?;
        let said = held.message.clone().unwrap_or_default();
        ensure!(said.contains("SecurityPolicy \"jwt\"") && said.contains("\"shop\""), "it does not say which: {said}");
        ensure!(app.canary_objects().await?.is_empty(), "something was made: {:?}", app.canary_objects().await?);

        let ignore = ["label", "securitypolicy", "jwt", "-n", &namespace, "sluice.dev/canary-coverage=ignore"];
        ensure!(cluster.kubectl(&ignore).await?.success, "kubectl label");
        follow.until_phase(Phase::Stepping, DEADLINE).await?;
        Ok(())
    })
    .await
}

/// A budget, a network policy that lets everybody in, a policy for TLS that names the stable Service, and one for its endpoints.
fn protections(app: &App) -> Vec<Value> {
    let metadata = json!({"name": app.name, "namespace": app.namespace});
    let pods = json!({"matchLabels": {"app": app.name}});
    vec![
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata,
            "spec": {"minAvailable": 1, "selector": pods}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
            "spec": {"podSelector": pods, "ingress": [{}]}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy", "metadata": metadata,
            "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": app.name, "sectionName": "unused"}],
                "validation": {"hostname": "podinfo.example.com", "wellKnownCACertificates": "System"}}}),
        json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "BackendTrafficPolicy", "metadata": metadata,
            "spec": {"targetRefs": [{"name": app.name}], "outlierDetection": {}}}),
    ]
}

/// The proxy tells the policy's author that the Service has no port of that name.
async fn says_why_it_is_not_in_force(app: &App) -> Result<()> {
    let policies = app.cluster.gateway_api(&app.namespace, "BackendTLSPolicy", "backendtlspolicies");
    until("a policy that is not in force", DEADLINE, async || {
        look_at(&policies, &app.name, |policy| {
            let ancestors = &policy.data["status"]["ancestors"];
            let said = &ancestors[0]["conditions"][0]["reason"];
            when(said == "TargetNotFound", || ancestors.to_string())
        })
        .await
    })
    .await
}

/// And the author of the other policy that it is in force at the Gateway.
async fn says_that_it_is_in_force(app: &App) -> Result<()> {
    let policies = app.cluster.api::<BackendTrafficPolicy>(&app.namespace);
    until("a policy that is in force", DEADLINE, async || {
        look_at(&policies, &app.name, |policy| {
            let ancestors = policy.status.clone().unwrap_or_default().ancestors;
            let mut conditions = ancestors.iter().flat_map(|ancestor| &ancestor.conditions);
            let holds = conditions.any(|said| said.type_ == "Accepted" && said.status == "True");
            when(holds, || format!("{ancestors:?}"))
        })
        .await
    })
    .await
}

/// What the run has copied, as kind and name.
async fn copies(app: &App) -> Result<Vec<String>> {
    let owned = ListParams::default().labels(&format!("{}={}", names::LABEL_OWNED_BY, app.name));
    let namespace = &app.namespace;
    let tls = app.cluster.gateway_api(namespace, "BackendTLSPolicy", "backendtlspolicies").list(&owned).await?;
    let traffic = app.cluster.api::<BackendTrafficPolicy>(namespace).list(&owned).await?;
    let network = app.cluster.api::<NetworkPolicy>(namespace).list(&owned).await?;
    let budgets = app.cluster.api::<PodDisruptionBudget>(namespace).list(&owned).await?;
    let named = |kind: &str, name: String| format!("{kind}/{name}");
    Ok(tls
        .iter()
        .map(|copy| named("BackendTLSPolicy", copy.name_any()))
        .chain(traffic.iter().map(|copy| named("BackendTrafficPolicy", copy.name_any())))
        .chain(network.iter().map(|copy| named("NetworkPolicy", copy.name_any())))
        .chain(budgets.iter().map(|copy| named("PodDisruptionBudget", copy.name_any())))
        .collect())
}
