//! YAML in; the label, and what would be left uncovered, out.

use sluice_operator_core::coverage::Coverage;

use super::{Subject, coverage};
use crate::{
    cluster::Kind,
    fixtures::{DEPLOYMENT, object},
};

const SERVICE: &str = "{metadata: {name: podinfo, namespace: shop}, spec: {selector: {app: podinfo, tier: web}}}";

/// The labels that were chosen, and each gap as `Kind/name remedy`.
fn covered(service: &str, objects: &[(Kind, &str)]) -> (Vec<String>, Vec<String>) {
    let (workload, service) = (object(DEPLOYMENT), object(service));
    let canary = ("podinfo-canary", "podinfo-canary");
    let subject = Subject { namespace: "shop", workload: &workload, service: &service, canary, routes: &[] };
    let objects: Vec<_> = objects.iter().map(|(kind, text)| (*kind, object(text))).collect();
    let Some(Coverage::Known { labels, gaps, .. }) = coverage(&subject, &objects) else { panic!("no label") };
    let said = gaps.iter().map(|gap| format!("{}/{} {:?}", gap.object.kind, gap.object.name, gap.remedy));
    (labels, said.collect())
}

/// What the object is called that selects by `app` alone.
fn by_app(kind: Kind, spec: &str) -> Vec<String> {
    let only_app = "{metadata: {name: podinfo}, spec: {selector: {app: podinfo}}}";
    covered(only_app, &[(kind, &format!("{{metadata: {{name: it}}, spec: {spec}}}"))]).1
}

#[test]
fn nothing_else_selects_the_pods() {
    assert_eq!(covered(SERVICE, &[]), (vec!["app".to_owned()], vec![]));
}

#[test]
fn the_label_is_the_one_about_which_the_fewest_others_say_something() {
    let policy = (Kind::NetworkPolicy, "{metadata: {name: np}, spec: {podSelector: {matchLabels: {app: podinfo}}}}");
    let budget = (Kind::PodDisruptionBudget, "{metadata: {name: b}, spec: {selector: {matchLabels: {tier: web}}}}");
    let other = "{metadata: {name: o}, spec: {selector: {matchLabels: {tier: web}}}}";
    let tier = || vec!["tier".to_owned()];
    assert_eq!(covered(SERVICE, &[policy]), (tier(), vec![]));
    // One that would hold the run weighs more than any number that would not.
    let many = [policy, budget, (Kind::PodDisruptionBudget, other)];
    let copies = ["PodDisruptionBudget/b Copy", "PodDisruptionBudget/o Copy"].map(str::to_owned).to_vec();
    assert_eq!(covered(SERVICE, &many), (tier(), copies));
    let monitor = (Kind::PodMonitor, "{metadata: {name: m}, spec: {selector: {matchLabels: {tier: web}}}}");
    let (labels, gaps) = covered(SERVICE, &[policy, monitor, budget]);
    assert_eq!((labels, gaps), (vec!["app".to_owned()], vec!["NetworkPolicy/np Mirror".to_owned()]));
}

#[test]
fn without_a_common_label_one_of_each_is_chosen_by_the_same_measure() {
    let service = "{metadata: {name: podinfo}, spec: {selector: {team: shop}}}";
    let policy = (Kind::NetworkPolicy, "{metadata: {name: np}, spec: {podSelector: {matchLabels: {app: podinfo}}}}");
    assert_eq!(covered(service, &[policy]), (vec!["team".to_owned(), "tier".to_owned()], vec![]));
}

#[test]
fn a_network_policy_differs_in_whom_it_protects_and_whom_it_lets_in() {
    let mirror: &[&str] = &["NetworkPolicy/it Mirror"];
    for (spec, expected) in [
        ("{podSelector: {matchLabels: {app: podinfo}}}", mirror),
        ("{podSelector: {}}", &[]),
        ("{podSelector: {matchLabels: {app: redis}}}", &[]),
        (
            "{podSelector: {matchLabels: {app: redis}}, ingress: [{from: [{podSelector: {matchLabels: {app: podinfo}}}]}]}",
            mirror,
        ),
        (
            "{podSelector: {matchLabels: {app: redis}}, egress: [{to: [{podSelector: {matchLabels: {app: podinfo}}}]}]}",
            mirror,
        ),
        // Peers of another namespace are no pods of ours; of any namespace they may be.
        (
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: podinfo}},
              namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}}]}]}",
            &[],
        ),
        (
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: podinfo}}, namespaceSelector: {}}]}]}",
            mirror,
        ),
        // No copy takes away what is said of the canary alone.
        (
            "{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [podinfo]}]}}",
            &["NetworkPolicy/it Change"],
        ),
    ] {
        assert_eq!(by_app(Kind::NetworkPolicy, spec), expected, "{spec}");
    }
}

#[test]
fn other_kinds_differ_in_whom_they_select() {
    let elsewhere = "{selector: {matchLabels: {app: podinfo}}, namespaceSelector: {matchNames: [other]}}";
    let (app, tier) = ("{selector: {matchLabels: {app: podinfo}}}", "{selector: {matchLabels: {tier: web}}}");
    let target = |name: &str| format!("{{targetRefs: [{{group: '', kind: Service, name: {name}}}]}}");
    for (kind, spec, expected) in [
        (Kind::PodDisruptionBudget, app, Some("PodDisruptionBudget/it Copy")),
        (Kind::PodDisruptionBudget, tier, None),
        (Kind::PodDisruptionBudget, "{minAvailable: 1}", None),
        (Kind::BackendTlsPolicy, &target("podinfo"), Some("BackendTLSPolicy/it Copy")),
        (Kind::BackendTlsPolicy, &target("other"), None),
        (Kind::SluiceTrafficPolicy, "{targetRefs: [{name: podinfo}]}", Some("BackendTrafficPolicy/it Copy")),
        (Kind::SluiceTrafficPolicy, "{targetRefs: [{name: podinfo}, {name: podinfo-canary}]}", None),
        (Kind::AuthorizationPolicy, app, Some("AuthorizationPolicy/it Change")),
        (Kind::AuthorizationPolicy, "{rules: []}", None),
        (Kind::PodMonitor, app, Some("PodMonitor/it Change")),
        (Kind::PodMonitor, elsewhere, None),
    ] {
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(by_app(kind, spec), expected, "{kind:?} {spec}");
    }
}

#[test]
fn where_other_workloads_are_put_counts_and_holds_nothing() {
    let beside = "{metadata: {name: cache}, spec: {template: {spec: {affinity: {podAffinity:
        {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {app: podinfo}}}]}}}}}}";
    let spread = "{metadata: {name: agent}, spec: {template: {spec: {topologySpreadConstraints:
        [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: podinfo}}}]}}}}";
    for (kind, text) in [(Kind::StatefulSet, beside), (Kind::Deployment, beside), (Kind::DaemonSet, spread)] {
        assert_eq!(covered(SERVICE, &[(kind, text)]), (vec!["tier".to_owned()], vec![]));
    }
    // The workload's own are rewritten.
    assert_eq!(covered(SERVICE, &[(Kind::Deployment, DEPLOYMENT)]), (vec!["app".to_owned()], vec![]));
}

#[test]
fn what_the_canary_can_do_without_is_left_out() {
    let policy = "{metadata: {name: np, labels: {sluice.dev/canary-coverage: ignore}},
        spec: {podSelector: {matchLabels: {app: podinfo}}}}";
    assert_eq!(covered(SERVICE, &[(Kind::NetworkPolicy, policy)]), (vec!["app".to_owned()], vec![]));
}

#[test]
fn a_policy_is_attached_to_a_rule_that_leads_to_stable_and_to_nothing_else() {
    const ROUTE: &str = "{metadata: {name: web}, spec: {rules: [
        {name: api, backendRefs: [{name: podinfo, port: 80}]}, {name: docs, backendRefs: [{name: docs, port: 80}]}]}}";
    let attached = |kind: Kind, meta: &str, spec: &str| {
        let (workload, service) = (object(DEPLOYMENT), object(SERVICE));
        let routes = [("web".to_owned(), Some(object(ROUTE))), ("gone".to_owned(), None)];
        let canary = ("podinfo-canary", "podinfo-canary");
        let subject = Subject { namespace: "shop", workload: &workload, service: &service, canary, routes: &routes };
        let policy = object(&format!("{{metadata: {{name: jwt{meta}}}, spec: {{{spec}}}}}"));
        let Some(Coverage::Known { attached, .. }) = coverage(&subject, &[(kind, policy)]) else { panic!("no label") };
        let said = attached.iter().map(|a| format!("{} {} {}", a.policy.kind, a.route, a.rule));
        said.collect::<Vec<_>>().join(", ")
    };
    let target = |name: &str, section: &str| format!("{{kind: HTTPRoute, name: {name}{section}}}");
    let api = target("web", ", sectionName: api");
    for (kind, meta, spec, expected) in [
        (Kind::SecurityPolicy, "", format!("targetRefs: [{api}]"), "SecurityPolicy web api"),
        (Kind::AuthPolicy, "", format!("targetRef: {api}"), "AuthPolicy web api"),
        (Kind::TrafficPolicy, "", format!("targetRefs: [{}, {api}]", target("web", "")), "TrafficPolicy web api"),
        (Kind::SecurityPolicy, "", format!("targetRefs: [{}]", target("web", "")), ""),
        (Kind::SecurityPolicy, "", format!("targetRefs: [{}]", target("web", ", sectionName: docs")), ""),
        (Kind::SecurityPolicy, "", format!("targetRefs: [{}]", target("web", ", sectionName: none")), ""),
        (Kind::SecurityPolicy, "", format!("targetRefs: [{}]", target("other", ", sectionName: api")), ""),
        (Kind::SecurityPolicy, "", format!("targetRefs: [{}]", target("gone", ", sectionName: api")), ""),
        (Kind::SecurityPolicy, "", "targetRefs: [{kind: Gateway, name: web, sectionName: api}]".to_owned(), ""),
        (Kind::SecurityPolicy, ", labels: {sluice.dev/canary-coverage: ignore}", format!("targetRefs: [{api}]"), ""),
    ] {
        assert_eq!(attached(kind, meta, &spec), expected, "{kind:?} {spec}");
    }
}
