//! docs/scenarios/07-tls-cert-manager.md, with the real cert-manager: `make cert-manager`.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{ResourceExt, api::ListParams};
use sluice_e2e::{
    cluster::Cluster,
    load::{Load, LoadConfig},
    manifest,
    scenario::{self, Scenario},
    tls::TlsClient,
    wait::{until, when},
};
use tokio::process::{Child, Command};

use super::answers_in_tls;

const NAMESPACE: &str = "renewed";
const HOST: &str = "shop.example.com";
/// The first one, and two renewals.
const CERTIFICATES: usize = 3;
/// Each is renewed after twenty seconds.
const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
#[ignore = "cert-manager takes minutes to build: make cert-manager"]
async fn cert_manager_renews_a_gateways_certificate_and_no_request_is_lost() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let folder =
        std::env::var_os("SLUICE_CERT_MANAGER").context("SLUICE_CERT_MANAGER is the folder that it is built in")?;
    let folder = PathBuf::from(folder);
    let kinds = manifest::read(&folder.join("cert-manager-crds.yaml"))?;
    manifest::apply(&cluster.client, &kinds).await?;
    let controller = controller(&folder)?;
    let result = scenario::run("07-tls-cert-manager", renewals).await;
    drop(controller);
    for kind in &kinds {
        let api = manifest::api_of(&cluster.client, kind).await?;
        api.delete(manifest::text(kind, "/metadata/name"), &kube::api::DeleteParams::default()).await?;
    }
    result
}

/// cert-manager, until it is dropped.
fn controller(folder: &Path) -> Result<Child> {
    let given = std::env::var_os("SLUICE_KUBECONFIG").or_else(|| std::env::var_os("KUBECONFIG"));
    let mut command = Command::new(folder.join("cert-manager-controller"));
    command.arg("--kubeconfig").arg(given.context("no KUBECONFIG")?);
    command.stdin(Stdio::null()).kill_on_drop(true).spawn().context("cert-manager does not start")
}

async fn renewals(scenario: &Scenario) -> Result<()> {
    let https = SocketAddr::new(scenario.address(NAMESPACE, "web").await?, 443);
    let authority = scenario.cluster.api::<Secret>(NAMESPACE).get("authority").await?;
    let authority = authority.data.unwrap_or_default().remove("tls.crt").context("no tls.crt")?;
    let client = TlsClient::new(HOST, std::str::from_utf8(&authority.0)?)?;
    answers_in_tls(https, &client, &format!("{HOST}/"), (200, "foo")).await?;
    let listed = scenario.command("get -n renewed certificates").await?;
    ensure!(listed.contains("shop-tls"), "{listed}");

    let programs = programs(&scenario.cluster).await?;
    let load = Load::start(LoadConfig {
        rps: 50.0,
        // So that each request sees the certificate of its time.
        headers: vec![("connection".to_owned(), "close".to_owned())],
        tls: Some(client.clone()),
        ..LoadConfig::new(https, HOST)
    })?;
    let mut shown = BTreeSet::new();
    until("two renewals", DEADLINE, async || {
        shown.insert(client.shown(https).await?);
        Ok(when(shown.len() >= CERTIFICATES, || format!("{} certificates", shown.len())))
    })
    .await?;
    let finished = load.stop().await?;
    println!("{} requests over {} certificates", finished.summary.sent, shown.len());
    finished.lost_nothing_but(None)?;
    ensure!(programs == self::programs(&scenario.cluster).await?, "a program of Sluice was restarted");
    Ok(())
}

/// UID and restarts of each pod of Sluice.
async fn programs(cluster: &Cluster) -> Result<BTreeSet<(String, i32)>> {
    let pods = cluster.api::<Pod>("sluice-system").list(&ListParams::default()).await?;
    let restarts = |pod: &Pod| -> i32 {
        let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        containers.map(|container| container.restart_count).sum()
    };
    Ok(pods.iter().map(|pod| (pod.uid().unwrap_or_default(), restarts(pod))).collect())
}
