//! YAML in, world out.

mod replica_sets;

use kube::{api::DynamicObject, core::DeserializeGuard};
use serde_json::{Value, json};
use sluice_crds::OperationType;
use sluice_operator_core::{
    State,
    coverage::Cover,
    state::{Run, Stage},
    world::{Frozen, OperationKind, Owned, Ready, Telemetry},
};
use sluice_wire::v1;

use super::{Targets, plan, targets, telemetry::data_plane, world};
use crate::{
    fixtures::{SERVICE, object, observed, owner, rollout},
    objects::revision,
    observe::Observed,
};

const PROXY: &str = "sluice.dev/gateway-controller";

const ROUTE: &str = "
metadata: {name: podinfo, namespace: shop, resourceVersion: '9', generation: 4}
spec:
  parentRefs:
  - {name: edge}
  - {name: other, namespace: infra, sectionName: https}
  - {name: silent}
  - {kind: ListenerSet, name: edge}
  rules: [{name: all, backendRefs: [{name: podinfo, port: 80}]}]
status:
  parents:
  - parentRef: {name: edge, group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}
    controllerName: sluice.dev/gateway-controller
    conditions:
    - {type: Accepted, status: 'True', observedGeneration: 4, reason: Accepted, message: ''}
    - {type: ResolvedRefs, status: 'True', observedGeneration: 3, reason: ResolvedRefs, message: ''}
  - parentRef: {name: other, namespace: infra, sectionName: https}
    controllerName: example.com/gateway
    conditions:
    - {type: Accepted, status: 'False', observedGeneration: 4, reason: NotAllowed, message: by listeners}
    - {type: ResolvedRefs, status: 'True', observedGeneration: 4, reason: ResolvedRefs, message: ''}
  - parentRef: {name: gone}
    controllerName: example.com/gateway
  - parentRef: {name: edge, group: gateway.networking.k8s.io, kind: ListenerSet}
    controllerName: sluice.dev/gateway-controller
    conditions:
    - {type: Accepted, status: 'True', observedGeneration: 4, reason: Accepted, message: ''}
    - {type: ResolvedRefs, status: 'True', observedGeneration: 4, reason: ResolvedRefs, message: ''}
";

fn frozen() -> DynamicObject {
    let mut plan = plan::plan(&rollout()).unwrap();
    plan.service = "podinfo-old".to_owned();
    plan.routes[0].name = "old-route".to_owned();
    let frozen =
        Frozen { revision: "abc".to_owned(), template: json!({}), plan, base: [].into(), cover: Cover::default() };
    revision::revision(&owner(), &frozen)
}

fn running() -> State {
    State { run: Some(Run { revision: "abc".to_owned(), ..Run::default() }), ..State::default() }
}

#[test]
fn a_workload_that_its_controller_has_not_seen_is_said_to_be_so() {
    let mut observed = observed();
    observed.seen.workload.as_mut().unwrap().metadata.generation = Some(3);
    assert!(!world(&observed, PROXY, 0).workload.unwrap().observed);
}

#[test]
fn what_bears_no_second_set_of_pods_is_refused_by_name() {
    for (path, value, expected) in [
        ("/spec/strategy", json!({"type": "Recreate"}), "Recreate"),
        ("/spec/template/spec", json!({"hostNetwork": true}), "hostNetwork"),
        (
            "/spec/template/spec",
            json!({"containers": [{"name": "app", "ports": [{"containerPort": 1, "hostPort": 80}]}]}),
            "container \"app\" has a hostPort",
        ),
        (
            "/spec/template/spec",
            json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "disk"}}]}),
            "persistentVolumeClaim \"disk\", which does not exist",
        ),
        ("/spec/selector", json!({"matchExpressions": []}), "matchLabels"),
    ] {
        let mut observed = observed();
        *observed.seen.workload.as_mut().unwrap().data.pointer_mut(path).unwrap() = value;
        let unsupported = world(&observed, PROXY, 0).workload.unwrap().unsupported.unwrap();
        assert!(unsupported.contains(expected), "{unsupported}");
    }
}

#[test]
fn the_service_must_lead_to_the_workloads_pods() {
    let said = |service: Option<DynamicObject>| {
        let mut observed = observed();
        observed.seen.service = service;
        world(&observed, PROXY, 0).service.unwrap_err()
    };
    assert!(said(None).contains("there is no Service \"podinfo\""));
    let mut other = object(SERVICE);
    other.data["spec"]["selector"] = json!({"app": "other"});
    assert!(said(Some(other.clone())).contains("selects app=other"));
    other.data["spec"]["selector"] = json!({});
    assert!(said(Some(other)).contains("no selector"));
}

#[test]
fn parents_speak_for_the_generation_that_they_have_seen() {
    let mut observed = observed();
    observed.seen.routes = vec![("podinfo".to_owned(), Some(object(ROUTE))), ("missing".to_owned(), None)];
    let world = world(&observed, PROXY, 0);
    assert_eq!(world.routes[1].live, None);
    let live = world.routes[0].live.as_ref().unwrap();
    assert_eq!((live.generation, live.resource_version.as_str()), (4, "9"));
    assert_eq!(live.rules[0]["name"], "all");
    let parents: Vec<_> = live.parents.iter().map(|p| (p.bundled, p.accepted, p.resolved, p.generation)).collect();
    assert_eq!(
        parents,
        [(true, true, false, 3), (false, false, true, 4), (false, false, false, 0), (true, true, true, 4)],
        "a Gateway and a ListenerSet of one name are two parents"
    );
    assert_eq!(live.parents[1].message, "NotAllowed: by listeners");
    assert!(live.parents[2].message.contains("\"silent\""));
}

#[test]
fn the_manager_of_a_routes_rules_is_the_latest_that_is_not_us() {
    let rules = json!({"f:spec": {"f:rules": {}}});
    let entry = |manager: &str, minute: u8, fields: &Value| {
        let time = format!("2026-01-01T00:{minute:02}:00Z");
        json!({"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields})
    };
    let live = |entries: &[Value]| {
        let mut observed = observed();
        let mut route = object(ROUTE);
        route.metadata.managed_fields = serde_json::from_value(json!(entries)).unwrap();
        observed.seen.routes = vec![("podinfo".to_owned(), Some(route))];
        world(&observed, PROXY, 0).routes.remove(0).live.unwrap()
    };
    let status = json!({"f:status": {"f:parents": {}}});
    let all = [
        entry("helm", 1, &rules),
        entry("kustomize-controller", 3, &rules),
        entry("sluice-operator", 4, &rules),
        entry("gateway", 5, &status),
    ];
    let contested = live(&all);
    assert_eq!((contested.manager.as_deref(), contested.is_managed), (Some("kustomize-controller"), true));
    let released = live(&[entry("sluice-operator", 4, &status)]);
    assert_eq!((released.manager, released.is_managed), (None, false));
}

#[test]
fn the_canary_is_ours_only_by_uid() {
    let canary = |uid: &str| {
        let mut observed = observed();
        let text = format!(
            "{{metadata: {{name: podinfo-canary, annotations: {{sluice.dev/revision: abc}}, ownerReferences: \
             [{{apiVersion: sluice.dev/v1alpha1, kind: Rollout, name: podinfo, uid: {uid}, controller: true}}]}}}}"
        );
        let mut canary = object(&text);
        canary.data = json!({
            "spec": {"replicas": 3},
            "status": {"replicas": 4, "updatedReplicas": 3, "availableReplicas": 3},
        });
        observed.seen.canary_service = Some(canary.clone());
        observed.seen.canary_workload = Some(canary);
        world(&observed, PROXY, 0)
    };
    let world = canary("rollout-uid");
    let workload = world.canary_workload.unwrap();
    assert_eq!((workload.ours, workload.revision.as_str(), workload.wanted, workload.available), (true, "abc", 3, 2));
    assert_eq!(world.canary_service, Some(Owned { ours: true, deleting: false }));
    assert!(!canary("of-another-rollout").canary_workload.unwrap().ours);
}

#[test]
fn trouble_of_pods_is_told_with_its_reason() {
    for (status, expected) in [
        (
            json!({"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}}]}),
            Some("CrashLoopBackOff: pod p: back-off"),
        ),
        (
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "no room"}]}),
            Some("Unschedulable: pod p: no room"),
        ),
        (json!({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}), None),
        (json!({}), None),
    ] {
        let mut observed = observed();
        let mut pod = object("{metadata: {name: p}}");
        pod.data = json!({ "status": status });
        observed.seen.canary_pods = vec![pod];
        observed.seen.canary_workload = Some(object("{metadata: {name: podinfo-canary}}"));
        assert_eq!(world(&observed, PROXY, 0).canary_workload.unwrap().trouble.as_deref(), expected);
    }
}

#[test]
fn a_run_goes_on_with_the_names_that_it_was_frozen_with() {
    let fresh = targets(&rollout(), &State::default(), &[frozen()]);
    assert_eq!(
        (fresh.canary_service.as_str(), fresh.routes.as_slice()),
        ("podinfo-canary", &["podinfo".to_owned()][..])
    );
    let of_run = targets(&rollout(), &running(), &[frozen()]);
    assert_eq!((of_run.service.as_str(), of_run.canary_service.as_str()), ("podinfo-old", "podinfo-old-canary"));
    assert_eq!(of_run.routes, ["podinfo", "old-route"]);
    let mut over = running();
    over.run.as_mut().unwrap().stage = Stage::RolledBack;
    assert_eq!(targets(&rollout(), &over, &[frozen()]), fresh);
}

#[test]
fn every_type_of_operation_is_what_it_is_called() {
    for type_ in OperationType::ALL {
        let mut observed = observed();
        observed.rollout.operation = Some(serde_json::from_value(json!({"type": type_})).unwrap());
        let operation = world(&observed, PROXY, 0).operation.unwrap();
        assert_eq!(json!(operation.kind), json!(type_));
    }
}

#[test]
fn an_operation_without_an_identity_gets_one_that_lasts_until_it_is_consumed() {
    let mut observed = observed();
    observed.rollout.operation = Some(serde_json::from_value(json!({"type": "Abort", "reason": "no"})).unwrap());
    let unstamped = world(&observed, PROXY, 0).operation.unwrap();
    assert_eq!(
        (unstamped.id.as_str(), unstamped.kind, unstamped.by.as_str()),
        ("generation-3", OperationKind::Abort, "unknown")
    );
    let stamped = json!({"type": "Promote", "id": "u-1", "by": "jane"});
    observed.rollout.operation = Some(serde_json::from_value(stamped).unwrap());
    let stamped = world(&observed, PROXY, 0).operation.unwrap();
    assert_eq!((stamped.id.as_str(), stamped.kind, stamped.by.as_str()), ("u-1", OperationKind::Promote, "jane"));
}

#[test]
fn a_wrong_field_is_part_of_the_world() {
    let mut observed = observed();
    observed.rollout.spec.strategy.canary.drain = "soon".to_owned();
    let world = world(&observed, PROXY, 7);
    assert!(world.plan.unwrap_err().starts_with("spec.strategy.canary.drain: "));
    assert_eq!((world.now, world.generation, world.telemetry), (7, 3, Telemetry::NotAsked));
}

#[test]
fn a_frozen_revision_of_another_rollout_of_this_name_does_not_count() {
    let mut observed: Observed = observed();
    let mut foreign = frozen();
    foreign.metadata.owner_references.as_mut().unwrap()[0].uid = "old-uid".to_owned();
    observed.seen.revisions = vec![frozen(), foreign];
    assert_eq!(world(&observed, PROXY, 0).frozen.len(), 1);
}

#[test]
fn counters_are_summed_by_side() {
    let targets = Targets {
        workload: "podinfo".to_owned(),
        service: "podinfo".to_owned(),
        canary_workload: "podinfo-canary".to_owned(),
        canary_service: "podinfo-canary".to_owned(),
        routes: vec!["podinfo".to_owned()],
    };
    let cell = |backend: &str| v1::Cell {
        route: "HTTPRoute/shop/podinfo".to_owned(),
        rule: "0".to_owned(),
        backend: backend.to_owned(),
        generation: 4,
        started: 10,
        responses: vec![0, 5, 1, 1, 2],
        connection_failures: 1,
        disruptions: 1,
        in_flight: 0,
        duration_buckets: vec![1, 2],
        duration_sum_seconds: 1.0,
        in_flight_ages: vec![0, 1],
    };
    let plane = v1::DataPlane {
        pod: "proxy-1".to_owned(),
        epoch: 0x1_0000_00ab,
        connected: true,
        draining: false,
        routes: vec![v1::AppliedRoute { route: "HTTPRoute/shop/podinfo".to_owned(), generation: 4 }],
        cells: vec![
            cell("shop/podinfo-canary:80"),
            cell("shop/podinfo-canary:81"),
            cell("shop/podinfo:80"),
            cell("shop/redis:80"),
            cell("other/podinfo:80"),
        ],
        backends: [
            ("shop/podinfo-canary:80", 2),
            ("shop/podinfo-canary:81", 1),
            ("shop/redis:80", 0),
            ("shop/podinfo:80", 4),
        ]
        .map(|(backend, ready)| v1::AppliedBackend { backend: backend.to_owned(), ready })
        .into(),
    };
    let plane = data_plane(&plane, "shop", &targets);
    assert_eq!(plane.pod, "proxy-1@000000ab");
    assert_eq!(plane.applied["podinfo"], 4);
    assert_eq!(plane.ready, Ready { stable: Some(4), canary: Some(1) });
    let [stable, canary] = plane.cells.as_slice() else { panic!("{:?}", plane.cells) };
    assert!(!stable.canary && canary.canary);
    assert_eq!((stable.started, stable.ended, stable.errors, stable.disruptions), (10, 9, 2, 1));
    assert_eq!((canary.started, canary.durations.as_slice(), canary.ages.as_slice()), (20, &[2, 4][..], &[0, 2][..]));
}

#[test]
fn a_rollout_of_another_shape_is_kept_from_the_others() {
    let broken = json!({"metadata": {"name": "x", "namespace": "shop"}, "spec": {"workload": 1}});
    let guarded: DeserializeGuard<sluice_crds::Rollout> = serde_json::from_value(broken).unwrap();
    assert!(guarded.0.is_err());
}
