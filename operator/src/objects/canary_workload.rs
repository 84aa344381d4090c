//! The temporary Deployment, from a frozen revision.

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::{ANNOTATION_REVISION, Owner, at, object, relabel::Relabel, strings};
use crate::cluster::Kind;

/// The temporary Deployment.
///
/// It has no label of adoption, so that the policy that pauses the workload leaves it alone, and is never paused itself.
/// What it has beside the template (strategy, minReadySeconds) it has from the workload.
pub(crate) fn canary_workload(
    owner: &Owner,
    name: &str,
    workload: &DynamicObject,
    relabel: &Relabel,
    frozen: (&str, &Value),
    replicas: i32,
) -> DynamicObject {
    let (revision, template) = frozen;
    let mut metadata = owner.metadata(name);
    metadata.annotations = Some([(ANNOTATION_REVISION.to_owned(), revision.to_owned())].into());
    let mut spec = Map::new();
    spec.insert("replicas".to_owned(), json!(replicas));
    spec.insert("selector".to_owned(), selector(workload, relabel));
    spec.insert("template".to_owned(), relabel.template(template, &owner.namespace));
    // One old ReplicaSet is kept by default ten times over; nothing is ever rolled back to within a canary.
    spec.insert("revisionHistoryLimit".to_owned(), json!(0));
    for copied in ["strategy", "minReadySeconds"] {
        if let Some(value) = at(workload, &format!("/spec/{copied}")) {
            spec.insert(copied.to_owned(), value.clone());
        }
    }
    object(Kind::Deployment, metadata, json!({ "spec": spec }))
}

/// The workload's selector with the canary's values. Expressions about a label that differs would contradict it.
fn selector(workload: &DynamicObject, relabel: &Relabel) -> Value {
    let labels = relabel.apply(&strings(at(workload, "/spec/selector/matchLabels")));
    let mut selector = json!({ "matchLabels": labels });
    let expressions = at(workload, "/spec/selector/matchExpressions").and_then(Value::as_array);
    let names_kept =
        |expression: &&Value| !expression.get("key").and_then(Value::as_str).is_some_and(|key| relabel.changes(key));
    let kept: Vec<_> = expressions.into_iter().flatten().filter(names_kept).collect();
    if !kept.is_empty() {
        selector["matchExpressions"] = json!(kept);
    }
    selector
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::canary_workload;
    use crate::{
        fixtures::{DEPLOYMENT, object, owner, relabel},
        objects::at,
    };

    #[test]
    fn the_canary_is_the_frozen_revision_beside_the_workload() {
        let workload = object(DEPLOYMENT);
        let template = at(&workload, "/spec/template").unwrap();
        let canary = canary_workload(&owner(), "podinfo-canary", &workload, &relabel(), ("abc", template), 2);

        assert_eq!(canary.types.as_ref().unwrap().kind, "Deployment");
        assert_eq!(canary.metadata.name.as_deref(), Some("podinfo-canary"));
        assert!(owner().owns(&canary.metadata));
        assert_eq!(canary.metadata.annotations.as_ref().unwrap()["sluice.dev/revision"], "abc");
        assert!(!canary.metadata.labels.as_ref().unwrap().contains_key("sluice.dev/rollout"));
        let spec = &canary.data["spec"];
        assert_eq!((&spec["replicas"], &spec["minReadySeconds"]), (&json!(2), &json!(2)));
        assert_eq!(spec["strategy"], *at(&workload, "/spec/strategy").unwrap());
        assert!(spec.get("paused").is_none());
        assert_eq!(spec["selector"], json!({"matchLabels": {"app": "podinfo-canary", "tier": "web"}}));
        let labels = &spec["template"]["metadata"]["labels"];
        assert_eq!(*labels, json!({"app": "podinfo-canary", "tier": "web", "team": "shop"}));
    }

    #[test]
    fn what_the_template_says_of_its_own_pods_is_said_of_the_canarys() {
        let workload = object(DEPLOYMENT);
        let template = at(&workload, "/spec/template").unwrap();
        let canary = canary_workload(&owner(), "podinfo-canary", &workload, &relabel(), ("abc", template), 2);
        let spec = &canary.data["spec"]["template"]["spec"];
        let terms = &spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
        assert_eq!(terms[0]["podAffinityTerm"]["labelSelector"]["matchLabels"]["app"], "podinfo-canary");
        assert_eq!(terms[1]["podAffinityTerm"]["labelSelector"]["matchLabels"]["app"], "redis");
        let spread = &spec["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"][0];
        assert_eq!(spread["values"], json!(["podinfo-canary"]));
    }

    #[test]
    fn expressions_about_the_label_that_differs_are_dropped() {
        let mut workload = object(DEPLOYMENT);
        workload.data["spec"]["selector"]["matchExpressions"] =
            json!([{"key": "app", "operator": "Exists"}, {"key": "tier", "operator": "In", "values": ["web"]}]);
        let template = at(&workload, "/spec/template").unwrap();
        let canary = canary_workload(&owner(), "podinfo-canary", &workload, &relabel(), ("abc", template), 2);
        let kept = &canary.data["spec"]["selector"]["matchExpressions"];
        assert_eq!(*kept, json!([{"key": "tier", "operator": "In", "values": ["web"]}]));
    }
}
