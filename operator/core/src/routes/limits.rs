//! What a route can hold: checked for every step before a run begins, so that no step fails half way.

use serde_json::Value;

use super::{Names, WHOLE, apply, array, has_ours, refs, rule_name, weight};
use crate::plan::Split;

/// Limits of the Gateway API's HTTPRoute v1.
const MAX_RULES: usize = 16;
const MAX_REFS: usize = 16;
const MAX_MATCHES: usize = 64;
const MAX_MATCHES_OF_ROUTE: usize = 128;
const MAX_HEADERS: usize = 16;
const MAX_WEIGHT: u64 = 1_000_000;

/// Whether every split can be written into a route; the message says what is in the way and how to get it out.
pub fn preflight(base: &Value, splits: &[Split], names: &Names<'_>) -> Result<(), String> {
    let service = names.service;
    for wanted in names.rules {
        let rule = array(base).iter().find(|rule| rule_name(rule) == Some(wanted));
        match rule {
            None => return Err(format!("has no rule named {wanted:?}; name a rule of the route or leave `rules` out")),
            Some(rule) if !names.is_stepped(rule) => {
                return Err(format!("rule {wanted:?} does not name Service {service:?}; add it to its backendRefs"));
            }
            Some(_) => {}
        }
    }
    if !array(base).iter().any(|rule| names.is_stepped(rule)) {
        return Err(format!("no rule names Service {service:?} of this namespace; add it to a rule's backendRefs"));
    }
    if has_ours(base, names) {
        return Err(format!(
            "it already names {:?} or a rule of this Rollout's, which are the names of temporary parts; remove them",
            names.canary
        ));
    }
    let ends = [Split::Share(0), Split::Share(WHOLE)];
    for split in splits.iter().chain(&ends) {
        within(&apply(base, split, names)?)?;
    }
    Ok(())
}

fn within(rules: &Value) -> Result<(), String> {
    let rules = array(rules);
    let matches = |rule: &Value| rule.get("matches").map_or(1, |matches| array(matches).len().max(1));
    limit("rules", rules.len(), MAX_RULES)?;
    limit("matches in all rules", rules.iter().map(matches).sum(), MAX_MATCHES_OF_ROUTE)?;
    for rule in rules {
        limit("backendRefs in a rule", refs(rule).len(), MAX_REFS)?;
        limit("matches in a rule", matches(rule), MAX_MATCHES)?;
        for entry in rule.get("matches").map(array).unwrap_or_default() {
            limit("headers in a match", entry.get("headers").map_or(0, |headers| array(headers).len()), MAX_HEADERS)?;
        }
        if let Some(weight) = refs(rule).iter().map(weight).find(|weight| *weight > MAX_WEIGHT) {
            return Err(format!(
                "a step would need the weight {weight}, and the API allows {MAX_WEIGHT}; use smaller weights in the \
                 route or rounder ones in the steps"
            ));
        }
    }
    Ok(())
}

fn limit(what: &str, needed: usize, allowed: usize) -> Result<(), String> {
    if needed <= allowed {
        return Ok(());
    }
    Err(format!("a step would need {needed} {what}, and the API allows {allowed}; split the route in two"))
}
