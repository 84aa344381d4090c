//! The workload, its ReplicaSets and its Service.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::Value;
use sluice_crds::names::LABEL_ROLLOUT;
use sluice_operator_core::{
    state::Stable,
    world::{ReplicaSet, Workload},
};

use super::{bearing, canary, hash};
use crate::{
    objects::{at, int, relabel::Relabel, strings},
    observe::Observed,
};

/// The labels of its pods.
pub(crate) fn template_labels(workload: &DynamicObject) -> BTreeMap<String, String> {
    strings(at(workload, "/spec/template/metadata/labels"))
}

/// The workload as the core sees it.
pub(crate) fn workload(object: &DynamicObject, observed: &Observed) -> Workload {
    let Observed { rollout, seen, probe, .. } = observed;
    let canary = &rollout.spec.strategy.canary;
    let template = at(object, "/spec/template").cloned().unwrap_or_default();
    let revision = hash::revision(&template);
    let refused = bearing::refused(object, &seen.claims, canary);
    Workload {
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
        observed: self::observed(object),
        label: object.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_ROLLOUT)).cloned(),
        paused: at(object, "/spec/paused").and_then(Value::as_bool).unwrap_or(false),
        replicas: int(object, "/spec/replicas").unwrap_or(1) as i32,
        replica_sets: own_replica_sets(object, &revision, observed),
        plain: hash::plain(&template, &canary.ignore_template_annotations),
        images: images(&template),
        stable_template: observed
            .state
            .stable
            .as_ref()
            .and_then(|stable| stable_template(object, stable, &seen.replica_sets)),
        unsupported: refused.or_else(|| unsupported(object, seen.service.as_ref())),
        revision,
        template,
        held_back: probe.held_back,
    }
}

/// Its controller has seen what is declared now.
pub(crate) fn observed(object: &DynamicObject) -> bool {
    int(object, "/status/observedGeneration").unwrap_or(0) >= object.metadata.generation.unwrap_or(0)
}

fn is_own(workload: &DynamicObject, set: &DynamicObject) -> bool {
    let uid = workload.metadata.uid.as_deref();
    let mut owners = set.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
}

/// The pod template of stable's ReplicaSet as a person would declare it. None where it is not what was pinned, so that
/// nothing else is ever written back.
fn stable_template(workload: &DynamicObject, stable: &Stable, replica_sets: &[DynamicObject]) -> Option<Value> {
    let is_pinned = |set: &&DynamicObject| set.metadata.uid.as_ref() == Some(&stable.uid) && is_own(workload, set);
    let mut template = at(replica_sets.iter().find(is_pinned)?, "/spec/template")?.clone();
    hash::strip_controller_label(&mut template);
    (hash::revision(&template) == stable.revision).then_some(template)
}

fn own_replica_sets(workload: &DynamicObject, declared: &str, observed: &Observed) -> Vec<ReplicaSet> {
    let Observed { rollout, state, seen, .. } = observed;
    let ignored = &rollout.spec.strategy.canary.ignore_template_annotations;
    let is_named = |set: &ReplicaSet| {
        set.revision == declared
            || state.stable.as_ref().is_some_and(|stable| stable.uid == set.uid)
            || state.run.as_ref().is_some_and(|run| run.revision == set.revision)
    };
    let counts = |set: &ReplicaSet| set.wanted > 0 || set.replicas > 0 || is_named(set);
    let sets = seen.replica_sets.iter().filter(|set| is_own(workload, set));
    sets.map(|set| replica_set(set, ignored, &seen.workload_pods)).filter(counts).collect()
}

fn replica_set(object: &DynamicObject, ignored: &[String], pods: &[DynamicObject]) -> ReplicaSet {
    let count = |path: &str| int(object, path).unwrap_or(0) as i32;
    let template = at(object, "/spec/template");
    let mut without = template.cloned().unwrap_or_default();
    hash::strip_controller_label(&mut without);
    ReplicaSet {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
        revision: template.map(hash::revision).unwrap_or_default(),
        plain: hash::plain(&without, ignored),
        trouble: trouble(object, pods),
        wanted: int(object, "/spec/replicas").unwrap_or(1) as i32,
        replicas: count("/status/replicas"),
        available: count("/status/availableReplicas"),
    }
}

/// Why pods of a ReplicaSet are not there, or not ready.
fn trouble(set: &DynamicObject, pods: &[DynamicObject]) -> Option<String> {
    let is_own = |pod: &&DynamicObject| {
        let mut owners = pod.metadata.owner_references.iter().flatten();
        owners.any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
    };
    canary::not_created(set).or_else(|| pods.iter().filter(is_own).find_map(canary::trouble))
}

fn images(template: &Value) -> Vec<String> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    containers.into_iter().flatten().filter_map(|c| c["image"].as_str().map(str::to_owned)).collect()
}

/// What would not bear a second set of pods beside the first, and why.
fn unsupported(workload: &DynamicObject, service: Option<&DynamicObject>) -> Option<String> {
    let selectors =
        (strings(at(workload, "/spec/selector/matchLabels")), service.map(|s| strings(at(s, "/spec/selector"))));
    // A missing or empty Service is reported as such.
    let (labels, Some(service)) = selectors else { return None };
    if service.is_empty() {
        return None;
    }
    Relabel::choices(&labels, &service).err().map(|error| error.to_string())
}

/// The Service exists and selects the workload's pods; otherwise what is wrong.
pub(crate) fn service(
    name: &str,
    service: Option<&DynamicObject>,
    pods: Option<&BTreeMap<String, String>>,
) -> Result<(), String> {
    let service =
        service.ok_or_else(|| format!("there is no Service {name:?}: make it, or name another in spec.service"))?;
    let selector = strings(at(service, "/spec/selector"));
    if selector.is_empty() {
        return Err(format!("Service {name:?} has no selector, so its canary would have no pods to lead to"));
    }
    // Without a workload there is nothing to compare with, and its absence is reported first.
    let Some(pods) = pods else { return Ok(()) };
    match selector.iter().find(|(key, value)| pods.get(*key) != Some(value)) {
        Some((key, value)) => {
            Err(format!("Service {name:?} selects {key}={value}, which the workload's pods do not carry"))
        }
        None => Ok(()),
    }
}
