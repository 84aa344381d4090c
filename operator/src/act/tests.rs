//! What reaches the API server for each action, and what its answers mean.

use serde_json::{Value, json};
use sluice_operator_core::{Action, world::Frozen};

use super::{ActError, Hands};
use crate::{
    cluster::ClusterError,
    fixtures::{Call, api_server, object, observed, owner, refusal, rollout},
    model::plan::plan,
    objects::revision,
    observe::Observed,
};

const OWNED: &str = "ownerReferences: [{apiVersion: sluice.dev/v1alpha1, kind: Rollout, name: podinfo, \
                     uid: rollout-uid, controller: true}]";

async fn act(observed: &Observed, actions: &[Action], answers: Vec<(u16, Value)>) -> (Result<(), ActError>, Vec<Call>) {
    let (cluster, calls) = api_server(answers);
    let hands = Hands { cluster: &cluster, observed, resource_version: "8" };
    let result = hands.act(actions).await;
    let calls = calls.lock().unwrap().clone();
    (result, calls)
}

fn ok() -> (u16, Value) {
    (200, json!({"metadata": {"name": "x"}}))
}

/// The one call that an action makes.
async fn call(observed: &Observed, action: Action) -> Call {
    let (result, mut calls) = act(observed, &[action], vec![ok()]).await;
    result.unwrap();
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

fn test(resource_version: &str) -> Value {
    json!({"op": "test", "path": "/metadata/resourceVersion", "value": resource_version})
}

#[tokio::test]
async fn every_write_to_what_is_not_ours_is_bound_to_what_was_looked_at() {
    let observed = observed();
    let deployment = "PATCH /apis/apps/v1/namespaces/shop/deployments/podinfo";
    let label = "/metadata/labels/sluice.dev~1rollout";
    let rv = || "11".to_owned();
    for (action, line, body) in [
        (
            Action::SetPaused { paused: false, resource_version: rv() },
            deployment,
            json!([test("11"), {"op": "add", "path": "/spec/paused", "value": false}]),
        ),
        (
            Action::RestoreTemplate {
                revision: "abc".to_owned(),
                template: json!({"spec": {}}),
                resource_version: rv(),
            },
            deployment,
            json!([test("11"), {"op": "replace", "path": "/spec/template", "value": {"spec": {}}}]),
        ),
        (
            Action::LabelWorkload { adopt: true, resource_version: rv() },
            deployment,
            json!([test("11"), {"op": "add", "path": label, "value": "podinfo"}]),
        ),
        (
            Action::LabelWorkload { adopt: false, resource_version: rv() },
            deployment,
            json!([test("11"), {"op": "remove", "path": label}]),
        ),
        (
            Action::WriteRoute { route: "web".to_owned(), rules: json!([]), resource_version: rv() },
            "PATCH /apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/web",
            json!([test("11"), {"op": "add", "path": "/spec/rules", "value": []}]),
        ),
        (
            Action::AddFinalizer,
            "PATCH /apis/sluice.dev/v1alpha1/namespaces/shop/rollouts/podinfo",
            json!([test("8"), {"op": "add", "path": "/metadata/finalizers", "value": ["sluice.dev/rollout"]}]),
        ),
    ] {
        let call = call(&observed, action).await;
        assert_eq!((call.line.as_str(), call.body), (line, body));
        assert!(call.query.contains("fieldManager=sluice-operator"), "{}", call.query);
    }
}

#[tokio::test]
async fn only_our_own_finalizer_is_removed() {
    let mut observed = observed();
    observed.raw.metadata.finalizers = Some(vec!["other".to_owned(), "sluice.dev/rollout".to_owned()]);
    let path = "/metadata/finalizers/1";
    let expected = json!([{"op": "test", "path": path, "value": "sluice.dev/rollout"}, {"op": "remove", "path": path}]);
    assert_eq!(call(&observed, Action::RemoveFinalizer).await.body, expected);
}

#[tokio::test]
async fn an_operation_is_consumed_by_its_identity() {
    let mut observed = observed();
    let remove = json!({"op": "remove", "path": "/operation"});
    observed.raw.data["operation"] = json!({"type": "Abort", "id": "u-1"});
    let stamped = call(&observed, Action::ConsumeOperation { id: "u-1".to_owned() }).await;
    assert_eq!(stamped.body, json!([{"op": "test", "path": "/operation/id", "value": "u-1"}, remove]));
    observed.raw.data["operation"] = json!({"type": "Abort"});
    let unstamped = call(&observed, Action::ConsumeOperation { id: "generation-3".to_owned() }).await;
    assert_eq!(unstamped.body, json!([{"op": "test", "path": "/operation", "value": {"type": "Abort"}}, remove]));
}

#[tokio::test]
async fn the_canary_is_made_once_and_then_applied_over_the_same_object() {
    let mut observed = observed();
    let apply =
        || Action::ApplyCanaryWorkload { revision: "abc".to_owned(), template: json!({"spec": {}}), replicas: 2 };
    let made = call(&observed, apply()).await;
    assert_eq!(made.line, "POST /apis/apps/v1/namespaces/shop/deployments");
    assert_eq!((&made.body["metadata"]["name"], &made.body["spec"]["replicas"]), (&json!("podinfo-canary"), &json!(2)));

    let canary = object(&format!("{{metadata: {{name: podinfo-canary, uid: c-uid, {OWNED}}}}}"));
    observed.seen.canary_workload = Some(canary);
    let applied = call(&observed, apply()).await;
    assert_eq!(applied.line, "PATCH /apis/apps/v1/namespaces/shop/deployments/podinfo-canary");
    assert!(applied.query.contains("force=true"), "{}", applied.query);
    assert_eq!(applied.body["metadata"]["uid"], "c-uid");

    observed.seen.workload = None;
    let scaled = call(&observed, apply()).await;
    let test = json!({"op": "test", "path": "/metadata/uid", "value": "c-uid"});
    assert_eq!(scaled.body, json!([test, {"op": "add", "path": "/spec/replicas", "value": 2}]));
}

#[tokio::test]
async fn an_object_of_someone_else_is_neither_taken_over_nor_deleted() {
    let mut observed = observed();
    let foreign = object("{metadata: {name: podinfo-canary, uid: f}}");
    observed.seen.canary_workload = Some(foreign.clone());
    observed.seen.canary_service = Some(foreign);
    let (result, calls) = act(&observed, &[Action::ApplyCanaryService], vec![]).await;
    assert!(matches!(result, Err(ActError::Foreign { .. })), "{result:?}");
    assert_eq!(calls, []);
    let deletes = [Action::DeleteCanaryService, Action::DeleteCanaryWorkload];
    let (result, calls) = act(&observed, &deletes, vec![]).await;
    assert!(result.is_ok());
    assert_eq!(calls, []);
}

#[tokio::test]
async fn what_is_ours_is_deleted_by_its_uid() {
    let mut observed = observed();
    let canary = object(&format!("{{metadata: {{name: podinfo-canary, uid: c-uid, {OWNED}}}}}"));
    observed.seen.canary_workload = Some(canary);
    let deleted = call(&observed, Action::DeleteCanaryWorkload).await;
    assert_eq!(deleted.line, "DELETE /apis/apps/v1/namespaces/shop/deployments/podinfo-canary");
    assert_eq!(deleted.body["preconditions"], json!({"uid": "c-uid"}));
    assert_eq!(deleted.body["propagationPolicy"], "Foreground");
    let (result, _) = act(&observed, &[Action::DeleteCanaryWorkload], vec![refusal(404, "NotFound", "gone")]).await;
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn a_replica_set_is_scaled_and_deleted_only_as_it_was_looked_at() {
    let observed = observed();
    let (name, uid) = ("podinfo-5d".to_owned(), "set-uid".to_owned());
    let scale = Action::ScaleReplicaSet {
        name: name.clone(),
        uid: uid.clone(),
        resource_version: "11".to_owned(),
        replicas: 0,
    };
    let scaled = call(&observed, scale).await;
    assert_eq!(scaled.line, "PATCH /apis/apps/v1/namespaces/shop/replicasets/podinfo-5d/scale");
    let metadata = json!({"uid": "set-uid", "resourceVersion": "11"});
    assert_eq!(scaled.body, json!({"metadata": metadata, "spec": {"replicas": 0}}));
    let delete = Action::DeleteReplicaSet { name, uid, resource_version: "11".to_owned() };
    let deleted = call(&observed, delete).await;
    assert_eq!(deleted.line, "DELETE /apis/apps/v1/namespaces/shop/replicasets/podinfo-5d");
    assert_eq!(deleted.body["preconditions"], metadata);
}

#[tokio::test]
async fn revisions_are_pruned_but_those_in_use() {
    let mut observed = observed();
    let made = |revision: &str| {
        let plan = plan(&rollout()).unwrap();
        let frozen = Frozen { revision: revision.to_owned(), template: json!({}), plan, base: [].into() };
        let mut object = revision::revision(&owner(), &frozen);
        object.metadata.uid = Some(format!("{revision}-uid"));
        object
    };
    observed.seen.revisions = vec![made("keep"), made("drop")];
    let pruned = call(&observed, Action::PruneRevisions { keep: vec!["keep".to_owned()] }).await;
    assert_eq!(pruned.line, "DELETE /apis/apps/v1/namespaces/shop/controllerrevisions/podinfo-drop");
}

#[tokio::test]
async fn freezing_twice_is_freezing_once() {
    let observed = observed();
    let plan = plan(&rollout()).unwrap();
    let frozen = Frozen { revision: "abc".to_owned(), template: json!({}), plan, base: [].into() };
    let Frozen { revision, template, plan, base } = frozen.clone();
    let freeze = [Action::Freeze { revision, template, plan, base }];
    let there = serde_json::to_value(revision::revision(&owner(), &frozen)).unwrap();
    let exists = || refusal(409, "AlreadyExists", "exists");
    let (result, calls) = act(&observed, &freeze, vec![exists(), (200, there.clone())]).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(calls.len(), 2);

    // Other data under the same name is of an earlier run: it goes, and the next look freezes anew.
    let mut other = there;
    other["data"]["base"] = json!({"podinfo": []});
    other["metadata"]["uid"] = json!("old-uid");
    let (result, calls) = act(&observed, &freeze, vec![exists(), (200, other), ok()]).await;
    assert!(matches!(result, Err(ActError::Cluster(ClusterError::Conflict { .. }))), "{result:?}");
    assert_eq!(calls[2].body["preconditions"], json!({"uid": "old-uid"}));
}

#[tokio::test]
async fn a_write_that_comes_too_late_is_a_conflict_and_ends_the_actions() {
    let observed = observed();
    let pause = || Action::SetPaused { paused: true, resource_version: "11".to_owned() };
    let late = [
        refusal(409, "Conflict", "the object has been modified"),
        refusal(404, "NotFound", "gone"),
        refusal(422, "Invalid", "the server rejected our request due to an error in our request"),
    ];
    for answer in late {
        let (result, calls) = act(&observed, &[pause(), Action::AddFinalizer], vec![answer]).await;
        assert!(matches!(result, Err(ActError::Cluster(ClusterError::Conflict { .. }))), "{result:?}");
        assert_eq!(calls.len(), 1);
    }
    let (result, _) = act(&observed, &[pause()], vec![refusal(403, "Forbidden", "may not patch")]).await;
    let message = result.unwrap_err().to_string();
    assert_eq!(message, "patch of Deployment shop/podinfo was refused: may not patch");
}
