//! From a live status and a plan to the status to write.

use super::*;
use crate::control::{
    files,
    objects::{Name, RouteKind, RouteName},
    ports::PortAllocations,
    publish::Publisher,
    translate::{Translation, translate},
};

const CONTROLLER: &str = "sluice.dev/gateway-controller";
const MANIFESTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop, generation: 2}
spec:
  gatewayClassName: sluice
  allowedListeners: {namespaces: {from: Same}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: shop, generation: 3}
spec:
  parentRef: {name: web}
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: more.example.com}
  - {name: taken, port: 80, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: useless, namespace: shop, generation: 3}
spec: {parentRef: {name: web}, listeners: [{name: taken, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop, generation: 5}
spec: {parentRefs: [{name: web}, {name: web, sectionName: http}]}
";

fn translation() -> Translation {
    translate(&files::parse(MANIFESTS).unwrap(), &PortAllocations::identity(), CONTROLLER)
}

fn route_plan() -> RoutePlan {
    let name = RouteName { kind: RouteKind::Http, name: Name::new("shop", "web") };
    translation().routes[&name].clone()
}

/// What is known of the Gateway after data planes served `served`, with or without its Service.
fn reach(connected: usize, served: u64, service: bool) -> Reach {
    Reach {
        progress: Progress { connected, served, refused: None },
        addresses: if service { vec![("IPAddress", "10.96.0.7".to_owned())] } else { vec![] },
        ports: if service { vec![(Transport::Tcp, 80)] } else { vec![] },
        refused: None,
    }
}

fn published(translation: &Translation) -> Publisher {
    let publisher = Publisher::default();
    publisher.publish(translation.resources.clone()).unwrap();
    publisher
}

fn gateway_status(live: &Value, connected: usize, served: u64, service: bool) -> Value {
    let translation = translation();
    let plan = &translation.gateways[&Name::new("shop", "web")];
    gateway(live, plan, &reach(connected, served, service), &published(&translation).newest(), "now")
}

/// The status of the ListenerSet of this name.
fn set_status(live: &Value, name: &str, reach: &Reach) -> Value {
    let translation = translation();
    let name = Name::new("shop", name);
    let (plan, gateway) = (&translation.listener_sets[&name], &translation.gateways[&Name::new("shop", "web")]);
    listener_set(live, (&name, plan), gateway, reach, &published(&translation).newest(), "now")
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    status["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == kind).unwrap()
}

#[test]
fn entries_of_other_controllers_stay_byte_for_byte_and_in_place() {
    let before = json!({"controllerName": "example.com/a", "parentRef": {"name": "x", "odd": null}, "conditions": [], "z": 1.50});
    let after = json!({"parentRef": {"name": "web"}, "controllerName": "example.com/b", "extra": ["b", "a"]});
    let ours = json!({"parentRef": {"name": "gone"}, "controllerName": CONTROLLER, "conditions": []});
    let live = json!({"parents": [before, ours, after]});
    let status = route(&live, &route_plan(), CONTROLLER, "now").unwrap();
    let parents = status["parents"].as_array().unwrap();
    assert_eq!(parents.len(), 4);
    assert_eq!(parents[0].to_string(), before.to_string());
    assert_eq!(parents[1].to_string(), after.to_string());
    assert_eq!(parents[2]["parentRef"], json!({"name": "web"}));
    assert_eq!(parents[3]["parentRef"], json!({"name": "web", "sectionName": "http"}));
}

#[test]
fn writing_twice_changes_nothing() {
    let first = route(&Value::Null, &route_plan(), CONTROLLER, "2026-01-01T00:00:00Z").unwrap();
    assert_eq!(route(&first, &route_plan(), CONTROLLER, "2026-02-02T00:00:00Z").unwrap(), first);
    let first = gateway_status(&Value::Null, 1, 1, true);
    assert_eq!(gateway_status(&first, 1, 1, true), first);
}

#[test]
fn a_route_that_left_us_loses_our_entries_and_a_foreign_one_is_not_touched() {
    let left = RoutePlan { generation: 6, parents: vec![] };
    let ours = json!({"parents": [{"parentRef": {"name": "web"}, "controllerName": CONTROLLER}]});
    assert_eq!(route(&ours, &left, CONTROLLER, "now"), Some(json!({"parents": []})));
    let foreign = json!({"parents": [{"parentRef": {"name": "web"}, "controllerName": "example.com/a"}]});
    assert_eq!(route(&foreign, &left, CONTROLLER, "now"), None);
}

#[test]
fn a_gateway_is_programmed_once_it_is_acknowledged_and_has_an_address() {
    let cases = [
        (0, 0, false, "no data plane is connected"),
        (1, 0, true, "not every data plane serves it yet"),
        (1, 1, false, "the Service does not have its port yet"),
    ];
    for (connected, served, service, message) in cases {
        let status = gateway_status(&Value::Null, connected, served, service);
        let programmed = condition(&status, "Programmed");
        assert_eq!((&programmed["status"], &programmed["message"]), (&json!("False"), &json!(message)));
        assert_eq!(condition(&status["listeners"][0], "Programmed")["status"], "False");
    }
    let status = gateway_status(&Value::Null, 1, 1, true);
    assert_eq!(condition(&status, "Programmed")["status"], "True");
    assert_eq!(status["addresses"], json!([{"type": "IPAddress", "value": "10.96.0.7"}]));
    assert_eq!(status["listeners"][0]["attachedRoutes"], 1);
}

#[test]
fn what_is_served_stays_programmed_when_the_controller_knows_less() {
    let served = gateway_status(&Value::Null, 1, 1, true);
    let restarted = gateway_status(&served, 0, 0, false);
    assert_eq!(restarted, served);
}

#[test]
fn every_condition_carries_the_generation_and_foreign_ones_stay() {
    let foreign = json!({"type": "example.com/Seen", "status": "True", "observedGeneration": 1});
    let live = json!({"conditions": [foreign], "listeners": [{"name": "http", "conditions": [foreign]}]});
    let status = gateway_status(&live, 1, 1, true);
    for conditions in [&status["conditions"], &status["listeners"][0]["conditions"]] {
        let conditions = conditions.as_array().unwrap();
        assert_eq!(conditions[0], foreign);
        assert!(conditions[1..].len() >= 2 && conditions[1..].iter().all(|c| c["observedGeneration"] == 2));
    }
}

fn policy_plan(gateways: usize) -> PolicyPlan {
    PolicyPlan {
        generation: 3,
        ancestors: (0..gateways).map(|number| Name::new("shop", format!("web-{number:02}"))).collect(),
        accepted: Condition::accepted(),
        resolved: Some(Condition::resolved()),
        resource: None,
    }
}

#[test]
fn a_policy_tells_of_each_gateway_and_keeps_what_others_wrote() {
    let foreign = json!({"controllerName": "example.com/a", "ancestorRef": {"name": "x"}, "conditions": [], "z": 1.50});
    let gone = json!({"ancestorRef": {"name": "gone"}, "controllerName": CONTROLLER, "conditions": []});
    let live = json!({"ancestors": [foreign, gone]});
    let status = policy(&live, &policy_plan(2), CONTROLLER, "now").unwrap();
    let ancestors = status["ancestors"].as_array().unwrap();
    assert_eq!(ancestors[0].to_string(), foreign.to_string());
    let gateway = json!({"group": GROUP, "kind": "Gateway", "namespace": "shop", "name": "web-00"});
    assert_eq!(ancestors[1]["ancestorRef"], gateway);
    for kind in ["Accepted", "ResolvedRefs"] {
        let condition = condition(&ancestors[1], kind);
        assert_eq!((&condition["status"], &condition["observedGeneration"]), (&json!("True"), &json!(3)));
    }
    assert_eq!(ancestors.len(), 3);
    assert_eq!(policy(&status, &policy_plan(2), CONTROLLER, "later").unwrap(), status);
    assert_eq!(policy(&status, &policy_plan(0), CONTROLLER, "later"), Some(json!({"ancestors": [foreign]})));
    assert_eq!(policy(&json!({"ancestors": [foreign]}), &policy_plan(0), CONTROLLER, "later"), None);
}

#[test]
fn a_policy_has_room_for_sixteen_gateways_those_of_others_included() {
    let foreign = json!({"controllerName": "example.com/a", "ancestorRef": {"name": "x"}, "conditions": []});
    let status = policy(&json!({"ancestors": [foreign]}), &policy_plan(20), CONTROLLER, "now").unwrap();
    let ancestors = status["ancestors"].as_array().unwrap();
    assert_eq!(ancestors.len(), 16);
    assert_eq!(ancestors[15]["ancestorRef"]["name"], "web-14");
}

#[test]
fn a_gateway_counts_its_listener_sets_and_lists_its_own_listeners() {
    let status = gateway_status(&Value::Null, 1, 1, true);
    assert_eq!(status["attachedListenerSets"], 1);
    assert_eq!(status["listeners"].as_array().unwrap().len(), 1);
}

#[test]
fn a_listener_set_is_programmed_when_one_of_its_listeners_is_and_its_gateway_has_an_address() {
    let refused = Reach { refused: Some("taken".to_owned()), ..reach(1, 1, true) };
    let unassigned = Reach { addresses: vec![], ..reach(1, 1, true) };
    for (reach, reason) in [
        (reach(0, 0, false), "Pending"),
        (reach(1, 0, true), "Pending"),
        (unassigned, "Pending"),
        (refused, "ParentNotProgrammed"),
        (reach(1, 1, true), "Programmed"),
    ] {
        let status = set_status(&Value::Null, "more", &reach);
        assert_eq!(condition(&status, "Programmed")["reason"], reason, "{reach:?}");
        assert_eq!(condition(&status, "Accepted")["reason"], "ListenersNotValid");
    }
    let status = set_status(&Value::Null, "more", &reach(1, 1, true));
    assert_eq!(condition(&status, "Programmed")["observedGeneration"], 3);
    let programmed = |index: usize| &condition(&status["listeners"][index], "Programmed")["reason"];
    assert_eq!((programmed(0), programmed(1)), (&json!("Programmed"), &json!("HostnameConflict")));
    assert_eq!(set_status(&status, "more", &reach(0, 0, false)), status, "a controller that restarts takes nothing");
}

#[test]
fn a_listener_set_without_a_usable_listener_says_so_in_both_conditions() {
    let status = set_status(&Value::Null, "useless", &reach(1, 1, true));
    for kind in ["Accepted", "Programmed"] {
        let found = condition(&status, kind);
        assert_eq!((&found["status"], &found["reason"]), (&json!("False"), &json!("ListenersNotValid")));
    }
    assert_eq!(condition(&status["listeners"][0], "Conflicted")["status"], "True");
}
