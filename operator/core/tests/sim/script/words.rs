//! What the words of a command mean.

use sluice_operator_core::{
    coverage::Source,
    plan::{Bad, HeaderMatch, Hold, Metric, OnUndecided, Split, Step},
    world::{Operation, OperationKind},
};

use crate::sim::workload::Health;

pub(super) fn step(words: &[&str]) -> Step {
    let mut hold = Hold::default();
    let mut split = None;
    for word in words {
        match word.split_once('=') {
            Some(("min", value)) => hold.min_ms = millis(value),
            Some(("max", value)) => hold.max_ms = Some(millis(value)),
            Some(("undecided", "rollback")) => hold.on_undecided = OnUndecided::RollBack,
            Some(("undecided", "promote")) => hold.on_undecided = OnUndecided::Promote,
            Some((name, value)) => {
                let header = HeaderMatch { name: name.to_owned(), value: value.to_owned(), regex: false };
                split = Some(Split::Match(vec![header]));
            }
            None if word.ends_with('%') => {
                let percent: f64 = word.trim_end_matches('%').parse().unwrap();
                split = Some(Split::Share((percent * 100.0).round() as u16));
            }
            None => assert!(["match", "approval"].contains(word), "{word}"),
        }
    }
    Step { split, hold }
}

pub(super) fn metric(words: &[&str]) -> Metric {
    let mut metric = Metric { name: words[0].to_owned(), bad: Bad::Error, compare: None, objective: None };
    for word in &words[1..] {
        match word.split_once('=').unwrap() {
            ("compare", value) => metric.compare = Some(value.parse().unwrap()),
            ("objective", value) => metric.objective = Some(value.parse().unwrap()),
            ("slower", value) => metric.bad = Bad::SlowerThan(value.parse().unwrap()),
            other => panic!("{other:?}"),
        }
    }
    metric
}

pub(super) fn health(words: &[&str]) -> Health {
    let mut health = Health::default();
    for word in words {
        match word.split_once('=') {
            Some(("errors", value)) => health.errors = value.parse().unwrap(),
            Some(("slow", value)) => health.slow = value.parse().unwrap(),
            Some(("refuses", value)) => health.refuses = value.parse().unwrap(),
            Some(("ready", value)) => health.ready = value == "true",
            Some(("trouble", value)) => health.trouble = value.replace('_', " "),
            None if *word == "hangs" => health.hangs = true,
            None if *word == "only-canary" => health.only_canary = true,
            other => panic!("{other:?}"),
        }
    }
    health
}

pub(super) fn operation(words: &[&str]) -> Operation {
    let kind = match words[0] {
        "promote" => OperationKind::Promote,
        "promotefull" => OperationKind::PromoteFull,
        "abort" => OperationKind::Abort,
        "pause" => OperationKind::Pause,
        "resume" => OperationKind::Resume,
        "retry" => OperationKind::Retry,
        "undo" => OperationKind::Undo,
        "skipanalysis" => OperationKind::SkipAnalysis,
        other => panic!("{other:?}"),
    };
    let mut operation = Operation { id: "1".to_owned(), kind, revision: None, by: "jane".to_owned(), reason: None };
    for word in &words[1..] {
        match word.split_once('=').unwrap() {
            ("revision", value) => operation.revision = Some(value.to_owned()),
            ("reason", value) => operation.reason = Some(value.to_owned()),
            ("id", value) => value.clone_into(&mut operation.id),
            other => panic!("{other:?}"),
        }
    }
    operation
}

pub(super) fn source(words: &[&str]) -> Source {
    Source { kind: words[0].to_owned(), name: words[1].to_owned() }
}

pub(super) fn number<T: std::str::FromStr>(word: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    word.parse().unwrap()
}

/// `10s`
pub(super) fn millis(word: &str) -> u64 {
    word.trim_end_matches('s').parse::<u64>().unwrap() * 1_000
}
