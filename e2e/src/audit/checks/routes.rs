//! Rules of a route as numbers.

use serde_json::Value;
use sluice_crds::names::CANARY_SUFFIX;

/// Prefix of the names of rules that the operator adds for matching requests.
const OUR_RULE: &str = "sluice-";

/// The rules of a route.
pub(super) fn rules(route: &Value) -> &[Value] {
    route.pointer("/spec/rules").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A rule that the operator added.
pub(super) fn is_added(rule: &Value) -> bool {
    let name = rule.get("name").and_then(Value::as_str).unwrap_or_default();
    let index = name.strip_prefix(OUR_RULE).and_then(|rest| rest.rsplit_once('-')).map_or("", |(_, index)| index);
    !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()) && refs(rule).iter().all(is_canary_ref)
}

/// Backends of a rule.
pub(super) fn refs(rule: &Value) -> &[Value] {
    rule.get("backendRefs").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Name of a backend.
pub(super) fn name(reference: &Value) -> &str {
    reference.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// Weight of a backend; 1 when absent, as the API says.
pub(super) fn weight(reference: &Value) -> u64 {
    reference.get("weight").and_then(Value::as_u64).unwrap_or(1)
}

/// A backend that a run adds.
pub(super) fn is_canary_ref(reference: &Value) -> bool {
    name(reference).ends_with(CANARY_SUFFIX)
}

/// Name and weight of each backend, a canary counted to the stable backend before it.
pub(super) fn combined(rule: &Value) -> Vec<(&str, u64)> {
    let mut all: Vec<(&str, u64)> = Vec::new();
    for reference in refs(rule) {
        match all.last_mut() {
            Some((stable, sum)) if name(reference).strip_suffix(CANARY_SUFFIX) == Some(*stable) => {
                *sum += weight(reference);
            }
            _ => all.push((name(reference), weight(reference))),
        }
    }
    all
}

/// Weight of canaries and of all backends of a rule.
pub(super) fn canary_of_all(rule: &Value) -> (u64, u64) {
    let sum = |of: &[&Value]| of.iter().map(|reference| weight(reference)).sum();
    let all: Vec<_> = refs(rule).iter().collect();
    let canary: Vec<_> = all.iter().copied().filter(|reference| is_canary_ref(reference)).collect();
    (sum(&canary), sum(&all))
}

#[cfg(test)]
pub(super) mod testing {
    use serde_json::{Value, json};

    /// A route with one rule and these backends.
    pub(crate) fn route(backends: &[(&str, u64)]) -> Value {
        let refs: Vec<_> = backends.iter().map(|(name, weight)| json!({"name": name, "weight": weight})).collect();
        json!({"spec": {"rules": [{"backendRefs": refs}]}})
    }
}
