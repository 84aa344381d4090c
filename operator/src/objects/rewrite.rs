//! Label selectors as JSON: whose namespace they are about, which pods they match, and how they are rewritten from stable's
//! pods to the canary's.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::{Map, Value, json};

/// Label with the name that every Namespace carries.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Whether something with `namespaces` and a `namespaceSelector` may be about pods of this namespace. Without the labels of
/// the Namespace only a selector by name tells.
pub(crate) fn is_about(term: &Map<String, Value>, namespace: &str) -> bool {
    let listed = term.get("namespaces").and_then(Value::as_array).filter(|names| !names.is_empty());
    let selector = term.get("namespaceSelector").filter(|selector| !selector.is_null());
    match (listed, selector) {
        (None, None) => true,
        (Some(names), None) => names.iter().any(|name| name == namespace),
        (listed, Some(selector)) => {
            let name = selector.pointer("/matchLabels").and_then(|labels| labels.get(NAMESPACE_NAME));
            name.is_none_or(|name| name == namespace)
                || listed.is_some_and(|names| names.iter().any(|name| name == namespace))
        }
    }
}

/// Whether a label selector matches; one that cannot be read matches nothing, as it does for the API server.
pub(crate) fn matches(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let parsed = serde_json::from_value::<LabelSelector>(selector.clone()).ok();
    parsed.and_then(|selector| Selector::try_from(selector).ok()).is_some_and(|selector| selector.matches(labels))
}

/// Puts the canary's value where stable's is.
pub(crate) fn swap(selector: &mut Value, key: &str, (stable, canary): (&str, &str)) {
    let swap_one = |value: &mut Value| {
        if value.as_str() == Some(stable) {
            *value = json!(canary);
        }
    };
    if let Some(value) = selector.get_mut("matchLabels").and_then(|labels| labels.get_mut(key)) {
        swap_one(value);
    }
    for values in values_of(selector, key) {
        values.iter_mut().for_each(swap_one);
    }
}

/// Puts the canary's value beside stable's.
pub(crate) fn widen(selector: &mut Value, key: &str, (stable, canary): (&str, &str)) {
    for values in values_of(selector, key) {
        if values.iter().any(|value| value == stable) && values.iter().all(|value| value != canary) {
            values.push(json!(canary));
        }
    }
    let Some(labels) = selector.get_mut("matchLabels").and_then(Value::as_object_mut) else { return };
    if labels.get(key).and_then(Value::as_str) != Some(stable) {
        return;
    }
    labels.remove(key);
    let either = json!({"key": key, "operator": "In", "values": [stable, canary]});
    match selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
        Some(expressions) => expressions.push(either),
        None => selector["matchExpressions"] = json!([either]),
    }
}

/// The values of every expression about a label.
fn values_of<'a>(selector: &'a mut Value, key: &'a str) -> impl Iterator<Item = &'a mut Vec<Value>> {
    let expressions = selector.get_mut("matchExpressions").and_then(Value::as_array_mut);
    let about = move |expression: &&mut Value| expression.get("key").and_then(Value::as_str) == Some(key);
    let values = |expression: &'a mut Value| expression.get_mut("values").and_then(Value::as_array_mut);
    expressions.into_iter().flatten().filter(about).filter_map(values)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{matches, widen};

    #[test]
    fn selectors_match_as_the_api_server_does() {
        let pods = BTreeMap::from([("app".to_owned(), "podinfo".to_owned())]);
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "podinfo"}}), true),
            (json!({"matchLabels": {"app": "podinfo", "tier": "web"}}), false),
            (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "podinfo"]}]}), true),
            (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["podinfo"]}]}), false),
            (json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["web"]}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), true),
            (json!({"matchExpressions": [{"key": "app", "operator": "Roughly"}]}), false),
        ] {
            assert_eq!(matches(&selector, &pods), expected, "{selector}");
        }
    }

    #[test]
    fn a_widened_selector_matches_both_and_nothing_else() {
        let labels = |value: &str| BTreeMap::from([("app".to_owned(), value.to_owned())]);
        for mut selector in [
            json!({"matchLabels": {"app": "web"}}),
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}),
            json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "app", "operator": "Exists"}]}),
        ] {
            for _ in 0..2 {
                widen(&mut selector, "app", ("web", "web-canary"));
                let matched = ["web", "web-canary", "db"].map(|value| matches(&selector, &labels(value)));
                assert_eq!(matched, [true, true, false], "{selector}");
            }
        }
    }
}
