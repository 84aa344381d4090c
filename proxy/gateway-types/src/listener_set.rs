//! ListenerSet.

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Listener, ParentReference};

/// Listeners that another author adds to a Gateway.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(group = "gateway.networking.k8s.io", version = "v1", kind = "ListenerSet", plural = "listenersets", namespaced)]
#[kube(status = "Value", schema = "disabled", derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// The Gateway.
    pub parent_ref: ParentReference,
    /// What is listened on.
    #[serde(default)]
    pub listeners: Vec<Listener>,
}
