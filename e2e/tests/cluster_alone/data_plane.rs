//! A data plane goes on by itself: without its controller and without an API server, and over a restart of its container.
//! A new one serves nothing before it has been told everything.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use sluice_e2e::{
    app::App,
    cluster::Cluster,
    install::scale,
    load::{Load, LoadConfig, Target},
    outage::{API_SERVER, Outage},
    probe::Probe,
    suite, victim,
    wait::{Look, until, when},
};

const NAMESPACE: &str = "sluice-system";
const DATA_PLANE: &str = "sluice-proxy";
const CONTROLLER: &str = "sluice-proxy-controller";
const ADMIN_PORT: u16 = 9090;
const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn a_data_plane_serves_on_alone_and_a_new_one_waits_for_its_configuration() -> Result<()> {
    suite::run("alone", async |cluster, namespace| {
        let app = suite::first_light(&cluster, &namespace)?;
        app.serve().await?;
        scale(&cluster, NAMESPACE, DATA_PLANE, 2, DEADLINE).await?;
        let pods = staying_pods(&cluster).await?;
        let [(killed, at_killed), (other, at_other)] = pods.as_slice() else { anyhow::bail!("data planes: {pods:?}") };
        let port = target_port(&cluster, &app).await?;
        let result = async {
            scale(&cluster, NAMESPACE, CONTROLLER, 0, DEADLINE).await?;
            let load = Load::start(LoadConfig::new(SocketAddr::new(*at_other, port), &app.host))?;
            let outage = Outage::stop(API_SERVER).await?;
            serves_after_a_restart(&app, killed, SocketAddr::new(*at_killed, port)).await?;
            outage.end().await?;
            cluster.api::<Pod>(NAMESPACE).delete(killed, &DeleteParams::default().grace_period(0)).await?;
            waits(&cluster, &[killed, other]).await?;
            load.stop().await?.lost_nothing_but(None)
        };
        let result = result.await;
        // Other tests need it, however this one ends.
        scale(&cluster, NAMESPACE, CONTROLLER, 1, DEADLINE).await?;
        scale(&cluster, NAMESPACE, DATA_PLANE, 1, DEADLINE).await?;
        result
    })
    .await
}

/// The container is killed, and the one that takes its place serves what the old one served.
async fn serves_after_a_restart(app: &App, pod: &str, address: SocketAddr) -> Result<()> {
    let target = Target { host: app.host.clone(), path: "/work".to_owned() };
    let before = victim::process(DATA_PLANE, pod)?;
    victim::signal(DATA_PLANE, pod, "KILL")?;
    until("another process of the container", DEADLINE, async || {
        Ok(match victim::process(DATA_PLANE, pod) {
            Ok(now) if now != before => Look::Done(()),
            other => Look::NotYet(format!("{other:?}, before it {before}")),
        })
    })
    .await?;
    until("an answer of the restarted data plane", DEADLINE, async || {
        let answer = async { Probe::connect(address).await?.get(&target).await };
        let status = answer.await.map(|(status, _)| status);
        Ok(when(matches!(status, Ok(StatusCode::OK)), || format!("{status:?}")))
    })
    .await
}

/// A pod that is none of these runs, and is not ready because nobody has told it anything.
async fn waits(cluster: &Cluster, known: &[&str]) -> Result<()> {
    let readiness = Target { host: "localhost".to_owned(), path: "/readyz".to_owned() };
    let status = until("an answer of a new data plane to /readyz", DEADLINE, async || {
        let new = pods(cluster).await?.into_iter().find(|pod| !known.contains(&pod.name_any().as_str()));
        let Some(ip) = new.as_ref().and_then(ip) else { return Ok(Look::NotYet(format!("{new:?}"))) };
        let answer = async { Probe::connect(SocketAddr::new(ip, ADMIN_PORT)).await?.get(&readiness).await };
        Ok(answer.await.map_or_else(|error| Look::NotYet(format!("{error:#}")), |(status, _)| Look::Done(status)))
    })
    .await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "a data plane that nobody has told anything answers {status}");
    Ok(())
}

async fn pods(cluster: &Cluster) -> Result<Vec<Pod>> {
    let params = ListParams::default().labels(&format!("app.kubernetes.io/name={DATA_PLANE}"));
    Ok(cluster.api::<Pod>(NAMESPACE).list(&params).await?.items)
}

fn ip(pod: &Pod) -> Option<std::net::IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

/// Names and addresses of the data planes that are not leaving.
async fn staying_pods(cluster: &Cluster) -> Result<Vec<(String, std::net::IpAddr)>> {
    let named = |pod: &Pod| Some((pod.name_any(), ip(pod)?));
    Ok(pods(cluster).await?.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).filter_map(named).collect())
}

/// The data planes' port of the Gateway's port 80.
async fn target_port(cluster: &Cluster, app: &App) -> Result<u16> {
    let address = app.address().await?.ip().to_string();
    let services: Api<Service> = cluster.api(NAMESPACE);
    let services = services.list(&ListParams::default()).await?;
    let ports = services
        .iter()
        .filter_map(|service| service.spec.as_ref())
        .filter(|spec| spec.cluster_ip.as_ref() == Some(&address));
    let mut ports = ports.flat_map(|spec| spec.ports.iter().flatten()).filter(|port| port.port == 80);
    let port = ports.next().with_context(|| format!("no Service in {NAMESPACE} has the address {address}"))?;
    match port.target_port {
        Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(number)) => Ok(u16::try_from(number)?),
        ref other => anyhow::bail!("targetPort {other:?}"),
    }
}
