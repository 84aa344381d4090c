//! Where two objects differ.

use serde_json::Value;

/// What every write changes, or nobody's write can.
const BOOKKEEPING: [&str; 4] =
    ["/metadata/resourceVersion", "/metadata/generation", "/metadata/managedFields", "/metadata/creationTimestamp"];

/// JSON pointers to the fields that differ: objects are compared field by field, everything else as a whole.
pub(super) fn changed(before: &Value, after: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare(before, after, String::new(), &mut paths);
    paths.retain(|path| !BOOKKEEPING.contains(&path.as_str()));
    paths
}

fn compare(before: &Value, after: &Value, path: String, paths: &mut Vec<String>) {
    // An object that comes or goes is compared with an empty one, so that its fields are named.
    let fields = |value: &Value| value.as_object().cloned().or_else(|| value.is_null().then(Default::default));
    match (fields(before), fields(after)) {
        (Some(was), Some(is)) if before.is_object() || after.is_object() => {
            let mut names: Vec<_> = was.keys().chain(is.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let at = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                let value = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                compare(&value(&was), &value(&is), at, paths);
            }
        }
        _ if before != after => paths.push(path),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::changed;

    #[test]
    fn the_changed_fields_are_named() {
        let before = json!({"metadata": {"resourceVersion": "1"}, "spec": {"a": [1], "b": null, "c": 1}});
        let after = json!({"metadata": {"resourceVersion": "2", "labels": {"x/y": "z"}}, "spec": {"a": [2], "c": 1}});
        assert_eq!(changed(&before, &after), ["/metadata/labels/x~1y", "/spec/a"]);
        assert!(changed(&before, &before).is_empty());
    }
}
