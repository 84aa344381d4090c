//! What the probe of the policy asks, and how its answers are read.

use serde_json::{Value, json};

use super::{Probe, probe};
use crate::fixtures::{DEPLOYMENT, api_server, object, refusal, yaml};

/// The Deployment as a dry run gives it back.
fn answered(paused: bool) -> (u16, Value) {
    let mut deployment = yaml(DEPLOYMENT);
    deployment["spec"]["paused"] = json!(paused);
    (200, deployment)
}

/// What the probe at 7 ms tells.
fn answer(held_back: bool, no_policy_api: bool) -> Probe {
    Probe { at: 7, held_back: Some(held_back), no_policy_api }
}

/// What the API server has in the group of the policies.
fn discovered(resources: &[&str]) -> (u16, Value) {
    let resource =
        |name: &&str| json!({"name": name, "singularName": "", "namespaced": false, "kind": "", "verbs": ["get"]});
    let resources: Vec<_> = resources.iter().map(resource).collect();
    let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "admissionregistration.k8s.io/v1",
        "resources": resources});
    (200, list)
}

#[tokio::test]
async fn a_changed_template_that_comes_back_paused_is_held_back() {
    let (cluster, calls) = api_server(vec![answered(true)]);
    assert_eq!(probe(&cluster, "shop", &object(DEPLOYMENT), 7).await.unwrap(), answer(true, false));
    let calls = calls.lock().unwrap();
    assert_eq!(calls[0].line, "PATCH /apis/apps/v1/namespaces/shop/deployments/podinfo");
    assert!(calls[0].query.contains("dryRun=All"), "{}", calls[0].query);
    assert_eq!(calls[0].body["spec"]["paused"], false);
    assert_eq!(calls[0].body["metadata"]["resourceVersion"], "11");
    assert_eq!(calls.len(), 1, "there is nothing more to ask");
}

#[tokio::test]
async fn an_api_server_with_the_api_and_without_the_policy_misses_the_policy() {
    let known = discovered(&["mutatingadmissionpolicies", "validatingadmissionpolicies"]);
    let (cluster, calls) = api_server(vec![answered(false), known]);
    assert_eq!(probe(&cluster, "shop", &object(DEPLOYMENT), 7).await.unwrap(), answer(false, false));
    assert_eq!(calls.lock().unwrap()[1].line, "GET /apis/admissionregistration.k8s.io/v1");
}

#[tokio::test]
async fn an_api_server_without_the_api_is_known_by_discovery() {
    for none in [discovered(&["validatingadmissionpolicies"]), refusal(404, "NotFound", "not found")] {
        let (cluster, _) = api_server(vec![answered(false), none]);
        assert_eq!(probe(&cluster, "shop", &object(DEPLOYMENT), 7).await.unwrap(), answer(false, true));
    }
}

#[tokio::test]
async fn an_api_server_that_cannot_be_asked_is_not_taken_for_one_without_the_api() {
    let (cluster, _) = api_server(vec![answered(false), refusal(500, "InternalError", "etcd is down")]);
    assert!(probe(&cluster, "shop", &object(DEPLOYMENT), 7).await.is_err());
}
