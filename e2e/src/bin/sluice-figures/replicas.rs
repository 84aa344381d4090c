//! How long a change of weights takes until every worker of two data planes keeps to it: all traffic is moved from one
//! Service to another and back, and connections to each worker say when.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use sluice_e2e::{
    app::{App, SETUP_DEADLINE},
    cluster::Cluster,
    install::deployment_ready,
    load::Target,
    manifest,
};

use crate::{
    NAMESPACE,
    flip::{OTHER, other, set_weights},
    planes::{DATA_PLANE, Planes, SYSTEM},
    table::Table,
};

/// Data planes.
const REPLICAS: usize = 2;
/// Connections to each: twice as many as it has workers on a machine of two processors.
const CONNECTIONS: usize = 4;

pub(crate) async fn measure(cluster: &Cluster, example: &Path, flips: usize, table: &mut Table) -> Result<()> {
    let app = App::read(cluster, example, NAMESPACE)?;
    let address = app.serve().await?;
    manifest::apply(&cluster.client, &other(&app)?).await?;
    deployment_ready(cluster, NAMESPACE, OTHER, SETUP_DEADLINE).await?;
    set_weights(&app, [1, 0]).await?;
    scale(cluster, REPLICAS).await?;
    let measured = async {
        let mut planes = Planes::connect_each(cluster, address, CONNECTIONS).await?;
        ensure!(planes.count() == REPLICAS * CONNECTIONS, "{} connections", planes.count());
        let target = Target { host: app.host.clone(), path: "/work".to_owned() };
        planes.turn_to(&target, "v1").await?;
        for flip in 0..flips {
            let (new, weights) = if flip % 2 == 0 { ("v2", [0, 1]) } else { ("v1", [1, 0]) };
            set_weights(&app, weights).await?;
            let acknowledged = Instant::now();
            let turned = planes.turn_to(&target, new).await?;
            let name = "change of weights: acknowledged until every worker of 2 data planes keeps to it";
            table.add(name, "ms", turned.duration_since(acknowledged).as_secs_f64() * 1e3);
        }
        Ok(())
    };
    let measured = measured.await;
    scale(cluster, 1).await?;
    measured
}

async fn scale(cluster: &Cluster, replicas: usize) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    cluster.api::<Deployment>(SYSTEM).patch(DATA_PLANE, &PatchParams::default(), &patch).await?;
    deployment_ready(cluster, SYSTEM, DATA_PLANE, SETUP_DEADLINE).await
}
