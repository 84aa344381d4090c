//! One look at the cluster: live reads, so that nothing is decided on what a cache has not yet heard.
//!
//! ```text
//! Rollout -> its frozen revisions -> workload, Services, routes, canary -> ReplicaSets, pods
//! ```

mod details;

use futures::future::{try_join, try_join_all};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{api::DynamicObject, core::Selector};
use serde_json::json;
use sluice_crds::{Rollout, names::LABEL_OWNED_BY};
use sluice_operator_core::{
    Millis, State,
    coverage::{Source, wants as wants_coverage},
    wants,
    world::ConfigMaps,
};
use thiserror::Error;

use crate::{
    cluster::{At, Cluster, ClusterError, Kind},
    model::{self, Targets, canary, claims, state, state::StateError},
    objects::{at, int, revision},
    watch::Store,
};

pub(crate) mod covering;

/// Why a look failed.
#[derive(Debug, Error)]
pub(crate) enum ObserveError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The Rollout is not of the shape that this version knows.
    #[error("{message}")]
    Undecodable {
        /// As it is.
        raw: Box<DynamicObject>,
        /// What is wrong, with the field.
        message: String,
    },
}

/// What one look has seen.
pub(crate) struct Observed {
    /// The Rollout.
    pub rollout: Rollout,
    /// The same as it was read.
    pub raw: DynamicObject,
    /// Our memory in it.
    pub state: State,
    /// The names of its objects.
    pub targets: Targets,
    /// The objects.
    pub seen: Seen,
    /// What is known of the policy.
    pub probe: Probe,
    /// An older Rollout that has the workload or a route.
    pub claimed_by: Option<String>,
    /// Everything that may select the workload's pods, if it was asked.
    pub selecting: Option<Vec<(Kind, DynamicObject)>>,
    /// What is there under the names of the copies that frozen revisions ask for.
    pub copies: Vec<(Source, Option<DynamicObject>)>,
}

/// Whether a change of the workload is held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probe {
    /// When it was asked last.
    pub at: Millis,
    /// The answer, if it was asked in this look.
    pub held_back: Option<bool>,
    /// The API server knows no policies that could hold one back, as far as it was asked.
    pub no_policy_api: bool,
}

/// The objects that one look has seen.
pub(crate) struct Seen {
    pub workload: Option<DynamicObject>,
    pub replica_sets: Vec<DynamicObject>,
    /// Only while they are waited for.
    pub workload_pods: Vec<DynamicObject>,
    pub claims: Vec<DynamicObject>,
    pub config_maps: Option<ConfigMaps>,
    pub service: Option<DynamicObject>,
    pub canary_workload: Option<DynamicObject>,
    pub canary_pods: Vec<DynamicObject>,
    pub canary_service: Option<DynamicObject>,
    pub revisions: Vec<DynamicObject>,
    pub routes: Vec<(String, Option<DynamicObject>)>,
}

/// Looks; None when the Rollout is gone.
pub(crate) async fn observe(
    cluster: &Cluster,
    store: &Store,
    (namespace, name): (&str, &str),
    (now, probed_at): (Millis, Millis),
) -> Result<Option<Observed>, ObserveError> {
    let owned = owned_by(name);
    let revisions = cluster.list(Kind::ControllerRevision, namespace, &owned);
    let (raw, revisions) = try_join(cluster.get(At { kind: Kind::Rollout, namespace, name }), revisions).await?;
    let Some(raw) = raw else { return Ok(None) };
    let (rollout, state) = read(&raw)?;
    let targets = model::targets(&rollout, &state, &revisions);
    let mine = model::owner(&rollout);
    let ours = revisions.iter().filter(|object| mine.owns(&object.metadata));
    let frozen: Vec<_> = ours.filter_map(revision::frozen).collect();
    let asked = try_join(
        covering::selecting(cluster, namespace, wants_coverage(&state, &frozen), copies_rules(&rollout)),
        covering::copies(cluster, namespace, &frozen),
    );
    let seen = objects(cluster, namespace, &targets, revisions);
    let ((mut seen, claimed_by), (selecting, copies)) =
        try_join(try_join(seen, claimed_by(cluster, store, &rollout)), asked).await?;
    let wants = wants(&state, now, probed_at);
    Box::pin(details::add(cluster, namespace, &state, wants, &mut seen)).await?;
    let probe = match &seen.workload {
        Some(workload) if wants.probe => probe(cluster, namespace, workload, now).await?,
        Some(_) | None => Probe { at: probed_at, ..Probe::default() },
    };
    Ok(Some(Observed { rollout, raw, state, targets, seen, probe, claimed_by, selecting, copies }))
}

/// A step of the spec sends requests to copies of rules.
fn copies_rules(rollout: &Rollout) -> bool {
    rollout.spec.strategy.canary.steps.iter().any(|step| step.match_.is_some())
}

/// Selects what a Rollout owns; the owner reference is compared afterwards.
fn owned_by(rollout: &str) -> String {
    format!("{LABEL_OWNED_BY}={rollout}")
}

fn read(raw: &DynamicObject) -> Result<(Rollout, State), ObserveError> {
    let undecodable = |message: String| ObserveError::Undecodable { raw: Box::new(raw.clone()), message };
    let rollout: Rollout = serde_json::to_value(raw)
        .and_then(serde_json::from_value)
        .map_err(|error| undecodable(format!("the object cannot be read: {error}")))?;
    let state = state::read(rollout.status.as_ref()).map_err(|error: StateError| undecodable(error.to_string()))?;
    Ok((rollout, state))
}

async fn objects(
    cluster: &Cluster,
    namespace: &str,
    targets: &Targets,
    revisions: Vec<DynamicObject>,
) -> Result<Seen, ClusterError> {
    let get = |kind: Kind, name: &'_ str| {
        let name = name.to_owned();
        async move { cluster.get(At { kind, namespace, name: &name }).await }
    };
    let workload = async {
        let workload = get(Kind::Deployment, &targets.workload).await?;
        let selector = workload.as_ref().and_then(pods_of);
        let sets = match selector {
            Some(selector) => cluster.list(Kind::ReplicaSet, namespace, &selector).await?,
            None => Vec::new(),
        };
        Ok::<_, ClusterError>((workload, sets))
    };
    let canary = async {
        let canary = get(Kind::Deployment, &targets.canary_workload).await?;
        let selector = canary.as_ref().filter(|canary| !is_ready(canary)).and_then(pods_of);
        let pods = match selector {
            Some(selector) => cluster.list(Kind::Pod, namespace, &selector).await?,
            None => Vec::new(),
        };
        Ok::<_, ClusterError>((canary, pods))
    };
    let services = try_join(get(Kind::Service, &targets.service), get(Kind::Service, &targets.canary_service));
    let routes = targets.routes.iter().map(|name| async { Ok((name.clone(), get(Kind::HttpRoute, name).await?)) });
    let deployments = try_join(workload, canary);
    let (((workload, replica_sets), (canary_workload, canary_pods)), ((service, canary_service), routes)) =
        try_join(deployments, try_join(services, try_join_all(routes))).await?;
    Ok(Seen {
        workload,
        replica_sets,
        workload_pods: Vec::new(),
        claims: Vec::new(),
        config_maps: None,
        service,
        canary_workload,
        canary_pods,
        canary_service,
        revisions,
        routes,
    })
}

fn is_ready(deployment: &DynamicObject) -> bool {
    i64::from(canary::available(deployment)) >= int(deployment, "/spec/replicas").unwrap_or(1)
}

/// The label selector of a Deployment's pods, as text; None when it has none that we understand.
fn pods_of(deployment: &DynamicObject) -> Option<String> {
    let selector: LabelSelector = serde_json::from_value(at(deployment, "/spec/selector")?.clone()).ok()?;
    let text = Selector::try_from(selector).ok()?.to_string();
    // An empty selector would list the whole namespace.
    (!text.is_empty()).then_some(text)
}

/// The Rollout that has what this one wants. The store names candidates; only if there are any are they read live.
async fn claimed_by(cluster: &Cluster, store: &Store, mine: &Rollout) -> Result<Option<String>, ClusterError> {
    let known = store.state();
    let others = known.iter().filter_map(|guarded| guarded.0.as_ref().ok());
    if !others.clone().any(|other| other.metadata.uid != mine.metadata.uid && claims::overlap(mine, other)) {
        return Ok(None);
    }
    let namespace = mine.metadata.namespace.as_deref().unwrap_or_default();
    let live = cluster.list(Kind::Rollout, namespace, "").await?;
    let parsed = live.into_iter().filter_map(|raw| serde_json::to_value(raw).ok());
    let parsed: Vec<Rollout> = parsed.filter_map(|value| serde_json::from_value(value).ok()).collect();
    Ok(claims::claimed_by(mine, &parsed))
}

/// Whether a changed template is held back, and, where it is not, whether the API server cannot hold one back at all.
async fn probe(
    cluster: &Cluster,
    namespace: &str,
    workload: &DynamicObject,
    now: Millis,
) -> Result<Probe, ClusterError> {
    let held_back = is_held_back(cluster, namespace, workload).await?;
    let no_policy_api = !held_back && !cluster.serves_mutating_policies().await?;
    Ok(Probe { at: now, held_back: Some(held_back), no_policy_api })
}

/// Asks the API server what would become of a changed template: true when the change would come back paused.
///
/// The dry run takes `paused` away in the same write. So the answer speaks of the policy alone, also where the workload is
/// paused already: the policy lets the operator take the pause away, but pauses whoever changes the template.
async fn is_held_back(cluster: &Cluster, namespace: &str, workload: &DynamicObject) -> Result<bool, ClusterError> {
    let name = workload.metadata.name.as_deref().unwrap_or_default();
    let patch = json!({
        "metadata": {"resourceVersion": workload.metadata.resource_version},
        "spec": {"paused": false, "template": {"metadata": {"annotations": {"sluice.dev/probe": "asked"}}}},
    });
    let at = At { kind: Kind::Deployment, namespace, name };
    let answer = cluster.merge_patch(at, None, &patch, true).await?;
    Ok(answer.data.pointer("/spec/paused") == Some(&json!(true)))
}

#[cfg(test)]
mod tests;
