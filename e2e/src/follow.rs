//! Follows a Rollout and its route by watches, and keeps every state with the time at which it was seen.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use kube::{
    Api,
    api::DynamicObject,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use serde_json::Value;
use sluice_crds::{Phase, Rollout, RolloutStatus};
use tokio::{sync::watch, task::JoinHandle};

use crate::{manifest::text, wait::Steadily};

/// A state of the Rollout.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When it was seen.
    pub at: Instant,
    /// What was seen; None when the object does not exist.
    pub status: Option<RolloutStatus>,
}

/// Weights of a route's first rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// When they were seen.
    pub at: Instant,
    /// Name of the backend and its weight, in the route's order.
    pub backends: Vec<(String, u64)>,
}

impl Weights {
    /// The part of the traffic that goes to this backend, as the route says.
    pub fn share(&self, backend: &str) -> f64 {
        let total: u64 = self.backends.iter().map(|(_, weight)| weight).sum();
        let own: u64 = self.backends.iter().filter(|(name, _)| name == backend).map(|(_, weight)| weight).sum();
        if total == 0 { 0.0 } else { own as f64 / total as f64 }
    }
}

/// Follows until it is dropped.
#[derive(Debug)]
pub struct Follow {
    latest: watch::Receiver<Option<RolloutStatus>>,
    moments: Arc<Mutex<Vec<Moment>>>,
    weights: Arc<Mutex<Vec<Weights>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Follow {
    /// Follows this Rollout and this HTTPRoute.
    pub fn start(rollouts: Api<Rollout>, routes: Api<DynamicObject>, name: &str, route: &str) -> Self {
        let (sender, latest) = watch::channel(None);
        let moments = Arc::new(Mutex::new(Vec::new()));
        let weights = Arc::new(Mutex::new(Vec::new()));
        let tasks = [
            tokio::spawn(follow_rollout(rollouts, name.to_owned(), sender, Arc::clone(&moments))),
            tokio::spawn(follow_route(routes, route.to_owned(), Arc::clone(&weights))),
        ];
        Self { latest, moments, weights, tasks }
    }

    /// The latest status; the default when there is none.
    pub fn status(&self) -> RolloutStatus {
        self.latest.borrow().clone().unwrap_or_default()
    }

    /// Every status that was seen.
    pub fn moments(&self) -> Vec<Moment> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every change of the route's weights that was seen.
    pub fn weights(&self) -> Vec<Weights> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the status is as wanted.
    pub async fn until(
        &self,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&RolloutStatus) -> bool,
    ) -> Result<RolloutStatus> {
        let mut latest = self.latest.clone();
        let found =
            tokio::time::timeout(deadline, latest.wait_for(|status| status.as_ref().is_some_and(&mut wanted))).await;
        match found {
            Ok(found) => Ok(found.context("the watch ended")?.clone().unwrap_or_default()),
            Err(_) => bail!("{what}: not within {} s; last seen: {}", deadline.as_secs(), say(&self.status())),
        }
    }

    /// Waits until a step with this weight is live, such as `20%`.
    pub async fn until_live(&self, weight: &str, deadline: Duration) -> Result<RolloutStatus> {
        self.until(&format!("{weight} live"), deadline, |status| {
            status.phase == Some(Phase::Stepping) && status.weight.as_deref() == Some(weight)
        })
        .await
    }

    /// Waits for a phase.
    pub async fn until_phase(&self, phase: Phase, deadline: Duration) -> Result<RolloutStatus> {
        self.until(&format!("phase {phase:?}"), deadline, |status| status.phase == Some(phase)).await
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Phase, step, weight and reason in one line.
pub fn say(status: &RolloutStatus) -> String {
    let phase = status.phase.map_or_else(|| "no status".to_owned(), |phase| format!("{phase:?}"));
    let mut out = phase;
    for part in [&status.step, &status.weight, &status.reason, &status.message].into_iter().flatten() {
        out.push(' ');
        out.push_str(part);
    }
    out
}

/// A condition is there and has this value.
pub fn has_condition(status: &RolloutStatus, name: &str, value: &str) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == name && condition.status == value)
}

async fn follow_rollout(
    api: Api<Rollout>,
    name: String,
    latest: watch::Sender<Option<RolloutStatus>>,
    moments: Arc<Mutex<Vec<Moment>>>,
) {
    let mut stream = std::pin::pin!(watch_object(api, &name).backoff(Steadily));
    while let Some(event) = stream.next().await {
        // The watcher itself reconnects; what was missed shows in the next state.
        let Ok(rollout) = event else { continue };
        let status = rollout.and_then(|rollout| rollout.status);
        let mut moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
        moments.push(Moment { at: Instant::now(), status: status.clone() });
        drop(moments);
        latest.send_replace(status);
    }
}

async fn follow_route(api: Api<DynamicObject>, name: String, weights: Arc<Mutex<Vec<Weights>>>) {
    let mut stream = std::pin::pin!(watch_object(api, &name).backoff(Steadily));
    while let Some(event) = stream.next().await {
        let Ok(Some(route)) = event else { continue };
        let backends = backends(&route.data);
        let mut weights = weights.lock().unwrap_or_else(PoisonError::into_inner);
        if weights.last().is_none_or(|last| last.backends != backends) {
            weights.push(Weights { at: Instant::now(), backends });
        }
    }
}

fn backends(route: &Value) -> Vec<(String, u64)> {
    let references = route.pointer("/spec/rules/0/backendRefs").and_then(Value::as_array);
    let pair = |reference: &Value| {
        // An absent weight is 1.
        (text(reference, "/name").to_owned(), reference.get("weight").and_then(Value::as_u64).unwrap_or(1))
    };
    references.into_iter().flatten().map(pair).collect()
}
