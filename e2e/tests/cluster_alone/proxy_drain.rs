//! The data plane is replaced pod by pod, and its controller after it, under load of every kind of long connection:
//! nothing is lost, and streams are told to go and have the time to end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use sluice_e2e::{
    app::{App, answered_well},
    cluster::Cluster,
    install::{deployment_ready, scale},
    load::{Load, LoadConfig, Protocol},
    manifest,
    streams::{Kind, Streams, StreamsConfig},
    suite,
    wait::{until, when},
};

const NAMESPACE: &str = "sluice-system";
const DATA_PLANE: &str = "sluice-proxy";
const CONTROLLER: &str = "sluice-proxy-controller";
/// A pod drains for at most 60 s, and they go one after the other.
const DEADLINE: Duration = Duration::from_mins(4);
/// Host of the route to the app's HTTP/2 port.
const GRPC_HOST: &str = "grpc.example.com";
/// Clients of each kind of stream, and for how long one lives: less than a pod drains.
const CLIENTS: usize = 8;
const LIFE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_rolling_restart_of_the_data_plane_and_of_its_controller_loses_nothing() -> Result<()> {
    suite::run("drain", async |cluster, namespace| {
        let app = suite::first_light(&cluster, &namespace)?;
        scale(&cluster, NAMESPACE, DATA_PLANE, 2, DEADLINE).await?;
        let result = restarted_under_load(&cluster, &app).await;
        scale(&cluster, NAMESPACE, DATA_PLANE, 1, DEADLINE).await?;
        result
    })
    .await
}

async fn restarted_under_load(cluster: &Cluster, app: &App) -> Result<()> {
    let address = app.serve().await?;
    manifest::apply(&cluster.client, &over_http2(app)?).await?;
    let http2 = LoadConfig { protocol: Protocol::Http2, ..LoadConfig::new(address, GRPC_HOST) };
    answered_well(&http2).await?;
    let loads = [("HTTP/1.1", app.load(address, 200.0)?), ("HTTP/2", Load::start(http2)?)];
    let streams = |kind, host: &str| {
        Streams::start(StreamsConfig { address, host: host.to_owned(), kind, clients: CLIENTS, life: LIFE })
    };
    let streams = [("gRPC", streams(Kind::Grpc, GRPC_HOST)?), ("WebSocket", streams(Kind::WebSocket, &app.host)?)];

    restart(cluster, DATA_PLANE).await?;
    restart(cluster, CONTROLLER).await?;

    for (what, load) in loads {
        let finished = load.stop().await?;
        println!("{what}: {} requests, {} failed", finished.summary.sent, finished.summary.failures());
        finished.lost_nothing_but(None).context(what)?;
    }
    for (what, streams) in streams {
        let tally = streams.stop().await?;
        let (opened, failed) = (tally.opened, tally.failures.len());
        println!(
            "{what}: {} messages in {opened} streams, {} connections, {failed} failed",
            tally.echoes, tally.connections
        );
        tally.lost_nothing().context(what)?;
        // Each was told to leave once, as each data plane was replaced.
        ensure!(tally.connections >= 2 * CLIENTS as u64, "{what}: {} connections", tally.connections);
    }
    Ok(())
}

/// The app's Service and route once more, in HTTP/2.
fn over_http2(app: &App) -> Result<Vec<Value>> {
    let mut app = app.clone();
    let name = format!("{}-http2", app.name);
    let service = app.object_mut("Service")?;
    service["metadata"]["name"] = json!(name);
    service["spec"]["ports"][0]["appProtocol"] = json!("kubernetes.io/h2c");
    let service = service.clone();
    let route = app.object_mut("HTTPRoute")?;
    route["metadata"]["name"] = json!(name);
    route["spec"]["hostnames"] = json!([GRPC_HOST]);
    route["spec"]["rules"][0]["backendRefs"][0]["name"] = json!(name);
    Ok(vec![service, route.clone()])
}

/// What `kubectl rollout restart` does, until the old pods are gone.
async fn restart(cluster: &Cluster, name: &str) -> Result<()> {
    let before = pods(cluster, name).await?;
    let now = jiff::Timestamp::now().to_string();
    let patch =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
    let api = cluster.api::<Deployment>(NAMESPACE);
    api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    deployment_ready(cluster, NAMESPACE, name, DEADLINE).await?;
    until("the old pods gone", DEADLINE, async || {
        let left: Vec<_> = pods(cluster, name).await?.into_iter().filter(|pod| before.contains(pod)).collect();
        Ok(when(left.is_empty(), || format!("{left:?}")))
    })
    .await
}

/// Names of a Deployment's pods, the leaving ones too.
async fn pods(cluster: &Cluster, name: &str) -> Result<Vec<String>> {
    let deployment = cluster.api::<Deployment>(NAMESPACE).get(name).await?;
    let labels = deployment.spec.selector.match_labels.context("no labels")?;
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let params = ListParams::default().labels(&labels.join(","));
    Ok(cluster.api::<Pod>(NAMESPACE).list(&params).await?.iter().map(ResourceExt::name_any).collect())
}
