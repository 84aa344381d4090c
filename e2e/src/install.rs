//! Sluice in the cluster: the install manifest applied, and its programs ready.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, look_at},
    manifest::{self, text},
    wait::{until, when},
};

/// How long the programs may take to be ready: images are on the node already.
const DEADLINE: Duration = Duration::from_mins(2);

/// The install manifest of this checkout.
pub fn manifest_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../install/install.yaml")
}

/// The folder of an example of this checkout.
pub fn example_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// What was installed.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Namespace and name of each Deployment.
    pub deployments: Vec<(String, String)>,
}

/// Applies the manifest and waits until all of it is ready. Doing it again changes nothing.
pub async fn install(cluster: &Cluster, path: &Path) -> Result<Installed> {
    let objects = manifest::read(path)?;
    manifest::apply(&cluster.client, &objects).await?;
    let deployments: Vec<_> = objects.iter().filter(|object| text(object, "/kind") == "Deployment").map(key).collect();
    if deployments.is_empty() {
        bail!("{}: no Deployment", path.display());
    }
    for (namespace, name) in &deployments {
        deployment_ready(cluster, namespace, name, DEADLINE).await?;
    }
    Ok(Installed { deployments })
}

fn key(object: &Value) -> (String, String) {
    (text(object, "/metadata/namespace").to_owned(), text(object, "/metadata/name").to_owned())
}

/// Waits until a Deployment's rollout is complete, as `kubectl rollout status` judges it, and every replica is ready.
pub async fn deployment_ready(cluster: &Cluster, namespace: &str, name: &str, deadline: Duration) -> Result<()> {
    let api = cluster.api::<Deployment>(namespace);
    until(&format!("Deployment {namespace}/{name} ready"), deadline, async || {
        look_at(&api, name, |deployment| when(complete(deployment), || format!("{:?}", deployment.status))).await
    })
    .await
}

/// Sets a Deployment's replicas, and waits until just those are there.
pub async fn scale(cluster: &Cluster, namespace: &str, name: &str, replicas: i32, deadline: Duration) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    cluster.api::<Deployment>(namespace).patch(name, &PatchParams::default(), &patch).await?;
    deployment_ready(cluster, namespace, name, deadline).await
}

/// All replicas are of the current template, ready, and no older one is left.
pub fn complete(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) == wanted
            && status.replicas.unwrap_or(0) == wanted
            && status.ready_replicas.unwrap_or(0) == wanted
    })
}
