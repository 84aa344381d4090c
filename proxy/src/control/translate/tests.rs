//! Manifests in, resources and status out.

use std::fmt::Write as _;

use super::{Translation, address::WantedAddress, conditions::Condition, translate};
use crate::control::{files, golden::Case, objects::Name, ports::PortAllocations};

fn run(case: &'static str) {
    let case = Case::new("translate/tests", case);
    let mut objects = files::parse(&case.manifests()).unwrap();
    objects.own_addresses.insert([10, 0, 0, 99].into());
    let controller = "sluice.dev/gateway-controller";
    let mut ports = PortAllocations::from_range(20_000..=20_099);
    let classes = super::class::plans(&objects, controller);
    ports.reconcile(&super::gateway::wanted_ports(&objects, &classes), &[].into());
    case.compare(&render(&translate(&objects, &ports, controller)));
}

fn render(translation: &Translation) -> String {
    let mut out = String::new();
    for class in &translation.classes {
        writeln!(out, "class {}\n{}", class.name, condition(&class.accepted)).unwrap();
    }
    for (name, gateway) in &translation.gateways {
        writeln!(out, "gateway {name}\n{}", condition(&gateway.accepted)).unwrap();
        if gateway.attached_sets > 0 {
            writeln!(out, "  {} listener sets", gateway.attached_sets).unwrap();
        }
        out.extend(gateway.resolved.iter().map(|c| condition(c) + "\n"));
        if gateway.address != WantedAddress::Any {
            writeln!(out, "  address: {:?}", gateway.address).unwrap();
        }
        for listener in &gateway.listeners {
            let set = listener.set.as_ref().map(|set| format!("{set}/")).unwrap_or_default();
            let (name, attached, kinds) = (&listener.name, listener.attached, &listener.kinds);
            writeln!(out, "  listener {set}{name}: {attached} routes, kinds {kinds:?}").unwrap();
            let bad_or_good = [(&listener.accepted, true), (&listener.resolved, true), (&listener.conflicted, false)];
            for (found, _) in bad_or_good.iter().filter(|(found, good)| found.holds != *good) {
                writeln!(out, "  {}", condition(found)).unwrap();
            }
        }
    }
    for (name, set) in &translation.listener_sets {
        writeln!(out, "listener set {name} of {}\n{}", set.gateway, condition(&set.accepted)).unwrap();
    }
    for (name, route) in &translation.routes {
        writeln!(out, "route {name}").unwrap();
        for parent in &route.parents {
            writeln!(out, "  parent {}", serde_json::to_string(&parent.parent).unwrap()).unwrap();
            writeln!(out, "  {}\n  {}", condition(&parent.accepted), condition(&parent.resolved)).unwrap();
        }
    }
    for (name, policy) in &translation.policies {
        writeln!(out, "policy {name} at {:?}", policy.ancestors.iter().map(Name::to_string).collect::<Vec<_>>())
            .unwrap();
        out.extend([&policy.accepted].into_iter().chain(&policy.resolved).map(|said| condition(said) + "\n"));
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
cases!(
    attachment,
    backend_tls,
    backends,
    features,
    foreign,
    grants,
    grpc,
    l4,
    listener_sets,
    listeners,
    parameters,
    rules,
    tls_routes,
    unsupported
);
