//! The course of a run as it was seen from outside.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use sluice_crds::{RolloutStatus, names};
use sluice_e2e::{app::App, wait::Steadily};

/// A transition is a change of this.
pub(crate) fn stand(status: &RolloutStatus) -> (String, Option<String>) {
    (status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default(), status.step.clone())
}

/// UIDs of all canaries that ever were, until it is dropped.
pub(crate) struct Canaries {
    seen: Arc<Mutex<BTreeSet<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Canaries {
    pub(crate) fn watch(app: &App) -> Self {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let (told, name) = (Arc::clone(&seen), format!("{}{}", app.name, names::CANARY_SUFFIX));
        let deployments = app.deployments();
        let task = tokio::spawn(async move {
            let watch = watcher(deployments, watcher::Config::default()).backoff(Steadily).applied_objects();
            let mut watch = std::pin::pin!(watch);
            while let Some(event) = watch.next().await {
                let Ok(canary): Result<Deployment, _> = event else { continue };
                if canary.name_any() == name
                    && let Some(uid) = canary.uid()
                {
                    told.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
                }
            }
        });
        Self { seen, task }
    }

    /// How many there were.
    pub(crate) fn made(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        self.task.abort();
    }
}
