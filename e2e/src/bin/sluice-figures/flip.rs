//! How long a change of a route's weights takes to reach traffic: all of it is moved from one Service to another and
//! back, and responses say when.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sluice_e2e::{
    app::{App, SETUP_DEADLINE},
    install::deployment_ready,
    load::{Load, LoadConfig},
    manifest,
    wait::{until, when},
};

use crate::{NAMESPACE, memory, table::Table};

/// Requests per second: the figures cannot be finer than the time between two requests.
const RPS: f64 = 1000.0;
/// Connections: so many that every worker of every data plane has some.
const CONNECTIONS: usize = 64;
/// So long without an answer of the old version, and it is gone.
const QUIET: Duration = Duration::from_millis(300);
/// How long a change may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Name of the second Deployment and Service.
pub(crate) const OTHER: &str = "podinfo-other";

pub(crate) async fn measure(
    cluster: &sluice_e2e::cluster::Cluster,
    example: &Path,
    flips: usize,
    table: &mut Table,
) -> Result<()> {
    let app = App::read(cluster, example, NAMESPACE)?;
    let address = app.serve().await?;
    let other = other(&app)?;
    manifest::apply(&cluster.client, &other).await?;
    deployment_ready(cluster, NAMESPACE, OTHER, SETUP_DEADLINE).await?;
    memory::measure(cluster, "idle, one Gateway and route", table).await?;
    set_weights(&app, [1, 0]).await?;
    let config = LoadConfig { rps: RPS, connections: CONNECTIONS, ..LoadConfig::new(address, &app.host) };
    let load = Load::start(config)?;
    for flip in 0..flips {
        let (old, new, weights) = if flip % 2 == 0 { ("v1", "v2", [0, 1]) } else { ("v2", "v1", [1, 0]) };
        let asked = load.elapsed();
        set_weights(&app, weights).await?;
        let acknowledged = load.elapsed();
        until(&format!("no request to {old} any more"), DEADLINE, async || {
            let last = load.record().last_sent_to(old).unwrap_or_default();
            let quiet = load.elapsed().saturating_sub(last.max(acknowledged));
            Ok(when(quiet > QUIET, || format!("the last one {quiet:?} ago")))
        })
        .await?;
        record(&load, old, new, (asked, acknowledged), table)?;
    }
    load.stop().await?.lost_nothing_but(None)
}

/// One flip's figures. A request is sent and routed within a millisecond, so its time of sending stands for both.
fn record(load: &Load, old: &str, new: &str, times: (Duration, Duration), table: &mut Table) -> Result<()> {
    let (asked, acknowledged) = times;
    let record = load.record();
    let last_old = record.last_sent_to(old).unwrap_or_default();
    let later = record.samples().iter().filter(|sample| sample.sent >= asked && record.version(sample) == new);
    let first_new = later.map(|sample| sample.sent).min().context("the new version got nothing")?;
    ensure!(first_new > asked, "a flip before it was asked for");
    let millis = |to: Duration, from: Duration| to.saturating_sub(from).as_secs_f64() * 1e3;
    table.add(
        "route patch acknowledged by the API server until the first request on the new side",
        "ms",
        millis(first_new, acknowledged),
    );
    table.add(
        "route patch acknowledged by the API server until the last request on the old side",
        "ms",
        millis(last_old, acknowledged),
    );
    table.add("route patch sent until the last request on the old side", "ms", millis(last_old, asked));
    Ok(())
}

pub(crate) async fn set_weights(app: &App, weights: [u32; 2]) -> Result<()> {
    let backend = |name: &str, weight: u32| json!({"name": name, "port": 80, "weight": weight});
    let rules = json!([{"backendRefs": [backend(&app.name, weights[0]), backend(OTHER, weights[1])]}]);
    let patch = json!({"spec": {"rules": rules}});
    app.routes().patch(&app.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// A second Deployment and Service beside the example's, with version v2.
pub(crate) fn other(app: &App) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for kind in ["Deployment", "Service"] {
        let object = app.objects.iter().find(|object| manifest::text(object, "/kind") == kind);
        let text = object.with_context(|| format!("the example has no {kind}"))?.to_string();
        let mut object: Value =
            serde_json::from_str(&text.replace(&format!("\"app\":\"{}\"", app.name), &format!("\"app\":\"{OTHER}\"")))?;
        object["metadata"]["name"] = json!(OTHER);
        if kind == "Deployment" {
            object["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = json!("v2");
        }
        objects.push(object);
    }
    Ok(objects)
}
