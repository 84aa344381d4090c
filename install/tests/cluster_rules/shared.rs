//! What the tests on a real API server share: the API, the rights and the policies in place, a namespace, and `kubectl`
//! in it. None of it needs an image.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use sluice_e2e::{
    cluster::{Cluster, Kubectl},
    install::deployment_ready,
    manifest::{self, text},
    wait::{until, when},
};
use sluice_install::{DEFAULT_TAG, NAMESPACE};

/// How long the API server may take until it follows a new policy or role.
pub(crate) const SETTLED: Duration = Duration::from_secs(30);

/// How long the operator's pods may take to go: one that is told to stop in its first moments is killed after its grace
/// period of 30 s.
const STOPPED: Duration = Duration::from_secs(90);

/// The operator, as the API server knows it.
pub(crate) const OPERATOR: &str = "system:serviceaccount:sluice-system:sluice-operator";

/// The objects of the manifest.
pub(crate) fn objects() -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_multiple(&sluice_install::manifest(DEFAULT_TAG)?)?)
}

/// Runs a test in a namespace of its own, with the rules of the manifest in force.
pub(crate) async fn in_namespace(prefix: &str, test: impl AsyncFnOnce(&Cluster, &str) -> Result<()>) -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = serde_json::from_value(json!({ "metadata": { "generateName": format!("{prefix}-") } }))?;
    let name = namespaces.create(&PostParams::default(), &namespace).await?.name_any();
    let course = async {
        install_rules(&cluster, &name).await?;
        test(&cluster, &name).await
    };
    let result = course.await;
    // Not waited for: there are no pods in it, and no finalizers.
    namespaces.delete(&name, &DeleteParams::default()).await?;
    result
}

/// Runs a test while no operator runs, which would take what is asked out of a Rollout before the test has seen it. An
/// operator that ran before runs again afterwards.
pub(crate) async fn without_operator(cluster: &Cluster, test: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    const NAME: &str = "sluice-operator";
    let deployments = cluster.api::<Deployment>(NAMESPACE);
    let replicas = deployments.get_opt(NAME).await?.and_then(|operator| operator.spec.replicas).unwrap_or(0);
    let scale = async |replicas: i32| -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        deployments.patch_scale(NAME, &PatchParams::default(), &patch).await?;
        Ok(())
    };
    if replicas == 0 {
        return test().await;
    }
    scale(0).await?;
    let pods = cluster.api::<Pod>(NAMESPACE);
    let of_operator = ListParams::default().labels("app.kubernetes.io/name=sluice-operator");
    let gone = until("the operator stopped", STOPPED, async || {
        let left = pods.list(&of_operator).await?.items;
        Ok(when(left.is_empty(), || format!("{} pods", left.len())))
    });
    let result = match gone.await {
        Ok(()) => test().await,
        Err(error) => Err(error),
    };
    scale(replicas).await?;
    // One that is told to stop before it listens would take its whole grace period.
    deployment_ready(cluster, NAMESPACE, NAME, STOPPED).await?;
    result
}

/// Applies all of the manifest that needs no images, and waits until the policies are in force.
async fn install_rules(cluster: &Cluster, namespace: &str) -> Result<()> {
    let mut objects = objects()?;
    objects.retain(|object| {
        let kind = text(object, "/kind");
        kind.starts_with("Cluster")
            || kind.ends_with("Policy")
            || kind.ends_with("PolicyBinding")
            || kind == "Namespace"
            || kind == "CustomResourceDefinition"
    });
    manifest::apply(&cluster.client, &objects).await?;
    manifest::apply(&cluster.client, &[deployment("probe", namespace, "sluice.dev/rollout")]).await?;
    until("the policy is in force", SETTLED, async || {
        let patch = r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"app:2"}]"#;
        let arguments = ["patch", "deployment", "probe", "--type=json", "--dry-run=server", "-ojson", "-p", patch];
        let seen = kubectl(cluster, namespace, &arguments).await?;
        Ok(when(seen.stdout.contains(r#""paused": true"#), || format!("{}{}", seen.stdout, seen.stderr)))
    })
    .await
}

/// A Deployment without replicas, with a label whose value is its name.
pub(crate) fn deployment(name: &str, namespace: &str, label: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace, "labels": { label: name } },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
            },
        },
    })
}

/// `kubectl` in a namespace, whatever comes of it.
pub(crate) async fn kubectl(cluster: &Cluster, namespace: &str, arguments: &[&str]) -> Result<Kubectl> {
    cluster.kubectl(&[&["--namespace", namespace], arguments].concat()).await
}

/// `kubectl` in a namespace, which must succeed: what it printed, warnings included.
pub(crate) async fn succeeds(cluster: &Cluster, namespace: &str, arguments: &[&str]) -> Result<String> {
    let done = kubectl(cluster, namespace, arguments).await?;
    ensure!(done.success, "kubectl {arguments:?}: {}", done.stderr);
    Ok(done.stdout + &done.stderr)
}

/// `kubectl` in a namespace, which must be refused with this in the message.
pub(crate) async fn is_refused(cluster: &Cluster, namespace: &str, arguments: &[&str], expected: &str) -> Result<()> {
    let done = kubectl(cluster, namespace, arguments).await?;
    ensure!(!done.success, "kubectl {arguments:?} was not refused");
    ensure!(done.stderr.contains(expected), "expected {expected:?} in {}", done.stderr);
    Ok(())
}
