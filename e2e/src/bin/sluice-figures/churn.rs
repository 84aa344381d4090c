//! Changes of everything that a data plane is told, fifty a second for a minute, under load: no request may be lost.

use std::{
    cell::Cell,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::{TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sluice_e2e::{
    app::App,
    cluster::Cluster,
    load::{Load, LoadConfig},
    manifest,
};

use crate::{NAMESPACE, backends, table::Table};

/// Between two changes.
const EVENT: Duration = Duration::from_millis(20);
/// How long they go on.
const LENGTH: Duration = Duration::from_mins(1);
/// Changes that the API server may have in hand at once.
const PARALLEL: usize = 4;
/// Requests per second.
const RPS: f64 = 500.0;
/// The second Service, whose endpoints change, and its EndpointSlice.
const OTHER: &str = "podinfo-other";
/// The certificate that changes.
const SECRET: &str = "churn";
/// Routes that exist at once beside the one under load.
const ROUTES: u64 = 20;

pub(crate) async fn measure(cluster: &Cluster, example: &Path, table: &mut Table) -> Result<()> {
    let mut app = App::read(cluster, example, NAMESPACE)?;
    let secure = json!({
        "name": "https", "protocol": "HTTPS", "port": 443, "tls": {"certificateRefs": [{"name": SECRET}]},
    });
    let listeners = app.object_mut("Gateway")?.pointer_mut("/spec/listeners").and_then(Value::as_array_mut);
    listeners.context("the Gateway has no listeners")?.push(secure);
    let address = app.serve().await?;
    let pods = backends::pods(cluster, NAMESPACE, &app.name).await?;
    let churn = Churn { certificates: [certificate()?, certificate()?], app, pods };
    churn.prepare().await?;
    let load = Load::start(LoadConfig { rps: RPS, connections: 64, ..LoadConfig::new(address, &churn.app.host) })?;
    let ran = churn.run().await;
    let finished = load.stop().await?;
    let (changes, seconds) = ran?;
    table.add("changes a second on weights, routes, endpoints and certificates", "1/s", changes as f64 / seconds);
    table.add("requests meanwhile", "", finished.summary.sent as f64);
    table.add("requests lost meanwhile", "", finished.summary.failures() as f64);
    finished.lost_nothing_but(None)
}

struct Churn {
    app: App,
    pods: Vec<SocketAddr>,
    certificates: [Value; 2],
}

impl Churn {
    async fn prepare(&self) -> Result<()> {
        let namespace = &self.app.namespace;
        backends::create(&self.app.cluster, namespace, OTHER, &self.pods).await?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": namespace},
            "type": "kubernetes.io/tls", "stringData": self.certificates[0],
        });
        manifest::apply(&self.app.cluster.client, &[secret]).await
    }

    /// How many changes were made, and in how many seconds.
    async fn run(&self) -> Result<(u64, f64)> {
        let (started, changes) = (Instant::now(), Cell::new(0));
        let ticks = stream::unfold(tokio::time::interval(EVENT), async |mut ticks| {
            ticks.tick().await;
            (started.elapsed() < LENGTH).then(|| (Ok(changes.replace(changes.get() + 1)), ticks))
        });
        // Several at once, so that a slow answer of the API server makes no change late.
        let all = ticks.try_for_each_concurrent(PARALLEL, async |number| {
            self.change(number).await.with_context(|| format!("change {number}"))
        });
        all.await?;
        Ok((changes.get(), started.elapsed().as_secs_f64()))
    }

    async fn change(&self, number: u64) -> Result<()> {
        let (turn, round) = (number % 5, number / 5);
        let (cluster, namespace, params) = (&self.app.cluster, &self.app.namespace, PatchParams::default());
        match turn {
            0 => {
                // From all on one Service to all on the other, and what is between.
                let weight = round % 11;
                let patch = json!({"spec": {"rules": [{"backendRefs": [
                    {"name": self.app.name, "port": 80, "weight": 10 - weight},
                    {"name": OTHER, "port": 80, "weight": weight},
                ]}]}});
                self.app.routes().patch(&self.app.name, &params, &Patch::Merge(patch)).await?;
            }
            1 => {
                backends::change(cluster, namespace, OTHER, &self.pods, round as usize).await?;
            }
            2 => {
                let patch = json!({"stringData": self.certificates[(round % 2) as usize]});
                cluster.api::<Secret>(namespace).patch(SECRET, &params, &Patch::Merge(patch)).await?;
            }
            3 => {
                let create = PostParams::default();
                self.app.routes().create(&create, &serde_json::from_value(self.route(round))?).await?;
            }
            _ => {
                if let Some(old) = round.checked_sub(ROUTES) {
                    self.app.routes().delete(&name(old), &DeleteParams::default()).await?;
                } else {
                    // Nothing is to go yet: a Service takes another annotation instead.
                    let patch = json!({"metadata": {"annotations": {"churn": round.to_string()}}});
                    cluster.api::<Service>(namespace).patch(OTHER, &params, &Patch::Merge(patch)).await?;
                }
            }
        }
        Ok(())
    }

    fn route(&self, number: u64) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name(number)},
            "spec": {
                "parentRefs": [{"name": self.app.gateway}], "hostnames": [format!("{}.example", name(number))],
                "rules": [{"backendRefs": [{"name": OTHER, "port": 80}]}],
            },
        })
    }
}

fn name(number: u64) -> String {
    format!("churn-{number}")
}

/// Content of a Secret.
fn certificate() -> Result<Value> {
    let made = rcgen::generate_simple_self_signed(["churn.example".to_owned()])?;
    Ok(json!({"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()}))
}
