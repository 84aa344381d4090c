//! Writes as the API server carries them out: each with its precondition.

use sluice_operator_core::{Action, world::Frozen};

use super::{
    Canary, NAME, Sim,
    fault::View,
    version_of,
    workload::{self, Deployment},
};

impl Sim {
    /// Carries a write out; false when its precondition does not hold.
    pub(super) fn act(&mut self, action: &Action, view: &View) -> bool {
        match action {
            Action::AddFinalizer if self.deleting => return false,
            Action::AddFinalizer => self.finalizer = true,
            Action::RemoveFinalizer => {
                self.finalizer = false;
                self.gone = self.deleting;
            }
            Action::ConsumeOperation { id } => {
                if self.operation.as_ref().is_some_and(|operation| operation.id == *id) {
                    self.operation = None;
                }
            }
            Action::ProbePolicy => {}
            Action::LabelWorkload { .. }
            | Action::SetPaused { .. }
            | Action::RestoreTemplate { .. }
            | Action::ScaleReplicaSet { .. }
            | Action::DeleteReplicaSet { .. } => return self.on_workloads_own(action),
            Action::Freeze { revision, template, plan, base, cover } => {
                if self.frozen.iter().all(|frozen| frozen.revision != *revision) {
                    let (revision, template, plan) = (revision.clone(), template.clone(), plan.clone());
                    self.frozen.push(Frozen { revision, template, plan, base: base.clone(), cover: cover.clone() });
                    self.frozen_version += 1;
                }
            }
            Action::ApplyCopies { .. } | Action::DeleteCopies { .. } => return self.on_copies(action, view),
            Action::PruneRevisions { keep } => {
                // Only what was looked at is deleted: the same revision, frozen again, is another object.
                let seen = &view.world.frozen;
                let goes = |frozen: &Frozen| {
                    !keep.contains(&frozen.revision) && seen.iter().any(|seen| seen.revision == frozen.revision)
                };
                if self.frozen_version == view.frozen_version {
                    self.frozen.retain(|frozen| !goes(frozen));
                }
            }
            Action::WriteRoute { route, rules, resource_version } => {
                let Some(route) = self.routes.get_mut(route) else { return false };
                if route.resource_version.to_string() != *resource_version {
                    return false;
                }
                route.write(rules.clone());
                (route.manager, route.is_managed) = (None, true);
            }
            Action::ReleaseRoute { route, resource_version } => {
                return self.routes.get_mut(route).is_some_and(|route| route.release(resource_version));
            }
            Action::ApplyCanaryWorkload { .. }
            | Action::ApplyCanaryService
            | Action::DeleteCanaryService
            | Action::DeleteCanaryWorkload => return self.on_canary(action, view),
        }
        true
    }

    /// The same for what is ours, which must be as it was seen.
    pub(super) fn on_canary(&mut self, action: &Action, view: &View) -> bool {
        match action {
            Action::ApplyCanaryWorkload { revision, template, replicas } => {
                assert_eq!(template["version"], *revision, "the template is not the revision's");
                if self.canary.as_ref().is_some_and(|canary| !canary.ours || canary.deleting)
                    || !self.is_canary_as_seen(view)
                {
                    return false;
                }
                self.canary_version += 1;
                let pods = self.canary.take().filter(|c| c.revision == *revision).map_or(Vec::new(), |c| c.pods);
                let canary =
                    Canary { ours: true, revision: revision.clone(), wanted: *replicas, pods, deleting: false };
                self.canary = Some(canary);
            }
            Action::ApplyCanaryService if !self.is_service_as_seen(view) => return false,
            Action::ApplyCanaryService => {
                self.service_version += 1;
                self.canary_service = Some(true);
            }
            Action::DeleteCanaryService if self.canary_service.is_none() => {}
            Action::DeleteCanaryService if !self.is_service_as_seen(view) => return false,
            Action::DeleteCanaryService => {
                self.service_version += 1;
                self.canary_service_deleting = true;
            }
            Action::DeleteCanaryWorkload if self.canary.is_none() => {}
            Action::DeleteCanaryWorkload if !self.is_canary_as_seen(view) => return false,
            Action::DeleteCanaryWorkload => {
                self.canary_version += 1;
                if let Some(canary) = &mut self.canary {
                    canary.deleting = true;
                }
            }
            _ => unreachable!("{action:?}"),
        }
        true
    }

    /// What is written on the workload and its ReplicaSets.
    pub(super) fn on_workloads_own(&mut self, action: &Action) -> bool {
        match action {
            Action::LabelWorkload { adopt, resource_version } => {
                self.on_workload(resource_version, |workload| workload.label = adopt.then(|| NAME.to_owned()))
            }
            Action::SetPaused { paused, resource_version } => {
                self.on_workload(resource_version, |workload| workload.paused = *paused)
            }
            Action::RestoreTemplate { revision, template, resource_version } => {
                assert_eq!(template["version"], *revision, "the template is not the revision's");
                self.on_workload(resource_version, |workload| revision.clone_into(&mut workload.version))
            }
            Action::ScaleReplicaSet { uid, resource_version, replicas, .. } => {
                self.on_set(uid, resource_version, |set| set.wanted = *replicas)
            }
            Action::DeleteReplicaSet { uid, resource_version, .. } => {
                if !self.on_set(uid, resource_version, |_| {}) {
                    return false;
                }
                let sets = self.workload.iter_mut().flat_map(|workload| workload.sets.iter_mut());
                assert!(sets.filter(|set| set.uid == *uid).all(|set| set.pods.is_empty()), "pods go with {uid}");
                if let Some(workload) = &mut self.workload {
                    workload.sets.retain(|set| set.uid != *uid);
                }
                true
            }
            other => panic!("{other:?}"),
        }
    }

    /// The same for the copies.
    pub(super) fn on_copies(&mut self, action: &Action, view: &View) -> bool {
        match action {
            Action::ApplyCopies { copies, .. } => {
                for of in copies {
                    // What is there under this name is not taken over.
                    if self.copies.contains_key(of) {
                        return false;
                    }
                    self.copies.insert(of.clone(), true);
                    self.copies_version += 1;
                }
            }
            // Only what was looked at is deleted.
            Action::DeleteCopies { .. } if self.copies_version != view.copies_version => return false,
            Action::DeleteCopies { copies } => self.copies.retain(|of, ours| !*ours || !copies.contains(of)),
            _ => unreachable!("{action:?}"),
        }
        true
    }

    pub(super) fn is_canary_as_seen(&self, view: &View) -> bool {
        self.canary.is_some() == view.world.canary_workload.is_some() && self.canary_version == view.canary_version
    }

    pub(super) fn is_service_as_seen(&self, view: &View) -> bool {
        self.canary_service.is_some() == view.world.canary_service.is_some()
            && self.service_version == view.service_version
    }

    pub(super) fn on_workload(&mut self, resource_version: &str, change: impl FnOnce(&mut Deployment)) -> bool {
        let Some(workload) = &mut self.workload else { return false };
        if workload.resource_version.to_string() != resource_version {
            return false;
        }
        change(workload);
        workload.touch();
        true
    }

    pub(super) fn on_set(
        &mut self,
        uid: &str,
        resource_version: &str,
        change: impl FnOnce(&mut workload::Set),
    ) -> bool {
        let sets = self.workload.iter_mut().flat_map(|workload| workload.sets.iter_mut());
        let Some(set) = sets.into_iter().find(|set| set.uid == uid && version_of(set) == resource_version) else {
            return false;
        };
        change(set);
        true
    }
}
