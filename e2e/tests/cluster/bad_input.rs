//! Rollouts that cannot work say what is wrong with them, in words that name the object, and change nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::{ResourceExt, api::DeleteParams};
use serde_json::{Value, json};
use sluice_crds::{Phase, RolloutStatus, names};
use sluice_e2e::{
    app::App,
    cluster::Cluster,
    follow::{Follow, has_condition},
    manifest, suite,
};

/// How long a verdict on a spec may take.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn what_does_not_exist_or_cannot_have_a_canary_is_named() -> Result<()> {
    suite::run("bad", async |cluster, namespace| {
        let app = suite::first_light(&cluster, &namespace)?;
        app.serve().await?;
        manifest::apply(&cluster.client, &with_a_disk(&app)).await?;
        let before = untouched(&app).await?;

        let workload = json!({"workload": {"kind": "Deployment", "name": "no-such-workload"}, "service": app.name});
        invalid(&app, "bad-workload", workload, &["no-such-workload", "spec.workload"]).await?;
        invalid(&app, "bad-service", json!({"service": "no-such-service"}), &["no-such-service", "spec.service"])
            .await?;
        let route = json!({"routes": [{"kind": "HTTPRoute", "name": "no-such-route"}]});
        invalid(&app, "bad-route", route, &["no-such-route", "spec.routes[0]"]).await?;

        manifest::apply(&cluster.client, &other_route(&app)).await?;
        let route = json!({"routes": [{"kind": "HTTPRoute", "name": "elsewhere"}]});
        invalid(&app, "bad-reference", route, &["elsewhere", &app.name, "spec.routes[0]"]).await?;

        let workload = json!({"workload": {"kind": "Deployment", "name": "with-a-disk"}, "service": app.name});
        let named = ["with-a-disk", "\"disk\"", "ReadWriteOnce", "strategy.canary.tolerate"];
        invalid(&app, "bad-volume", workload, &named).await?;

        ensure!(before == untouched(&app).await?, "a bad Rollout changed something");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_second_rollout_of_a_workload_names_the_first() -> Result<()> {
    suite::run("second", async |cluster, namespace| {
        let app = suite::first_light(&cluster, &namespace)?;
        app.serve().await?;
        let first = app.adopt().await?;
        let before = untouched(&app).await?;
        let status = invalid(&app, "second", json!({}), &[&format!("{:?}", app.name)]).await?;
        ensure!(status.reason.as_deref() == Some("Conflicted"), "{:?}", status.reason);
        ensure!(before == untouched(&app).await?, "the second Rollout changed something");
        ensure!(has_condition(&first.status(), names::CONDITION_READY, "True"), "the first one suffers");
        Ok(())
    })
    .await
}

/// Applies the example's Rollout with another name and other fields of its spec, and waits for its verdict.
async fn invalid(app: &App, name: &str, fields: Value, expected: &[&str]) -> Result<RolloutStatus> {
    let mut app = app.clone();
    let rollout = app.object_mut("Rollout")?;
    rollout["metadata"]["name"] = json!(name);
    for (field, value) in fields.as_object().into_iter().flatten() {
        rollout["spec"][field] = value.clone();
    }
    let rollout = rollout.clone();
    manifest::apply(&app.cluster.client, &[rollout]).await?;
    let follow = Follow::start(app.rollouts(), app.routes(), name, &app.name);
    let status = follow.until_phase(Phase::Invalid, DEADLINE).await?;
    let message = status.message.clone().unwrap_or_default();
    println!("{name}: {message}");
    for word in expected {
        ensure!(message.contains(word), "{name}: {word:?} is not named in: {message}");
    }
    ensure!(has_condition(&status, names::CONDITION_STALLED, "True"), "{name}: Invalid but not Stalled");
    // Or the next one would be told that this one has the route.
    app.rollouts().delete(name, &DeleteParams::default()).await?;
    Ok(status)
}

/// A route that names another Service.
fn other_route(app: &App) -> [Value; 1] {
    let backends = json!([{"name": "another-service", "port": 80}]);
    [json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "elsewhere", "namespace": app.namespace},
        "spec": {
            "parentRefs": [{"name": app.gateway}],
            "hostnames": ["elsewhere.example.com"],
            "rules": [{"backendRefs": backends}],
        },
    })]
}

/// A Deployment, without pods, whose volume one node alone may write, and its claim.
fn with_a_disk(app: &App) -> [Value; 2] {
    let metadata = |name: &str| json!({"name": name, "namespace": app.namespace});
    let labels = json!({"app": "with-a-disk"});
    let volumes = json!([{"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}]);
    [
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata("disk"),
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("with-a-disk"),
            "spec": {
                "replicas": 0, "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "app", "image": "app:1"}], "volumes": volumes},
                },
            },
        }),
    ]
}

/// Everything of the user's that a Rollout could change.
async fn untouched(app: &App) -> Result<(Value, Value, Option<String>, usize)> {
    let deployment = app.deployment().await?;
    let label = deployment.labels().get(names::LABEL_ROLLOUT).cloned();
    let spec = serde_json::to_value(&deployment.spec)?;
    let deployments = count(&app.cluster, &app.namespace).await?;
    Ok((app.route_spec().await?, spec, label, deployments))
}

async fn count(cluster: &Cluster, namespace: &str) -> Result<usize> {
    let api = cluster.api::<k8s_openapi::api::apps::v1::Deployment>(namespace);
    Ok(api.list(&kube::api::ListParams::default()).await?.items.len())
}
