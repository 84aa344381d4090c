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
const SYSTEM: &str = "sluice-system";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);
/// How long a change may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A connection to each data plane that serves a Gateway.
pub(crate) struct Planes(Vec<Probe>);

impl Planes {
    /// Connects to what is behind the address of a Gateway.
    pub(crate) async fn connect(cluster: &Cluster, gateway: SocketAddr) -> Result<Self> {
        let services = cluster.api::<Service>(SYSTEM).list(&ListParams::default()).await?;
        let address = gateway.ip().to_string();
        let has_address = |service: &&Service| {
            service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some(address.as_str()))
        };
        let service = services.iter().find(has_address).with_context(|| format!("no Service has {address}"))?;
        let addresses = endpoints(cluster, SYSTEM, &service.name_any()).await?;
        let connecting = addresses.into_iter().map(Probe::connect);
        Ok(Self(try_join_all(connecting).await?))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Waits until each answers with 200, and returns when the last one did. Only 404 may come before.
    pub(crate) async fn serve(&mut self, target: &Target) -> Result<Instant> {
        try_join_all(self.0.iter_mut().map(|probe| serves(probe, target))).await?;
        Ok(Instant::now())
    }
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
