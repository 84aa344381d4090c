//! The temporary Deployment and what keeps its pods from being ready.

use kube::api::DynamicObject;
use serde_json::Value;
use sluice_operator_core::world::CanaryWorkload;

use super::workload::observed;
use crate::objects::{ANNOTATION_REVISION, Owner, at, int};

/// Reasons of a waiting container that it does not get over by itself soon.
const WAITING: [&str; 6] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
];

/// The temporary Deployment as the core sees it.
pub(crate) fn workload(owner: &Owner, object: &DynamicObject, pods: &[DynamicObject]) -> CanaryWorkload {
    let meta = &object.metadata;
    let revision = meta.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION_REVISION));
    CanaryWorkload {
        ours: owner.owns(meta),
        revision: revision.cloned().unwrap_or_default(),
        observed: observed(object),
        wanted: int(object, "/spec/replicas").unwrap_or(1) as i32,
        available: available(object),
        trouble: not_created(object).or_else(|| pods.iter().find_map(trouble)),
        deleting: meta.deletion_timestamp.is_some(),
    }
}

/// Available replicas of the current template: of those available, the ones of an older template may be all.
pub(crate) fn available(object: &DynamicObject) -> i32 {
    let count = |field: &str| int(object, &format!("/status/{field}")).unwrap_or(0);
    let outdated = count("replicas") - count("updatedReplicas");
    (count("availableReplicas") - outdated).max(0) as i32
}

/// Why pods of a Deployment or ReplicaSet cannot even be created: a quota, a policy.
pub(crate) fn not_created(object: &DynamicObject) -> Option<String> {
    let condition = super::condition(at(object, "/status/conditions"), "ReplicaFailure")?;
    let text = |field: &str| condition[field].as_str();
    let message = text("message").unwrap_or("no message");
    (condition["status"] == "True").then(|| format!("{}: {message}", text("reason").unwrap_or("FailedCreate")))
}

/// Why a pod is not ready, if a reason is known.
pub(crate) fn trouble(pod: &DynamicObject) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let list = |path: &str| at(pod, path).and_then(Value::as_array).into_iter().flatten();
    for container in list("/status/initContainerStatuses").chain(list("/status/containerStatuses")) {
        let waiting = container.pointer("/state/waiting");
        let Some(reason) = waiting.and_then(|waiting| waiting["reason"].as_str()) else { continue };
        if WAITING.contains(&reason) {
            let detail = waiting.and_then(|waiting| waiting["message"].as_str()).unwrap_or("no message");
            return Some(format!("{reason}: pod {name}: {detail}"));
        }
    }
    let unschedulable = |condition: &&Value| {
        condition["type"] == "PodScheduled" && condition["status"] == "False" && condition["reason"] == "Unschedulable"
    };
    let condition = list("/status/conditions").find(unschedulable)?;
    Some(format!("Unschedulable: pod {name}: {}", condition["message"].as_str().unwrap_or("no message")))
}
