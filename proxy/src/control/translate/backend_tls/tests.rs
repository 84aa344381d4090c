use std::collections::BTreeSet;

use serde_json::json;
use sluice_proxy_core::model::{Authorities, Resource, SubjectName};

use crate::control::{
    files,
    objects::{Asked, Name, Objects},
    ports::PortAllocations,
    translate::{PolicyPlan, Translation, translate},
};
use crate::tls::tests::Authority;

const CONTROLLER: &str = "sluice.dev/gateway-controller";

/// A route from Gateway `shop/web` to port 443, of the name `https`, of Service `shop/app`, and these policies.
fn objects(policies: &str) -> Objects {
    let authority = Authority::new();
    let config_map = |name: &str, text: &str| {
        let metadata = json!({"namespace": "shop", "name": name});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": text}})
    };
    let text = format!(
        "
kind: Gateway
metadata: {{name: web, namespace: shop}}
spec: {{gatewayClassName: sluice, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
---
kind: HTTPRoute
metadata: {{name: web, namespace: shop}}
spec: {{parentRefs: [{{name: web}}], rules: [{{backendRefs: [{{name: app, port: 443}}]}}]}}
---
kind: Service
metadata: {{name: app, namespace: shop}}
spec: {{ports: [{{name: https, port: 443}}]}}
---
{}
---
{}
---
{policies}
",
        config_map("ca", &authority.pem),
        config_map("malformed", "Hello world"),
    );
    files::parse(&text).expect("objects")
}

fn policy(name: &str, spec: &str) -> String {
    format!("kind: BackendTLSPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{spec}}}\n---\n")
}

fn translated(objects: &Objects) -> Translation {
    translate(objects, &PortAllocations::identity(), CONTROLLER)
}

fn plan(translation: &Translation, name: &str) -> PolicyPlan {
    translation.policies[&Name::new("shop", name)].clone()
}

/// The policy of the one backend, and whether data planes are told how to follow it.
fn governed(translation: &Translation) -> (Option<String>, bool) {
    let mut backends = translation.resources.values().filter_map(|resource| match resource {
        Resource::Backend(backend) => Some(backend.tls.clone()),
        _ => None,
    });
    let tls = backends.next().expect("a backend");
    let is_told = tls.as_ref().is_some_and(|id| translation.resources.contains_key(&format!("backend-tls/{id}")));
    (tls, is_told)
}

const REF: &str = "targetRefs: [{group: '', kind: Service, name: app}]";

#[test]
fn a_policy_that_cannot_be_used_says_why_and_lets_nobody_through() {
    let refs = |refs: &str| format!("caCertificateRefs: [{refs}], hostname: app.test");
    let ca = refs("{group: '', kind: ConfigMap, name: ca}");
    let (good, no_ca) = (("Accepted", "ResolvedRefs"), "NoValidCACertificate");
    let cases = [
        (ca.clone(), good),
        ("wellKnownCACertificates: System, hostname: app.test".to_owned(), good),
        (format!("{ca}, subjectAltNames: [{{type: URI, uri: 'spiffe://x/y'}}]"), good),
        (format!("{ca}, subjectAltNames: [{{type: Hostname, hostname: '*.app.test'}}]"), good),
        (refs("{kind: ConfigMap, name: missing}"), (no_ca, "InvalidCACertificateRef")),
        (refs("{kind: ConfigMap, name: malformed}"), (no_ca, "InvalidCACertificateRef")),
        (refs("{group: example.com, kind: Bundle, name: ca}"), (no_ca, "InvalidKind")),
        (refs("{kind: Secret, name: ca}"), (no_ca, "InvalidKind")),
        // One of several is enough.
        (
            refs("{kind: ConfigMap, name: ca}, {kind: ConfigMap, name: missing}"),
            ("Accepted", "InvalidCACertificateRef"),
        ),
        ("wellKnownCACertificates: example.com/ours, hostname: app.test".to_owned(), ("Invalid", "ResolvedRefs")),
        (format!("{ca}, wellKnownCACertificates: System"), ("Invalid", "ResolvedRefs")),
        ("hostname: app.test".to_owned(), ("Invalid", "ResolvedRefs")),
        ("wellKnownCACertificates: System, hostname: 10.0.0.1".to_owned(), ("Invalid", "ResolvedRefs")),
        (format!("{ca}, subjectAltNames: [{{type: Email, hostname: a}}]"), ("Invalid", "ResolvedRefs")),
        (format!("{ca}, subjectAltNames: [{{type: URI, hostname: a.test}}]"), ("Invalid", "ResolvedRefs")),
        (format!("{ca}, pins: [x]"), ("Invalid", "ResolvedRefs")),
    ];
    for (validation, (accepted, resolved)) in cases {
        let translation = translated(&objects(&policy("tls", &format!("{REF}, validation: {{{validation}}}"))));
        let plan = plan(&translation, "tls");
        let resolution = plan.resolved.as_ref().map(|resolved| resolved.reason);
        assert_eq!((plan.accepted.reason, resolution), (accepted, Some(resolved)), "{validation}: {plan:?}");
        assert_eq!(plan.ancestors, BTreeSet::from([Name::new("shop", "web")]));
        assert_eq!(governed(&translation), (Some("shop/tls".to_owned()), accepted == "Accepted"), "{validation}");
    }
}

#[test]
fn options_are_refused_and_names_are_told_as_they_are_compared() {
    let ca = "caCertificateRefs: [{kind: ConfigMap, name: ca}]";
    let spec = format!("{REF}, options: {{example.com/version: '1.3'}}, validation: {{{ca}, hostname: app.test}}");
    let plan_of = |spec: &str| plan(&translated(&objects(&policy("tls", spec))), "tls");
    let refused = plan_of(&spec);
    assert_eq!(refused.accepted.message, "options: example.com/version is not known");
    let names = "subjectAltNames: [{type: Hostname, hostname: Alias.Test}, {type: URI, uri: 'spiffe://X/y'}]";
    let told = plan_of(&format!("{REF}, validation: {{{ca}, hostname: App.Test, {names}}}")).resource.expect("told");
    assert_eq!((told.id.as_str(), told.hostname.as_str()), ("shop/tls", "app.test"));
    assert_eq!(told.names, [SubjectName::Hostname("alias.test".into()), SubjectName::Uri("spiffe://X/y".into())]);
    assert!(matches!(told.authorities, Authorities::Listed(pem) if pem.contains("BEGIN CERTIFICATE")));
}

#[test]
fn the_policy_of_the_port_goes_before_that_of_the_service_and_the_older_before_the_younger() {
    let spec = |target: &str| {
        format!("targetRefs: [{target}], validation: {{wellKnownCACertificates: System, hostname: app.test}}")
    };
    let service = spec("{group: '', kind: Service, name: app}");
    let port = spec("{group: '', kind: Service, name: app, sectionName: https}");
    let other_port = spec("{group: '', kind: Service, name: app, sectionName: other}");
    let elsewhere = spec("{group: '', kind: Service, name: db}");
    let of_kind = spec("{group: example.com, kind: Backend, name: app}");
    let both = spec("{group: '', kind: Service, name: db}, {group: '', kind: Service, name: app, sectionName: https}");
    let cases: [(&[&str], Option<&str>, &[&str]); 8] = [
        (&[&service], Some("p0"), &["Accepted"]),
        (&[&service, &port], Some("p1"), &["Accepted", "Accepted"]),
        (&[&port, &service], Some("p0"), &["Accepted", "Accepted"]),
        (&[&service, &service], Some("p0"), &["Accepted", "Conflicted"]),
        (&[&port, &both], Some("p0"), &["Accepted", "Conflicted"]),
        (&[&other_port], None, &["TargetNotFound"]),
        (&[&elsewhere], None, &["nobody's"]),
        (&[&of_kind], None, &["nobody's"]),
    ];
    for (specs, governing, reasons) in cases {
        let policies: String =
            specs.iter().enumerate().map(|(number, spec)| policy(&format!("p{number}"), spec)).collect();
        let translation = translated(&objects(&policies));
        let governing = governing.map(|name| format!("shop/{name}"));
        assert_eq!(governed(&translation), (governing.clone(), governing.is_some()), "{specs:?}");
        for (number, reason) in reasons.iter().enumerate() {
            let plan = plan(&translation, &format!("p{number}"));
            let said = if plan.ancestors.is_empty() { "nobody's" } else { plan.accepted.reason };
            assert_eq!(said, *reason, "{specs:?} {number}");
        }
    }
}

#[test]
fn of_two_policies_the_one_that_was_made_first_counts_whatever_their_names() {
    let of = |name: &str, created: &str| {
        policy(name, &format!("{REF}, validation: {{wellKnownCACertificates: System, hostname: app.test}}"))
            .replace("namespace: shop", &format!("namespace: shop, creationTimestamp: '{created}'"))
    };
    let policies = of("a", "2026-01-02T00:00:00Z") + &of("b", "2026-01-01T00:00:00Z");
    let translation = translated(&objects(&policies));
    assert_eq!(governed(&translation).0.as_deref(), Some("shop/b"));
    assert_eq!(plan(&translation, "a").accepted.reason, "Conflicted");
}

#[test]
fn only_what_is_in_use_is_looked_up() {
    let spec = |target: &str, map: &str| {
        format!(
            "targetRefs: [{{group: '', kind: Service, name: {target}}}],
             validation: {{caCertificateRefs: [{{kind: ConfigMap, name: {map}}}], hostname: app.test}}"
        )
    };
    let objects = objects(&(policy("used", &spec("app", "missing")) + &policy("idle", &spec("db", "secret"))));
    translated(&objects);
    assert_eq!(objects.asked(), BTreeSet::from([Asked::ConfigMap(Name::new("shop", "missing"))]));
}
