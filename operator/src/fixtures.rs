//! Objects and a fake API server for tests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::{api::DynamicObject, client::Body};
use serde_json::{Value, json};
use sluice_crds::Rollout;
use sluice_operator_core::State;

use crate::{
    cluster::Cluster,
    leader::Leadership,
    model::targets,
    objects::{Owner, at, relabel::Relabel, strings},
    observe::{Observed, Probe, Seen},
};

/// A YAML document as JSON.
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// A YAML document as an object.
pub(crate) fn object(text: &str) -> DynamicObject {
    serde_json::from_value(yaml(text)).unwrap()
}

/// A Rollout that uses every part of the spec.
pub(crate) const ROLLOUT: &str = "
apiVersion: sluice.dev/v1alpha1
kind: Rollout
metadata:
  name: podinfo
  namespace: shop
  uid: rollout-uid
  resourceVersion: '7'
  generation: 3
  creationTimestamp: '2026-01-01T00:00:00Z'
spec:
  workload: {kind: Deployment, name: podinfo}
  routes: [{kind: HTTPRoute, name: podinfo}]
  strategy:
    canary:
      steps:
      - match: {headers: [{name: env, value: canary}]}
      - weight: 0.25
        hold: {min: 1m, max: 10m, onUndecided: RollBack}
      - approval: {}
      - weight: 50
  analysis:
    metrics:
    - {name: errors, builtin: ErrorRate, compare: {to: Stable}}
    - {name: latency, builtin: Latency, objective: {slowerThan: 500ms, atMost: 1%}}
";

/// A Deployment for it.
pub(crate) const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
  namespace: shop
  uid: deployment-uid
  resourceVersion: '11'
  generation: 2
  labels: {sluice.dev/rollout: podinfo}
spec:
  replicas: 3
  minReadySeconds: 2
  paused: true
  selector: {matchLabels: {app: podinfo, tier: web}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: podinfo, tier: web, team: shop}}
    spec:
      containers: [{name: app, image: 'podinfo:2'}]
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 1
            podAffinityTerm:
              topologyKey: kubernetes.io/hostname
              labelSelector: {matchLabels: {app: podinfo}}
          - weight: 1
            podAffinityTerm:
              topologyKey: kubernetes.io/hostname
              labelSelector: {matchLabels: {app: redis}}
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: zone
        whenUnsatisfiable: ScheduleAnyway
        labelSelector: {matchExpressions: [{key: app, operator: In, values: [podinfo]}]}
status: {observedGeneration: 2}
";

/// Its Service.
pub(crate) const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: podinfo, namespace: shop, uid: service-uid, resourceVersion: '5'}
spec:
  type: NodePort
  clusterIP: 10.0.0.7
  sessionAffinity: ClientIP
  ports: [{name: http, port: 80, targetPort: 9898, protocol: TCP, nodePort: 30080}]
  selector: {app: podinfo}
";

/// The Rollout, typed.
pub(crate) fn rollout() -> Rollout {
    serde_saphyr::from_str(ROLLOUT).unwrap()
}

/// The Rollout as an owner.
pub(crate) fn owner() -> Owner {
    Owner { namespace: "shop".to_owned(), name: "podinfo".to_owned(), uid: "rollout-uid".to_owned() }
}

/// The labels that differ for [`DEPLOYMENT`] and [`SERVICE`].
pub(crate) fn relabel() -> Relabel {
    let (workload, service) = (object(DEPLOYMENT), object(SERVICE));
    let labels = strings(at(&workload, "/spec/selector/matchLabels"));
    Relabel::with(&[], &labels, &strings(at(&service, "/spec/selector"))).unwrap()
}

/// A look at [`ROLLOUT`], [`DEPLOYMENT`] and [`SERVICE`], and nothing else.
pub(crate) fn observed() -> Observed {
    let rollout = rollout();
    Observed {
        targets: targets(&rollout, &State::default(), &[]),
        rollout,
        raw: object(ROLLOUT),
        state: State::default(),
        seen: Seen {
            workload: Some(object(DEPLOYMENT)),
            replica_sets: Vec::new(),
            workload_pods: Vec::new(),
            claims: Vec::new(),
            config_maps: None,
            service: Some(object(SERVICE)),
            canary_workload: None,
            canary_pods: Vec::new(),
            canary_service: None,
            revisions: Vec::new(),
            routes: Vec::new(),
        },
        probe: Probe::default(),
        claimed_by: None,
        selecting: None,
        copies: Vec::new(),
    }
}

/// A request that reached the fake API server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// `PATCH /apis/apps/v1/namespaces/shop/deployments/podinfo`
    pub line: String,
    /// Its query.
    pub query: String,
    /// Its body as JSON.
    pub body: Value,
}

/// An API server that answers in this order, and what it was asked. It fails a test that asks more.
pub(crate) fn api_server(answers: Vec<(u16, Value)>) -> (Cluster, Arc<Mutex<Vec<Call>>>) {
    api_of(Leadership::always(), answers)
}

/// The same, for a process that leads or does not.
pub(crate) fn api_of(leadership: Leadership, answers: Vec<(u16, Value)>) -> (Cluster, Arc<Mutex<Vec<Call>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let told = Arc::clone(&calls);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (told, answers) = (Arc::clone(&told), Arc::clone(&answers));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let line = format!("{} {}", head.method, head.uri.path());
            let query = head.uri.query().unwrap_or_default().to_owned();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            told.lock().unwrap().push(Call { line: line.clone(), query, body });
            let (code, answer) = answers.lock().unwrap().pop_front().unwrap_or_else(|| panic!("not expected: {line}"));
            let answer = Body::from(answer.to_string().into_bytes());
            Ok::<_, tower::BoxError>(Response::builder().status(code).body(answer)?)
        }
    });
    let client = kube::Client::new(service, "shop");
    (Cluster::new(client, Arc::default(), leadership), calls)
}

/// A refusal of the API server.
pub(crate) fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message, "details": {}});
    (code, status)
}
