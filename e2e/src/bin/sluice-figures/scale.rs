//! How long a new route takes until every data plane answers for it: the first ones, and those beside thousands of others
//! while endpoints come and go. What a change of weights then costs on the way to a data plane, and how long one that
//! starts takes to serve them all.

use std::{
    net::SocketAddr,
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures::{TryStreamExt, stream};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use sluice_e2e::{
    app::App,
    cluster::Cluster,
    load::Target,
    wait::{until, when},
};

use crate::{
    NAMESPACE, backends,
    planes::{Planes, Sent},
    start,
    table::Table,
};

/// Routes that are measured one after the other, from the first one on.
const SEQUENCE: usize = 3000;
/// So many are there before the next ones are measured.
const LARGE: usize = 5000;
/// Routes that are measured then.
const AT_LARGE: usize = 1000;
/// Services that the routes share.
const SERVICES: usize = 100;
/// Between two changes of endpoints: 20 a second.
const EVENT: Duration = Duration::from_millis(50);
/// Writes at once, where nothing is measured.
const PARALLEL: usize = 8;
/// Routes between two lines of progress.
const PROGRESS: usize = 500;
/// Changes of weights.
const EDITS: u32 = 50;
/// How long one may take to be sent.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn measure(cluster: &Cluster, example: &Path, table: &mut Table) -> Result<()> {
    let app = App::read(cluster, example, NAMESPACE)?;
    let address = app.serve().await?;
    let pods = backends::pods(cluster, NAMESPACE, &app.name).await?;
    for number in 0..SERVICES {
        backends::create(cluster, NAMESPACE, &backend(number), &pods).await?;
    }
    let mut planes = Planes::connect(cluster, address).await?;
    let routes = Routes { api: app.routes(), gateway: app.gateway.clone() };
    routes.time(0..SEQUENCE, &mut planes, "new route", table).await?;
    let rest = stream::iter((SEQUENCE..LARGE).map(Ok));
    rest.try_for_each_concurrent(PARALLEL, |number| routes.create(number)).await?;
    planes.serve(&target(LARGE - 1)).await?;
    let name = format!("new route beside {LARGE}, with 20 changes of endpoints a second");
    tokio::select! {
        timed = routes.time(LARGE..LARGE + AT_LARGE, &mut planes, &name, table) => timed?,
        failed = change_endpoints(cluster, &pods) => failed?,
    }
    weigh(cluster, &routes, planes.count(), table).await?;
    drop(planes);
    let targets: Vec<_> = (0..LARGE + AT_LARGE).map(target).collect();
    start::measure(cluster, address, &targets, table).await
}

/// Bytes of a change of weights, once on the stream of each data plane.
async fn weigh(cluster: &Cluster, routes: &Routes, planes: usize, table: &mut Table) -> Result<()> {
    for edit in 1..=EDITS {
        let before = Sent::so_far(cluster).await?;
        routes.set_weights(0, [100 - edit, edit]).await?;
        let mut sent = before;
        until("the change on every stream", DEADLINE, async || {
            sent = Sent::so_far(cluster).await?;
            Ok(when(sent.updates >= before.updates + planes as f64, || format!("{sent:?} after {before:?}")))
        })
        .await?;
        let (updates, bytes) = (sent.updates - before.updates, sent.bytes - before.bytes);
        ensure!((updates - planes as f64).abs() < 0.5, "{updates} updates for one change and {planes} data planes");
        table.add(&format!("change of weights beside {LARGE} routes, on each stream"), "bytes", bytes / updates);
    }
    Ok(())
}

/// Routes of one host each.
struct Routes {
    api: Api<DynamicObject>,
    gateway: String,
}

impl Routes {
    async fn create(&self, number: usize) -> Result<()> {
        let rules = rules(number, [1, 0]);
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name(number)},
            "spec": {"parentRefs": [{"name": self.gateway}], "hostnames": [target(number).host], "rules": rules},
        });
        self.api.create(&PostParams::default(), &serde_json::from_value(route)?).await?;
        Ok(())
    }

    /// Creates them one after the other, and times each.
    async fn time(&self, numbers: Range<usize>, planes: &mut Planes, what: &str, table: &mut Table) -> Result<()> {
        for number in numbers {
            let asked = Instant::now();
            self.create(number).await?;
            let acknowledged = Instant::now();
            let served = planes.serve(&target(number)).await?;
            let millis = |from: Instant| served.duration_since(from).as_secs_f64() * 1e3;
            table.add(&format!("{what}: acknowledged until every data plane answers"), "ms", millis(acknowledged));
            table.add(&format!("{what}: sent until every data plane answers"), "ms", millis(asked));
            if (number + 1) % PROGRESS == 0 {
                println!("{what}: {} routes, the last after {:.1} ms", number + 1, millis(acknowledged));
            }
        }
        Ok(())
    }

    async fn set_weights(&self, number: usize, weights: [u32; 2]) -> Result<()> {
        let patch = json!({"spec": {"rules": rules(number, weights)}});
        self.api.patch(&name(number), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }
}

fn name(number: usize) -> String {
    format!("route-{number}")
}

fn target(number: usize) -> Target {
    Target { host: format!("host-{number}.figures.example"), path: "/work".to_owned() }
}

fn rules(number: usize, weights: [u32; 2]) -> Value {
    let backend = |number: usize, weight| json!({"name": backend(number % SERVICES), "port": 80, "weight": weight});
    json!([{"backendRefs": [backend(number, weights[0]), backend(number + 1, weights[1])]}])
}

fn backend(number: usize) -> String {
    format!("backend-{number}")
}

/// Changes the endpoints of one Service after the other. Never ends well.
async fn change_endpoints(cluster: &Cluster, pods: &[SocketAddr]) -> Result<()> {
    let mut ticks = tokio::time::interval(EVENT);
    for event in 0.. {
        ticks.tick().await;
        backends::change(cluster, NAMESPACE, &backend(event % SERVICES), pods, event / SERVICES + 1).await?;
    }
    Ok(())
}
