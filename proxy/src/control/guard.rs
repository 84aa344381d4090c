//! Objects as a watch brings them: those that cannot be read do not stop the others, and those that can are shared.

use std::{borrow::Cow, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    core::{self, error_boundary::InvalidObject},
};
use serde::{Deserialize, Deserializer};

/// kube's guard of the same name, with the object shared: a translation holds every object of the caches, and copies none.
#[derive(Clone, Debug)]
pub(super) struct DeserializeGuard<K>(pub Result<Arc<K>, InvalidObject>);

impl<'de, K: Deserialize<'de> + Resource> Deserialize<'de> for DeserializeGuard<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        core::DeserializeGuard::deserialize(deserializer).map(|guard| Self(guard.0.map(Arc::new)))
    }
}

impl<K: Resource + Clone> Resource for DeserializeGuard<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|invalid| &invalid.metadata, |object| object.meta())
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => Arc::make_mut(object).meta_mut(),
            Err(invalid) => &mut invalid.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::Resource;
    use serde_json::json;

    use super::DeserializeGuard;

    fn pod(containers: &serde_json::Value) -> DeserializeGuard<Pod> {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": containers}});
        serde_json::from_value(pod).expect("guarded")
    }

    #[test]
    fn what_cannot_be_read_has_its_name_all_the_same() {
        let (good, bad) = (pod(&json!([])), pod(&json!("none")));
        assert!(good.0.is_ok() && bad.0.is_err());
        assert_eq!([&good, &bad].map(|pod| pod.meta().name.as_deref()), [Some("a"); 2]);
    }

    #[test]
    fn metadata_can_be_pruned_either_way() {
        for mut pod in [pod(&json!([])), pod(&json!("none"))] {
            pod.meta_mut().name = None;
            assert_eq!(pod.meta().name, None);
        }
    }
}
