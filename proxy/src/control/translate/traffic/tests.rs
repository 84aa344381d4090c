use sluice_proxy_core::model::{Balancing, HashOn, Outliers, Resource, Traffic};

use crate::control::{
    files,
    objects::Name,
    ports::PortAllocations,
    translate::{Translation, translate},
};

/// Routes from Gateway `shop/web` to two ports of Service `shop/app`, and these policies.
fn translated(policies: &str) -> Translation {
    let text = format!(
        "
kind: Gateway
metadata: {{name: web, namespace: shop}}
spec: {{gatewayClassName: sluice, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
---
kind: HTTPRoute
metadata: {{name: web, namespace: shop}}
spec: {{parentRefs: [{{name: web}}], rules: [{{backendRefs: [{{name: app, port: 80}}, {{name: app, port: 81}}]}}]}}
---
kind: Service
metadata: {{name: app, namespace: shop}}
spec: {{ports: [{{name: http, port: 80}}, {{name: admin, port: 81}}]}}
---
{policies}
"
    );
    let objects = files::parse(&text).expect("objects");
    translate(&objects, &PortAllocations::identity(), "sluice.dev/gateway-controller")
}

fn policy(name: &str, spec: &str) -> String {
    format!("kind: BackendTrafficPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{spec}}}\n---\n")
}

/// What data planes are told of a port.
fn told(translation: &Translation, port: u16) -> Option<Traffic> {
    match translation.resources.get(&format!("backend/shop/app:{port}")) {
        Some(Resource::Backend(backend)) => backend.traffic.clone(),
        other => panic!("{other:?}"),
    }
}

/// Reason and message of a policy's condition, and how many Gateways it is told at.
fn said(translation: &Translation, name: &str) -> (&'static str, String, usize) {
    let plan = translation.traffic_policies.get(&Name::new("shop", name)).expect("a plan");
    (plan.accepted.reason, plan.accepted.message.clone(), plan.ancestors.len())
}

const APP: &str = "targetRefs: [{name: app}]";

#[test]
fn what_is_said_reaches_the_ports_that_it_is_for() {
    let all = policy(
        "all",
        &format!(
            "{APP}, loadBalancing: {{type: ConsistentHash, consistentHash: {{type: Header, name: x-user}}}},
             outlierDetection: {{consecutiveGatewayErrors: 3, interval: 1m, maxEjectionPercent: 34}},
             connections: {{maxRequestsPerConnection: 100}}, connectTimeout: 500ms"
        ),
    );
    let admin = policy("admin", "targetRefs: [{name: app, sectionName: admin}], loadBalancing: {type: RoundRobin}");
    let translation = translated(&format!("{all}{admin}"));
    let outliers =
        Outliers { server_errors: 5, gateway_errors: 3, interval: 60_000, ejection: 2_000, most: 34, recovery: 1_000 };
    let expected = Traffic {
        balancing: Balancing::ConsistentHash(HashOn::Header("x-user".into())),
        outliers: Some(outliers),
        connect_timeout: Some(500),
        requests_per_connection: Some(100),
    };
    assert_eq!(told(&translation, 80), Some(expected));
    assert_eq!(told(&translation, 81), Some(Traffic { balancing: Balancing::RoundRobin, ..Traffic::default() }));
    for name in ["all", "admin"] {
        assert_eq!(said(&translation, name), ("Accepted", "Accepted".to_owned(), 1));
    }
}

#[test]
fn of_two_for_one_target_the_first_counts_and_the_other_says_why_not() {
    let two = policy("a", APP) + &policy("b", &format!("{APP}, loadBalancing: {{type: Random}}"));
    let translation = translated(&two);
    assert_eq!(told(&translation, 80), Some(Traffic::default()));
    let message = "targetRefs: Service shop/app has policy shop/a already, which comes first";
    assert_eq!(said(&translation, "b"), ("Conflicted", message.to_owned(), 1));
}

#[test]
fn what_bears_on_nothing_of_ours_is_nobodys_to_judge() {
    let translation = translated(&policy("a", "targetRefs: [{name: other}]"));
    assert_eq!(said(&translation, "a").2, 0);
    let translation = translated(&policy("a", "targetRefs: [{name: app, sectionName: none}]"));
    assert_eq!(said(&translation, "a").0, "TargetNotFound");
}

#[test]
fn what_cannot_be_used_is_told_by_its_field_and_leaves_the_backend_as_it_is() {
    for (spec, message) in [
        ("connectTimeout: soon", "spec.connectTimeout: \"soon\" is not a duration such as 1m30s"),
        ("connectTimeout: 1ms", "spec.connectTimeout: 1ms is not from 10ms to 60000ms"),
        (
            "outlierDetection: {maxEjectionPercent: 0}",
            "spec.outlierDetection.maxEjectionPercent: 0 is not from 1 to 100",
        ),
        (
            "outlierDetection: {baseEjectionTime: 0s}",
            "spec.outlierDetection.baseEjectionTime: 0s is not from 1000ms to 3600000ms",
        ),
        (
            "connections: {maxRequestsPerConnection: 0}",
            "spec.connections.maxRequestsPerConnection: 0 is not from 1 to 1000000",
        ),
        (
            "loadBalancing: {type: ConsistentHash}",
            "spec.loadBalancing.consistentHash: type ConsistentHash needs it, and no other has it",
        ),
        (
            "loadBalancing: {type: ConsistentHash, consistentHash: {type: Cookie}}",
            "spec.loadBalancing.consistentHash.name: types Header and Cookie need it, and no other has it",
        ),
        (
            "loadBalancing: {type: ConsistentHash, consistentHash: {type: Cookie, name: a b}}",
            "spec.loadBalancing.consistentHash.name: \"a b\" cannot be one",
        ),
    ] {
        let translation = translated(&policy("a", &format!("{APP}, {spec}")));
        assert_eq!(said(&translation, "a"), ("Invalid", message.to_owned(), 1));
        assert_eq!(told(&translation, 80), None);
    }
}
