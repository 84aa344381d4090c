//! What reaches the API server for each action, and what its answers mean.

use serde_json::{Value, json};
use sluice_operator_core::{
    Action,
    coverage::{Cover, Source},
    state::Run,
    world::Frozen,
};

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
async fn rules_are_given_back_by_taking_our_entry_out_of_the_managers() {
    let mut observed = observed();
    let rules = json!({"f:spec": {"f:rules": {}}});
    let entry = |manager: &str| json!({"manager": manager, "operation": "Update", "fieldsV1": rules});
    let managed = |entries: &[Value]| {
        let route = json!({"metadata": {"name": "web", "managedFields": entries}, "spec": {}});
        vec![("web".to_owned(), Some(serde_json::from_value(route).unwrap()))]
    };
    let release = || Action::ReleaseRoute { route: "web".to_owned(), resource_version: "11".to_owned() };
    let write =
        |value: Value| json!([test("11"), {"op": "replace", "path": "/metadata/managedFields", "value": value}]);

    observed.seen.routes = managed(&[entry("kubectl"), entry("sluice-operator"), entry("proxy")]);
    let call_ = call(&observed, release()).await;
    assert_eq!(call_.line, "PATCH /apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/web");
    assert_eq!(call_.body, write(json!([entry("kubectl"), entry("proxy")])));
    observed.seen.routes = managed(&[entry("sluice-operator")]);
    assert_eq!(call(&observed, release()).await.body, write(json!([{}])), "an empty list would be taken for none");
}

#[tokio::test]
async fn only_our_own_finalizer_is_removed() {
    let mut observed = observed();
    observed.raw.metadata.finalizers = Some(vec!["other".to_owned(), "sluice.dev/rollout".to_owned()]);
    let path = "/metadata/finalizers/1";
    // Nor that of a Rollout that was made anew under the same name.
    let expected = json!([
        {"op": "test", "path": "/metadata/uid", "value": "rollout-uid"},
        {"op": "test", "path": path, "value": "sluice.dev/rollout"},
        {"op": "remove", "path": path},
    ]);
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

    let canary = object(&format!("{{metadata: {{name: podinfo-canary, uid: c-uid, resourceVersion: '5', {OWNED}}}}}"));
    observed.seen.canary_workload = Some(canary);
    let applied = call(&observed, apply()).await;
    assert_eq!(applied.line, "PATCH /apis/apps/v1/namespaces/shop/deployments/podinfo-canary");
    assert!(applied.query.contains("force=true"), "{}", applied.query);
    assert_eq!(applied.body["metadata"]["uid"], "c-uid");
    assert_eq!(applied.body["metadata"]["resourceVersion"], "5", "what another process wrote since stays");

    observed.seen.workload = None;
    let scaled = call(&observed, apply()).await;
    assert_eq!(scaled.body, json!([test("5"), {"op": "add", "path": "/spec/replicas", "value": 2}]));
}

#[tokio::test]
async fn an_object_of_someone_else_is_neither_taken_over_nor_deleted() {
    let mut observed = observed();
    let foreign = object("{metadata: {name: podinfo-canary, uid: f}}");
    observed.seen.canary_workload = Some(foreign.clone());
    observed.seen.canary_service = Some(foreign);
    let apply = Action::ApplyCanaryWorkload { revision: "abc".to_owned(), template: json!({"spec": {}}), replicas: 2 };
    let (result, calls) = act(&observed, &[apply], vec![]).await;
    assert!(matches!(result, Err(ActError::Foreign { .. })), "{result:?}");
    assert_eq!(calls, []);
    let exists = refusal(409, "AlreadyExists", "exists");
    let (result, calls) = act(&observed, &[Action::ApplyCanaryService], vec![exists]).await;
    assert!(matches!(result, Err(ActError::Cluster(ClusterError::Conflict { .. }))), "{result:?}");
    assert_eq!(calls[0].line, "POST /api/v1/namespaces/shop/services", "what is there is left as it is");
    let deletes = [Action::DeleteCanaryService, Action::DeleteCanaryWorkload];
    let (result, calls) = act(&observed, &deletes, vec![]).await;
    assert!(result.is_ok());
    assert_eq!(calls, []);
}

#[tokio::test]
async fn what_is_ours_is_deleted_as_it_was_looked_at() {
    let mut observed = observed();
    let canary = object(&format!("{{metadata: {{name: podinfo-canary, uid: c-uid, resourceVersion: '5', {OWNED}}}}}"));
    observed.seen.canary_workload = Some(canary);
    let deleted = call(&observed, Action::DeleteCanaryWorkload).await;
    assert_eq!(deleted.line, "DELETE /apis/apps/v1/namespaces/shop/deployments/podinfo-canary");
    assert_eq!(deleted.body["preconditions"], json!({"uid": "c-uid", "resourceVersion": "5"}));
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
        let frozen = Frozen {
            revision: revision.to_owned(),
            template: json!({}),
            plan,
            base: [].into(),
            cover: Cover::default(),
        };
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
    let frozen =
        Frozen { revision: "abc".to_owned(), template: json!({}), plan, base: [].into(), cover: Cover::default() };
    let Frozen { revision, template, plan, base, cover } = frozen.clone();
    let freeze = [Action::Freeze { revision, template, plan, base, cover }];
    let there = serde_json::to_value(revision::revision(&owner(), &frozen)).unwrap();
    let exists = || refusal(409, "AlreadyExists", "exists");
    let (result, calls) = act(&observed, &freeze, vec![exists(), (200, there.clone())]).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(calls.len(), 2);

    // Other data under the same name is of an earlier run: it goes, and the next look freezes anew.
    let mut other = there;
    other["data"]["base"] = json!({"podinfo": []});
    other["metadata"]["uid"] = json!("old-uid");
    other["metadata"]["resourceVersion"] = json!("5");
    let (result, calls) = act(&observed, &freeze, vec![exists(), (200, other), ok()]).await;
    assert!(matches!(result, Err(ActError::Cluster(ClusterError::Conflict { .. }))), "{result:?}");
    assert_eq!(calls[2].body["preconditions"], json!({"uid": "old-uid", "resourceVersion": "5"}));
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

/// A look at the middle of a run whose canary differs in `tier`, although `app` would come first.
fn with_cover(copies: &[&str]) -> Observed {
    let mut observed = observed();
    observed.seen.service.as_mut().unwrap().data["spec"]["selector"] = json!({"app": "podinfo", "tier": "web"});
    let copies = copies.iter().map(|kind| Source { kind: (*kind).to_owned(), name: "web".to_owned() }).collect();
    let cover = Cover { labels: vec!["tier".to_owned()], copies };
    let plan = plan(&rollout()).unwrap();
    let frozen = Frozen { revision: "abc".to_owned(), template: json!({}), plan, base: [].into(), cover };
    observed.seen.revisions = vec![revision::revision(&owner(), &frozen)];
    observed.state.run = Some(Run { revision: "abc".to_owned(), replicas: 3, ..Run::default() });
    observed
}

#[tokio::test]
async fn the_canary_differs_in_the_label_that_was_frozen() {
    let observed = with_cover(&[]);
    let made = call(&observed, Action::ApplyCanaryService).await;
    assert_eq!(made.body["spec"]["selector"], json!({"app": "podinfo", "tier": "web-canary"}));
}

#[tokio::test]
async fn copies_are_made_of_what_is_there_and_deleted_by_their_uid() {
    let mut observed = with_cover(&["PodDisruptionBudget"]);
    let of = Source { kind: "PodDisruptionBudget".to_owned(), name: "web".to_owned() };
    let make = [Action::ApplyCopies { revision: "abc".to_owned(), copies: vec![of.clone()] }];
    let source = json!({"metadata": {"name": "web", "uid": "w"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"tier": "web"}}}});
    let (result, calls) = act(&observed, &make, vec![(200, source), ok()]).await;
    assert!(result.is_ok(), "{result:?}");
    let path = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets";
    assert_eq!([&calls[0].line, &calls[1].line], [&format!("GET {path}/web"), &format!("POST {path}")]);
    let expected = json!({"maxUnavailable": 1, "selector": {"matchLabels": {"tier": "web-canary"}}});
    assert_eq!((&calls[1].body["metadata"]["name"], &calls[1].body["spec"]), (&json!("web-canary"), &expected));

    let gone = refusal(404, "NotFound", "gone");
    let (result, _) = act(&observed, &make, vec![gone]).await;
    let message = result.unwrap_err().to_string();
    assert_eq!(message, "PodDisruptionBudget shop/web is gone, so its canary cannot be made from it");

    let ours = object(&format!("{{metadata: {{name: web-canary, uid: c, resourceVersion: \"5\", {OWNED}}}}}"));
    observed.copies = vec![(of.clone(), Some(ours))];
    let deleted = call(&observed, Action::DeleteCopies { copies: vec![of.clone()] }).await;
    assert_eq!(deleted.line, format!("DELETE {path}/web-canary"));
    assert_eq!(deleted.body["preconditions"], json!({"uid": "c", "resourceVersion": "5"}));

    observed.copies = vec![(of.clone(), Some(object("{metadata: {name: web-canary, uid: f}}")))];
    let (result, calls) = act(&observed, &[Action::DeleteCopies { copies: vec![of] }], vec![]).await;
    assert!(result.is_ok() && calls.is_empty(), "somebody else's is not deleted: {calls:?}");
}
