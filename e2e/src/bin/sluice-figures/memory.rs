//! Memory of Sluice's own programs: what is resident (`VmRSS`) where their processes can be seen, as on the embedded
//! cluster; elsewhere the working set, as the kubelet counts it and `kubectl top` shows it.

use std::{fs, time::Duration};

use anyhow::Result;
use http::Request;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::Value;
use sluice_e2e::{
    cluster::Cluster,
    manifest::text,
    procfs,
    wait::{Look, until},
};

use crate::table::Table;

/// Namespace of Sluice.
const SYSTEM: &str = "sluice-system";
/// The kubelet counts every 10 to 15 seconds.
const DEADLINE: Duration = Duration::from_mins(1);

/// Adds a row for each program.
pub(crate) async fn measure(cluster: &Cluster, when: &str, table: &mut Table) -> Result<()> {
    let resident = if std::env::var_os("SLUICE_KUBECONFIG").is_none() { resident() } else { Vec::new() };
    let (what, counted) = if resident.is_empty() {
        let counted = until("memory of Sluice's pods", DEADLINE, async || {
            let counted = working_set(cluster).await?;
            Ok(if counted.is_empty() { Look::NotYet("no pod is counted".to_owned()) } else { Look::Done(counted) })
        });
        ("working set", counted.await?)
    } else {
        ("resident memory", resident)
    };
    for (program, bytes) in counted {
        table.add(&format!("{what} of {program}, {when}"), "MB", bytes / 1e6);
    }
    Ok(())
}

/// Program and its resident bytes, of each process of ours that runs in a container.
fn resident() -> Vec<(String, f64)> {
    let mut found: Vec<_> =
        processes().into_iter().filter_map(|(program, pid)| Some((program, procfs::resident(pid)?))).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Program and number of each process of ours that runs in a container and can be seen.
pub(crate) fn processes() -> Vec<(String, u32)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| program(&process.path())).collect()
}

fn program(process: &std::path::Path) -> Option<(String, u32)> {
    let arguments = fs::read_to_string(process.join("cmdline")).ok()?;
    let mut arguments = arguments.split('\0');
    let program = arguments.next()?.strip_prefix("/bin/").filter(|name| name.starts_with("sluice-"))?;
    let role =
        arguments.next().filter(|_| program == "sluice-proxy").map(|role| format!(" {role}")).unwrap_or_default();
    let is_ours = program == "sluice-operator" || program == "sluice-proxy";
    let pid = process.file_name()?.to_str()?.parse().ok().filter(|_| is_ours)?;
    Some((format!("{program}{role}"), pid))
}

/// Container and its working set in bytes.
async fn working_set(cluster: &Cluster) -> Result<Vec<(String, f64)>> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let mut counted = Vec::new();
    for node in nodes.list(&ListParams::default()).await? {
        let uri = format!("/api/v1/nodes/{}/proxy/stats/summary", node.name_any());
        let summary: Value = cluster.client.request(Request::get(uri).body(Vec::new())?).await?;
        let pods = summary.get("pods").and_then(Value::as_array).into_iter().flatten();
        for pod in pods.filter(|pod| text(pod, "/podRef/namespace") == SYSTEM) {
            for container in pod.get("containers").and_then(Value::as_array).into_iter().flatten() {
                let bytes =
                    container.pointer("/memory/workingSetBytes").and_then(Value::as_f64).filter(|bytes| *bytes > 0.0);
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
