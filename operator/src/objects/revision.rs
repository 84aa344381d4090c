//! A frozen revision: an immutable ControllerRevision with the pod template, the plan and the routes' base rules.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sluice_operator_core::{Plan, coverage::Cover, world::Frozen};

use super::{ANNOTATION_REVISION, Owner, object};
use crate::cluster::Kind;

/// Its `data`.
#[derive(Debug, Serialize, Deserialize)]
struct Data {
    template: Value,
    plan: Plan,
    base: BTreeMap<String, Value>,
    #[serde(default)]
    cover: Cover,
}

/// Name of the object for a revision of a Rollout.
pub(crate) fn name(owner: &Owner, revision: &str) -> String {
    format!("{}-{revision}", owner.name)
}

/// The object for a frozen revision.
pub(crate) fn revision(owner: &Owner, frozen: &Frozen) -> DynamicObject {
    let Frozen { revision, template, plan, base, cover } = frozen;
    let mut metadata = owner.metadata(&name(owner, revision));
    metadata.annotations = Some([(ANNOTATION_REVISION.to_owned(), revision.clone())].into());
    let data = json!({ "template": template, "plan": plan, "base": base, "cover": cover });
    // The number orders revisions of a StatefulSet; here the run in the status says which one counts.
    object(Kind::ControllerRevision, metadata, json!({ "revision": 1, "data": data }))
}

/// The frozen revision of an object; None for one that this version cannot read.
pub(crate) fn frozen(object: &DynamicObject) -> Option<Frozen> {
    let revision = object.metadata.annotations.as_ref()?.get(ANNOTATION_REVISION)?.clone();
    let Data { template, plan, base, cover } = serde_json::from_value(object.data.get("data")?.clone()).ok()?;
    Some(Frozen { revision, template, plan, base, cover })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_operator_core::{
        coverage::{Cover, Source},
        world::Frozen,
    };

    use super::{frozen, revision};
    use crate::{
        fixtures::{owner, rollout},
        model::plan::plan,
    };

    #[test]
    fn what_was_frozen_is_read_back_unchanged() {
        let original = Frozen {
            revision: "abc".to_owned(),
            template: json!({"spec": {"containers": []}}),
            plan: plan(&rollout()).unwrap(),
            base: [("podinfo".to_owned(), json!([{"backendRefs": []}]))].into(),
            cover: Cover {
                labels: vec!["app".to_owned()],
                copies: vec![Source { kind: "PodDisruptionBudget".to_owned(), name: "web".to_owned() }],
            },
        };
        let object = revision(&owner(), &original);
        assert_eq!(object.metadata.name.as_deref(), Some("podinfo-abc"));
        assert_eq!(frozen(&object), Some(original));
    }

    #[test]
    fn what_an_older_version_froze_is_read_too() {
        let plan = serde_json::to_value(plan(&rollout()).unwrap()).unwrap();
        let mut old = revision(
            &owner(),
            &Frozen {
                revision: "abc".to_owned(),
                template: json!({}),
                plan: plan_of(plan.clone()),
                base: [].into(),
                cover: Cover::default(),
            },
        );
        old.data["data"].as_object_mut().unwrap().remove("cover");
        old.data["data"]["plan"].as_object_mut().unwrap().remove("mirror_policies");
        let read = frozen(&old).unwrap();
        assert_eq!((read.cover, read.plan.mirror_policies), (Cover::default(), false));
    }

    fn plan_of(json: serde_json::Value) -> sluice_operator_core::Plan {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_object_of_another_make_is_no_frozen_revision() {
        let foreign = crate::fixtures::object("{metadata: {name: x}, revision: 1, data: {template: {}}}");
        assert_eq!(frozen(&foreign), None);
    }
}
