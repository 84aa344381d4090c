//! Conditions as the Gateway API words them: what a translation says, and how that is merged into what is written.

use serde_json::{Value, json};

/// One condition, without the generation and the time that it gets when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Such as `Accepted`.
    pub kind: &'static str,
    /// `True` or `False`.
    pub holds: bool,
    /// A reason of the specification.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

impl Condition {
    /// A condition that holds.
    pub fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: true, reason, message: message.into() }
    }

    /// A condition that does not hold.
    pub fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: false, reason, message: message.into() }
    }

    /// `Accepted=True`
    pub fn accepted() -> Self {
        Self::yes(ACCEPTED, "Accepted", "Accepted")
    }

    /// `ResolvedRefs=True`
    pub fn resolved() -> Self {
        Self::yes(RESOLVED_REFS, "ResolvedRefs", "All references are resolved")
    }

    fn status(&self) -> &'static str {
        if self.holds { "True" } else { "False" }
    }
}

/// Condition `Accepted`.
pub const ACCEPTED: &str = "Accepted";
/// Condition `Programmed`.
pub const PROGRAMMED: &str = "Programmed";
/// Condition `ResolvedRefs`.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// Condition `Conflicted`.
pub const CONFLICTED: &str = "Conflicted";

/// Condition `InsecureFrontendValidationMode`.
pub const INSECURE_FRONTEND: &str = "InsecureFrontendValidationMode";

/// Types that only the controller of a Gateway writes: one of them that is not wanted any more is dropped. Every other
/// type belongs to somebody else and stays.
const OURS: [&str; 5] = [ACCEPTED, PROGRAMMED, RESOLVED_REFS, CONFLICTED, INSECURE_FRONTEND];

/// Conditions as they are to be written over `live`: the wanted ones with `generation`, their transition time kept where
/// the status is the same, and foreign ones untouched. Positions are kept, so that nothing changes without need.
pub fn merge(live: &[Value], wanted: &[Condition], generation: i64, now: &str) -> Vec<Value> {
    let find = |kind: &str| wanted.iter().find(|condition| condition.kind == kind);
    let mut merged: Vec<Value> = Vec::with_capacity(live.len() + wanted.len());
    for old in live {
        let kind = text(old, "type");
        match find(kind) {
            Some(condition) => merged.push(render(condition, Some(old), generation, now)),
            None if OURS.contains(&kind) => {}
            None => merged.push(old.clone()),
        }
    }
    let missing = wanted.iter().filter(|condition| !live.iter().any(|old| text(old, "type") == condition.kind));
    merged.extend(missing.map(|condition| render(condition, None, generation, now)));
    merged
}

/// Whether `live` holds a condition of this type that is true at this generation.
pub fn is_true_at(live: &[Value], kind: &str, generation: i64) -> bool {
    live.iter().any(|condition| {
        text(condition, "type") == kind
            && text(condition, "status") == "True"
            && condition["observedGeneration"].as_i64() == Some(generation)
    })
}

fn render(condition: &Condition, old: Option<&Value>, generation: i64, now: &str) -> Value {
    let kept = old
        .filter(|old| text(old, "status") == condition.status())
        .and_then(|old| old.get("lastTransitionTime")?.as_str());
    json!({
        "type": condition.kind,
        "status": condition.status(),
        "reason": condition.reason,
        "message": truncated(&condition.message),
        "observedGeneration": generation,
        "lastTransitionTime": kept.unwrap_or(now),
    })
}

/// The API server refuses messages of more than 32 KiB.
fn truncated(message: &str) -> String {
    message.chars().take(4096).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_time_changes_only_with_the_status() {
        let first = merge(&[], &[Condition::accepted()], 1, "2026-01-01T00:00:00Z");
        let second = merge(&first, &[Condition::accepted()], 2, "2026-01-02T00:00:00Z");
        assert_eq!(second[0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(second[0]["observedGeneration"], 2);
        let third = merge(&second, &[Condition::no(ACCEPTED, "Pending", "")], 2, "2026-01-03T00:00:00Z");
        assert_eq!(third[0]["lastTransitionTime"], "2026-01-03T00:00:00Z");
    }

    #[test]
    fn foreign_conditions_stay_and_ours_go_when_they_are_not_wanted() {
        let foreign = json!({"type": "example.com/Audited", "status": "True", "x": {"b": 1, "a": 2}});
        let ours = json!({"type": "ResolvedRefs", "status": "False"});
        let merged = merge(&[foreign.clone(), ours], &[Condition::accepted()], 1, "now");
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0], foreign);
        assert_eq!(merged[1]["type"], "Accepted");
    }
}
