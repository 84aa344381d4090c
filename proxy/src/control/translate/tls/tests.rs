use std::collections::BTreeSet;

use crate::control::{
    files,
    objects::{Asked, Name, Objects},
    ports::PortAllocations,
    translate::{GatewayPlan, gateway::ListenerPlan, translate},
};
use crate::tls::tests::Authority;

/// A Gateway `shop/web` with these listeners and this TLS of its own, and what it can refer to.
fn objects(listeners: &str, tls: &str) -> Objects {
    let authority = Authority::new();
    let secret = |namespace: &str, name: &str| {
        let certificate = authority.sign(name, &["a.test"]);
        let data = serde_json::json!({"tls.crt": certificate.chain, "tls.key": certificate.key.pem()});
        let metadata = serde_json::json!({"namespace": namespace, "name": name});
        serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
    };
    let authorities = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "shop", "name": "ca"}, "data": {"ca.crt": authority.pem}});
    let text = format!(
        r#"
kind: Gateway
metadata: {{name: web, namespace: shop}}
spec: {{gatewayClassName: sluice, tls: {tls}, listeners: [{listeners}]}}
---
kind: Secret
metadata: {{name: malformed, namespace: shop}}
stringData: {{tls.crt: Hello world, tls.key: Hello world}}
---
kind: ConfigMap
metadata: {{name: empty, namespace: shop}}
---
kind: ReferenceGrant
metadata: {{name: web, namespace: open}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}}]
  to: [{{group: "", kind: Secret}}]
---
{}
---
{}
---
{}
---
{authorities}
"#,
        secret("shop", "good"),
        secret("open", "good"),
        secret("closed", "good"),
    );
    files::parse(&text).expect("objects")
}

fn plan(objects: &Objects) -> GatewayPlan {
    let translation = translate(objects, &PortAllocations::identity(), "sluice.dev/gateway-controller");
    translation.gateways[&Name::new("shop", "web")].clone()
}

/// What is said of each listener, and whether it is served.
fn said(plan: &GatewayPlan) -> Vec<(&'static str, &'static str, bool)> {
    let listeners = plan.listeners.iter();
    listeners.map(|l| (l.accepted.reason, l.resolved.reason, l.resource.is_some())).collect()
}

#[test]
fn certificates_are_resolved_and_never_looked_for_without_permission() {
    let cases = [
        ("certificateRefs: [{name: good}]", ("Accepted", "ResolvedRefs", true)),
        (
            "mode: Terminate, certificateRefs: [{kind: Secret, group: '', name: good}]",
            ("Accepted", "ResolvedRefs", true),
        ),
        ("certificateRefs: [{name: good, namespace: open}]", ("Accepted", "ResolvedRefs", true)),
        ("certificateRefs: [{name: missing, namespace: open}]", ("Accepted", "InvalidCertificateRef", false)),
        ("certificateRefs: [{name: good, namespace: closed}]", ("Accepted", "RefNotPermitted", false)),
        ("certificateRefs: [{name: missing, namespace: closed}]", ("Accepted", "RefNotPermitted", false)),
        ("certificateRefs: [{name: missing}]", ("Accepted", "InvalidCertificateRef", false)),
        ("certificateRefs: [{name: malformed}]", ("Accepted", "InvalidCertificateRef", false)),
        ("certificateRefs: [{kind: ConfigMap, name: good}]", ("Accepted", "InvalidCertificateRef", false)),
        ("certificateRefs: [{group: example.com, name: good}]", ("Accepted", "InvalidCertificateRef", false)),
        ("certificateRefs: []", ("Accepted", "InvalidCertificateRef", false)),
        ("certificateRefs: [{name: missing}, {name: good}]", ("Accepted", "InvalidCertificateRef", true)),
        ("mode: Passthrough", ("UnsupportedValue", "ResolvedRefs", false)),
        ("options: {a: b}, certificateRefs: [{name: good}]", ("UnsupportedValue", "ResolvedRefs", false)),
        ("other: 1, certificateRefs: [{name: good}]", ("UnsupportedValue", "ResolvedRefs", false)),
    ];
    for (tls, expected) in cases {
        let objects = objects(&format!("{{name: https, port: 443, protocol: HTTPS, tls: {{{tls}}}}}"), "{}");
        assert_eq!(said(&plan(&objects)), [expected], "{tls}");
        assert!(objects.asked().iter().all(|asked| asked.name().namespace != "closed"), "{tls}");
    }
}

#[test]
fn a_tls_listener_ends_tls_like_https_or_passes_it_on_without_a_certificate() {
    let cases = [
        ("certificateRefs: [{name: good}]", ("Accepted", "ResolvedRefs", true), true),
        ("mode: Terminate, certificateRefs: [{name: good}]", ("Accepted", "ResolvedRefs", true), true),
        ("mode: Terminate, certificateRefs: [{name: missing}]", ("Accepted", "InvalidCertificateRef", false), false),
        ("mode: Terminate", ("Accepted", "InvalidCertificateRef", false), false),
        ("mode: Passthrough", ("Accepted", "ResolvedRefs", true), false),
        ("mode: Passthrough, certificateRefs: [{name: missing}]", ("Accepted", "ResolvedRefs", true), false),
        ("mode: Passthrough, options: {a: b}", ("UnsupportedValue", "ResolvedRefs", false), false),
        ("mode: Other", ("UnsupportedValue", "ResolvedRefs", false), false),
    ];
    for (tls, expected, ends_tls) in cases {
        let listener = format!("{{name: tls, port: 443, protocol: TLS, tls: {{{tls}}}}}");
        let plan = plan(&objects(&listener, "{}"));
        assert_eq!(said(&plan), [expected], "{tls}");
        let resource = plan.listeners[0].resource.as_ref();
        assert_eq!(resource.is_some_and(|resource| resource.termination.is_some()), ends_tls, "{tls}");
    }
}

#[test]
fn clients_of_tls_listeners_are_asked_for_no_certificate() {
    let listeners =
        "{name: https, port: 443, protocol: HTTPS, hostname: a.test, tls: {certificateRefs: [{name: good}]}},
        {name: tls, port: 443, protocol: TLS, hostname: b.test, tls: {certificateRefs: [{name: good}]}}";
    let frontend = "{frontend: {default: {validation: {caCertificateRefs: [{kind: ConfigMap, name: ca}]}}}}";
    let plan = plan(&objects(listeners, frontend));
    let asks = |plan: &ListenerPlan| plan.termination.as_ref().expect("served").clients.is_some();
    assert_eq!(plan.listeners.iter().map(asks).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn what_is_named_is_asked_for_also_when_it_is_not_there() {
    let objects = objects("{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: missing}]}}", "{}");
    plan(&objects);
    assert_eq!(objects.asked(), BTreeSet::from([Asked::Secret(Name::new("shop", "missing"))]));
}

#[test]
fn http_and_https_do_not_share_a_port_and_hosts_of_https_do() {
    let https = |name: &str, port: u16, host: &str| {
        let tls = "{certificateRefs: [{name: good}]}";
        format!("{{name: {name}, port: {port}, protocol: HTTPS, hostname: {host}, tls: {tls}}}, ")
    };
    let listeners = https("a", 443, "a.test") + &https("b", 443, "b.test") + &https("c", 80, "a.test");
    let plan = plan(&objects(&format!("{listeners}{{name: http, port: 80, protocol: HTTP, hostname: b.test}}"), "{}"));
    let good = ("Accepted", "ResolvedRefs", true);
    let conflict = ("ProtocolConflict", "ResolvedRefs", false);
    assert_eq!(said(&plan), [good, good, conflict, conflict]);
}

#[test]
fn what_is_wrong_with_authorities_of_clients_concerns_their_ports_alone() {
    let validation = |refs: &str| format!("{{validation: {{caCertificateRefs: [{refs}]}}}}");
    let cases = [
        ("{kind: ConfigMap, name: ca}", ("Accepted", "ResolvedRefs", true)),
        ("{kind: ConfigMap, name: missing}", ("NoValidCACertificate", "InvalidCACertificateRef", false)),
        ("{kind: ConfigMap, name: empty}", ("NoValidCACertificate", "InvalidCACertificateRef", false)),
        ("{kind: Secret, name: good}", ("NoValidCACertificate", "InvalidCACertificateKind", false)),
        ("{kind: ConfigMap, name: ca, namespace: open}", ("NoValidCACertificate", "RefNotPermitted", false)),
        (
            "{kind: ConfigMap, name: ca}, {kind: ConfigMap, name: missing}",
            ("Accepted", "InvalidCACertificateRef", true),
        ),
    ];
    let listeners = "{name: http, port: 80, protocol: HTTP},
        {name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}},
        {name: b, port: 8443, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}}";
    let good = ("Accepted", "ResolvedRefs", true);
    for (refs, expected) in cases {
        let of_default =
            format!("{{frontend: {{default: {}, perPort: [{{port: 8443, tls: {{}}}}]}}}}", validation(refs));
        assert_eq!(said(&plan(&objects(listeners, &of_default))), [good, expected, good], "{refs}");
        let of_port = format!("{{frontend: {{default: {{}}, perPort: [{{port: 8443, tls: {}}}]}}}}", validation(refs));
        assert_eq!(said(&plan(&objects(listeners, &of_port))), [good, good, expected], "{refs}");
    }
}

#[test]
fn letting_anybody_in_is_said() {
    let listener = "{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}}";
    for (mode, insecure) in [("AllowValidOnly", false), ("AllowInsecureFallback", true)] {
        let refs = "caCertificateRefs: [{kind: ConfigMap, name: ca}]";
        let tls = format!("{{frontend: {{default: {{validation: {{mode: {mode}, {refs}}}}}}}}}");
        let plan = plan(&objects(listener, &tls));
        assert_eq!(plan.insecure.is_some_and(|condition| condition.holds), insecure);
        let clients = plan.listeners[0].termination.clone().expect("served").clients.expect("asked");
        assert_eq!(clients.optional, insecure);
    }
}

#[test]
fn the_certificate_for_backends_is_the_gateways_reference() {
    let listeners = "{name: a, port: 80, protocol: HTTP}, {name: b, port: 81, protocol: OTHER}";
    let cases = [
        ("name: good", "ResolvedRefs", Some("shop/good")),
        ("name: good, namespace: open", "ResolvedRefs", Some("open/good")),
        ("name: good, namespace: closed", "RefNotPermitted", None),
        ("name: missing", "InvalidClientCertificateRef", None),
        ("name: malformed", "InvalidClientCertificateRef", None),
        ("kind: ConfigMap, name: good", "InvalidClientCertificateRef", None),
        ("group: example.com, kind: Secret, name: good", "InvalidClientCertificateRef", None),
    ];
    for (reference, reason, shown) in cases {
        let objects = objects(listeners, &format!("{{backend: {{clientCertificateRef: {{{reference}}}}}}}"));
        let plan = plan(&objects);
        let resolved = plan.resolved.expect("something to resolve");
        assert_eq!((resolved.reason, resolved.holds), (reason, shown.is_some()), "{reference}");
        assert!(plan.accepted.holds, "{reference}");
        let listener = &plan.listeners[0];
        let resource = listener.resource.as_ref().expect("served");
        assert_eq!(resource.identity.as_deref(), shown, "{reference}");
        assert_eq!(listener.certificates.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), Vec::from_iter(shown));
    }
    assert!(plan(&objects(listeners, "{backend: {}}")).resolved.is_none());
}
