//! Which labels of the canary's pods differ from stable's, so that neither the stable Service nor the workload's own
//! selector (and what reads it, such as autoscalers) takes them for stable's.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use thiserror::Error;

/// Longest value of a label.
const LABEL_VALUE_MAX: usize = 63;
/// What is appended to a value.
const SUFFIX: &str = "-canary";

/// Why no label could be chosen.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum RelabelError {
    /// The workload's selector names no label by value.
    #[error("spec.selector.matchLabels of the workload is empty: there is no label that could tell its canary apart")]
    Workload,
    /// The Service selects nothing.
    #[error("spec.selector of the Service is empty: there is no label that could tell the canary's pods apart")]
    Service,
}

/// Labels that differ: key to (stable's value, the canary's).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relabel(BTreeMap<String, (String, String)>);

impl Relabel {
    /// Chooses from the `matchLabels` of the workload and the selector of the Service: the first key, in alphabetical
    /// order, that is in both; if none is, the first of each. The fewer labels differ, the more of what is written for
    /// stable's pods covers the canary's too.
    pub(crate) fn choose(
        workload: &BTreeMap<String, String>,
        service: &BTreeMap<String, String>,
    ) -> Result<Self, RelabelError> {
        let first = workload.iter().next().ok_or(RelabelError::Workload)?;
        let first_of_service = service.iter().next().ok_or(RelabelError::Service)?;
        let shared = workload.iter().find(|(key, _)| service.contains_key(*key));
        let chosen = shared.map_or_else(|| vec![first, first_of_service], |both| vec![both]);
        Ok(Self(chosen.into_iter().map(|(key, value)| (key.clone(), (value.clone(), canary_value(value)))).collect()))
    }

    /// The labels or selector with the canary's values.
    pub(crate) fn apply(&self, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let changed = |key: &String| self.0.get(key).map(|(_, canary)| canary.clone());
        labels.iter().map(|(key, value)| (key.clone(), changed(key).unwrap_or_else(|| value.clone()))).collect()
    }

    /// True when the value of this label differs.
    pub(crate) fn changes(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The pod template with the canary's values in its labels and in what it says about its own pods.
    pub(crate) fn template(&self, template: &Value) -> Value {
        let mut template = template.clone();
        let labels = self.apply(&super::strings(template.pointer("/metadata/labels")));
        if let Some(slot) = template.pointer_mut("/metadata/labels") {
            *slot = json!(labels);
        }
        for path in ["/spec/affinity/podAffinity", "/spec/affinity/podAntiAffinity", "/spec/topologySpreadConstraints"]
        {
            if let Some(part) = template.pointer_mut(path) {
                self.rewrite_selectors(part);
            }
        }
        template
    }

    /// Every `labelSelector` below that speaks of stable's value is about the pods themselves, so the canary's must
    /// speak of its own; one about other pods stays.
    fn rewrite_selectors(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.rewrite_selectors(item)),
            Value::Object(map) => {
                for (key, part) in map {
                    if key == "labelSelector" { self.rewrite_selector(part) } else { self.rewrite_selectors(part) }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn rewrite_selector(&self, selector: &mut Value) {
        for (key, (stable, canary)) in &self.0 {
            let rewrite = |value: &mut Value| {
                if value.as_str() == Some(stable) {
                    *value = json!(canary);
                }
            };
            if let Some(value) = selector.get_mut("matchLabels").and_then(|labels| labels.get_mut(key)) {
                rewrite(value);
            }
            let expressions = selector.get_mut("matchExpressions").and_then(Value::as_array_mut);
            for expression in expressions.into_iter().flatten() {
                if expression.get("key").and_then(Value::as_str) == Some(key.as_str()) {
                    let values = expression.get_mut("values").and_then(Value::as_array_mut);
                    values.into_iter().flatten().for_each(rewrite);
                }
            }
        }
    }
}

/// `<value>-canary`, shortened to what a label may hold; an empty value has nothing that a dash could follow.
fn canary_value(value: &str) -> String {
    let kept: String = value.chars().take(LABEL_VALUE_MAX - SUFFIX.len()).collect();
    let kept = kept.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    if kept.is_empty() { SUFFIX.trim_start_matches('-').to_owned() } else { format!("{kept}{SUFFIX}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Relabel, RelabelError, canary_value};

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_key_of_both_selectors_is_enough() {
        let workload = labels(&[("app", "podinfo"), ("tier", "web")]);
        let service = labels(&[("tier", "web")]);
        let relabel = Relabel::choose(&workload, &service).unwrap();
        assert_eq!(relabel.apply(&workload), labels(&[("app", "podinfo"), ("tier", "web-canary")]));
        assert_eq!(relabel.apply(&service), labels(&[("tier", "web-canary")]));
    }

    #[test]
    fn without_a_common_key_one_of_each_differs() {
        let workload = labels(&[("app", "podinfo")]);
        let service = labels(&[("role", "backend")]);
        let relabel = Relabel::choose(&workload, &service).unwrap();
        let pods = labels(&[("app", "podinfo"), ("role", "backend"), ("team", "shop")]);
        assert_eq!(
            relabel.apply(&pods),
            labels(&[("app", "podinfo-canary"), ("role", "backend-canary"), ("team", "shop")])
        );
    }

    #[test]
    fn nothing_can_be_chosen_from_an_empty_selector() {
        let some = labels(&[("app", "podinfo")]);
        assert_eq!(Relabel::choose(&labels(&[]), &some), Err(RelabelError::Workload));
        assert_eq!(Relabel::choose(&some, &labels(&[])), Err(RelabelError::Service));
    }

    #[test]
    fn the_value_stays_a_valid_label() {
        assert_eq!(canary_value("podinfo"), "podinfo-canary");
        assert_eq!(canary_value(""), "canary");
        let long = canary_value(&format!("{}.{}", "a".repeat(55), "b".repeat(10)));
        assert_eq!(long, format!("{}-canary", "a".repeat(55)));
    }
}
