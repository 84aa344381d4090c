//! Rules of a route: what the user wrote and a split make what is live, and back again.
//!
//! `base + Split -> rules` is a pure function, computed anew in each look. Rules are handled as the JSON that they are, so
//! that nothing of the user's is lost on the way. Shares are exact: the weights of a rule are integers in the ratio of its
//! base weights and the share in basis points, divided by their greatest common divisor.

mod limits;
mod live;
mod merge;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use limits::preflight;
pub use live::{Live, has_ours, recognise};
pub use merge::merge;

use serde_json::{Map, Value, json};

use crate::{
    plan::{HeaderMatch, Plan, RoutePlan, Split},
    world::World,
};

/// All traffic, in basis points.
pub const WHOLE: u16 = 10_000;

/// Names by which our parts of a route and the user's are told apart.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    /// Name of the Rollout.
    pub rollout: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Name of the stable Service.
    pub service: &'a str,
    /// Name of the temporary Service.
    pub canary: String,
    /// Names of the rules to step; empty means every rule that names the Service.
    pub rules: &'a [String],
}

impl<'a> Names<'a> {
    /// The names for one route of a plan.
    pub fn new(world: &'a World, plan: &'a Plan, route: &'a RoutePlan) -> Self {
        Self {
            rollout: &world.name,
            namespace: &world.namespace,
            service: &plan.service,
            canary: crate::canary_name(plan),
            rules: &route.rules,
        }
    }

    /// A rule whose split is ours to set.
    pub fn is_stepped(&self, rule: &Value) -> bool {
        let selected =
            self.rules.is_empty() || rule_name(rule).is_some_and(|name| self.rules.iter().any(|rule| rule == name));
        selected && refs(rule).iter().any(|reference| self.is_stable(reference))
    }

    /// Names, or else indices, of the rules that are split: the keys that counters carry.
    pub fn stepped_keys(&self, rules: &Value) -> Vec<String> {
        let keyed = |(index, rule): (usize, &Value)| {
            self.is_stepped(rule).then(|| rule_name(rule).map_or_else(|| index.to_string(), str::to_owned))
        };
        array(rules).iter().enumerate().filter_map(keyed).collect()
    }

    /// Names of the copies for matching requests.
    pub fn copied_keys(&self, rules: &Value) -> Vec<String> {
        let copies = array(rules).iter().filter(|rule| self.is_our_rule(rule));
        copies.filter_map(rule_name).map(str::to_owned).collect()
    }

    fn is_stable(&self, reference: &Value) -> bool {
        self.refers_to(reference, self.service)
    }

    fn is_canary(&self, reference: &Value) -> bool {
        self.refers_to(reference, &self.canary)
    }

    fn refers_to(&self, reference: &Value, name: &str) -> bool {
        let text = |field: &str| reference.get(field).and_then(Value::as_str);
        text("name") == Some(name)
            && text("kind").is_none_or(|kind| kind == "Service")
            && text("group").is_none_or(str::is_empty)
            && text("namespace").is_none_or(|namespace| namespace == self.namespace)
    }

    fn rule_prefix(&self) -> String {
        format!("sluice-{}-", self.rollout)
    }

    fn is_our_rule(&self, rule: &Value) -> bool {
        rule_name(rule)
            .and_then(|name| name.strip_prefix(&self.rule_prefix()))
            .is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

/// The rules that serve a split.
///
/// `Share(0)` has the canary's ref in place with weight 0; what the user wrote, without any part of ours, is `base` itself.
/// Fails when the split cannot be written as rules; the message says why.
pub fn apply(base: &Value, split: &Split, names: &Names<'_>) -> Result<Value, String> {
    let mut rules = Vec::new();
    for (index, rule) in array(base).iter().enumerate() {
        if !names.is_stepped(rule) {
            rules.push(rule.clone());
            continue;
        }
        match split {
            Split::Share(share) => rules.push(with_share(rule, *share, names)),
            Split::Match(headers) => {
                rules.push(matching_copy(rule, index, headers, names)?);
                rules.push(with_share(rule, 0, names));
            }
        }
    }
    Ok(Value::Array(rules))
}

/// The largest share of stable's traffic that goes to the canary by weight, and whether matching requests go there.
pub fn canary_share(rules: &Value, names: &Names<'_>) -> (f64, bool) {
    let mut largest = 0.0_f64;
    for rule in array(rules).iter().filter(|rule| !names.is_our_rule(rule)) {
        let sum = |of: &dyn Fn(&Value) -> bool| refs(rule).iter().filter(|r| of(r)).map(weight).sum::<u64>() as f64;
        let (canary, stable) = (sum(&|r| names.is_canary(r)), sum(&|r| names.is_stable(r)));
        if canary > 0.0 {
            largest = largest.max(canary / (canary + stable));
        }
    }
    (largest, array(rules).iter().any(|rule| names.is_our_rule(rule)))
}

/// A rule with the canary's ref right after stable's.
///
/// Base weights W become W * (10,000 - share) for stable, W * share for the canary and W * 10,000 for every other ref, so
/// the canary has exactly `share` of stable's traffic and the others keep theirs.
fn with_share(rule: &Value, share: u16, names: &Names<'_>) -> Value {
    let mut weighted: Vec<(Value, u64)> = Vec::new();
    for reference in refs(rule) {
        let base = weight(reference);
        if names.is_stable(reference) {
            weighted.push((reference.clone(), base * u64::from(WHOLE - share.min(WHOLE))));
            weighted.push((renamed(reference, &names.canary), base * u64::from(share.min(WHOLE))));
        } else {
            weighted.push((reference.clone(), base * u64::from(WHOLE)));
        }
    }
    let divisor = weighted.iter().fold(0, |divisor, (_, weight)| gcd(divisor, *weight)).max(1);
    let refs =
        weighted.into_iter().map(|(reference, weight)| with_field(&reference, "weight", json!(weight / divisor)));
    with_field(rule, "backendRefs", Value::Array(refs.collect()))
}

/// A copy of a rule for the requests that have the headers, which all go to the canary.
fn matching_copy(rule: &Value, index: usize, headers: &[HeaderMatch], names: &Names<'_>) -> Result<Value, String> {
    let anything = [json!({"path": {"type": "PathPrefix", "value": "/"}})];
    let matches = match rule.get("matches").map(array) {
        Some(matches) if !matches.is_empty() => matches,
        _ => &anything,
    };
    let matches: Vec<Value> = matches.iter().map(|entry| with_headers(entry, headers)).collect::<Result<_, _>>()?;
    let canary: Vec<Value> = refs(rule)
        .iter()
        .filter(|reference| names.is_stable(reference))
        .map(|reference| renamed(reference, &names.canary))
        .collect();
    let copy = with_field(rule, "name", json!(format!("{}{index}", names.rule_prefix())));
    let copy = with_field(&copy, "matches", Value::Array(matches));
    Ok(with_field(&copy, "backendRefs", Value::Array(canary)))
}

/// A match AND-ed with headers. Of two conditions on one header only the first counts in the API, so a second one that
/// differs cannot be expressed.
fn with_headers(entry: &Value, headers: &[HeaderMatch]) -> Result<Value, String> {
    let mut all = entry.get("headers").map(array).unwrap_or_default().to_vec();
    for header in headers {
        let kind = if header.regex { "RegularExpression" } else { "Exact" };
        let same_name = all.iter().find(|known| {
            known.get("name").and_then(Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case(&header.name))
        });
        let text = |known: &Value, field: &str| known.get(field).and_then(Value::as_str).map(str::to_owned);
        match same_name {
            None => all.push(json!({"name": header.name, "type": kind, "value": header.value})),
            Some(known)
                if text(known, "value").as_deref() == Some(&header.value)
                    && text(known, "type").as_deref().unwrap_or("Exact") == kind => {}
            Some(_) => {
                return Err(format!(
                    "a match of the route already has a condition on header {:?}, and a second one would not count; \
                     use another header in the step",
                    header.name
                ));
            }
        }
    }
    Ok(with_field(entry, "headers", Value::Array(all)))
}

// Helpers over JSON: whatever is missing or of another type reads as empty, for the API server has checked the types.

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn refs(rule: &Value) -> &[Value] {
    rule.get("backendRefs").map_or(&[], array)
}

fn rule_name(rule: &Value) -> Option<&str> {
    rule.get("name").and_then(Value::as_str)
}

/// The weight of a ref; 1 when absent, as the API says.
fn weight(reference: &Value) -> u64 {
    reference.get("weight").and_then(Value::as_u64).unwrap_or(1)
}

fn renamed(reference: &Value, name: &str) -> Value {
    with_field(reference, "name", json!(name))
}

fn with_field(object: &Value, field: &str, value: Value) -> Value {
    let mut fields = object.as_object().cloned().unwrap_or_else(Map::new);
    fields.insert(field.to_owned(), value);
    Value::Object(fields)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
