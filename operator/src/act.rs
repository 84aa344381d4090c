//! Carries out the actions of a decision, in order, stopping at the first that fails.
//!
//! Every write names what it relies on: the resourceVersion that was looked at, the UID of the object that is ours, or the
//! value that it replaces. One that comes too late changes nothing, and the next look decides anew.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DynamicObject, PropagationPolicy};
use serde_json::{Value, json};
use sluice_crds::names::{FINALIZER, LABEL_ROLLOUT};
use sluice_operator_core::{Action, world::Frozen};
use thiserror::Error;

use crate::{
    cluster::{At, Cluster, ClusterError, Kind},
    model::{self, route::is_ours},
    objects::{
        Owner, at,
        canary_service::canary_service,
        canary_workload::canary_workload,
        relabel::{Relabel, RelabelError},
        revision, strings,
    },
    observe::Observed,
};

/// Why an action failed.
#[derive(Debug, Error)]
pub(crate) enum ActError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// An object of a name that we use is not ours.
    #[error("{what} exists and does not belong to this Rollout: rename or delete it")]
    Foreign {
        /// Kind and name.
        what: String,
    },
    /// What is to be copied is not there.
    #[error("{what} is gone, so its canary cannot be made from it")]
    Gone {
        /// Kind and name.
        what: String,
    },
    /// The canary could not be told from stable.
    #[error(transparent)]
    Relabel(#[from] RelabelError),
}

/// What the actions of one look rely on.
pub(crate) struct Hands<'a> {
    /// The API server.
    pub cluster: &'a Cluster,
    /// What was looked at.
    pub observed: &'a Observed,
    /// The Rollout's resourceVersion after the status was written.
    pub resource_version: &'a str,
}

impl Hands<'_> {
    /// Carries the actions out.
    pub(crate) async fn act(&self, actions: &[Action]) -> Result<(), ActError> {
        for action in actions {
            self.one(action).await?;
        }
        Ok(())
    }

    async fn one(&self, action: &Action) -> Result<(), ActError> {
        let name = &self.observed.targets.workload;
        match action {
            Action::AddFinalizer => self.add_finalizer().await,
            Action::RemoveFinalizer => self.remove_finalizer().await,
            Action::ConsumeOperation { id } => self.consume_operation(id).await,
            Action::LabelWorkload { adopt, resource_version } => self.label(name, *adopt, resource_version).await,
            // The next look asks before it decides, because the memory that was just written says that it is time.
            Action::ProbePolicy => Ok(()),
            Action::SetPaused { paused, resource_version } => {
                let pause = json!({"op": "add", "path": "/spec/paused", "value": paused});
                self.patch(Kind::Deployment, name, guarded(resource_version, pause)).await
            }
            Action::RestoreTemplate { revision: _, template, resource_version } => {
                let write = json!({"op": "replace", "path": "/spec/template", "value": template});
                self.patch(Kind::Deployment, name, guarded(resource_version, write)).await
            }
            Action::ScaleReplicaSet { name, uid, resource_version, replicas } => {
                let metadata = json!({"uid": uid, "resourceVersion": resource_version});
                let scale = json!({"metadata": metadata, "spec": {"replicas": replicas}});
                self.cluster.merge_patch(self.at(Kind::ReplicaSet, name), Some("scale"), &scale, false).await?;
                Ok(())
            }
            Action::DeleteReplicaSet { name, uid, resource_version } => {
                let at = self.at(Kind::ReplicaSet, name);
                Ok(self.cluster.delete(at, (uid, resource_version), PropagationPolicy::Background).await?)
            }
            Action::Freeze { revision, template, plan, base, cover } => {
                let frozen = Frozen {
                    revision: revision.clone(),
                    template: template.clone(),
                    plan: plan.clone(),
                    base: base.clone(),
                    cover: cover.clone(),
                };
                self.freeze(&frozen).await
            }
            Action::PruneRevisions { keep } => self.prune(keep).await,
            Action::ApplyCanaryWorkload { revision, template, replicas } => {
                self.apply_canary_workload((revision, template), *replicas).await
            }
            Action::ApplyCanaryService => self.apply_canary_service().await,
            Action::ApplyCopies { revision: _, copies } => self.make_copies(copies).await,
            Action::DeleteCopies { copies } => self.delete_copies(copies).await,
            Action::WriteRoute { route, rules, resource_version } => {
                let write = json!({"op": "add", "path": "/spec/rules", "value": rules});
                self.patch(Kind::HttpRoute, route, guarded(resource_version, write)).await
            }
            Action::ReleaseRoute { route, resource_version } => self.release_route(route, resource_version).await,
            Action::DeleteCanaryService => {
                let service = self.observed.seen.canary_service.as_ref();
                // With its EndpointSlices: the next canary's Service of this name must not meet them.
                self.delete(Kind::Service, service, PropagationPolicy::Foreground).await
            }
            Action::DeleteCanaryWorkload => {
                // Foreground: the object stays until its pods are gone, so that their end can be seen.
                let workload = self.observed.seen.canary_workload.as_ref();
                self.delete(Kind::Deployment, workload, PropagationPolicy::Foreground).await
            }
        }
    }

    fn owner(&self) -> Owner {
        model::owner(&self.observed.rollout)
    }

    fn at<'a>(&'a self, kind: Kind, name: &'a str) -> At<'a> {
        At { kind, namespace: self.observed.raw.metadata.namespace.as_deref().unwrap_or_default(), name }
    }

    async fn patch(&self, kind: Kind, name: &str, operations: Vec<Value>) -> Result<(), ActError> {
        self.cluster.json_patch(self.at(kind, name), None, operations).await?;
        Ok(())
    }

    async fn patch_rollout(&self, operations: Vec<Value>) -> Result<(), ActError> {
        self.patch(Kind::Rollout, &self.owner().name, operations).await
    }

    async fn add_finalizer(&self) -> Result<(), ActError> {
        let add = match self.observed.raw.metadata.finalizers.as_deref() {
            None | Some([]) => json!({"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}),
            Some(_) => json!({"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER}),
        };
        self.patch_rollout(guarded(self.resource_version, add)).await
    }

    async fn remove_finalizer(&self) -> Result<(), ActError> {
        let mut finalizers = self.observed.raw.metadata.finalizers.iter().flatten();
        let Some(index) = finalizers.position(|finalizer| finalizer == FINALIZER) else { return Ok(()) };
        let path = format!("/metadata/finalizers/{index}");
        self.patch_rollout(vec![
            // Not the finalizer of one that was made anew under this name.
            json!({"op": "test", "path": "/metadata/uid", "value": self.observed.raw.metadata.uid}),
            json!({"op": "test", "path": path, "value": FINALIZER}),
            json!({"op": "remove", "path": path}),
        ])
        .await
    }

    /// Not guarded by the resourceVersion: an edit of the spec in between must not keep an operation that was carried out.
    async fn consume_operation(&self, id: &str) -> Result<(), ActError> {
        let raw = self.observed.raw.data.get("operation").filter(|operation| !operation.is_null());
        let Some(raw) = raw else { return Ok(()) };
        let test = if raw["id"] == id {
            json!({"op": "test", "path": "/operation/id", "value": id})
        } else {
            // No policy stamped an identity, so the whole of it is.
            json!({"op": "test", "path": "/operation", "value": raw})
        };
        self.patch_rollout(vec![test, json!({"op": "remove", "path": "/operation"})]).await
    }

    async fn label(&self, name: &str, adopt: bool, resource_version: &str) -> Result<(), ActError> {
        let labels = self.observed.seen.workload.as_ref().and_then(|workload| workload.metadata.labels.as_ref());
        let path = format!("/metadata/labels/{}", LABEL_ROLLOUT.replace('/', "~1"));
        let rollout = self.owner().name;
        let operation = match (adopt, labels) {
            (true, None) => json!({"op": "add", "path": "/metadata/labels", "value": {LABEL_ROLLOUT: rollout}}),
            (true, Some(_)) => json!({"op": "add", "path": path, "value": rollout}),
            (false, Some(labels)) if labels.contains_key(LABEL_ROLLOUT) => json!({"op": "remove", "path": path}),
            (false, _) => return Ok(()),
        };
        self.patch(Kind::Deployment, name, guarded(resource_version, operation)).await
    }

    async fn freeze(&self, frozen: &Frozen) -> Result<(), ActError> {
        let object = revision::revision(&self.owner(), frozen);
        let name = object.metadata.name.clone().unwrap_or_default();
        let made = self.cluster.create(self.at(Kind::ControllerRevision, &name), &object).await;
        let Err(ClusterError::Conflict { .. }) = made else {
            made?;
            return Ok(());
        };
        let there = self.cluster.get(self.at(Kind::ControllerRevision, &name)).await?;
        match there {
            Some(there) if !self.owner().owns(&there.metadata) => {
                Err(ActError::Foreign { what: format!("ControllerRevision {name}") })
            }
            Some(there) if revision::frozen(&there).as_ref() == Some(frozen) => Ok(()),
            // Its data cannot be changed. One of ours with other data is of an earlier run of the same template.
            Some(there) => {
                self.delete(Kind::ControllerRevision, Some(&there), PropagationPolicy::Background).await?;
                made?;
                Ok(())
            }
            None => made.map(drop).map_err(ActError::from),
        }
    }

    /// Writes managedFields without our entry. The API server takes a list that is written as it is, an empty one apart,
    /// which it takes for none; one empty entry stands for nobody.
    async fn release_route(&self, name: &str, resource_version: &str) -> Result<(), ActError> {
        let seen = self.observed.seen.routes.iter().find(|(known, _)| known == name);
        let Some(route) = seen.and_then(|(_, route)| route.as_ref()) else { return Ok(()) };
        let others = route.metadata.managed_fields.iter().flatten().filter(|entry| !is_ours(entry));
        let mut others: Vec<ManagedFieldsEntry> = others.cloned().collect();
        if others.is_empty() {
            others.push(ManagedFieldsEntry::default());
        }
        let write = json!({"op": "replace", "path": "/metadata/managedFields", "value": others});
        self.patch(Kind::HttpRoute, name, guarded(resource_version, write)).await
    }

    async fn prune(&self, keep: &[String]) -> Result<(), ActError> {
        for object in &self.observed.seen.revisions {
            let is_kept = revision::frozen(object).is_some_and(|frozen| keep.contains(&frozen.revision));
            if !is_kept {
                self.delete(Kind::ControllerRevision, Some(object), PropagationPolicy::Background).await?;
            }
        }
        Ok(())
    }

    async fn apply_canary_workload(&self, frozen: (&str, &Value), replicas: i32) -> Result<(), ActError> {
        let seen = &self.observed.seen;
        let name = &self.observed.targets.canary_workload;
        let there = seen.canary_workload.as_ref();
        let ours = there.filter(|there| self.owner().owns(&there.metadata));
        match (self.relabel(), &seen.workload, ours) {
            (Ok(relabel), Some(workload), _) => {
                let object = canary_workload(&self.owner(), name, workload, &relabel, frozen, replicas);
                self.put_canary_workload(name, there, object).await
            }
            // What it was made from is gone in the middle of a run: it can still be scaled.
            (_, _, Some(ours)) => {
                let scale = json!({"op": "add", "path": "/spec/replicas", "value": replicas});
                self.patch(Kind::Deployment, name, guarded(version(ours), scale)).await
            }
            (Err(error), _, None) => Err(error),
            (Ok(_), None, None) => Err(self.gone("Deployment", &self.observed.targets.workload)),
        }
    }

    /// Made, never changed: one that is there by now is a conflict, and is looked at anew.
    async fn apply_canary_service(&self) -> Result<(), ActError> {
        let targets = &self.observed.targets;
        let stable = self.observed.seen.service.as_ref().ok_or_else(|| self.gone("Service", &targets.service))?;
        let object = canary_service(&self.owner(), &targets.canary_service, stable, &self.relabel()?);
        self.cluster.create(self.at(Kind::Service, &targets.canary_service), &object).await?;
        Ok(())
    }

    /// The frozen revision of the run.
    fn frozen(&self) -> Option<Frozen> {
        let run = self.observed.state.run.as_ref()?;
        let frozen = self.observed.seen.revisions.iter().filter_map(revision::frozen);
        frozen.into_iter().find(|frozen| frozen.revision == run.revision)
    }

    /// The labels that tell the canary from stable.
    fn relabel(&self) -> Result<Relabel, ActError> {
        let (seen, targets) = (&self.observed.seen, &self.observed.targets);
        let workload = seen.workload.as_ref().ok_or_else(|| self.gone("Deployment", &targets.workload))?;
        let service = seen.service.as_ref().ok_or_else(|| self.gone("Service", &targets.service))?;
        let labels = strings(at(workload, "/spec/selector/matchLabels"));
        let keys = self.frozen().map(|frozen| frozen.cover.labels).unwrap_or_default();
        Ok(Relabel::with(&keys, &labels, &strings(at(service, "/spec/selector")))?)
    }

    fn gone(&self, kind: &str, name: &str) -> ActError {
        ActError::Gone { what: format!("{kind} {}/{name}", self.owner().namespace) }
    }

    /// Makes the canary's Deployment, or applies it over the one with the UID that was looked at.
    async fn put_canary_workload(
        &self,
        name: &str,
        there: Option<&DynamicObject>,
        mut object: DynamicObject,
    ) -> Result<(), ActError> {
        let at = self.at(Kind::Deployment, name);
        match there {
            // Not applied: what someone made of this name in the meantime would be taken over.
            None => self.cluster.create(at, &object).await?,
            Some(there) if self.owner().owns(&there.metadata) => {
                object.metadata.uid.clone_from(&there.metadata.uid);
                // One that comes late must not take back what another process has written since.
                object.metadata.resource_version.clone_from(&there.metadata.resource_version);
                self.cluster.apply(at, &object).await?
            }
            Some(_) => return Err(ActError::Foreign { what: format!("Deployment {name}") }),
        };
        Ok(())
    }

    /// Deletes what is ours; what is not stays.
    async fn delete(
        &self,
        kind: Kind,
        there: Option<&DynamicObject>,
        propagation: PropagationPolicy,
    ) -> Result<(), ActError> {
        let Some(there) = there.filter(|there| self.owner().owns(&there.metadata)) else { return Ok(()) };
        let meta = &there.metadata;
        let (Some(name), Some(uid)) = (&meta.name, &meta.uid) else { return Ok(()) };
        if meta.deletion_timestamp.is_none() {
            self.cluster.delete(self.at(kind, name), (uid, version(there)), propagation).await?;
        }
        Ok(())
    }
}

/// The resourceVersion that was looked at.
fn version(object: &DynamicObject) -> &str {
    object.metadata.resource_version.as_deref().unwrap_or_default()
}

/// An operation that is done only on what was looked at.
fn guarded(resource_version: &str, operation: Value) -> Vec<Value> {
    vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}), operation]
}

mod copies;
#[cfg(test)]
mod tests;
