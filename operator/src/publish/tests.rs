//! When the status is written, and on what condition.

use std::time::Instant;

use serde_json::{Value, json};
use sluice_operator_core::{Decision, Report, State};

use super::{publish, undecodable};
use crate::{
    cluster::ClusterError,
    fixtures::{api_server, observed, refusal},
    observe::Observed,
};

fn decision(message: &str) -> Decision {
    Decision {
        state: State::default(),
        only_evidence_changed: true,
        actions: Vec::new(),
        report: Report { reason: "Serving".to_owned(), message: message.to_owned(), ..Report::default() },
        wake_at: None,
    }
}

fn ok() -> (u16, Value) {
    (200, json!({"metadata": {"name": "podinfo", "resourceVersion": "8"}}))
}

/// A look after the status of `decision` was written.
async fn written(decision: &Decision) -> Observed {
    let mut observed = observed();
    let (cluster, calls) = api_server(vec![ok()]);
    publish(&cluster, &observed, decision, None, None).await.unwrap();
    let status = calls.lock().unwrap()[0].body[1]["value"].clone();
    observed.rollout.status = Some(serde_json::from_value(status.clone()).unwrap());
    observed.raw.data["status"] = status;
    observed
}

#[tokio::test]
async fn the_status_is_written_on_what_was_looked_at() {
    let (cluster, calls) = api_server(vec![ok()]);
    let published = publish(&cluster, &observed(), &decision("a"), None, None).await.unwrap();
    assert_eq!((published.resource_version.as_str(), published.written), ("8", true));
    let call = calls.lock().unwrap()[0].clone();
    assert_eq!(call.line, "PATCH /apis/sluice.dev/v1alpha1/namespaces/shop/rollouts/podinfo/status");
    assert_eq!(call.body[0], json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}));
    assert_eq!((&call.body[1]["path"], &call.body[1]["value"]["message"]), (&json!("/status"), &json!("a")));
}

#[tokio::test]
async fn what_is_said_already_is_not_written() {
    let observed = written(&decision("a")).await;
    let (cluster, _) = api_server(vec![]);
    let published = publish(&cluster, &observed, &decision("a"), None, None).await.unwrap();
    assert_eq!((published.resource_version.as_str(), published.written), ("7", false));
}

#[tokio::test]
async fn evidence_waits_a_little_but_a_headline_and_a_failure_do_not() {
    let observed = written(&decision("10 requests")).await;
    let just_now = Some(Instant::now());
    let (cluster, calls) = api_server(vec![ok(), ok(), ok()]);
    let mut decision = decision("11 requests");
    assert!(!publish(&cluster, &observed, &decision, None, just_now).await.unwrap().written);
    assert!(publish(&cluster, &observed, &decision, None, None).await.unwrap().written);
    decision.report.reason = "MetricFailed".to_owned();
    assert!(publish(&cluster, &observed, &decision, Some("no rights"), just_now).await.unwrap().written);
    let message = calls.lock().unwrap()[1].body[1]["value"]["message"].clone();
    assert_eq!(message, "11 requests (a write failed: no rights)");
    decision.report.reason = "Serving".to_owned();
    decision.only_evidence_changed = false;
    assert!(publish(&cluster, &observed, &decision, None, just_now).await.unwrap().written);
}

#[tokio::test]
async fn a_status_that_comes_too_late_is_a_conflict() {
    let (cluster, _) = api_server(vec![refusal(422, "Invalid", "does not fit")]);
    let result = publish(&cluster, &observed(), &decision("a"), None, None).await;
    assert!(matches!(result, Err(ClusterError::Conflict { .. })));
}

#[tokio::test]
async fn of_a_rollout_that_cannot_be_read_the_memory_is_left_alone_and_it_is_said_once() {
    let mut raw = observed().raw;
    raw.data["status"] = json!({"run": {"state": {"stage": "FromTheFuture"}}});
    let (cluster, calls) = api_server(vec![ok()]);
    undecodable(&cluster, &raw, "unknown stage").await.unwrap();
    let said = calls.lock().unwrap()[0].body["status"].clone();
    assert_eq!((&said["phase"], &said["message"], said.get("run")), (&json!("Invalid"), &json!("unknown stage"), None));
    let stalled = said["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == "Stalled");
    assert_eq!(stalled.unwrap()["status"], "True");
    raw.data["status"] = said;
    undecodable(&cluster, &raw, "unknown stage").await.unwrap();
    assert_eq!(calls.lock().unwrap().len(), 1);
}
