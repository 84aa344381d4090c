//! Which Service a Gateway is to have, and what an existing one says.

use serde_json::json;

use super::*;
use crate::control::{files, ports::PortAllocations, publish::Publisher, translate::translate};

fn plan() -> (Name, GatewayPlan, Publisher) {
    let manifests = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec:
  gatewayClassName: sluice
  infrastructure: {labels: {team: a, app.kubernetes.io/managed-by: me}, annotations: {sluice.dev/gateway: other/one}}
  listeners:
  - {name: a, port: 80, protocol: HTTP, hostname: a.example.com}
  - {name: b, port: 80, protocol: HTTP, hostname: b.example.com}
  - {name: c, port: 81, protocol: HTTP}
  - {name: d, port: 81, protocol: UDP}
";
    let name = Name::new("shop", "web");
    let mut ports = PortAllocations::from_range(20_000..=20_099);
    ports.reconcile(&[(name.clone(), 80), (name.clone(), 81)].into(), &BTreeMap::new());
    let objects = files::parse(manifests).unwrap();
    let translation = translate(&objects, &ports, "sluice.dev/gateway-controller");
    let publisher = Publisher::default();
    publisher.publish(translation.resources.clone()).unwrap();
    (name.clone(), translation.gateways[&name].clone(), publisher)
}

fn service(ports: &serde_json::Value) -> Service {
    serde_json::from_value(json!({
        "metadata": {
            "name": "gw",
            "labels": {MANAGED_BY.0: MANAGED_BY.1},
            "annotations": {GATEWAY: "shop/web"},
        },
        "spec": {"clusterIPs": ["10.96.0.1", "fd00::1"], "ports": ports},
    }))
    .unwrap()
}

#[test]
fn a_port_appears_when_data_planes_serve_it() {
    let (name, plan, publisher) = plan();
    assert_eq!(wanted(&name, &plan, None, 0, &publisher.newest()), None);
    let wanted = wanted(&name, &plan, None, 1, &publisher.newest()).unwrap();
    assert_eq!(
        wanted.ports,
        [((Transport::Tcp, 80), 20_000), ((Transport::Tcp, 81), 20_001), ((Transport::Udp, 81), 20_001)].into()
    );
    assert_eq!(wanted.name, service_name(&name));
}

#[test]
fn a_port_that_exists_stays_while_the_controller_knows_less() {
    let (name, plan, publisher) = plan();
    let live = service(&json!([{"port": 80, "targetPort": 20_000}]));
    let wanted = wanted(&name, &plan, Some(&live), 0, &publisher.newest()).unwrap();
    assert_eq!(wanted.ports, [((Transport::Tcp, 80), 20_000)].into());
}

#[test]
fn a_gateway_cannot_pass_its_service_off_as_another_ones() {
    let (name, plan, publisher) = plan();
    let wanted = wanted(&name, &plan, None, 1, &publisher.newest()).unwrap();
    assert_eq!(wanted.labels[MANAGED_BY.0], MANAGED_BY.1);
    assert_eq!(wanted.labels["team"], "a");
    assert_eq!(wanted.annotations[GATEWAY], "shop/web");
}

#[test]
fn a_gateway_with_an_address_of_its_own_has_it_or_no_service() {
    let (name, mut plan, publisher) = plan();
    let address = "10.96.0.1".parse().unwrap();
    plan.address = WantedAddress::Fixed(address);
    assert_eq!(wanted(&name, &plan, None, 1, &publisher.newest()).unwrap().address, Some(address));
    plan.address = WantedAddress::Unusable("taken".to_owned());
    assert_eq!(wanted(&name, &plan, None, 1, &publisher.newest()), None);
}

#[test]
fn a_service_has_the_address_that_it_was_made_with() {
    let [cluster, balancer, other] = ["10.96.0.1", "192.0.2.1", "10.96.0.2"].map(|address| address.parse().unwrap());
    let mut live = service(&json!([]));
    let spec = live.spec.as_mut().unwrap();
    spec.cluster_ip = Some("10.96.0.1".to_owned());
    spec.load_balancer_ip = Some("192.0.2.1".to_owned());
    assert!(has_address(&live, cluster) && !has_address(&live, other));
    live.spec.as_mut().unwrap().type_ = Some("LoadBalancer".to_owned());
    assert!(has_address(&live, balancer) && !has_address(&live, cluster));
}

#[test]
fn ports_and_owner_are_read_back() {
    let live = service(&json!([{"port": 80, "targetPort": 20_007}, {"port": 81, "targetPort": "name"}]));
    assert_eq!(in_service([&live]), [((Name::new("shop", "web"), 80), 20_007)].into());
    let mut foreign = live.clone();
    foreign.metadata.labels = None;
    assert!(in_service([&foreign]).is_empty());
}

#[test]
fn addresses_are_those_of_the_service_type() {
    let mut live = service(&json!([]));
    let cluster = vec![("IPAddress", "10.96.0.1".to_owned()), ("IPAddress", "fd00::1".to_owned())];
    assert_eq!(addresses(&live), cluster);
    live.spec.as_mut().unwrap().type_ = Some("LoadBalancer".to_owned());
    assert!(addresses(&live).is_empty());
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}});
    live.status = serde_json::from_value(ingress).unwrap();
    let balanced = vec![("IPAddress", "192.0.2.1".to_owned()), ("Hostname", "lb.example.com".to_owned())];
    assert_eq!(addresses(&live), balanced);
}

#[test]
fn a_service_name_is_short_and_differs_by_gateway() {
    let long = service_name(&Name::new("n".repeat(63), "g".repeat(253)));
    assert!(long.len() <= 63);
    assert_ne!(long, service_name(&Name::new("n".repeat(63), "g".repeat(252))));
}
