//! The revision hash of a pod template: what makes two templates the same.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Label that the Deployment controller adds to the template of a ReplicaSet.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Hex digits of a revision: enough that two templates of one workload never meet.
const DIGITS: usize = 10;

/// Revision hash of a pod template, equal for a Deployment's and its ReplicaSet's.
pub(crate) fn revision(template: &Value) -> String {
    let mut template = template.clone();
    strip_controller_label(&mut template);
    let mut canonical = String::new();
    write_canonical(&template, &mut canonical);
    Sha256::digest(canonical.as_bytes()).iter().take(DIGITS / 2).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Annotation that `kubectl rollout restart` sets.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// The same of a template without the annotations that make no new version: equal for a version and its restart.
pub(crate) fn plain(template: &Value, ignored: &[String]) -> String {
    let mut template = template.clone();
    if let Some(metadata) = template.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| name != RESTARTED_AT && !ignored.contains(name));
        }
        // None left is as good as none ever.
        if metadata.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty) {
            metadata.remove("annotations");
        }
    }
    revision(&template)
}

/// Removes what the Deployment controller adds to a ReplicaSet's template.
pub(crate) fn strip_controller_label(template: &mut Value) {
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(POD_TEMPLATE_HASH);
    }
}

/// Sorted keys, no space, and no nulls: to the API server null and absent are the same.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => write_object(map, out),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            let _ = write!(out, "{scalar}");
        }
    }
}

fn write_object(map: &Map<String, Value>, out: &mut String) {
    let mut fields: Vec<_> = map.iter().filter(|(_, value)| !value.is_null()).collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    out.push('{');
    for (key, value) in fields {
        let _ = write!(out, "{}:", Value::String(key.clone()));
        write_canonical(value, out);
        out.push(',');
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{plain, revision};

    #[test]
    fn a_deployment_and_its_replica_set_have_the_same_revision() {
        let declared = json!({"metadata": {"labels": {"app": "a"}, "creationTimestamp": null}, "spec": {"x": 1}});
        let of_replica_set = json!({"spec": {"x": 1}, "metadata": {"labels": {"pod-template-hash": "5d", "app": "a"}}});
        assert_eq!(revision(&declared), revision(&of_replica_set));
        assert_eq!(revision(&declared).len(), 10);
    }

    #[test]
    fn annotations_of_a_restart_and_listed_ones_make_no_new_version() {
        let base = json!({"metadata": {"labels": {"app": "a"}}, "spec": {}});
        let annotated = |annotations: serde_json::Value| json!({"metadata": {"labels": {"app": "a"}, "annotations": annotations}, "spec": {}});
        let restarted = annotated(json!({"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}));
        let reloaded = annotated(json!({"reload": "7"}));
        assert_ne!(revision(&base), revision(&restarted));
        assert_eq!(plain(&base, &[]), plain(&restarted, &[]));
        assert_ne!(plain(&base, &[]), plain(&reloaded, &[]));
        assert_eq!(plain(&base, &["reload".to_owned()]), plain(&reloaded, &["reload".to_owned()]));
        let other = annotated(json!({"reload": "7", "checksum/config": "1"}));
        assert_ne!(plain(&base, &["reload".to_owned()]), plain(&other, &["reload".to_owned()]));
    }

    #[test]
    fn any_other_difference_is_another_revision() {
        let base = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"args": ["a", "b"]}});
        for other in [
            json!({"metadata": {"labels": {"app": "b"}}, "spec": {"args": ["a", "b"]}}),
            json!({"metadata": {"labels": {"app": "a"}}, "spec": {"args": ["b", "a"]}}),
            json!({"metadata": {"labels": {"app": "a"}}, "spec": {"args": ["a,b"]}}),
            json!({"metadata": {"labels": {"app": "a"}}, "spec": {"args": ["a"], "b": null, "c": ""}}),
        ] {
            assert_ne!(revision(&base), revision(&other), "{other}");
        }
    }
}
