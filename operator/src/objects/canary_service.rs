//! The temporary Service, from the stable one.

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::{Owner, at, object, relabel::Relabel, strings};
use crate::cluster::Kind;

/// Fields of a Service that bear on how its endpoints are reached, and that no allocator fills in.
const COPIED: [&str; 4] =
    ["sessionAffinity", "sessionAffinityConfig", "publishNotReadyAddresses", "trafficDistribution"];

/// The temporary Service: the same ports, reachable in the cluster only, in front of the canary's pods.
pub(crate) fn canary_service(owner: &Owner, name: &str, stable: &DynamicObject, relabel: &Relabel) -> DynamicObject {
    let mut spec = Map::new();
    spec.insert("type".to_owned(), json!("ClusterIP"));
    spec.insert("selector".to_owned(), json!(relabel.apply(&strings(at(stable, "/spec/selector")))));
    spec.insert("ports".to_owned(), ports(stable));
    for copied in COPIED {
        if let Some(value) = at(stable, &format!("/spec/{copied}")) {
            spec.insert(copied.to_owned(), value.clone());
        }
    }
    object(Kind::Service, owner.metadata(name), json!({ "spec": spec }))
}

/// The ports without the node ports, which belong to one Service alone.
fn ports(stable: &DynamicObject) -> Value {
    let mut ports = at(stable, "/spec/ports").cloned().unwrap_or_else(|| json!([]));
    for port in ports.as_array_mut().into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::canary_service;
    use crate::fixtures::{SERVICE, object, owner, relabel};

    #[test]
    fn the_canarys_service_has_the_same_ports_in_front_of_its_own_pods() {
        let service = canary_service(&owner(), "podinfo-canary", &object(SERVICE), &relabel());
        assert_eq!(service.metadata.name.as_deref(), Some("podinfo-canary"));
        assert!(owner().owns(&service.metadata));
        let expected = json!({
            "type": "ClusterIP",
            "sessionAffinity": "ClientIP",
            "selector": {"app": "podinfo-canary"},
            "ports": [{"name": "http", "port": 80, "targetPort": 9898, "protocol": "TCP"}],
        });
        assert_eq!(service.data["spec"], expected);
    }
}
