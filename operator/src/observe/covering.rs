//! What selects the workload's pods: asked when a run is prepared; and the copies that it led to, as long as a frozen
//! revision names them.

use futures::future::try_join_all;
use kube::api::DynamicObject;
use sluice_operator_core::{
    coverage::{Source, copy_name},
    world::Frozen,
};

use crate::cluster::{At, Cluster, ClusterError, Kind};

/// Kinds whose objects select pods, or a Service.
const SELECTING: [Kind; 9] = [
    Kind::NetworkPolicy,
    Kind::PodDisruptionBudget,
    Kind::BackendTlsPolicy,
    Kind::SluiceTrafficPolicy,
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::AuthorizationPolicy,
    Kind::PodMonitor,
];

/// Kinds of policies that may be attached to a single rule of a route, by `sectionName` (GEP-713).
pub(crate) const ATTACHED: [Kind; 7] = [
    Kind::SecurityPolicy,
    Kind::BackendTrafficPolicy,
    Kind::EnvoyExtensionPolicy,
    Kind::TrafficPolicy,
    Kind::AgentgatewayPolicy,
    Kind::AuthPolicy,
    Kind::RateLimitPolicy,
];

/// Kinds that are copied.
const COPIED: [Kind; 4] =
    [Kind::NetworkPolicy, Kind::PodDisruptionBudget, Kind::BackendTlsPolicy, Kind::SluiceTrafficPolicy];

/// The kind of this name, if it is one that is copied.
pub(crate) fn copied_kind(name: &str) -> Option<Kind> {
    COPIED.into_iter().find(|kind| kind.resource().kind == name)
}

/// Everything in the namespace that may select pods, if it is wanted; and what may be attached to rules that are copied.
pub(super) async fn selecting(
    cluster: &Cluster,
    namespace: &str,
    wanted: bool,
    copies_rules: bool,
) -> Result<Option<Vec<(Kind, DynamicObject)>>, ClusterError> {
    if !wanted {
        return Ok(None);
    }
    let attached = ATTACHED.into_iter().filter(|_| copies_rules);
    let of_kind = |kind: Kind| async move {
        let objects = cluster.list_if_known(kind, namespace).await?;
        Ok::<_, ClusterError>(objects.into_iter().map(|object| (kind, object)).collect::<Vec<_>>())
    };
    Ok(Some(try_join_all(SELECTING.into_iter().chain(attached).map(of_kind)).await?.concat()))
}

/// What is there under the names of the copies.
pub(super) async fn copies(
    cluster: &Cluster,
    namespace: &str,
    frozen: &[Frozen],
) -> Result<Vec<(Source, Option<DynamicObject>)>, ClusterError> {
    let wanted = frozen.iter().flat_map(|frozen| &frozen.cover.copies);
    let get = |of: &Source| {
        let of = of.clone();
        async move {
            let Some(kind) = copied_kind(&of.kind) else { return Ok((of, None)) };
            let there = cluster.get(At { kind, namespace, name: &copy_name(&of.name) }).await?;
            Ok((of, there))
        }
    };
    try_join_all(wanted.map(get)).await
}
