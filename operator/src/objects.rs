//! What the operator makes, as pure functions from what was observed to the objects that are written.

pub(crate) mod canary_service;
pub(crate) mod canary_workload;
pub(crate) mod copy;
pub(crate) mod relabel;
pub(crate) mod revision;
pub(crate) mod rewrite;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::DynamicObject;
use serde_json::Value;
use sluice_crds::names::LABEL_OWNED_BY;

use crate::cluster::Kind;

/// Annotation on what is made from a frozen revision.
pub(crate) const ANNOTATION_REVISION: &str = "sluice.dev/revision";

/// The Rollout as the owner of what is made for it.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// Namespace of the Rollout and of all that is made.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

impl Owner {
    /// Metadata of an object of ours.
    fn metadata(&self, name: &str) -> ObjectMeta {
        let resource = Kind::Rollout.resource();
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(BTreeMap::from([
                (LABEL_OWNED_BY.to_owned(), self.name.clone()),
                ("app.kubernetes.io/managed-by".to_owned(), sluice_crds::names::FIELD_MANAGER.to_owned()),
            ])),
            owner_references: Some(vec![OwnerReference {
                api_version: resource.api_version,
                kind: resource.kind,
                name: self.name.clone(),
                uid: self.uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        }
    }

    /// True when the object is controlled by this very Rollout: a Rollout of the same name that was made anew does not
    /// own what the old one made.
    pub(crate) fn owns(&self, meta: &ObjectMeta) -> bool {
        meta.owner_references.iter().flatten().any(|owner| owner.controller == Some(true) && owner.uid == self.uid)
    }
}

/// An object of a kind with this content.
fn object(kind: Kind, metadata: ObjectMeta, data: Value) -> DynamicObject {
    let mut object = DynamicObject::new("", &kind.resource()).data(data);
    object.metadata = metadata;
    object
}

/// The strings of a JSON object, as labels and selectors are.
pub(crate) fn strings(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// What is at a path of an object beside its metadata.
pub(crate) fn at<'a>(object: &'a DynamicObject, path: &str) -> Option<&'a Value> {
    object.data.pointer(path).filter(|value| !value.is_null())
}

/// An integer at a path of an object.
pub(crate) fn int(object: &DynamicObject, path: &str) -> Option<i64> {
    at(object, path).and_then(Value::as_i64)
}
