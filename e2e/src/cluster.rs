//! The cluster that is given by `KUBECONFIG`.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Namespace};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DeleteParams, DynamicObject},
    core::GroupVersionKind,
};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::wait::{Look, until, when};

/// How long a namespace may take to go: pods have 30 s, and finalizers of ours must have run.
const NAMESPACE_DEADLINE: Duration = Duration::from_mins(2);

/// How long a command of the documentation may take: some of them wait for a Rollout.
const SHELL_DEADLINE: Duration = Duration::from_mins(5);

/// A cluster.
#[derive(Clone)]
pub struct Cluster {
    /// Its client.
    pub client: Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

/// What a `kubectl` call said.
#[derive(Clone, Debug)]
pub struct Kubectl {
    /// It exited with 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error: errors and the API server's warnings.
    pub stderr: String,
}

impl Cluster {
    /// The cluster of `KUBECONFIG`, or of `SLUICE_KUBECONFIG` for one that exists already.
    pub async fn connect() -> Result<Self> {
        let given = std::env::var_os("SLUICE_KUBECONFIG").or_else(|| std::env::var_os("KUBECONFIG"));
        let Some(path) = given else {
            bail!(
                "no cluster: neither KUBECONFIG nor SLUICE_KUBECONFIG is set. `make test` brings one up and runs this"
            );
        };
        let kubeconfig = kube::config::Kubeconfig::read_from(&path).context("read KUBECONFIG")?;
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let version = tokio::time::timeout(Duration::from_secs(10), client.apiserver_version()).await;
        version.context("the API server does not answer")?.context("the API server does not answer")?;
        Ok(Self { client })
    }

    /// The API of a kind of k8s-openapi or of Sluice.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The API of a kind of the Gateway API, version 1.
    pub fn gateway_api(&self, namespace: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind);
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::from_gvk_with_plural(&kind, plural))
    }

    /// Runs `kubectl`, for what users do with it and for the warnings that it shows.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Kubectl> {
        self.kubectl_with(arguments, "").await
    }

    /// The same with something on its standard input, for `-f -`.
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<Kubectl> {
        let mut command = Command::new("kubectl");
        command.args(arguments);
        run(command, input, Duration::from_mins(1)).await
    }

    /// Runs a line as a user types it into a shell in the checkout.
    pub async fn shell(&self, line: &str) -> Result<Kubectl> {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        run(command, "", SHELL_DEADLINE).await
    }

    /// Deletes a namespace, if it exists, and waits until it is gone.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        if api.get_opt(name).await?.is_none() {
            return Ok(());
        }
        api.delete(name, &DeleteParams::default()).await?;
        until(&format!("namespace {name} gone"), NAMESPACE_DEADLINE, async || {
            let seen = api.get_opt(name).await?;
            Ok(when(seen.is_none(), || format!("{:?}", seen.and_then(|namespace| namespace.status))))
        })
        .await
    }
}

/// Runs a command that calls `kubectl`, within a time.
async fn run(mut command: Command, input: &str, deadline: Duration) -> Result<Kubectl> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    if let Some(path) = std::env::var_os("SLUICE_KUBECONFIG") {
        command.env("KUBECONFIG", path);
    }
    let mut child = command.spawn().context("kubectl is not on PATH")?;
    let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
    let output = tokio::time::timeout(deadline, async {
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        child.wait_with_output().await
    });
    let output = output.await.context("kubectl did not end")??;
    Ok(Kubectl {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// `Look` at an object that must be there for its state to be asked.
pub async fn look_at<K, T>(api: &Api<K>, name: &str, look: impl FnOnce(&K) -> Look<T>) -> Result<Look<T>>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    Ok(match api.get_opt(name).await? {
        Some(object) => look(&object),
        None => Look::NotYet(format!("{name} does not exist")),
    })
}
