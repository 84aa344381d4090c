//! What a look has to say: status, Events, log and metrics, all from the same report.

mod status;

use std::time::{Duration, Instant};

use kube::{
    Resource,
    api::DynamicObject,
    runtime::events::{Event, EventType, Recorder},
};
use serde_json::{Value, json};
use sluice_crds::names;
use sluice_operator_core::{Decision, Report, State, World};

use crate::{
    cluster::{At, Cluster, ClusterError, Kind},
    metrics::Metrics,
    observe::Observed,
};

/// How often evidence alone is written.
const EVIDENCE_INTERVAL: Duration = Duration::from_secs(5);
/// How long an Event may hold up the next look.
const EVENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Characters of an Event's note: the API takes 1024 bytes, and a character has at most four.
const NOTE_MAX: usize = 256;

/// What became of the status.
pub(crate) struct Published {
    /// The Rollout's resourceVersion now.
    pub resource_version: String,
    /// It was written.
    pub written: bool,
}

/// Writes the status, if it says anything new.
///
/// `evidence_written` is when evidence was written last; `failure` what a write of the last look failed with.
pub(crate) async fn publish(
    cluster: &Cluster,
    observed: &Observed,
    decision: &Decision,
    failure: Option<&str>,
    evidence_written: Option<Instant>,
) -> Result<Published, ClusterError> {
    let meta = &observed.raw.metadata;
    let read_at = meta.resource_version.clone().unwrap_or_default();
    let wanted = wanted(observed, decision, failure);
    let current = observed.raw.data.get("status").cloned().unwrap_or_default();
    let evidence_is_recent = evidence_written.is_some_and(|at| at.elapsed() < EVIDENCE_INTERVAL);
    let may_wait = decision.only_evidence_changed && decision.report.events.is_empty() && evidence_is_recent;
    if wanted == current || (may_wait && status::headline(&wanted) == status::headline(&current)) {
        return Ok(Published { resource_version: read_at, written: false });
    }
    let at = At {
        kind: Kind::Rollout,
        namespace: meta.namespace.as_deref().unwrap_or_default(),
        name: meta.name.as_deref().unwrap_or_default(),
    };
    let operations = vec![
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": read_at}),
        json!({"op": "add", "path": "/status", "value": wanted}),
    ];
    let written = cluster.json_patch(at, Some("status"), operations).await?;
    Ok(Published { resource_version: written.metadata.resource_version.unwrap_or_default(), written: true })
}

/// The status as it is to be.
fn wanted(observed: &Observed, decision: &Decision, failure: Option<&str>) -> Value {
    let generation = observed.rollout.metadata.generation.unwrap_or_default();
    let previous = observed.rollout.status.as_ref();
    let mut report = decision.report.clone();
    if let Some(failure) = failure {
        report.message = format!("{} (a write failed: {failure})", report.message);
    }
    let status = status::status(&report, &decision.state, generation, previous, jiff::Timestamp::now());
    serde_json::to_value(status).unwrap_or_default()
}

/// Says of a Rollout that cannot be read that it cannot. Its memory stays as it is: a version that can read it goes on.
pub(crate) async fn undecodable(cluster: &Cluster, raw: &DynamicObject, message: &str) -> Result<(), ClusterError> {
    let meta = &raw.metadata;
    let current = raw.data.get("status").cloned().unwrap_or_default();
    let conditions = status::invalid_conditions(&current, meta.generation.unwrap_or_default(), message);
    let patch = json!({
        "metadata": {"resourceVersion": meta.resource_version},
        "status": {
            "phase": "Invalid",
            "reason": status::UNDECODABLE,
            "message": message,
            "next": null,
            "observedGeneration": meta.generation,
            "conditions": conditions,
        },
    });
    let is_said = patch["status"].as_object().into_iter().flatten().all(|(field, value)| current[field] == *value);
    if is_said {
        return Ok(());
    }
    let at = At {
        kind: Kind::Rollout,
        namespace: meta.namespace.as_deref().unwrap_or_default(),
        name: meta.name.as_deref().unwrap_or_default(),
    };
    cluster.merge_patch(at, Some("status"), &patch, false).await.map(drop)
}

/// The numbers of a look.
pub(crate) fn count(metrics: &Metrics, observed: &Observed, world: &World, decision: &Decision, written: bool) {
    metrics.report(world, &observed.targets, decision);
    let newest = |state: &State| state.history.first().map(|ended| (ended.started_at, ended.ended_at));
    let ended = decision.state.history.first();
    if let Some(ended) = ended.filter(|_| written && newest(&decision.state) != newest(&observed.state)) {
        let took = Duration::from_millis(u64::try_from(ended.ended_at - ended.started_at).unwrap_or_default());
        metrics.outcome((&world.namespace, &world.name), &ended.outcome, &ended.reason, took);
    }
}

/// One Event on the Rollout and on its workload, and one line in the log, for each transition.
pub(crate) async fn announce(recorder: &Recorder, observed: &Observed, report: &Report) {
    let meta = &observed.rollout.metadata;
    let rollout =
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    for (is_warning, reason, message) in &report.events {
        let phase = crate::metrics::phase_name(report.phase);
        if *is_warning {
            tracing::warn!(rollout, phase, reason, "{message}");
        } else {
            tracing::info!(rollout, phase, reason, "{message}");
        }
        let event = Event {
            type_: if *is_warning { EventType::Warning } else { EventType::Normal },
            reason: reason.clone(),
            note: Some(message.chars().take(NOTE_MAX).collect()),
            action: phase,
            secondary: None,
        };
        send(recorder, &event, observed).await;
    }
}

async fn send(recorder: &Recorder, event: &Event, observed: &Observed) {
    let workload = observed.seen.workload.as_ref();
    let on = [
        Some(observed.raw.object_ref(&Kind::Rollout.resource())),
        workload.map(|workload| workload.object_ref(&Kind::Deployment.resource())),
    ];
    for reference in on.iter().flatten() {
        match tokio::time::timeout(EVENT_TIMEOUT, recorder.publish(event, reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, reason = event.reason, "an Event was not accepted"),
            Err(_) => tracing::warn!(reason = event.reason, "an Event was not accepted in time"),
        }
    }
}

/// The condition types, in the order in which they are shown.
pub(crate) const CONDITIONS: [&str; 6] = [
    names::CONDITION_READY,
    names::CONDITION_RECONCILING,
    names::CONDITION_STALLED,
    names::CONDITION_ADOPTED,
    names::CONDITION_PROMOTED,
    names::CONDITION_CONFIG_CHANGED,
];

#[cfg(test)]
mod tests;
