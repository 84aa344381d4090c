//! What a Gateway asks for by its `parametersRef`, on real traffic, and what is said of a reference that leads nowhere.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
};
use serde_json::{Value, json};
use sluice_e2e::{
    app::SETUP_DEADLINE,
    cluster::Cluster,
    gateway, manifest, suite,
    wait::{Look, until, when},
};
use tokio::net::TcpStream;

#[tokio::test]
async fn parameters_give_requests_an_id_and_a_line_and_a_broken_reference_a_condition() -> Result<()> {
    suite::run("parameters", async |cluster, namespace| {
        apply(&cluster, &namespace).await?;
        until("a Gateway that is told what is missing", SETUP_DEADLINE, async || {
            let found = accepted(&cluster, &namespace).await?;
            let told = found["reason"] == "InvalidParameters"
                && found["message"].as_str().is_some_and(|message| message.contains(&format!("{namespace}/edge")));
            Ok(when(found["status"] == "False" && told, || found.to_string()))
        })
        .await?;
        let spec = json!({"requestID": {"mode": "Enabled", "response": "Enabled"}, "accessLog": {"mode": "Enabled"}});
        let parameters = json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "GatewayParameters",
            "metadata": {"name": "edge", "namespace": namespace}, "spec": spec});
        manifest::apply(&cluster.client, &[parameters]).await?;
        until("a Gateway that is accepted", SETUP_DEADLINE, async || {
            let found = accepted(&cluster, &namespace).await?;
            Ok(when(found["status"] == "True", || found.to_string()))
        })
        .await?;
        let id = id_of_answer(&cluster, &namespace).await?;
        until("the line of the request", SETUP_DEADLINE, async || {
            let lines = logged(&cluster, &id).await?;
            let right =
                lines.iter().all(|line| line["http.response.status_code"] == 404 && line["url.path"] == "/there");
            Ok(when(lines.len() == 1 && right, || format!("{id}: {lines:?}")))
        })
        .await
    })
    .await
}

async fn apply(cluster: &Cluster, namespace: &str) -> Result<()> {
    let reference = json!({"group": "sluice.dev", "kind": "GatewayParameters", "name": "edge"});
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "gatewayClassName": "sluice",
            "infrastructure": {"parametersRef": reference},
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        },
    });
    manifest::apply(&cluster.client, &[gateway]).await
}

/// The Gateway's condition `Accepted`.
async fn accepted(cluster: &Cluster, namespace: &str) -> Result<Value> {
    let gateway = cluster.gateway_api(namespace, "Gateway", "gateways").get("web").await?;
    let conditions = gateway.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    Ok(conditions.into_iter().find(|condition| condition["type"] == "Accepted").unwrap_or_default())
}

/// The id that a client is told, once the Gateway answers.
async fn id_of_answer(cluster: &Cluster, namespace: &str) -> Result<String> {
    let address = SocketAddr::new(gateway::address(cluster, namespace, "web").await?, 80);
    until("an answer with an id", SETUP_DEADLINE, async || Ok(Look::Done(ask(address).await?))).await
}

async fn ask(address: SocketAddr) -> Result<String> {
    let io = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http1::handshake(io).await?;
    tokio::spawn(connection);
    let request = Request::get("/there").header("host", "web.test").body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let id = answer.headers().get("x-request-id").context("no id")?.to_str()?.to_owned();
    ensure!(id.len() == 36, "{id} is no UUID");
    Ok(id)
}

/// The lines of this id in the access logs of all data planes.
async fn logged(cluster: &Cluster, id: &str) -> Result<Vec<Value>> {
    let pods: Api<Pod> = cluster.api("sluice-system");
    let mut found = Vec::new();
    for pod in pods.list(&ListParams::default().labels("app.kubernetes.io/name=sluice-proxy")).await? {
        let log = pods.logs(&pod.name_any(), &LogParams::default()).await?;
        found.extend(log.lines().filter(|line| line.contains(id)).filter_map(|line| serde_json::from_str(line).ok()));
    }
    Ok(found)
}
