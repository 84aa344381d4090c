//! Manifests in, resources and status out: each `tests/<case>.yaml` beside a `tests/<case>.out` that says what it comes to.
//! With `SLUICE_REGENERATE=1` the outputs are written anew, to be read as a diff.

use std::{env, fmt::Write as _, fs, path::Path};

use sluice_proxy_core::model::Endpoint;

use super::{
    Translation,
    address::WantedAddress,
    backend::{ServiceRef, backend},
    conditions::Condition,
    translate,
};
use crate::control::{
    files,
    objects::{Name, RouteKind},
    ports::PortAllocations,
};

fn run(case: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/translate/tests");
    let manifests = fs::read_to_string(folder.join(format!("{case}.yaml"))).unwrap();
    let mut objects = files::parse(&manifests).unwrap();
    objects.own_addresses.insert([10, 0, 0, 99].into());
    let controller = "sluice.dev/gateway-controller";
    let mut ports = PortAllocations::from_range(20_000..=20_099);
    let classes = super::class::plans(&objects, controller);
    ports.reconcile(&super::gateway::wanted_ports(&objects, &classes), &[].into());
    let actual = render(&translate(&objects, &ports, controller));
    let expected = folder.join(format!("{case}.out"));
    if env::var_os("SLUICE_REGENERATE").is_some() {
        fs::write(&expected, &actual).unwrap();
    }
    assert_eq!(actual, fs::read_to_string(expected).unwrap_or_default(), "{case}");
}

fn render(translation: &Translation) -> String {
    let mut out = String::new();
    for class in &translation.classes {
        writeln!(out, "class {}\n{}", class.name, condition(&class.accepted)).unwrap();
    }
    for (name, gateway) in &translation.gateways {
        writeln!(out, "gateway {name}\n{}", condition(&gateway.accepted)).unwrap();
        out.extend(gateway.resolved.iter().map(|c| condition(c) + "\n"));
        if gateway.address != WantedAddress::Any {
            writeln!(out, "  address: {:?}", gateway.address).unwrap();
        }
        for listener in &gateway.listeners {
            writeln!(out, "  listener {}: {} routes, kinds {:?}", listener.name, listener.attached, listener.kinds)
                .unwrap();
            let bad_or_good = [(&listener.accepted, true), (&listener.resolved, true), (&listener.conflicted, false)];
            for (found, _) in bad_or_good.iter().filter(|(found, good)| found.holds != *good) {
                writeln!(out, "  {}", condition(found)).unwrap();
            }
        }
    }
    for (name, route) in &translation.routes {
        writeln!(out, "route {name}").unwrap();
        for parent in &route.parents {
            writeln!(out, "  parent {}", serde_json::to_string(&parent.parent).unwrap()).unwrap();
            writeln!(out, "  {}\n  {}", condition(&parent.accepted), condition(&parent.resolved)).unwrap();
        }
    }
    for (key, resource) in &translation.resources {
        writeln!(out, "{key}\n  {}", serde_json::to_string(resource).unwrap()).unwrap();
    }
    out
}

fn condition(condition: &Condition) -> String {
    let Condition { kind, holds, reason, message } = condition;
    format!("  {kind}={holds} {reason}: {message}")
}

macro_rules! cases {
    ($($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            run(stringify!($case));
        }
    )*};
}
cases!(attachment, backends, features, foreign, grants, grpc, l4, listeners, rules, tls_routes, unsupported);

/// Addresses of the endpoints of the only backend, those that are not ready in brackets.
fn endpoints(conditions: &[&str], spares_unready: bool) -> Vec<String> {
    let mut manifests = "
apiVersion: v1
kind: Service
metadata: {name: app, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app-1, namespace: shop, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
"
    .to_owned();
    for (number, conditions) in conditions.iter().enumerate() {
        writeln!(manifests, "- {{addresses: [10.0.0.{number}], conditions: {{{conditions}}}}}").unwrap();
    }
    let mut objects = files::parse(&manifests).unwrap();
    objects.spares_unready = spares_unready;
    let reference = ServiceRef { service: Name::new("shop", "app"), port: 80, kind: RouteKind::Http };
    let backend = backend(&reference, &objects);
    let show = |endpoint: &Endpoint| {
        let ip = endpoint.address.ip();
        if endpoint.ready { ip.to_string() } else { format!("({ip})") }
    };
    backend.endpoints.iter().map(show).collect()
}

#[test]
fn after_an_outage_unready_endpoints_are_used_where_there_is_no_other() {
    let (ready, unready) = ("ready: true", "ready: false");
    let leaving = "ready: false, serving: true, terminating: true";
    let left = "ready: false, serving: false, terminating: true";
    for (conditions, as_ever, after_an_outage) in [
        (&[unready, unready][..], &[][..], &["(10.0.0.0)", "(10.0.0.1)"][..]),
        (&[unready, ready], &["10.0.0.1"], &["10.0.0.1"]),
        (&[unready, leaving], &["(10.0.0.1)"], &["(10.0.0.1)"]),
        (&[left], &[], &[]),
        (&[left, unready], &[], &["(10.0.0.1)"]),
    ] {
        assert_eq!(endpoints(conditions, false), as_ever, "{conditions:?}");
        assert_eq!(endpoints(conditions, true), after_an_outage, "{conditions:?}, after an outage");
    }
}
