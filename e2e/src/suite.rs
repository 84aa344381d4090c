//! What every test begins and ends with: Sluice installed, a namespace of its own, a diagnosis when it fails.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use crate::{
    app::App,
    cluster::Cluster,
    diagnose,
    install::{example_path, install, manifest_path},
};

/// Runs a test in a namespace whose name begins with `prefix`.
///
/// On failure it prints what a person would look at, then takes the namespace away all the same, so that one failed test
/// does not take the node's room from the next. `SLUICE_KEEP=1` keeps it.
pub async fn run(prefix: &str, test: impl AsyncFnOnce(Cluster, String) -> Result<()>) -> Result<()> {
    let cluster = Cluster::connect().await?;
    install(&cluster, &manifest_path()).await?;
    let namespace = format!("{prefix}-{}", suffix());
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
    api.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await?;
    let result = test(cluster.clone(), namespace.clone()).await;
    if let Err(error) = &result {
        eprintln!("FAILED in namespace {namespace}: {error:#}");
        eprintln!("{}", diagnose::report(&cluster, &namespace).await);
    }
    if std::env::var_os("SLUICE_KEEP").is_some() {
        return result;
    }
    let gone = cluster.delete_namespace(&namespace).await.context("a test must leave nothing behind");
    result.and(gone)
}

/// The first example, in this namespace, not applied yet.
pub fn first_light(cluster: &Cluster, namespace: &str) -> Result<App> {
    App::read(cluster, &example_path("00-first-light"), namespace)
}

/// Five characters that no other test of this time has.
fn suffix() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(5).collect::<String>().to_lowercase()
}
