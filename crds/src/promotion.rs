//! How the workload itself goes over to a version: after the last step, and where nothing has to be judged.
// The derive macro repeats each struct inside a function, where `pub` means nothing.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the workload itself goes over to the new version, after the last step.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.traffic != 'Keep' || self.onFailure != 'RollBack'")
        .message("onFailure: RollBack needs traffic: Canary, for only then something serves while stable's pods come back")
)]
pub struct Promotion {
    /// Where the traffic goes meanwhile: Canary brings the canary to the workload's size and gives it everything, so that
    /// the pods that are replaced carry nothing; Keep leaves the split of the last step, for clusters without room for
    /// that many pods (the pods that are replaced serve then, and only objectives are judged). Default: Canary.
    #[serde(default)]
    pub traffic: PromotionTraffic,
    /// What happens when the workload's own pods do not become ready within `progressDeadline`, or fail a metric, after
    /// some of stable's pods were replaced already: Pause stops the workload half way with the traffic on the canary,
    /// until a person decides; RollBack takes the new ReplicaSet of the workload away, so that stable's pods come back,
    /// and moves the traffic to them as they become ready. Default: Pause.
    #[serde(default)]
    pub on_failure: PromotionFailure,
}

/// Where the traffic goes while the workload rolls out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PromotionTraffic {
    /// All of it to the canary.
    #[default]
    Canary,
    /// As in the last step.
    Keep,
}

/// What happens when a promotion fails half way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PromotionFailure {
    /// The workload is paused half way, and the canary carries the traffic.
    #[default]
    Pause,
    /// Stable's pods come back, and the traffic with them.
    RollBack,
}

/// What becomes of a template that was promoted before and is declared again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KnownGood {
    /// It rolls out at once, by the workload's own rolling update.
    #[default]
    Roll,
    /// It takes all steps again.
    Analyse,
}

/// Something that hardly bears a second set of pods beside the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Tolerated {
    /// `strategy.type: Recreate`: in a promotion every pod of the workload stops before a new one starts.
    Recreate,
    /// `hostPort` or `hostNetwork`: the canary needs nodes on which the ports are free.
    HostPorts,
    /// A persistentVolumeClaim that one node at a time may mount: stable and canary write the same volume, on one node.
    ReadWriteOnceVolumes,
}
