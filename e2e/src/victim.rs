//! Processes of ours, to be killed and stopped: which operator leads, and which process of this machine runs in a pod.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::api::DeleteParams;

use crate::{
    audit,
    cluster::Cluster,
    install::deployment_ready,
    wait::{Look, until},
};

/// Where the operator runs.
pub const NAMESPACE: &str = "sluice-system";
/// Name of its Deployment, its Lease and its program.
pub const NAME: &str = "sluice-operator";
/// How long a pod may take to stand by.
const READY: Duration = Duration::from_mins(1);

/// The identity of the leader: the pod's name and a mark of the process.
pub async fn leader(cluster: &Cluster) -> Result<String> {
    let lease = cluster.api::<Lease>(NAMESPACE).get(NAME).await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty());
    holder.context("nobody holds the Lease")
}

/// The pod of an identity.
pub fn pod_of(identity: &str) -> &str {
    identity.rsplit_once('_').map_or(identity, |(pod, _)| pod)
}

/// Waits until another than this one leads.
pub async fn another_leads(cluster: &Cluster, than: &str, deadline: Duration) -> Result<String> {
    until("another leader", deadline, async || {
        let now = leader(cluster).await?;
        Ok(if now == than { Look::NotYet(now) } else { Look::Done(now) })
    })
    .await
}

/// The process of a program in a pod, and in no other: it is found by the pod's name in its environment.
pub fn process(program: &str, pod: &str) -> Result<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        // A process that ends while it is looked at is none that is looked for.
        let part = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let is_program = part("comm").strip_suffix(b"\n").is_some_and(|comm| comm == program.as_bytes());
        let host = format!("HOSTNAME={pod}");
        if is_program && part("environ").split(|byte| *byte == 0).any(|variable| variable == host.as_bytes()) {
            found.push(pid.to_owned());
        }
    }
    ensure!(found.len() == 1, "processes {program} of pod {pod}: {found:?}");
    Ok(found.remove(0))
}

/// Sends a signal to the process of a program in a pod.
pub fn signal(program: &str, pod: &str, signal: &str) -> Result<()> {
    let pid = process(program, pod)?;
    let sent = Command::new("kill").args([format!("-{signal}"), pid.clone()]).status()?;
    ensure!(sent.success(), "kill -{signal} {pid}: {sent}");
    Ok(())
}

/// Takes a pod away at once, so that no waiting time of its containers is left, and waits until two stand by again.
pub async fn replace(cluster: &Cluster, pod: &str) -> Result<()> {
    cluster.api::<Pod>(NAMESPACE).delete(pod, &DeleteParams::default().grace_period(0)).await?;
    deployment_ready(cluster, NAMESPACE, NAME, READY).await
}

/// Writes of this pod that the API server has accepted since then, by its audit log.
pub fn accepted_writes(pod: &str, since: Timestamp) -> Result<Vec<String>> {
    let path = Command::new("sluice-cluster").arg("audit").output()?;
    ensure!(path.status.success(), "the embedded cluster's audit log is needed");
    let path = String::from_utf8(path.stdout)?;
    let mut seen = false;
    let mut writes = Vec::new();
    for event in audit::events(Path::new(path.trim()), Some(since)).with_context(|| path.trim().to_owned())? {
        let event = event?;
        if event.pod() != pod {
            continue;
        }
        seen = true;
        let at = event.request_received_timestamp;
        if event.is_write() && event.took_effect() && at > since {
            writes.push(format!("{at} {} {}", event.verb, event.request_uri));
        }
    }
    ensure!(seen, "the audit log knows nothing of pod {pod}");
    Ok(writes)
}
