//! Services without a selector in front of the app's pods, whose endpoints are changed by hand.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use sluice_e2e::{cluster::Cluster, manifest};

/// Creates a Service and its EndpointSlice.
pub(crate) async fn create(cluster: &Cluster, namespace: &str, name: &str, pods: &[SocketAddr]) -> Result<()> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": [{"port": 80}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"port": pods[0].port()}], "endpoints": all_but(pods, 0),
    });
    manifest::apply(&cluster.client, &[service, slice]).await
}

/// Takes another pod away from it than `number - 1` did, and gives that one back.
pub(crate) async fn change(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    pods: &[SocketAddr],
    number: usize,
) -> Result<()> {
    let patch = Patch::Merge(json!({"endpoints": all_but(pods, number)}));
    cluster.api::<EndpointSlice>(namespace).patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

fn all_but(pods: &[SocketAddr], number: usize) -> Value {
    let without = number % pods.len();
    let others = pods.iter().enumerate().filter(|(at, _)| *at != without);
    others.map(|(_, pod)| json!({"addresses": [pod.ip()], "conditions": {"ready": true}})).collect()
}

/// The ready endpoints of a Service with one port.
pub(crate) async fn endpoints(cluster: &Cluster, namespace: &str, service: &str) -> Result<Vec<SocketAddr>> {
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let mut found = Vec::new();
    for slice in cluster.api::<EndpointSlice>(namespace).list(&params).await? {
        let port = slice.ports.as_ref().and_then(|ports| ports.first()?.port).context("a slice without a port")?;
        let endpoints = slice.endpoints.unwrap_or_default().into_iter();
        let ready = endpoints
            .filter(|endpoint| endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready.unwrap_or(true)));
        for address in ready.flat_map(|endpoint| endpoint.addresses) {
            found.push(SocketAddr::new(address.parse()?, u16::try_from(port)?));
        }
    }
    ensure!(!found.is_empty(), "{namespace}/{service} has no ready endpoint");
    Ok(found)
}

/// The pods of the app, of which one can always be left out.
pub(crate) async fn pods(cluster: &Cluster, namespace: &str, service: &str) -> Result<Vec<SocketAddr>> {
    let pods = endpoints(cluster, namespace, service).await?;
    ensure!(pods.len() > 1, "{service} has one pod only: its endpoints cannot change");
    Ok(pods)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::all_but;

    #[test]
    fn each_number_leaves_out_another_pod() {
        let pods = ["10.0.0.1:80", "10.0.0.2:80"].map(|pod| pod.parse().expect("address"));
        let only = |address: &str| json!([{"addresses": [address], "conditions": {"ready": true}}]);
        assert_eq!([0, 1, 2].map(|number| all_but(&pods, number)), ["10.0.0.2", "10.0.0.1", "10.0.0.2"].map(only));
    }
}
