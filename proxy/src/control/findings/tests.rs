//! Manifests in, findings out.

use std::collections::BTreeSet;

use sluice_proxy_core::cidr::Cidr;

use super::{Finding, findings, news};
use crate::control::{files, golden::Case, ports::PortAllocations, translate::translate};

fn of(manifests: &str) -> Vec<Finding> {
    let controller = "sluice.dev/gateway-controller";
    let mut objects = files::parse(manifests).unwrap();
    objects.address_pools = Cidr::EVERYTHING.to_vec();
    findings(&objects, &translate(&objects, &PortAllocations::identity(), controller), controller).unwrap()
}

fn run(case: &'static str) {
    let case = Case::new("findings/tests", case);
    let line = |finding: &Finding| format!("{} {finding}\n", if finding.is_rejection() { "-" } else { "+" });
    case.compare(&of(&case.manifests()).iter().map(line).collect::<String>());
}

#[test]
fn what_is_served() {
    run("served");
}

#[test]
fn what_is_rejected() {
    run("rejected");
}

#[test]
fn what_nobody_here_answers_for() {
    run("unanswered");
}

#[test]
fn only_what_changed_is_news() {
    let manifests = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: sluice, listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 81, protocol: HTTP}]}
";
    let set = |manifests: &str| of(manifests).into_iter().collect::<BTreeSet<_>>();
    let before = set(manifests);
    let unchanged = news(&before, &before);
    assert!(unchanged.said.is_empty() && unchanged.gone.is_empty());
    let now = set(&manifests.replace("port: 80", "port: 0").replace(", {name: b, port: 81, protocol: HTTP}", ""));
    let news = news(&before, &now);
    assert_eq!(
        news.said.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "Gateway default/web: Accepted=False ListenersNotValid: 0 of 1 listeners are valid",
            "Gateway default/web: Programmed=False Invalid: the Gateway is not accepted",
            "Gateway default/web listener a: Accepted=False PortUnavailable: 0 is not a port",
            "Gateway default/web listener a: Programmed=False Invalid: the listener is not valid",
        ]
    );
    assert_eq!(news.gone.iter().map(ToString::to_string).collect::<Vec<_>>(), ["Gateway default/web listener b"]);
}
