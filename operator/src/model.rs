//! What was observed, to the core's world: pure, and the last place that knows the shape of Kubernetes objects.

pub(crate) mod bearing;
pub(crate) mod canary;
pub(crate) mod claims;
pub(crate) mod coverage;
pub(crate) mod hash;
pub(crate) mod plan;
pub(crate) mod references;
pub(crate) mod route;
pub(crate) mod state;
pub(crate) mod telemetry;
pub(crate) mod workload;

use kube::api::DynamicObject;
use serde_json::Value;
use sluice_crds::{OperationType, Rollout, names::FINALIZER};
use sluice_operator_core::{
    Millis, State, World,
    coverage::{Copied, CopyState, Source},
    world::{Operation, OperationKind, Owned, Telemetry},
};

use crate::{
    objects::{Owner, revision},
    observe::{Observed, Seen},
};

/// The names that a Rollout's objects have at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Targets {
    /// The workload.
    pub workload: String,
    /// The stable Service.
    pub service: String,
    /// The temporary Deployment.
    pub canary_workload: String,
    /// The temporary Service.
    pub canary_service: String,
    /// The routes: those of the spec in its order, then those that only the run in progress has.
    pub routes: Vec<String>,
}

/// What to look at. A run in progress goes on with the names that it was frozen with, whatever the spec says by now; they
/// come from the spec even where the rest of it cannot be parsed.
pub(crate) fn targets(rollout: &Rollout, state: &State, revisions: &[DynamicObject]) -> Targets {
    let in_progress = state.run.as_ref().filter(|run| run.in_progress());
    let frozen = in_progress
        .and_then(|run| revisions.iter().filter_map(revision::frozen).find(|frozen| frozen.revision == run.revision));
    let frozen = frozen.map(|frozen| frozen.plan);
    let workload = frozen.as_ref().map_or(&rollout.spec.workload.name, |plan| &plan.workload).clone();
    let service = frozen.as_ref().map_or_else(|| rollout.service_name(), |plan| &plan.service).to_owned();
    let mut routes: Vec<String> = rollout.spec.routes.iter().map(|route| route.name.clone()).collect();
    for route in frozen.iter().flat_map(|plan| &plan.routes) {
        if !routes.contains(&route.name) {
            routes.push(route.name.clone());
        }
    }
    let canary = |name: &str| format!("{name}{}", sluice_crds::names::CANARY_SUFFIX);
    Targets { canary_workload: canary(&workload), canary_service: canary(&service), workload, service, routes }
}

/// The Rollout as an owner.
pub(crate) fn owner(rollout: &Rollout) -> Owner {
    let meta = &rollout.metadata;
    Owner {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

/// The world, without what the data planes have to say: that is asked when the core wants it.
pub(crate) fn world(observed: &Observed, proxy: &str, now: Millis) -> World {
    let Observed { rollout, raw, state, targets, seen, probe, claimed_by, selecting, copies } = observed;
    let Seen {
        workload,
        replica_sets: _,
        workload_pods: _,
        claims: _,
        config_maps,
        service,
        canary_workload,
        canary_pods,
        canary_service,
        revisions,
        routes,
    } = seen;
    let owner = owner(rollout);
    let plan = plan::plan(rollout).map_err(|error| error.to_string());
    let labels = workload.as_ref().map(workload::template_labels);
    let subject = workload.as_ref().zip(service.as_ref()).map(|(workload, service)| coverage::Subject {
        namespace: &owner.namespace,
        workload,
        service,
        canary: (&targets.canary_workload, &targets.canary_service),
        routes,
    });
    let coverage = subject.zip(selecting.as_ref()).and_then(|(subject, all)| coverage::coverage(&subject, all));
    World {
        now,
        namespace: owner.namespace.clone(),
        name: owner.name.clone(),
        generation: rollout.metadata.generation.unwrap_or_default(),
        deleting: rollout.metadata.deletion_timestamp.is_some(),
        finalizer: rollout.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER),
        plan,
        operation: operation(rollout, raw),
        state: state.clone(),
        claimed_by: claimed_by.clone(),
        service: workload::service(&observed.targets.service, service.as_ref(), labels.as_ref()),
        workload: workload.as_ref().map(|object| workload::workload(object, observed)),
        canary_workload: canary_workload.as_ref().map(|object| canary::workload(&owner, object, canary_pods)),
        canary_service: canary_service.as_ref().map(|object| Owned {
            ours: owner.owns(&object.metadata),
            deleting: object.metadata.deletion_timestamp.is_some(),
        }),
        frozen: revisions.iter().filter(|object| owner.owns(&object.metadata)).filter_map(revision::frozen).collect(),
        coverage: coverage.unwrap_or_default(),
        copies: copies.iter().map(|(of, object)| copied(&owner, of, object.as_ref())).collect(),
        routes: routes.iter().map(|(name, object)| route::route(name, object.as_ref(), proxy)).collect(),
        telemetry: Telemetry::NotAsked,
        probed_at: probe.at,
        no_policy_api: probe.no_policy_api,
        config_maps: config_maps.clone(),
    }
}

fn copied(owner: &Owner, of: &Source, object: Option<&DynamicObject>) -> Copied {
    let state = match object {
        None => CopyState::Missing,
        Some(object) if owner.owns(&object.metadata) => CopyState::Ours,
        Some(_) => CopyState::Foreign,
    };
    Copied { of: of.clone(), state }
}

/// The operation that waits. Where no policy stamps an identity, the generation that it came with is one: any write
/// outside the status raises it, so the same request made again is another one.
fn operation(rollout: &Rollout, raw: &DynamicObject) -> Option<Operation> {
    let operation = rollout.operation.as_ref()?;
    let kind = match operation.type_ {
        OperationType::Promote => OperationKind::Promote,
        OperationType::PromoteFull => OperationKind::PromoteFull,
        OperationType::Abort => OperationKind::Abort,
        OperationType::Pause => OperationKind::Pause,
        OperationType::Resume => OperationKind::Resume,
        OperationType::Retry => OperationKind::Retry,
        OperationType::Undo => OperationKind::Undo,
        OperationType::SkipAnalysis => OperationKind::SkipAnalysis,
    };
    let unstamped = || format!("generation-{}", raw.metadata.generation.unwrap_or_default());
    Some(Operation {
        id: operation.id.clone().unwrap_or_else(unstamped),
        kind,
        revision: operation.revision.clone(),
        by: operation.by.clone().unwrap_or_else(|| "unknown".to_owned()),
        reason: operation.reason.clone(),
    })
}

/// The first condition of a type in a list of conditions.
fn condition<'a>(conditions: Option<&'a Value>, type_: &str) -> Option<&'a Value> {
    conditions?.as_array()?.iter().find(|condition| condition["type"] == type_)
}

#[cfg(test)]
mod tests;
