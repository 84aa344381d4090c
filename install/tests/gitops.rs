//! What is shipped for Argo CD, run by the languages' own interpreters: jq for the ignore rules (Argo CD runs each as
//! `del(…)`, one after the other, on what is declared and on what is live), Lua 5.1 for the health check.

// Clippy allows these in test functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

fn config(key: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("gitops/argocd/argocd-cm.yaml");
    let map: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    map["data"][format!("resource.customizations.{key}")].as_str().unwrap().to_owned()
}

/// Standard output of a program that is given this input.
fn output(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    let child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{program}: {error}; `make unit` installs it"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What Argo CD compares of an object.
fn compared(kind: &str, object: &Value) -> Value {
    let rules: Value = serde_saphyr::from_str(&config(&format!("ignoreDifferences.{kind}"))).unwrap();
    let deletions: Vec<String> = rules["jqPathExpressions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| format!("del({})", path.as_str().unwrap()))
        .collect();
    serde_json::from_str(&output("jq", &["-c", &deletions.join(" | ")], &object.to_string())).unwrap()
}

fn route(rules: Value) -> Value {
    json!({"kind": "HTTPRoute", "metadata": {"name": "podinfo"}, "spec": {"hostnames": ["a.example.com"], "rules": rules}})
}

fn reference(name: &str, weight: u64) -> Value {
    json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight})
}

fn user_rule(backends: &[Value]) -> Value {
    json!({"name": "all", "matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": backends})
}

#[test]
fn nothing_of_a_run_differs_from_what_the_user_declares() {
    let kind = "gateway.networking.k8s.io_HTTPRoute";
    let declared = route(json!([user_rule(&[reference("podinfo", 3), reference("other", 1)])]));
    let copy = json!({"name": "sluice-podinfo-0", "matches": [{"headers": [{"name": "env", "value": "canary"}]}],
        "backendRefs": [reference("podinfo-canary", 1)]});
    let weights = [reference("podinfo", 57), reference("podinfo-canary", 3), reference("other", 20)];
    let live = route(json!([copy, user_rule(&weights)]));
    assert_eq!(compared(kind, &live), compared(kind, &declared));
    // The user's own changes still differ.
    let mut edited = declared.clone();
    edited["spec"]["rules"][0]["timeouts"] = json!({"request": "3s"});
    assert_ne!(compared(kind, &live), compared(kind, &edited));
    let other = route(json!([user_rule(&[reference("podinfo", 3)])]));
    assert_ne!(compared(kind, &live), compared(kind, &other));
}

#[test]
fn a_paused_workload_differs_only_where_sluice_has_nothing_to_do_with_it() {
    let kind = "apps_Deployment";
    let declared = json!({"metadata": {"labels": {"app": "podinfo"}}, "spec": {"replicas": 3}});
    let adopted = json!({"metadata": {"labels": {"app": "podinfo", "sluice.dev/rollout": "podinfo"}},
        "spec": {"replicas": 3, "paused": true}});
    assert_eq!(compared(kind, &adopted), declared);
    let other = json!({"metadata": {"labels": {"app": "other"}}, "spec": {"replicas": 3, "paused": true}});
    assert_eq!(compared(kind, &other), other);
}

#[test]
fn an_operation_is_no_difference() {
    let declared = json!({"spec": {"service": "podinfo"}});
    let asked = json!({"spec": {"service": "podinfo"}, "operation": {"type": "Promote"}});
    assert_eq!(compared("sluice.dev_Rollout", &asked), declared);
}

/// An object as a Lua table.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("[{name:?}]={}", lua(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

#[test]
fn health_follows_the_conditions() {
    let check = config("health.sluice.dev_Rollout");
    let health = |object: &Value| {
        let script =
            format!("obj = {}\nlocal health = (function()\n{check}\nend)()\nio.write(health.status)", lua(object));
        output("lua5.1", &["-"], &script)
    };
    let status = |reason: &str, conditions: &[&str]| {
        let is_true = |kind: &&str| json!({"type": kind, "status": "True"});
        json!({"metadata": {"generation": 2}, "status": {"phase": "Any", "reason": reason, "message": "why",
            "observedGeneration": 2, "conditions": conditions.iter().map(is_true).collect::<Vec<_>>()}})
    };
    for (object, expected) in [
        (json!({"metadata": {"generation": 1}}), "Progressing"),
        (status("Serving", &["Ready", "Promoted"]), "Healthy"),
        (status("MinimumHold", &["Reconciling"]), "Progressing"),
        (status("RouteContested", &["Reconciling"]), "Progressing"),
        (status("AwaitingApproval", &["Reconciling"]), "Suspended"),
        (status("MetricFailed", &["Stalled"]), "Degraded"),
    ] {
        assert_eq!(health(&object), expected, "{object}");
    }
    let mut outdated = status("Serving", &["Ready"]);
    outdated["metadata"]["generation"] = json!(3);
    assert_eq!(health(&outdated), "Progressing", "of an older spec");
}
