//! A report and the core's memory to the status of a Rollout: pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::Value;
use sluice_crds::{MetricStatus, NextStatus, Phase, RolloutStatus, VerdictStatus, names};
use sluice_operator_core::{
    Report, State,
    decision::{self, MetricReport, Verdict},
};

use super::CONDITIONS;
use crate::model::state;

/// Reason of a Rollout that this version cannot read.
pub(super) const UNDECODABLE: &str = "Undecodable";

/// The status as it is to be.
pub(super) fn status(
    report: &Report,
    memory: &State,
    generation: i64,
    previous: Option<&RolloutStatus>,
    now: Timestamp,
) -> RolloutStatus {
    let Report {
        phase,
        reason,
        message,
        step,
        weight,
        weight_wanted: _,
        observed_revision,
        conditions: _,
        metrics,
        next,
        events: _,
    } = report;
    let before = previous.map_or(&[][..], |status| &status.conditions);
    let mut status = RolloutStatus {
        phase: Some(self::phase(*phase)),
        reason: Some(reason.clone()),
        message: Some(message.clone()),
        step: step.map(|(current, all)| format!("{current}/{all}")),
        weight: weight.map(percent),
        observed_generation: Some(generation),
        observed_revision: observed_revision.clone(),
        conditions: CONDITIONS.iter().map(|type_| condition(type_, report, generation, before, now)).collect(),
        next: next.clone().map(|(action, at)| NextStatus { action, at: at.map(state::time) }),
        ..RolloutStatus::default()
    };
    state::write(memory, &mut status);
    if let Some(run) = &mut status.run {
        run.metrics = metrics.iter().map(metric).collect();
    }
    status
}

/// One condition. All are in every status, so that none is ever missing to a tool that waits for it; the time is that of
/// the last change of its status.
fn condition(type_: &str, report: &Report, generation: i64, before: &[Condition], now: Timestamp) -> Condition {
    let told = report.conditions.iter().find(|(name, ..)| name == type_);
    let (status, reason, message) =
        told.map_or((None, &report.reason, &report.message), |(_, status, reason, message)| (*status, reason, message));
    let status = match status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    built(type_, status, (reason, message), generation, before, now)
}

fn built(
    type_: &str,
    status: &str,
    (reason, message): (&str, &str),
    generation: i64,
    before: &[Condition],
    now: Timestamp,
) -> Condition {
    let same = before.iter().find(|condition| condition.type_ == type_ && condition.status == status);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: same.map_or(Time(now), |condition| condition.last_transition_time.clone()),
    }
}

/// The conditions of a Rollout that cannot be read; `current` is its status.
pub(super) fn invalid_conditions(current: &Value, generation: i64, message: &str) -> Vec<Condition> {
    let before: Vec<Condition> = serde_json::from_value(current["conditions"].clone()).unwrap_or_default();
    let said = |type_: &&str| {
        let status = match *type_ {
            names::CONDITION_STALLED => "True",
            names::CONDITION_READY | names::CONDITION_RECONCILING => "False",
            _ => "Unknown",
        };
        built(type_, status, (UNDECODABLE, message), generation, &before, Timestamp::now())
    };
    CONDITIONS.iter().map(said).collect()
}

fn metric(metric: &MetricReport) -> MetricStatus {
    let MetricReport { name, verdict, message, canary: _, stable: _, evidence: _ } = metric;
    let verdict = match verdict {
        Verdict::Pass => VerdictStatus::Pass,
        Verdict::Fail => VerdictStatus::Fail,
        Verdict::Undecided => VerdictStatus::Undecided,
        Verdict::NoData => VerdictStatus::NoData,
    };
    MetricStatus { name: name.clone(), verdict, message: message.clone() }
}

const fn phase(phase: decision::Phase) -> Phase {
    match phase {
        decision::Phase::Invalid => Phase::Invalid,
        decision::Phase::Adopting => Phase::Adopting,
        decision::Phase::Stable => Phase::Stable,
        decision::Phase::Preparing => Phase::Preparing,
        decision::Phase::Stepping => Phase::Stepping,
        decision::Phase::Promoting => Phase::Promoting,
        decision::Phase::Finishing => Phase::Finishing,
        decision::Phase::RollingBack => Phase::RollingBack,
        decision::Phase::RolledBack => Phase::RolledBack,
        decision::Phase::Deleting => Phase::Deleting,
    }
}

/// Basis points as a percentage, with as many decimals as it has.
fn percent(points: u16) -> String {
    let (whole, hundredths) = (points / 100, points % 100);
    match (hundredths, hundredths % 10) {
        (0, _) => format!("{whole}%"),
        (_, 0) => format!("{whole}.{}%", hundredths / 10),
        (_, _) => format!("{whole}.{hundredths:02}%"),
    }
}

/// What of a status people wait for: all but evidence, sentences and times, which may be a few seconds old.
pub(super) fn headline(status: &Value) -> Value {
    let mut headline = status.clone();
    for (parent, field) in [("", "message"), ("", "next"), ("", "state"), ("/run", "state")] {
        if let Some(fields) = headline.pointer_mut(parent).and_then(Value::as_object_mut) {
            fields.remove(field);
        }
    }
    for list in ["/conditions", "/run/metrics"] {
        let entries = headline.pointer_mut(list).and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
            entry.remove("message");
        }
    }
    headline
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;
    use sluice_crds::RolloutStatus;
    use sluice_operator_core::{Report, State, decision::Phase};

    use super::{headline, percent, status};

    fn report(ready: bool) -> Report {
        Report {
            phase: Phase::Stepping,
            reason: "MinimumHold".to_owned(),
            message: "30 s are to go".to_owned(),
            step: Some((2, 4)),
            weight: Some(25),
            conditions: vec![("Ready".to_owned(), Some(ready), "R".to_owned(), "m".to_owned())],
            next: Some(("goes on".to_owned(), Some(60_000))),
            ..Report::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn at_second(second: i64, ready: bool, previous: Option<&RolloutStatus>) -> RolloutStatus {
        status(&report(ready), &State::default(), 3, previous, at(second))
    }

    #[test]
    fn weights_are_written_as_people_write_them() {
        for (points, text) in [(0, "0%"), (1, "0.01%"), (25, "0.25%"), (50, "0.5%"), (500, "5%"), (10_000, "100%")] {
            assert_eq!(percent(points), text);
        }
    }

    #[test]
    fn all_conditions_are_always_there() {
        let status = at_second(1, true, None);
        let types: Vec<_> = status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
        let expected =
            ["Reconciling", "Stalled", "Adopted", "Promoted", "ConfigChangedInPlace"].map(|type_| (type_, "Unknown"));
        assert_eq!(types[0], ("Ready", "True"));
        assert_eq!(types[1..], expected);
        assert_eq!((status.step.as_deref(), status.weight.as_deref()), (Some("2/4"), Some("0.25%")));
        assert_eq!(status.observed_generation, Some(3));
    }

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let first = at_second(1, true, None);
        let same = at_second(2, true, Some(&first));
        let changed = at_second(3, false, Some(&same));
        let times = [&first, &same, &changed].map(|status| status.conditions[0].last_transition_time.0);
        assert_eq!(times, [at(1), at(1), at(3)]);
    }

    #[test]
    fn evidence_and_sentences_are_no_headline_but_weight_reason_and_verdicts_are() {
        let status = |message: &str, memory: u32, verdict: &str| {
            json!({"reason": "A", "message": message, "state": {"a": memory},
                "run": {"revision": "r", "state": {"x": memory}, "metrics": [{"verdict": verdict, "message": message}]},
                "conditions": [{"type": "Ready", "message": message}]})
        };
        let old = status("m", 1, "NoData");
        let evidence = status("n", 2, "NoData");
        let mut weight = old.clone();
        weight["weight"] = json!("5%");
        assert_eq!(headline(&old), headline(&evidence));
        assert_ne!(headline(&old), headline(&weight));
        assert_ne!(headline(&old), headline(&status("m", 1, "Undecided")));
    }
}
