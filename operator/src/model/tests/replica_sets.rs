//! The workload as its ReplicaSets show it.

use kube::api::DynamicObject;
use serde_json::json;
use sluice_operator_core::{State, state::Stable};

use super::PROXY;
use crate::{
    fixtures::{DEPLOYMENT, object, observed},
    model::{hash, world},
    objects::at,
    observe::Observed,
};

fn replica_set(name: &str, owner: &str, image: &str, replicas: i32) -> DynamicObject {
    let mut template = at(&object(DEPLOYMENT), "/spec/template").unwrap().clone();
    template["metadata"]["labels"]["pod-template-hash"] = json!("5d");
    template["spec"]["containers"][0]["image"] = json!(image);
    let mut set = object(&format!(
        "metadata: {{name: {name}, uid: {name}-uid, ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, \
         name: podinfo, uid: {owner}, controller: true}}]}}"
    ));
    set.data = json!({
        "spec": {"replicas": replicas, "template": template},
        "status": {"replicas": replicas, "availableReplicas": replicas},
    });
    set
}

#[test]
fn the_workload_is_seen_with_its_own_replica_sets() {
    let mut observed = observed();
    observed.seen.replica_sets = vec![
        replica_set("declared", "deployment-uid", "podinfo:2", 0),
        replica_set("serving", "deployment-uid", "podinfo:1", 3),
        replica_set("old", "deployment-uid", "podinfo:0", 0),
        replica_set("foreign", "another-uid", "podinfo:1", 3),
    ];
    let world = world(&observed, PROXY, 0);
    let workload = world.workload.unwrap();
    assert_eq!(workload.label.as_deref(), Some("podinfo"));
    assert!(workload.paused && workload.observed);
    assert_eq!((workload.replicas, workload.images), (3, vec!["podinfo:2".to_owned()]));
    assert_eq!(workload.unsupported, None);
    assert_eq!(world.service, Ok(()));
    let sets: Vec<_> = workload.replica_sets.iter().map(|set| (set.name.as_str(), set.available)).collect();
    assert_eq!(sets, [("declared", 0), ("serving", 3)]);
    assert_eq!(workload.replica_sets[0].revision, workload.revision);
    assert_ne!(workload.replica_sets[1].revision, workload.revision);
}

/// The template that Undo writes back has the hash of stable's, or there is none.
#[test]
fn the_template_of_stable_is_read_from_the_replica_set_that_it_is_pinned_to() {
    let mut observed = observed();
    observed.seen.replica_sets = vec![
        replica_set("foreign", "another-uid", "podinfo:1", 3),
        replica_set("serving", "deployment-uid", "podinfo:1", 3),
    ];
    let serving = world(&observed, PROXY, 0).workload.unwrap().replica_sets[0].clone();
    let template_of = |observed: &Observed| world(observed, PROXY, 0).workload.unwrap().stable_template;
    let pin = |uid: &str, revision: &str| {
        let (uid, revision, name) = (uid.to_owned(), revision.to_owned(), "serving".to_owned());
        State { stable: Some(Stable { revision, uid, name }), ..State::default() }
    };
    assert_eq!(template_of(&observed), None, "nothing is pinned");

    observed.state = pin("serving-uid", &serving.revision);
    let template = template_of(&observed).unwrap();
    assert_eq!(hash::revision(&template), serving.revision);
    let mut declared = at(&object(DEPLOYMENT), "/spec/template").unwrap().clone();
    declared["spec"]["containers"][0]["image"] = json!("podinfo:1");
    assert_eq!(template, declared, "without the label of the Deployment controller");

    for (uid, revision) in
        [("serving-uid", "other"), ("gone-uid", &*serving.revision), ("foreign-uid", &*serving.revision)]
    {
        observed.state = pin(uid, revision);
        assert_eq!(template_of(&observed), None, "{uid} {revision}");
    }
}

#[test]
fn replica_sets_of_stable_and_of_the_run_are_seen_without_pods_too() {
    let mut observed = observed();
    let set = replica_set("old", "deployment-uid", "podinfo:0", 0);
    observed.seen.replica_sets = vec![set];
    assert_eq!(world(&observed, PROXY, 0).workload.unwrap().replica_sets, []);
    let stable = Stable { revision: "x".to_owned(), uid: "old-uid".to_owned(), name: "old".to_owned() };
    observed.state.stable = Some(stable);
    assert_eq!(world(&observed, PROXY, 0).workload.unwrap().replica_sets.len(), 1);
}

#[test]
fn a_restart_is_told_from_a_new_version() {
    let mut observed = observed();
    observed.seen.replica_sets = vec![replica_set("serving", "deployment-uid", "podinfo:2", 3)];
    let template = observed.seen.workload.as_mut().unwrap().data.pointer_mut("/spec/template/metadata").unwrap();
    template["annotations"] = json!({"kubectl.kubernetes.io/restartedAt": "now"});
    let workload = world(&observed, PROXY, 0).workload.unwrap();
    assert_ne!(workload.replica_sets[0].revision, workload.revision);
    assert_eq!(workload.replica_sets[0].plain, workload.plain);
}

#[test]
fn a_promotion_is_judged_by_replica_sets_and_not_by_conditions() {
    let mut observed = observed();
    observed.seen.replica_sets = vec![replica_set("new", "deployment-uid", "podinfo:2", 3)];
    let before = world(&observed, PROXY, 0);
    let stale = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    observed.seen.workload.as_mut().unwrap().data["status"]["conditions"] = stale;
    assert_eq!(world(&observed, PROXY, 0), before);
}

#[test]
fn trouble_of_a_replica_set_is_that_of_its_own_pods_or_why_there_are_none() {
    let mut observed = observed();
    let mut pod = object(
        "{metadata: {name: p, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: new, uid: new-uid}]}}",
    );
    pod.data = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "no room"}]}});
    observed.seen.workload_pods = vec![pod];
    observed.seen.replica_sets = vec![
        replica_set("new", "deployment-uid", "podinfo:2", 1),
        replica_set("serving", "deployment-uid", "podinfo:1", 3),
    ];
    let said = |observed: &Observed| {
        let sets = world(observed, PROXY, 0).workload.unwrap().replica_sets;
        sets.into_iter().map(|set| set.trouble).collect::<Vec<_>>()
    };
    assert_eq!(said(&observed), [Some("Unschedulable: pod p: no room".to_owned()), None]);
    observed.seen.replica_sets[1].data["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True",
        "reason": "FailedCreate", "message": "exceeded quota"}]);
    assert_eq!(said(&observed)[1].as_deref(), Some("FailedCreate: exceeded quota"));
}
