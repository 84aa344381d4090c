//! What a person would look at when a wait has failed: states, events and the ends of logs, in one text.

use std::fmt::Write as _;

use anyhow::Result;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, Pod},
};
use kube::{
    ResourceExt,
    api::{Api, ListParams, LogParams},
};
use sluice_crds::Rollout;

use crate::cluster::Cluster;

/// The namespace that the install manifest uses.
const SYSTEM: &str = "sluice-system";
/// Lines of each program's log.
const LOG_LINES: i64 = 40;
/// Events of a namespace, newest last.
const EVENTS: usize = 40;

/// Everything about a namespace and about Sluice itself. A part that cannot be had says so and does not hide the others.
pub async fn report(cluster: &Cluster, namespace: &str) -> String {
    let mut out = String::new();
    for (title, part) in [
        ("Rollouts", rollouts(cluster, namespace).await),
        ("Gateways", untyped(cluster, namespace, "Gateway", "gateways").await),
        ("HTTPRoutes", untyped(cluster, namespace, "HTTPRoute", "httproutes").await),
        ("Deployments", deployments(cluster, namespace).await),
        ("Pods", pods(cluster, namespace).await),
        ("Events", events(cluster, namespace).await),
        ("Pods of Sluice", pods(cluster, SYSTEM).await),
        ("Logs of Sluice", logs(cluster, SYSTEM).await),
    ] {
        let text = part.unwrap_or_else(|error| format!("cannot be had: {error:#}\n"));
        let _ = write!(out, "--- {title}\n{text}");
    }
    out
}

async fn rollouts(cluster: &Cluster, namespace: &str) -> Result<String> {
    let mut out = String::new();
    for rollout in cluster.api::<Rollout>(namespace).list(&ListParams::default()).await? {
        let name = rollout.metadata.name.unwrap_or_default();
        let _ = writeln!(out, "{name}: {}", serde_json::to_string_pretty(&rollout.status)?);
    }
    Ok(out)
}

async fn untyped(cluster: &Cluster, namespace: &str, kind: &str, plural: &str) -> Result<String> {
    let mut out = String::new();
    for object in cluster.gateway_api(namespace, kind, plural).list(&ListParams::default()).await? {
        let _ = writeln!(out, "{}: {}", object.name_any(), serde_json::to_string_pretty(&object.data)?);
    }
    Ok(out)
}

async fn deployments(cluster: &Cluster, namespace: &str) -> Result<String> {
    let mut out = String::new();
    for object in cluster.api::<Deployment>(namespace).list(&ListParams::default()).await? {
        let paused = object.spec.paused.unwrap_or(false);
        let _ = writeln!(
            out,
            "{} paused={paused} labels={:?} status={}",
            object.name_any(),
            object.labels(),
            serde_json::to_string(&object.status)?
        );
    }
    for object in cluster.api::<ReplicaSet>(namespace).list(&ListParams::default()).await? {
        let _ = writeln!(out, "ReplicaSet {} status={}", object.name_any(), serde_json::to_string(&object.status)?);
    }
    Ok(out)
}

async fn pods(cluster: &Cluster, namespace: &str) -> Result<String> {
    let mut out = String::new();
    for pod in cluster.api::<Pod>(namespace).list(&ListParams::default()).await? {
        let status = pod.status.clone().unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let containers: Vec<_> = containers
            .iter()
            .map(|container| {
                format!("ready={} restarts={} {:?}", container.ready, container.restart_count, container.state)
            })
            .collect();
        let phase = status.phase.unwrap_or_default();
        let deleting = pod.metadata.deletion_timestamp.is_some();
        let _ = writeln!(out, "{} {phase} deleting={deleting} {}", pod.name_any(), containers.join(" "));
    }
    Ok(out)
}

async fn events(cluster: &Cluster, namespace: &str) -> Result<String> {
    let mut events = cluster.api::<Event>(namespace).list(&ListParams::default()).await?.items;
    events.sort_by_key(|event| event.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let mut out = String::new();
    for event in events.iter().rev().take(EVENTS).rev() {
        let object = &event.involved_object;
        let _ = writeln!(
            out,
            "{} {}/{} {}: {}",
            event.metadata.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
            object.kind.as_deref().unwrap_or_default(),
            object.name.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default()
        );
    }
    Ok(out)
}

async fn logs(cluster: &Cluster, namespace: &str) -> Result<String> {
    let api: Api<Pod> = cluster.api(namespace);
    let mut out = String::new();
    for pod in api.list(&ListParams::default()).await? {
        let params = LogParams { tail_lines: Some(LOG_LINES), ..LogParams::default() };
        let log = api.logs(&pod.name_any(), &params).await.unwrap_or_else(|error| format!("cannot be had: {error}\n"));
        let _ = writeln!(out, "[{}]\n{log}", pod.name_any());
    }
    Ok(out)
}
