//! Which labels of the canary's pods differ from stable's, so that neither the stable Service nor the workload's own
//! selector (and what reads it, such as autoscalers) takes them for stable's.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use thiserror::Error;

use super::{rewrite, strings};

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
    /// The choices that there are, from the `matchLabels` of the workload and the selector of the Service: each key that is
    /// in both; if none is, one of each. The fewer labels differ, the more of what is written for stable's pods covers
    /// the canary's too. Never empty.
    pub(crate) fn choices(
        workload: &BTreeMap<String, String>,
        service: &BTreeMap<String, String>,
    ) -> Result<Vec<Self>, RelabelError> {
        if workload.is_empty() {
            return Err(RelabelError::Workload);
        }
        if service.is_empty() {
            return Err(RelabelError::Service);
        }
        let shared = workload.iter().filter(|(key, _)| service.contains_key(*key));
        let shared: Vec<_> = shared.map(|label| Self::of([label])).collect();
        if !shared.is_empty() {
            return Ok(shared);
        }
        let pairs = workload.iter().flat_map(|first| service.iter().map(move |second| Self::of([first, second])));
        Ok(pairs.collect())
    }

    /// The choice with these keys, as it was frozen; the first one where none was, or where the keys are gone.
    pub(crate) fn with(
        keys: &[String],
        workload: &BTreeMap<String, String>,
        service: &BTreeMap<String, String>,
    ) -> Result<Self, RelabelError> {
        let mut choices = Self::choices(workload, service)?;
        let frozen = choices.iter().position(|choice| choice.keys().eq(keys));
        Ok(choices.swap_remove(frozen.unwrap_or(0)))
    }

    fn of<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let differs = |(key, value): (&String, &String)| (key.clone(), (value.clone(), canary_value(value)));
        Self(labels.into_iter().map(differs).collect())
    }

    /// Keys of the labels that differ, in alphabetical order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
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

    /// The pod template, in this namespace, with the canary's values in its labels and in what it says about its own pods.
    pub(crate) fn template(&self, template: &Value, namespace: &str) -> Value {
        let mut template = template.clone();
        let labels = self.apply(&strings(template.pointer("/metadata/labels")));
        if let Some(slot) = template.pointer_mut("/metadata/labels") {
            *slot = json!(labels);
        }
        for path in ["/spec/affinity/podAffinity", "/spec/affinity/podAntiAffinity", "/spec/topologySpreadConstraints"]
        {
            if let Some(part) = template.pointer_mut(path) {
                self.rewrite_terms(part, namespace);
            }
        }
        template
    }

    /// Every `labelSelector` below that speaks of stable's value is about the pods themselves, so the canary's must
    /// speak of its own; one about other pods, or about those of another namespace, stays. `matchLabelKeys` name a label
    /// whose value is taken from the pod itself.
    fn rewrite_terms(&self, value: &mut Value, namespace: &str) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.rewrite_terms(item, namespace)),
            Value::Object(map) if rewrite::is_about(map, namespace) => {
                for (key, part) in map {
                    match key.as_str() {
                        "labelSelector" => self.swap(part),
                        "namespaceSelector" => {}
                        _ => self.rewrite_terms(part, namespace),
                    }
                }
            }
            Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// The label selector speaks of the canary's pods where it spoke of stable's.
    pub(crate) fn swap(&self, selector: &mut Value) {
        for (key, (stable, canary)) in &self.0 {
            rewrite::swap(selector, key, (stable, canary));
        }
    }

    /// The label selector speaks of the canary's pods too where it speaks of stable's.
    pub(crate) fn widen(&self, selector: &mut Value) {
        for (key, (stable, canary)) in &self.0 {
            rewrite::widen(selector, key, (stable, canary));
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

    use serde_json::{Value, json};

    use super::{Relabel, RelabelError, canary_value};

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn first(workload: &[(&str, &str)], service: &[(&str, &str)]) -> Relabel {
        Relabel::with(&[], &labels(workload), &labels(service)).unwrap()
    }

    #[test]
    fn a_key_of_both_selectors_is_enough() {
        let relabel = first(&[("app", "podinfo"), ("tier", "web")], &[("tier", "web")]);
        let pods = labels(&[("app", "podinfo"), ("tier", "web")]);
        assert_eq!(relabel.apply(&pods), labels(&[("app", "podinfo"), ("tier", "web-canary")]));
    }

    #[test]
    fn without_a_common_key_one_of_each_differs() {
        let relabel = first(&[("app", "podinfo")], &[("role", "backend")]);
        let pods = labels(&[("app", "podinfo"), ("role", "backend"), ("team", "shop")]);
        assert_eq!(
            relabel.apply(&pods),
            labels(&[("app", "podinfo-canary"), ("role", "backend-canary"), ("team", "shop")])
        );
    }

    #[test]
    fn the_choice_that_was_frozen_is_taken_again() {
        let both = labels(&[("app", "podinfo"), ("tier", "web")]);
        let keys = |relabel: &Relabel| relabel.keys().cloned().collect::<Vec<_>>();
        assert_eq!(Relabel::choices(&both, &both).unwrap().len(), 2);
        let frozen = ["tier".to_owned()];
        assert_eq!(keys(&Relabel::with(&frozen, &both, &both).unwrap()), frozen);
        let gone = ["role".to_owned()];
        assert_eq!(keys(&Relabel::with(&gone, &both, &both).unwrap()), ["app"]);
    }

    #[test]
    fn nothing_can_be_chosen_from_an_empty_selector() {
        let some = labels(&[("app", "podinfo")]);
        assert_eq!(Relabel::choices(&labels(&[]), &some), Err(RelabelError::Workload));
        assert_eq!(Relabel::choices(&some, &labels(&[])), Err(RelabelError::Service));
    }

    #[test]
    fn the_value_stays_a_valid_label() {
        assert_eq!(canary_value("podinfo"), "podinfo-canary");
        assert_eq!(canary_value(""), "canary");
        let long = canary_value(&format!("{}.{}", "a".repeat(55), "b".repeat(10)));
        assert_eq!(long, format!("{}-canary", "a".repeat(55)));
    }

    /// The term of a podAffinity, after the template was made the canary's.
    fn term(term: &Value) -> Value {
        let template = json!({"spec": {"affinity": {"podAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
        let relabel = first(&[("app", "podinfo")], &[("app", "podinfo")]);
        let path = "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/0";
        relabel.template(&template, "shop").pointer(path).unwrap().clone()
    }

    #[test]
    fn a_term_about_pods_of_another_namespace_stays() {
        let own = json!({"matchLabels": {"app": "podinfo"}});
        let elsewhere = json!({"matchLabels": {"kubernetes.io/metadata.name": "other"}});
        for stays in [
            json!({"labelSelector": own, "namespaces": ["other"]}),
            json!({"labelSelector": own, "namespaceSelector": elsewhere}),
        ] {
            assert_eq!(term(&stays), stays);
        }
        for about_us in [
            json!({"labelSelector": own}),
            json!({"labelSelector": own, "namespaces": ["other", "shop"]}),
            json!({"labelSelector": own, "namespaceSelector": {}}),
            json!({"labelSelector": own, "namespaceSelector": {"matchLabels": {"team": "shop"}}}),
        ] {
            let mut expected = about_us.clone();
            expected["labelSelector"]["matchLabels"]["app"] = json!("podinfo-canary");
            assert_eq!(term(&about_us), expected);
        }
    }

    #[test]
    fn keys_whose_value_is_the_pods_own_stay() {
        let by_key = json!({"labelSelector": {"matchLabels": {"tier": "web"}}, "matchLabelKeys": ["app"],
            "mismatchLabelKeys": ["app"]});
        assert_eq!(term(&by_key), by_key);
    }

    #[test]
    fn a_selector_of_namespaces_is_not_one_of_pods() {
        let namespaces = json!({"labelSelector": {"matchLabels": {"tier": "web"}},
            "namespaceSelector": {"matchLabels": {"app": "podinfo"}}});
        assert_eq!(term(&namespaces), namespaces);
    }
}
