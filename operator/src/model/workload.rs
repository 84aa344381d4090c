//! The workload, its ReplicaSets and its Service.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::Value;
use sluice_crds::names::LABEL_ROLLOUT;
use sluice_operator_core::{
    state::Stable,
    world::{ReplicaSet, Workload},
};

use super::hash;
use crate::objects::{at, int, relabel::Relabel, strings};

/// The labels of its pods.
pub(crate) fn template_labels(workload: &DynamicObject) -> BTreeMap<String, String> {
    strings(at(workload, "/spec/template/metadata/labels"))
}

/// The workload as the core sees it.
pub(crate) fn workload(
    object: &DynamicObject,
    service: Option<&DynamicObject>,
    (replica_sets, stable): (&[DynamicObject], Option<&Stable>),
    held_back: Option<bool>,
) -> Workload {
    let template = at(object, "/spec/template").cloned().unwrap_or_default();
    let revision = hash::revision(&template);
    Workload {
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
        observed: observed(object),
        label: object.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_ROLLOUT)).cloned(),
        paused: at(object, "/spec/paused").and_then(Value::as_bool).unwrap_or(false),
        replicas: int(object, "/spec/replicas").unwrap_or(1) as i32,
        replica_sets: own_replica_sets(object, &revision, stable, replica_sets),
        images: images(&template),
        stable_template: stable.and_then(|stable| stable_template(object, stable, replica_sets)),
        unsupported: unsupported(object, service),
        revision,
        template,
        held_back,
    }
}

/// Its controller has seen what is declared now.
pub(crate) fn observed(object: &DynamicObject) -> bool {
    int(object, "/status/observedGeneration").unwrap_or(0) >= object.metadata.generation.unwrap_or(0)
}

fn own_replica_sets(
    workload: &DynamicObject,
    declared: &str,
    stable: Option<&Stable>,
    replica_sets: &[DynamicObject],
) -> Vec<ReplicaSet> {
    // Scaled to zero stable's still is what comes back when the workload is scaled up under a pause.
    let is_stable = |set: &ReplicaSet| stable.is_some_and(|stable| stable.uid == set.uid);
    let counts = |set: &ReplicaSet| set.wanted > 0 || set.replicas > 0 || set.revision == declared || is_stable(set);
    replica_sets.iter().filter(|set| is_own(workload, set)).map(replica_set).filter(counts).collect()
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

fn replica_set(object: &DynamicObject) -> ReplicaSet {
    let count = |path: &str| int(object, path).unwrap_or(0) as i32;
    ReplicaSet {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        revision: at(object, "/spec/template").map(hash::revision).unwrap_or_default(),
        wanted: int(object, "/spec/replicas").unwrap_or(1) as i32,
        replicas: count("/status/replicas"),
        available: count("/status/availableReplicas"),
    }
}

fn images(template: &Value) -> Vec<String> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    containers.into_iter().flatten().filter_map(|c| c["image"].as_str().map(str::to_owned)).collect()
}

/// What would not bear a second set of pods beside the first, and why.
fn unsupported(workload: &DynamicObject, service: Option<&DynamicObject>) -> Option<String> {
    if at(workload, "/spec/strategy/type").and_then(Value::as_str) == Some("Recreate") {
        return Some(
            "spec.strategy.type of the workload is Recreate: a promotion would stop every pod at once; use RollingUpdate"
                .to_owned(),
        );
    }
    let pod = at(workload, "/spec/template/spec")?;
    let list = |path: &str| pod.pointer(path).and_then(Value::as_array).into_iter().flatten();
    if pod["hostNetwork"] == true {
        return Some("hostNetwork: the canary's pods could not bind the ports of stable's on the same node".to_owned());
    }
    for container in list("/containers").chain(list("/initContainers")) {
        if container["ports"].as_array().is_some_and(|ports| ports.iter().any(|port| port["hostPort"].is_u64())) {
            let name = container["name"].as_str().unwrap_or_default();
            return Some(format!("container {name:?} has a hostPort, which only one pod of a node can bind"));
        }
    }
    for volume in list("/volumes") {
        if let Some(claim) = volume.pointer("/persistentVolumeClaim/claimName").and_then(Value::as_str) {
            return Some(format!(
                "the pods share the persistentVolumeClaim {claim:?}, which stable and canary would write at once"
            ));
        }
    }
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
