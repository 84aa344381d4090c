//! The manifest as it is committed: current, complete, and with nothing lost that keeps the programs confined.

// Clippy allows these in test functions, not in what they share.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use serde_json::{Value, json};
use sluice_install::{DEFAULT_TAG, NAMESPACE, manifest};

fn objects() -> Vec<Value> {
    serde_saphyr::from_multiple(&manifest(DEFAULT_TAG).unwrap()).unwrap()
}

fn of_kind(kind: &str) -> Vec<Value> {
    objects().into_iter().filter(|object| object["kind"] == kind).collect()
}

fn named(kind: &str, name: &str) -> Value {
    of_kind(kind).into_iter().find(|object| object["metadata"]["name"] == name).unwrap()
}

/// The pod of each Deployment, with the Deployment's name.
fn pods() -> Vec<(String, Value)> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    of_kind("Deployment")
        .into_iter()
        .map(|mut object| (name(&object), object["spec"]["template"]["spec"].take()))
        .collect()
}

/// The argument of a flag in the first container.
fn flag<'a>(pod: &'a Value, flag: &str) -> &'a str {
    let mut arguments =
        pod["containers"][0]["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    arguments.find_map(|argument| argument.strip_prefix(flag)?.strip_prefix('=')).unwrap()
}

#[test]
fn the_committed_manifest_is_current() {
    let committed = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("install.yaml")).unwrap();
    assert!(committed == manifest(DEFAULT_TAG).unwrap(), "install/install.yaml is stale: run `make generate`");
}

#[test]
fn no_placeholder_is_left_and_the_tag_is_everywhere() {
    let text = manifest("v1.2.3").unwrap();
    assert!(!text.contains("{{"));
    assert_eq!(text.matches("image: sluice-").count(), text.matches(":v1.2.3\n").count());
}

#[test]
fn three_programs_run_from_two_images_that_are_never_pulled_twice() {
    let images: Vec<_> = pods().into_iter().map(|(name, pod)| (name, pod["containers"][0]["image"].clone())).collect();
    let expected = [
        ("sluice-proxy-controller", "sluice-proxy:dev"),
        ("sluice-proxy", "sluice-proxy:dev"),
        ("sluice-operator", "sluice-operator:dev"),
    ];
    assert_eq!(images, expected.map(|(name, image)| (name.to_owned(), json!(image))));
    for (name, pod) in pods() {
        assert_eq!(pod["containers"][0]["imagePullPolicy"], "IfNotPresent", "{name}");
    }
}

#[test]
fn the_namespace_refuses_pods_that_are_not_restricted() {
    let labels = named("Namespace", NAMESPACE)["metadata"]["labels"].take();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn every_pod_is_confined() {
    for (name, pod) in pods() {
        let expected = json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        assert_eq!(pod["securityContext"], expected, "{name}");
        for container in pod["containers"].as_array().unwrap() {
            let expected = json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
            });
            assert_eq!(container["securityContext"], expected, "{name}");
            assert!(container["resources"]["requests"]["memory"].is_string(), "{name}");
            assert!(container["readinessProbe"].is_object() && container["livenessProbe"].is_object(), "{name}");
        }
        for key in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
            assert!(pod[key].is_null(), "{name}: {key}");
        }
    }
}

#[test]
fn no_volume_reaches_a_disk_or_a_secret() {
    for (name, pod) in pods() {
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            let is_memory = volume["emptyDir"]["medium"] == "Memory";
            let is_token =
                volume["projected"]["sources"][0]["serviceAccountToken"]["audience"] == "sluice-proxy-controller";
            let is_ca = volume["configMap"] == json!({ "name": "sluice-proxy-ca" });
            assert!(is_memory || is_token || is_ca, "{name}: {volume}");
        }
    }
}

#[test]
fn the_data_plane_has_no_account_that_the_api_server_knows_rights_of() {
    assert_eq!(named("ServiceAccount", "sluice-proxy")["automountServiceAccountToken"], false);
    let (_, pod) = pods().into_iter().find(|(name, _)| name == "sluice-proxy").unwrap();
    assert_eq!(pod["automountServiceAccountToken"], false);
    for binding in of_kind("ClusterRoleBinding").into_iter().chain(of_kind("RoleBinding")) {
        for subject in binding["subjects"].as_array().unwrap() {
            assert_ne!(subject["name"], "sluice-proxy");
        }
    }
}

#[test]
fn the_data_plane_is_replaced_without_a_gap() {
    let deployment = named("Deployment", "sluice-proxy");
    let spec = &deployment["spec"];
    assert_eq!(spec["strategy"]["rollingUpdate"], json!({ "maxUnavailable": 0, "maxSurge": 1 }));
    assert!(spec["minReadySeconds"].as_i64() >= Some(1));
    let pod = &spec["template"]["spec"];
    let drain =
        ["--drain-delay", "--drain-spread", "--drain-timeout"].map(|name| flag(pod, name).parse::<u64>().unwrap());
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > drain.iter().sum());
    assert_eq!(named("PodDisruptionBudget", "sluice-proxy")["spec"]["maxUnavailable"], 1);
}

#[test]
fn each_deployment_is_selected_by_its_own_name_only() {
    for deployment in of_kind("Deployment") {
        let spec = &deployment["spec"];
        let expected = json!({ "app.kubernetes.io/name": deployment["metadata"]["name"] });
        assert_eq!(spec["selector"]["matchLabels"], expected);
        assert_eq!(spec["template"]["metadata"]["labels"]["app.kubernetes.io/name"], deployment["metadata"]["name"]);
    }
}

/// The proxy's controller finds data planes by these labels, and makes the Services of Gateways with them as selector.
#[test]
fn the_data_plane_is_what_the_services_of_gateways_select() {
    for deployment in of_kind("Deployment") {
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let is_data_plane = labels["app.kubernetes.io/component"] == "data-plane";
        assert_eq!(is_data_plane, labels["app.kubernetes.io/name"] == "sluice-proxy");
    }
}

#[test]
fn the_programs_meet_at_the_controllers_service() {
    let service = named("Service", "sluice-proxy-controller");
    assert_eq!(service["spec"]["ports"][0]["port"], 9443);
    let url = "https://sluice-proxy-controller.sluice-system.svc:9443";
    for (name, pod) in pods() {
        match &*name {
            "sluice-operator" => assert_eq!(flag(&pod, "--proxy-controller"), url),
            "sluice-proxy" => assert_eq!(flag(&pod, "--controller"), url),
            _ => assert_eq!(flag(&pod, "--listen"), "0.0.0.0:9443"),
        }
    }
}

#[test]
fn every_policy_is_bound_once() {
    for kind in ["MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"] {
        let names = |objects: Vec<Value>, at: &str| -> Vec<Value> {
            objects.iter().map(|object| object.pointer(at).unwrap().clone()).collect()
        };
        let policies = names(of_kind(kind), "/metadata/name");
        assert_eq!(policies, names(of_kind(&format!("{kind}Binding")), "/spec/policyName"));
        assert!(!policies.is_empty());
    }
}

#[test]
fn a_second_operator_stands_by_and_may_take_the_one_lease_only() {
    let operator = named("Deployment", "sluice-operator");
    assert_eq!(operator["spec"]["replicas"], 2);
    assert_eq!(named("PodDisruptionBudget", "sluice-operator")["spec"]["maxUnavailable"], 1);
    let role = named("Role", "sluice-operator");
    assert_eq!(role["metadata"]["namespace"], NAMESPACE);
    let rules: Vec<_> =
        role["rules"].as_array().unwrap().iter().map(|rule| (&rule["verbs"], &rule["resourceNames"])).collect();
    assert_eq!(rules, [(&json!(["create"]), &Value::Null), (&json!(["get", "update"]), &json!(["sluice-operator"]))]);
}
