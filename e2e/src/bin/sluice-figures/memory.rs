//! Memory of Sluice's own pods, as the kubelet counts it.

use std::time::Duration;

use anyhow::Result;
use http::Request;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::Value;
use sluice_e2e::{
    cluster::Cluster,
    manifest::text,
    wait::{Look, until},
};

use crate::table::Table;

/// Namespace of Sluice.
const SYSTEM: &str = "sluice-system";
/// The kubelet counts every 10 to 15 seconds.
const DEADLINE: Duration = Duration::from_mins(1);

/// Adds a row for each container.
pub(crate) async fn measure(cluster: &Cluster, when: &str, table: &mut Table) -> Result<()> {
    let counted = until("memory of Sluice's pods", DEADLINE, async || {
        let counted = rss(cluster).await?;
        Ok(if counted.is_empty() { Look::NotYet("no pod is counted".to_owned()) } else { Look::Done(counted) })
    })
    .await?;
    for (container, bytes) in counted {
        table.add(&format!("RSS of {container}, {when}"), "MiB", bytes / f64::from(1 << 20));
    }
    Ok(())
}

/// Container and its resident bytes.
async fn rss(cluster: &Cluster) -> Result<Vec<(String, f64)>> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let mut counted = Vec::new();
    for node in nodes.list(&ListParams::default()).await? {
        let uri = format!("/api/v1/nodes/{}/proxy/stats/summary", node.name_any());
        let summary: Value = cluster.client.request(Request::get(uri).body(Vec::new())?).await?;
        let pods = summary.get("pods").and_then(Value::as_array).into_iter().flatten();
        for pod in pods.filter(|pod| text(pod, "/podRef/namespace") == SYSTEM) {
            for container in pod.get("containers").and_then(Value::as_array).into_iter().flatten() {
                let bytes = container.pointer("/memory/rssBytes").and_then(Value::as_f64).filter(|bytes| *bytes > 0.0);
                counted.extend(bytes.map(|bytes| (owner(text(pod, "/podRef/name")), bytes)));
            }
        }
    }
    counted.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(counted)
}

/// Name of the Deployment that a pod's name begins with.
fn owner(pod: &str) -> String {
    pod.rsplitn(3, '-').last().unwrap_or(pod).to_owned()
}
