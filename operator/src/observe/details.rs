//! What is looked at beside the objects themselves, and only where something depends on it: the workload's pods while they
//! are waited for, its volumes, and the versions of the ConfigMaps that stable's pods read.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use kube::api::DynamicObject;
use sluice_operator_core::{State, Wants, world::ConfigMaps};

use super::{Seen, is_ready, pods_of};
use crate::{
    cluster::{At, Cluster, ClusterError, Kind},
    model::{hash, references},
    objects::at,
};

/// Adds the details to what was seen.
pub(super) async fn add(
    cluster: &Cluster,
    namespace: &str,
    state: &State,
    wants: Wants,
    seen: &mut Seen,
) -> Result<(), ClusterError> {
    let Some(workload) = &seen.workload else { return Ok(()) };
    if are_pods_waited_for(state)
        && !is_ready(workload)
        && let Some(selector) = pods_of(workload)
    {
        seen.workload_pods = cluster.list(Kind::Pod, namespace, &selector).await?;
    }
    seen.claims = claims(cluster, namespace, workload).await?;
    if wants.config_maps {
        seen.config_maps = config_maps(cluster, namespace, state, &seen.replica_sets).await?;
    }
    Ok(())
}

/// Pods of the workload itself that do not come up are in the way of something.
fn are_pods_waited_for(state: &State) -> bool {
    let is_rolling = |run: &sluice_operator_core::state::Run| run.let_go || run.lost_since.is_some();
    state.stable.is_none() || state.unjudged.is_some() || state.run.as_ref().is_some_and(is_rolling)
}

async fn claims(
    cluster: &Cluster,
    namespace: &str,
    workload: &DynamicObject,
) -> Result<Vec<DynamicObject>, ClusterError> {
    let Some(template) = at(workload, "/spec/template") else { return Ok(Vec::new()) };
    let names = references::claims(template);
    let get = |name: String| async move {
        cluster.get(At { kind: Kind::PersistentVolumeClaim, namespace, name: &name }).await
    };
    Ok(try_join_all(names.into_iter().map(get)).await?.into_iter().flatten().collect())
}

/// Versions of the ConfigMaps that stable's template names; None where they may not be read.
async fn config_maps(
    cluster: &Cluster,
    namespace: &str,
    state: &State,
    replica_sets: &[DynamicObject],
) -> Result<Option<ConfigMaps>, ClusterError> {
    let Some(stable) = &state.stable else { return Ok(None) };
    let set = replica_sets.iter().find(|set| set.metadata.uid.as_ref() == Some(&stable.uid));
    let Some(template) = set.and_then(|set| at(set, "/spec/template")) else { return Ok(None) };
    let mut versions = BTreeMap::new();
    for name in references::config_maps(template) {
        match cluster.get_metadata(At { kind: Kind::ConfigMap, namespace, name: &name }).await {
            Ok(Some(meta)) => {
                // Deleted and made again is changed as well.
                let part = |text: Option<String>| text.unwrap_or_default();
                versions.insert(name, format!("{}:{}", part(meta.uid), part(meta.resource_version)));
            }
            Ok(None) => {}
            // Somebody took the right away: nothing but this condition depends on it.
            Err(ClusterError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(ConfigMaps { revision: hash::revision(template), versions }))
}

#[cfg(test)]
mod tests;
