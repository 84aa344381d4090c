//! ConfigMaps that were changed in place: a change that no template shows, and that no run can judge.
//!
//! Only their versions are known, never what is in them. The versions at which a revision became stable are remembered,
//! and forgotten with it.

use crate::{Reason, look::Look, state::ConfigSeen};

/// Takes in the versions, if they were asked; after the phases, for they may have found another stable.
pub(crate) fn take_answers(look: &mut Look<'_>) {
    let world = look.world;
    let stable = look.state.stable.as_ref().map(|stable| stable.revision.clone());
    look.state.config = look.state.config.take().filter(|seen| Some(&seen.revision) == stable.as_ref());
    let (Some(revision), Some(asked)) = (stable, &world.config_maps) else { return };
    let versions = &asked.versions;
    if asked.revision != revision {
        return;
    }
    let Some(mut seen) = look.state.config.take() else {
        if !versions.is_empty() {
            look.state.config = Some(ConfigSeen { revision, versions: versions.clone(), changed: Vec::new() });
        }
        return;
    };
    for name in seen.versions.keys().chain(versions.keys()) {
        if seen.versions.get(name) != versions.get(name) && !seen.changed.contains(name) {
            look.warn(Reason::ConfigChangedInPlace, changed(std::slice::from_ref(name), &seen.revision));
            seen.changed.push(name.clone());
        }
    }
    look.state.config = Some(seen);
}

/// What is said of ConfigMaps that were changed.
pub(crate) fn changed(names: &[String], revision: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!(
        "ConfigMap {} was changed in place, which reaches running pods of revision {revision:?} without any step or \
         judgement: give a changed ConfigMap a new name or put its checksum into the pod template, as kustomize and Helm do; \
         to have every pod on the same content, restart the workload (kubectl rollout restart)",
        names.join(", ")
    )
}
