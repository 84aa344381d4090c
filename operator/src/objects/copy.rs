//! Copies of what protects stable's pods, for the canary's.

use kube::api::DynamicObject;
use serde_json::{Value, json};
use sluice_operator_core::coverage::copy_name;

use super::{Owner, at, object, relabel::Relabel};
use crate::cluster::Kind;

/// The sides that a copy leads from and to.
pub(crate) struct Sides<'a> {
    /// What tells the pods apart.
    pub relabel: &'a Relabel,
    /// Names of the stable Service and of the canary's.
    pub services: (&'a str, &'a str),
    /// Replicas of the workload when the run began.
    pub replicas: i32,
}

/// The canary's copy of an object; None for a kind that is never copied.
pub(crate) fn copy(owner: &Owner, kind: Kind, source: &DynamicObject, sides: &Sides<'_>) -> Option<DynamicObject> {
    let mut spec = at(source, "/spec")?.clone();
    match kind {
        Kind::NetworkPolicy => network_policy(&mut spec, sides.relabel),
        Kind::PodDisruptionBudget => budget(&mut spec, sides),
        Kind::BackendTlsPolicy | Kind::SluiceTrafficPolicy => of_service(&mut spec, sides.services),
        _ => return None,
    }
    let name = copy_name(source.metadata.name.as_deref().unwrap_or_default());
    Some(object(kind, owner.metadata(&name), json!({ "spec": spec })))
}

/// Policies add up, so the copy speaks of both sides wherever the original speaks of stable: in whom it protects, and in
/// whom it lets in. What that adds for stable's pods is the canary as a peer.
fn network_policy(spec: &mut Value, relabel: &Relabel) {
    if let Some(selector) = spec.get_mut("podSelector") {
        relabel.widen(selector);
    }
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        let rules = spec.get_mut(rules).and_then(Value::as_array_mut);
        let peers = rules.into_iter().flatten().filter_map(|rule| rule.get_mut(peers)?.as_array_mut()).flatten();
        peers.filter_map(|peer| peer.get_mut("podSelector")).for_each(|selector| relabel.widen(selector));
    }
}

/// As many pods of the canary may be gone at once as of stable: with `minAvailable` of the whole, a canary of one pod could
/// never be evicted, and a node never drained.
fn budget(spec: &mut Value, sides: &Sides<'_>) {
    if let Some(selector) = spec.get_mut("selector") {
        sides.relabel.swap(selector);
    }
    let Some(min) = spec.as_object_mut().and_then(|spec| spec.remove("minAvailable")) else { return };
    let percent = min.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    spec["maxUnavailable"] = match (percent, min.as_i64()) {
        (Some(percent), _) => json!(format!("{}%", (100 - percent).max(0))),
        (None, Some(pods)) => json!((i64::from(sides.replicas) - pods).max(0)),
        // The API server takes nothing else.
        (None, None) => json!(0),
    };
}

/// The same about the canary's Service, and about no other.
fn of_service(spec: &mut Value, (stable, canary): (&str, &str)) {
    let Some(targets) = spec.get_mut("targetRefs").and_then(Value::as_array_mut) else { return };
    targets.retain(|target| is_service(target, stable));
    for target in targets {
        target["name"] = json!(canary);
    }
}

/// The reference names this Service.
pub(crate) fn is_service(target: &Value, name: &str) -> bool {
    let field = |field: &str| target.get(field).and_then(Value::as_str);
    let is_service = field("kind").unwrap_or("Service") == "Service" && field("group").unwrap_or_default().is_empty();
    is_service && field("name") == Some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Sides, copy};
    use crate::{
        cluster::Kind,
        fixtures::{object, owner, relabel},
    };

    fn copied(kind: Kind, spec: &str) -> Value {
        let source = object(&format!("{{metadata: {{name: web, uid: u, labels: {{team: shop}}}}, spec: {spec}}}"));
        let relabel = relabel();
        let sides = Sides { relabel: &relabel, services: ("podinfo", "podinfo-canary"), replicas: 3 };
        let copy = copy(&owner(), kind, &source, &sides).unwrap();
        assert_eq!(copy.metadata.name.as_deref(), Some("web-canary"));
        assert!(owner().owns(&copy.metadata));
        copy.data["spec"].clone()
    }

    #[test]
    fn a_network_policy_speaks_of_both_sides_wherever_it_spoke_of_stable() {
        let spec = copied(
            Kind::NetworkPolicy,
            "{podSelector: {matchLabels: {app: podinfo}}, policyTypes: [Ingress],
              ingress: [{from: [{podSelector: {matchLabels: {app: podinfo}}}, {podSelector: {matchLabels: {app: redis}}},
                                {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 80}]}]}",
        );
        let both = json!({"matchLabels": {}, "matchExpressions":
            [{"key": "app", "operator": "In", "values": ["podinfo", "podinfo-canary"]}]});
        let peers = json!([{"podSelector": both}, {"podSelector": {"matchLabels": {"app": "redis"}}},
            {"ipBlock": {"cidr": "10.0.0.0/8"}}]);
        let expected = json!({"podSelector": both, "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": [{"port": 80}]}]});
        assert_eq!(spec, expected);
    }

    #[test]
    fn a_budget_lets_as_many_pods_go_as_stables_does() {
        for (bound, expected) in [
            ("minAvailable: 2", json!({"maxUnavailable": 1})),
            ("minAvailable: 3", json!({"maxUnavailable": 0})),
            ("minAvailable: 60%", json!({"maxUnavailable": "40%"})),
            ("maxUnavailable: 1", json!({"maxUnavailable": 1})),
            ("maxUnavailable: 10%", json!({"maxUnavailable": "10%"})),
        ] {
            let spec =
                copied(Kind::PodDisruptionBudget, &format!("{{selector: {{matchLabels: {{app: podinfo}}}}, {bound}}}"));
            let mut whole = expected.clone();
            whole["selector"] = json!({"matchLabels": {"app": "podinfo-canary"}});
            assert_eq!(spec, whole, "{bound}");
        }
    }

    #[test]
    fn a_tls_policy_is_copied_for_the_canarys_service_alone() {
        let spec = copied(
            Kind::BackendTlsPolicy,
            "{targetRefs: [{group: '', kind: Service, name: podinfo, sectionName: https}, {group: '', kind: Service, name: db}],
              validation: {hostname: podinfo.shop}}",
        );
        let target = json!({"group": "", "kind": "Service", "name": "podinfo-canary", "sectionName": "https"});
        assert_eq!(spec, json!({"targetRefs": [target], "validation": {"hostname": "podinfo.shop"}}));
    }

    #[test]
    fn a_traffic_policy_that_says_no_kind_is_copied_as_well() {
        let spec = copied(Kind::SluiceTrafficPolicy, "{targetRefs: [{name: podinfo}], outlierDetection: {}}");
        assert_eq!(spec, json!({"targetRefs": [{"name": "podinfo-canary"}], "outlierDetection": {}}));
    }

    #[test]
    fn other_kinds_are_not_copied() {
        let relabel = relabel();
        let sides = Sides { relabel: &relabel, services: ("podinfo", "podinfo-canary"), replicas: 3 };
        let source = object("{metadata: {name: web}, spec: {}}");
        assert!(copy(&owner(), Kind::Deployment, &source, &sides).is_none());
    }
}
