//! What is asked beside the objects themselves, when, and what the answers are taken for.

use serde_json::{Value, json};
use sluice_operator_core::{
    State,
    state::{Adoption, Run, Stable, Unjudged},
    wants,
};

use super::{Seen, add, hash};
use crate::{
    cluster::ClusterError,
    fixtures::{Call, DEPLOYMENT, api_server, observed, refusal, yaml},
};

const NOW: i64 = 1_800_000_000_000;

/// Adds the details to a look at the Deployment of the fixtures, whose template is changed.
async fn look(
    state: &State,
    change: impl FnOnce(&mut Value),
    answers: Vec<(u16, Value)>,
) -> (Result<Seen, ClusterError>, Vec<Call>) {
    let (cluster, calls) = api_server(answers);
    let mut seen = observed().seen;
    let workload = seen.workload.as_mut().unwrap();
    change(&mut workload.data);
    let template = workload.data["spec"]["template"].clone();
    let set = json!({"metadata": {"name": "podinfo-1", "uid": "set-uid"}, "spec": {"template": template}});
    seen.replica_sets = vec![serde_json::from_value(set).unwrap()];
    let added = add(&cluster, "shop", state, wants(state, NOW, NOW), &mut seen).await;
    let calls = calls.lock().unwrap().clone();
    (added.map(|()| seen), calls)
}

fn unchanged(_: &mut Value) {}

fn stable() -> State {
    let pinned = Stable { revision: "r".to_owned(), uid: "set-uid".to_owned(), name: "podinfo-1".to_owned() };
    State { stable: Some(pinned), ..State::default() }
}

fn in_run(run: Run) -> State {
    // Probed just now: nothing else is due.
    let adoption = Adoption { labelled: true, held_back: Some(true), by_pause: false };
    State { run: Some(run), adoption, ..stable() }
}

fn lines(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|call| call.line.as_str()).collect()
}

#[tokio::test]
async fn pods_are_listed_while_they_are_waited_for() {
    let unjudged = Unjudged { revision: "r".to_owned(), reason: "KnownGood".to_owned(), since: 0 };
    for state in [
        State::default(),
        State { unjudged: Some(unjudged), ..in_run(Run::default()) },
        in_run(Run { let_go: true, ..Run::default() }),
        in_run(Run { lost_since: Some(NOW), ..Run::default() }),
    ] {
        let pods = json!({"items": [{"metadata": {"name": "podinfo-1-a"}}]});
        let (seen, calls) = look(&state, unchanged, vec![(200, pods)]).await;
        assert_eq!(lines(&calls), ["GET /api/v1/namespaces/shop/pods"]);
        assert_eq!(calls[0].query, "&labelSelector=app%3Dpodinfo%2Ctier%3Dweb", "the Deployment's own and no others");
        assert_eq!(seen.unwrap().workload_pods.len(), 1);
    }
}

#[tokio::test]
async fn nothing_is_asked_where_nothing_depends_on_it() {
    let (_, calls) = look(&in_run(Run::default()), unchanged, vec![]).await;
    assert_eq!(lines(&calls), [""; 0], "a run that waits for the canary");
    let ready = |workload: &mut Value| {
        workload["status"] = json!({"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3});
    };
    let (_, calls) = look(&State::default(), ready, vec![]).await;
    assert_eq!(lines(&calls), [""; 0], "pods that are all there");
    let (_, calls) = look(&stable(), unchanged, vec![]).await;
    assert_eq!(lines(&calls), [""; 0], "a template that names nothing");
    let (cluster, calls) = api_server(vec![]);
    let mut seen = Seen { workload: None, ..observed().seen };
    add(&cluster, "shop", &State::default(), wants(&State::default(), NOW, 0), &mut seen).await.unwrap();
    assert_eq!(lines(&calls.lock().unwrap()), [""; 0], "no workload");
}

#[tokio::test]
async fn claims_of_the_template_are_read_and_a_missing_one_is_left_out() {
    let mounts = |workload: &mut Value| {
        let volume = |name: &str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
        workload["spec"]["template"]["spec"]["volumes"] = json!([volume("cache"), volume("disk")]);
    };
    let state = in_run(Run::default());
    let disk = || (200, json!({"metadata": {"name": "disk"}}));
    let missing = || refusal(404, "NotFound", "not found");
    let (seen, calls) = look(&state, mounts, vec![missing(), disk()]).await;
    let path = "GET /api/v1/namespaces/shop/persistentvolumeclaims";
    assert_eq!(lines(&calls), [format!("{path}/cache"), format!("{path}/disk")]);
    let claims = seen.unwrap().claims;
    assert_eq!(claims.iter().filter_map(|claim| claim.metadata.name.as_deref()).collect::<Vec<_>>(), ["disk"]);

    let forbidden = || refusal(403, "Forbidden", "may not get");
    let (seen, _) = look(&state, mounts, vec![forbidden(), disk()]).await;
    assert!(seen.is_err(), "whether a volume can be shared is not guessed");
}

#[tokio::test]
async fn versions_of_config_maps_are_those_of_stables_template() {
    let names = |workload: &mut Value| {
        let source = |name: &str| json!({"configMapRef": {"name": name}});
        workload["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([source("a"), source("gone")]);
    };
    let mut template = yaml(DEPLOYMENT);
    names(&mut template);
    let version = || (200, json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "5"}}));
    let missing = || refusal(404, "NotFound", "not found");
    let (seen, calls) = look(&stable(), names, vec![version(), missing()]).await;
    let path = "GET /api/v1/namespaces/shop/configmaps";
    assert_eq!(lines(&calls), [format!("{path}/a"), format!("{path}/gone")]);
    let found = seen.unwrap().config_maps.unwrap();
    assert_eq!(found.versions, [("a".to_owned(), "u:5".to_owned())].into());
    assert_eq!(found.revision, hash::revision(&template["spec"]["template"]));

    let (_, calls) = look(&in_run(Run::default()), names, vec![]).await;
    assert_eq!(lines(&calls), [""; 0], "in a run, as seldom as the probe");
    let other = Stable { uid: "other-uid".to_owned(), ..stable().stable.unwrap() };
    let (seen, calls) = look(&State { stable: Some(other), ..stable() }, names, vec![]).await;
    assert!(calls.is_empty() && seen.unwrap().config_maps.is_none(), "stable's ReplicaSet is gone");
}

#[tokio::test]
async fn config_maps_that_may_not_be_read_are_not_known_and_an_outage_is_an_error() {
    let names = |workload: &mut Value| {
        workload["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "a"}}]);
    };
    let (seen, _) = look(&stable(), names, vec![refusal(403, "Forbidden", "may not get")]).await;
    assert_eq!(seen.unwrap().config_maps, None);
    let (seen, _) = look(&stable(), names, vec![refusal(500, "InternalError", "etcd is down")]).await;
    assert!(seen.is_err());
}
