//! Gateways and routes as their status shows them.

use std::net::IpAddr;

use anyhow::Result;
use kube::{Api, api::DynamicObject};
use serde_json::Value;

use crate::{
    app::SETUP_DEADLINE,
    cluster::{Cluster, look_at},
    manifest::text,
    wait::{Look, until, when},
};

/// The address of a Gateway, once it has one.
pub async fn address(cluster: &Cluster, namespace: &str, name: &str) -> Result<IpAddr> {
    let gateways = cluster.gateway_api(namespace, "Gateway", "gateways");
    until(&format!("an address of Gateway {namespace}/{name}"), SETUP_DEADLINE, async || {
        look_at(&gateways, name, |gateway| match text(&gateway.data, "/status/addresses/0/value").parse() {
            Ok(ip) => Look::Done(ip),
            Err(_) => Look::NotYet(status(gateway).to_string()),
        })
        .await
    })
    .await
}

/// Waits until the only parent of a route has accepted it and what it refers to.
pub async fn accepted(routes: &Api<DynamicObject>, name: &str) -> Result<()> {
    until(&format!("route {name} accepted"), SETUP_DEADLINE, async || {
        look_at(routes, name, |route| {
            let conditions = status(route)["parents"][0]["conditions"].as_array();
            let holds = |kind: &str| {
                conditions.into_iter().flatten().any(|found| found["type"] == kind && found["status"] == "True")
            };
            when(holds("Accepted") && holds("ResolvedRefs"), || status(route).to_string())
        })
        .await
    })
    .await
}

fn status(object: &DynamicObject) -> &Value {
    object.data.get("status").unwrap_or(&Value::Null)
}
