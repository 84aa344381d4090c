//! How long a data plane that starts takes until it says that it is ready, and whether it serves every route then.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, LogParams},
};
use serde_json::Value;
use sluice_e2e::{cluster::Cluster, install::deployment_ready, load::Target, probe::Probe, procfs};

use crate::{
    memory,
    planes::{self, DATA_PLANE, SYSTEM},
    table::Table,
};

/// Data planes that are started, one after the other.
const STARTS: usize = 5;
/// Where a data plane says whether it is ready.
const ADMIN: u16 = 9090;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a pod may take.
const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) async fn measure(
    cluster: &Cluster,
    gateway: SocketAddr,
    targets: &[Target],
    table: &mut Table,
) -> Result<()> {
    let port = planes::endpoints_of(cluster, gateway).await?[0].port();
    for _ in 0..STARTS {
        let started = replace(cluster).await?;
        let mut probe = Probe::connect(SocketAddr::new(started.address, port)).await?;
        let mut unserved = 0;
        for target in targets {
            let (status, _) = probe.get(target).await?;
            unserved += u32::from(status != StatusCode::OK);
        }
        let name =
            format!("routes of {} that a data plane did not serve when it said that it was ready", targets.len());
        table.add(&name, "", f64::from(unserved));
        if let Some(took) = started.took {
            let name = format!("start of a data plane beside {} routes: process until ready", targets.len());
            table.add(&name, "ms", took.as_secs_f64() * 1e3);
        }
        deployment_ready(cluster, SYSTEM, DATA_PLANE, DEADLINE).await?;
    }
    Ok(())
}

/// A data plane that has just become ready.
struct Started {
    address: IpAddr,
    /// How long that took from the start of its process, where that can be seen.
    took: Option<Duration>,
}

/// Takes the data plane away and waits until the next one is ready.
async fn replace(cluster: &Cluster) -> Result<Started> {
    let pods = cluster.api::<Pod>(SYSTEM);
    let params = ListParams::default().labels("app.kubernetes.io/component=data-plane");
    let known: BTreeSet<String> = pods.list(&params).await?.iter().map(ResourceExt::name_any).collect();
    let before: BTreeSet<u32> = data_planes().collect();
    for pod in &known {
        pods.delete(pod, &DeleteParams::default()).await?;
    }
    let begun = Instant::now();
    let (name, address) = loop {
        ensure!(begun.elapsed() < DEADLINE, "no new data plane within {DEADLINE:?}");
        let list = pods.list(&params).await?;
        let new = list.iter().find(|pod| !known.contains(&pod.name_any()));
        let address = new.and_then(|pod| pod.status.as_ref()?.pod_ip.clone());
        if let Some((pod, address)) = new.zip(address) {
            break (pod.name_any(), address.parse().context("address of the pod")?);
        }
        tokio::time::sleep(PAUSE).await;
    };
    while !is_ready(SocketAddr::new(address, ADMIN)).await {
        ensure!(begun.elapsed() < DEADLINE, "{name} is not ready within {DEADLINE:?}");
        tokio::time::sleep(PAUSE).await;
    }
    let process = data_planes().find(|pid| !before.contains(pid));
    let took = match process.and_then(procfs::age) {
        Some(age) => {
            Some(ready_at(&pods.logs(&name, &LogParams::default()).await?)?.duration_since(Timestamp::now() - age))
        }
        None => None,
    };
    let took = took.map(|took| Duration::try_from(took).context("ready before it began")).transpose()?;
    Ok(Started { address, took })
}

fn data_planes() -> impl Iterator<Item = u32> {
    memory::processes().into_iter().filter(|(program, _)| program == "sluice-proxy serve").map(|(_, pid)| pid)
}

async fn is_ready(admin: SocketAddr) -> bool {
    let target = Target { host: "admin".to_owned(), path: "/readyz".to_owned() };
    let answer = async { Probe::connect(admin).await?.get(&target).await };
    answer.await.is_ok_and(|(status, _)| status == StatusCode::OK)
}

/// When a data plane became ready, by its log.
fn ready_at(log: &str) -> Result<Timestamp> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for line in lines {
        if line.pointer("/fields/message").and_then(Value::as_str) == Some("Ready") {
            return line["timestamp"].as_str().context("a line without a time")?.parse().context("time of a line");
        }
    }
    bail!("the log does not say when the data plane was ready")
}

#[cfg(test)]
mod tests {
    use super::ready_at;

    #[test]
    fn the_log_says_when_a_data_plane_was_ready() {
        let line = |second: u8, message: &str| {
            format!(r#"{{"timestamp":"2026-01-01T00:00:0{second}.5Z","fields":{{"message":"{message}","update":1}}}}"#)
        };
        let log = [line(1, "Connected to the controller"), line(2, "Ready"), line(3, "Draining")].join("\n");
        assert_eq!(ready_at(&log).expect("a time").to_string(), "2026-01-01T00:00:02.5Z");
        assert!(ready_at(&line(1, "Connected to the controller")).is_err());
    }
}
