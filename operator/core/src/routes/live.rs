//! What is live, told from what we write: which split, or whose edit.

use serde_json::{Value, json};

use super::{Names, WHOLE, apply, array, gcd, refs, rule_name, weight, with_field};
use crate::plan::Split;

/// What a live route is.
#[derive(Clone, Debug, PartialEq)]
pub enum Live {
    /// Exactly what the user wrote.
    Base,
    /// What we write for this split.
    Split(Split),
    /// The owner changed it: the new base, without parts of ours.
    Changed(Value),
}

/// Which of the splits is live. 0 and 100 percent are always among them.
pub fn recognise(base: &Value, live: &Value, splits: &[Split], names: &Names<'_>) -> Live {
    if live == base {
        return Live::Base;
    }
    let ends = [Split::Share(0), Split::Share(WHOLE)];
    let known = splits.iter().chain(&ends).find(|split| apply(base, split, names).as_ref() == Ok(live));
    match known {
        Some(split) => Live::Split(split.clone()),
        None => Live::Changed(strip(base, live, names)),
    }
}

/// The rules have a ref or a rule of ours.
pub fn has_ours(rules: &Value, names: &Names<'_>) -> bool {
    array(rules).iter().any(|rule| is_ours_in(rule, names))
}

fn is_ours_in(rule: &Value, names: &Names<'_>) -> bool {
    names.is_our_rule(rule) || refs(rule).iter().any(|reference| names.is_canary(reference))
}

/// Live rules without our refs and rules, with the weights that the user gave.
pub fn strip(base: &Value, live: &Value, names: &Names<'_>) -> Value {
    let kept = array(live).iter().filter(|rule| !names.is_our_rule(rule));
    let rules = kept.enumerate().map(|(index, rule)| {
        if is_ours_in(rule, names) { without_canary(base, rule, index, names) } else { rule.clone() }
    });
    Value::Array(rules.collect())
}

/// A rule without the canary's ref. Stable's weight becomes the sum of both, which is its old share of the rule; where the
/// proportions are those of the base, its very numbers come back.
fn without_canary(base: &Value, rule: &Value, index: usize, names: &Names<'_>) -> Value {
    let mut kept: Vec<(Value, u64)> = Vec::new();
    for reference in refs(rule) {
        match kept.last_mut() {
            Some((_, sum)) if names.is_canary(reference) => *sum += weight(reference),
            _ if names.is_canary(reference) => {}
            _ => kept.push((reference.clone(), weight(reference))),
        }
    }
    let divisor = kept.iter().fold(0, |divisor, (_, weight)| gcd(divisor, *weight)).max(1);
    let reduced: Vec<u64> = kept.iter().map(|(_, weight)| weight / divisor).collect();
    let before = old_refs(base, rule, index).filter(|before| is_same(before, &kept, &reduced));
    let refs: Vec<Value> = match before {
        Some(before) => before.to_vec(),
        None => kept.iter().zip(reduced).map(|((old, _), weight)| with_field(old, "weight", json!(weight))).collect(),
    };
    with_field(rule, "backendRefs", Value::Array(refs))
}

/// Refs of the base rule that a live rule came from: of the same name, or else with the same matches, or else at its place.
fn old_refs<'b>(base: &'b Value, rule: &Value, index: usize) -> Option<&'b [Value]> {
    let rules = array(base);
    let of_name = rule_name(rule).and_then(|name| rules.iter().find(|old| rule_name(old) == Some(name)));
    let of_matches = || rules.iter().find(|old| old.get("matches") == rule.get("matches"));
    of_name.or_else(of_matches).or_else(|| rules.get(index)).map(refs)
}

/// The old refs differ from the kept ones in weight alone, and not in proportion.
fn is_same(before: &[Value], kept: &[(Value, u64)], reduced: &[u64]) -> bool {
    let divisor = before.iter().fold(0, |divisor, old| gcd(divisor, weight(old))).max(1);
    let unweighted = |value: &Value| with_field(value, "weight", Value::Null);
    before.len() == kept.len()
        && before
            .iter()
            .zip(kept.iter().zip(reduced))
            .all(|(old, ((new, _), reduced))| unweighted(old) == unweighted(new) && weight(old) / divisor == *reduced)
}
