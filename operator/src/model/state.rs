//! The core's memory to the status and back.
//!
//! What people and tools read has fields of its own; the rest of the memory is kept as the core writes it, that of the
//! run in `status.run.state` and that of the Rollout in `status.state`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use sluice_crds::{HistoryEntry, LastOperation, OperationResult, PauseStatus, RolloutStatus, RunStatus, StableStatus};
use sluice_operator_core::{
    Millis, State,
    state::{ConsumedOperation, Ended, Pause, Run, Stable},
};
use thiserror::Error;

/// Parts of the memory with fields of their own in the status.
const OWN_FIELDS: [&str; 6] = ["stable", "run", "last_operation", "operations", "pause", "history"];

/// A memory that this version cannot read. Nothing may be done on a memory that is not understood.
#[derive(Debug, Error)]
#[error("{field} cannot be read: {source}")]
pub(crate) struct StateError {
    field: &'static str,
    source: serde_json::Error,
}

/// Milliseconds as a time in the API, which has whole seconds.
pub(crate) fn time(millis: Millis) -> Time {
    Time(Timestamp::from_millisecond(millis).unwrap_or_default())
}

fn millis(time: &Time) -> Millis {
    time.0.as_millisecond()
}

/// Reads the memory from a Rollout's status.
pub(crate) fn read(status: Option<&RolloutStatus>) -> Result<State, StateError> {
    let Some(status) = status else { return Ok(State::default()) };
    let mut state = match &status.state {
        Value::Null => State::default(),
        rest => parse("status.state", rest.clone())?,
    };
    state.stable = status.stable.clone().map(|stable| {
        let StableStatus { revision, replica_set_uid, replica_set } = stable;
        Stable { revision, uid: replica_set_uid, name: replica_set }
    });
    state.run = status.run.as_ref().map(|run| parse::<Run>("status.run.state", run.state.clone())).transpose()?;
    state.last_operation = status.last_operation.as_ref().map(consumed).transpose()?;
    state.operations = status.operations.iter().map(consumed).collect::<Result<_, _>>()?;
    state.pause = status.pause.clone().map(|pause| {
        let PauseStatus { by, since, reason } = pause;
        Pause { by, since: millis(&since), reason }
    });
    state.history = status.history.iter().map(ended).collect();
    Ok(state)
}

fn parse<T: DeserializeOwned>(field: &'static str, value: Value) -> Result<T, StateError> {
    serde_json::from_value(value).map_err(|source| StateError { field, source })
}

fn consumed(last: &LastOperation) -> Result<ConsumedOperation, StateError> {
    let LastOperation { id, type_, by, at, revision, result, message } = last;
    Ok(ConsumedOperation {
        id: id.clone(),
        kind: parse("status.lastOperation.type", Value::String(type_.clone()))?,
        by: by.clone(),
        at: millis(at),
        revision: revision.clone(),
        done: *result == OperationResult::Done,
        message: message.clone(),
    })
}

fn ended(entry: &HistoryEntry) -> Ended {
    let HistoryEntry { revision, started_at, ended_at, outcome, reason, message, images, by, replaced } = entry.clone();
    let (started_at, ended_at) = (millis(&started_at), millis(&ended_at));
    Ended { revision, started_at, ended_at, outcome, reason, message, images, by, replaced }
}

/// Writes the memory into a status.
pub(crate) fn write(state: &State, status: &mut RolloutStatus) {
    status.stable = state.stable.clone().map(|stable| {
        let Stable { revision, uid, name } = stable;
        StableStatus { revision, replica_set_uid: uid, replica_set: name }
    });
    status.run = state.run.as_ref().map(|run| RunStatus {
        revision: run.revision.clone(),
        started_at: time(run.started_at),
        replicas: run.replicas,
        floor: run.in_progress().then_some(run.replicas),
        state: json(run),
        metrics: Vec::new(),
    });
    status.state = rest(state);
    status.last_operation = state.last_operation.as_ref().map(last_operation);
    status.operations = state.operations.iter().map(last_operation).collect();
    status.pause = state.pause.clone().map(|pause| {
        let Pause { by, since, reason } = pause;
        PauseStatus { by, since: time(since), reason }
    });
    status.history = state.history.iter().map(history_entry).collect();
}

/// The part of the memory without fields of its own.
fn rest(state: &State) -> Value {
    let mut fields = match json(state) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    for own in OWN_FIELDS {
        fields.remove(own);
    }
    fields.retain(|_, value| !value.is_null());
    Value::Object(fields)
}

fn last_operation(consumed: &ConsumedOperation) -> LastOperation {
    let ConsumedOperation { id, kind, by, at, revision, done, message } = consumed.clone();
    LastOperation {
        id,
        type_: json(&kind).as_str().unwrap_or_default().to_owned(),
        by,
        at: time(at),
        revision,
        result: if done { OperationResult::Done } else { OperationResult::Refused },
        message,
    }
}

fn history_entry(ended: &Ended) -> HistoryEntry {
    let Ended { revision, started_at, ended_at, outcome, reason, message, images, by, replaced } = ended.clone();
    let (started_at, ended_at) = (time(started_at), time(ended_at));
    HistoryEntry { revision, started_at, ended_at, outcome, reason, message, images, by, replaced }
}

/// As JSON. The core's memory is plain data with string keys, which JSON always takes.
fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_crds::RolloutStatus;
    use sluice_operator_core::{
        State,
        state::{Adoption, ConsumedOperation, Ended, Pause, Run, Stable, Stage, Undone},
        world::OperationKind,
    };

    use super::{read, write};

    fn state() -> State {
        let aborted = ConsumedOperation {
            id: "1".to_owned(),
            kind: OperationKind::Abort,
            by: "jane".to_owned(),
            at: 1_700_000_001_000,
            revision: Some("b".to_owned()),
            done: false,
            message: Some("too late".to_owned()),
        };
        let skipped = ConsumedOperation { kind: OperationKind::SkipAnalysis, done: true, ..aborted.clone() };
        State {
            adoption: Adoption { labelled: true, held_back: Some(true), by_pause: false },
            stable: Some(Stable { revision: "a".to_owned(), uid: "u".to_owned(), name: "podinfo-1".to_owned() }),
            run: Some(Run { revision: "b".to_owned(), started_at: 1_700_000_000_123, replicas: 3, ..Run::default() }),
            last_operation: Some(aborted.clone()),
            operations: vec![aborted, skipped],
            pause: Some(Pause { by: "ann".to_owned(), since: 1_700_000_002_000, reason: Some("lunch".to_owned()) }),
            undone: Some(Undone { revision: "b".to_owned(), is_pending: true, ..Undone::default() }),
            history: vec![Ended {
                revision: "a".to_owned(),
                started_at: 1_600_000_000_000,
                ended_at: 1_600_000_060_000,
                outcome: "Promoted".to_owned(),
                reason: "Promoted".to_owned(),
                message: "it is good".to_owned(),
                images: vec!["podinfo:1".to_owned()],
                by: None,
                replaced: Some("0".to_owned()),
            }],
            ..State::default()
        }
    }

    #[test]
    fn the_memory_survives_the_status() {
        let state = state();
        let mut status = RolloutStatus::default();
        write(&state, &mut status);
        let wire = serde_json::to_value(&status).unwrap();
        let status: RolloutStatus = serde_json::from_value(wire).unwrap();
        assert_eq!(read(Some(&status)).unwrap(), state);
    }

    #[test]
    fn the_floor_of_the_workload_ends_with_the_run() {
        let mut state = state();
        let mut status = RolloutStatus::default();
        write(&state, &mut status);
        assert_eq!(status.run.as_ref().unwrap().floor, Some(3));
        state.run.as_mut().unwrap().stage = Stage::RolledBack;
        write(&state, &mut status);
        assert_eq!(status.run.unwrap().floor, None);
    }

    #[test]
    fn a_new_rollout_has_an_empty_memory() {
        assert_eq!(read(None).unwrap(), State::default());
    }

    #[test]
    fn a_memory_that_is_not_understood_is_an_error() {
        let mut status = RolloutStatus::default();
        write(&state(), &mut status);
        status.run.as_mut().unwrap().state = json!({"stage": "FromTheFuture"});
        let error = read(Some(&status)).unwrap_err();
        assert!(error.to_string().starts_with("status.run.state cannot be read"), "{error}");
    }
}
