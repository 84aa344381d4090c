//! Each data plane by itself: the Service in front of them would only show one of them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use http::{Request, StatusCode};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{ResourceExt, api::ListParams};
use sluice_e2e::{cluster::Cluster, load::Target, probe::Probe};

use crate::backends::endpoints;

/// Namespace of the data planes and their controller.
pub(crate) const SYSTEM: &str = "sluice-system";
/// The Deployment of the data planes.
pub(crate) const DATA_PLANE: &str = "sluice-proxy";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);
/// So many answers of the new version in a row, and the old one is gone.
const FIRM: usize = 5;
/// How long a change may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A connection to each data plane that serves a Gateway.
pub(crate) struct Planes(Vec<Probe>);

impl Planes {
    /// Connects to what is behind the address of a Gateway.
    pub(crate) async fn connect(cluster: &Cluster, gateway: SocketAddr) -> Result<Self> {
        Self::connect_each(cluster, gateway, 1).await
    }

    /// The same with several connections to each data plane: a connection goes to the worker that has the fewest, so as
    /// many as there are workers reach all of them.
    pub(crate) async fn connect_each(cluster: &Cluster, gateway: SocketAddr, connections: usize) -> Result<Self> {
        let addresses = endpoints_of(cluster, gateway).await?;
        let mut probes = Vec::new();
        // One round after the other, so that each finds the workers of its data plane evenly loaded.
        for _ in 0..connections {
            probes.extend(try_join_all(addresses.iter().copied().map(Probe::connect)).await?);
        }
        Ok(Self(probes))
    }

    /// How many connections there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Waits until each answers with 200, and returns when the last one did. Only 404 may come before.
    pub(crate) async fn serve(&mut self, target: &Target) -> Result<Instant> {
        try_join_all(self.0.iter_mut().map(|probe| serves(probe, target))).await?;
        Ok(Instant::now())
    }

    /// Waits until this version answers on each connection, and no other one does any more; returns when the last of them
    /// had its first answer of it.
    pub(crate) async fn turn_to(&mut self, target: &Target, version: &str) -> Result<Instant> {
        let turned = try_join_all(self.0.iter_mut().map(|probe| turns_to(probe, target, version))).await?;
        turned.into_iter().max().context("no data plane")
    }
}

/// What is behind the address of a Gateway: each data plane's address and the port that it binds.
pub(crate) async fn endpoints_of(cluster: &Cluster, gateway: SocketAddr) -> Result<Vec<SocketAddr>> {
    let services = cluster.api::<Service>(SYSTEM).list(&ListParams::default()).await?;
    let address = gateway.ip().to_string();
    let has_address = |service: &&Service| {
        service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some(address.as_str()))
    };
    let service = services.iter().find(has_address).with_context(|| format!("no Service has {address}"))?;
    endpoints(cluster, SYSTEM, &service.name_any()).await
}

async fn turns_to(probe: &mut Probe, target: &Target, version: &str) -> Result<Instant> {
    let asked = Instant::now();
    let (mut turned, mut firm) = (None, 0);
    while firm < FIRM {
        let (status, headers) = probe.get(target).await?;
        ensure!(status == StatusCode::OK, "{}: answered {status}", target.host);
        let is_new = headers.get("x-version").is_some_and(|value| value.as_bytes() == version.as_bytes());
        ensure!(is_new || turned.is_none(), "{}: the old version after {version}", target.host);
        if is_new {
            turned.get_or_insert_with(Instant::now);
            firm += 1;
        }
        ensure!(asked.elapsed() < DEADLINE, "{}: {version} did not answer within {DEADLINE:?}", target.host);
        tokio::time::sleep(PAUSE).await;
    }
    turned.context("no answer")
}

async fn serves(probe: &mut Probe, target: &Target) -> Result<()> {
    let asked = Instant::now();
    loop {
        let (status, _) = probe.get(target).await?;
        if status == StatusCode::OK {
            return Ok(());
        }
        ensure!(status == StatusCode::NOT_FOUND, "{}: answered {status} before it was served", target.host);
        ensure!(asked.elapsed() < DEADLINE, "{}: not served within {DEADLINE:?}", target.host);
        tokio::time::sleep(PAUSE).await;
    }
}

/// What the proxy's controller has sent to the data planes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sent {
    /// Messages.
    pub(crate) updates: f64,
    /// Their bytes.
    pub(crate) bytes: f64,
}

impl Sent {
    /// So far.
    pub(crate) async fn so_far(cluster: &Cluster) -> Result<Self> {
        let params = ListParams::default().labels("app.kubernetes.io/component=controller");
        let pods = cluster.api::<Pod>(SYSTEM).list(&params).await?;
        let pod = pods.items.first().context("no controller of the proxy")?.name_any();
        let uri = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:9091/proxy/metrics");
        let text = cluster.client.request_text(Request::get(uri).body(Vec::new())?).await?;
        let value = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.with_context(|| format!("the controller does not export {name}"))?.trim().parse()?)
        };
        let updates = value("sluice_controller_stream_updates_total")?;
        Ok(Self { updates, bytes: value("sluice_controller_stream_bytes_total")? })
    }
}
