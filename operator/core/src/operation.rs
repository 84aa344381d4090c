//! What a person or tool asks for: consumed exactly once, with its effect or its refusal in the same memory.
//!
//! Each operation either applies where the Rollout stands, or is refused with a message that names the field and the way
//! out, and then changes nothing else. [`in_run`] knows what applies to a run, [`settled`] what applies to none.

mod in_run;
mod settled;

pub(crate) use in_run::in_run;
pub(crate) use settled::settled;

use crate::{
    Reason,
    decision::Action,
    look::Look,
    state::{ConsumedOperation, End, Pause},
    world::Operation,
};

/// Operations that are remembered.
const OPERATIONS: usize = 20;

/// Refuses whatever is asked while the Rollout is being deleted.
pub(crate) fn while_deleting(look: &mut Look<'_>) {
    if let Some(operation) = unheard(look) {
        record(look, operation, None, Err(DELETING.to_owned()));
    }
}

const DELETING: &str = "the Rollout is being deleted, which ends every run and takes every pause away; make it again";

/// The operation that waits, if it was not heard before. In any case it is removed from the object.
fn unheard<'w>(look: &mut Look<'w>) -> Option<&'w Operation> {
    let operation = look.world.operation.as_ref()?;
    look.act(Action::ConsumeOperation { id: operation.id.clone() });
    let mut known = look.state.operations.iter().chain(&look.state.last_operation);
    let is_known = known.any(|known| known.id == operation.id);
    (!is_known).then_some(operation)
}

/// Remembers what became of an operation; `revision` is the one that it met.
fn record(look: &mut Look<'_>, operation: &Operation, revision: Option<String>, outcome: Result<(), String>) {
    let outcome = outcome.map_err(|why| {
        let names_its_field = why.starts_with("operation.");
        if names_its_field { why } else { format!("operation.type: {why}") }
    });
    let (by, kind) = (asker(operation), operation.kind);
    match &outcome {
        Ok(()) => look.note(Reason::OperationDone, format!("{kind:?} by {by}")),
        Err(why) => look.warn(Reason::OperationRefused, format!("{kind:?} by {by} is refused: {why}")),
    }
    let consumed = ConsumedOperation {
        id: operation.id.clone(),
        kind,
        by: operation.by.clone(),
        at: look.now(),
        revision,
        done: outcome.is_ok(),
        message: outcome.err().or_else(|| operation.reason.clone()),
    };
    look.state.operations.insert(0, consumed.clone());
    look.state.operations.truncate(OPERATIONS);
    look.state.last_operation = Some(consumed);
}

/// Who asked, as a sentence names them.
fn asker(operation: &Operation) -> &str {
    if operation.by.is_empty() { "somebody" } else { &operation.by }
}

/// Who asked for what, and why.
fn said(operation: &Operation, what: &str) -> String {
    let reason = operation.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{} {what}{reason}", asker(operation))
}

/// A run that a person ends.
fn end(reason: Reason, operation: &Operation, what: &str) -> End {
    End { by: Some(operation.by.clone()), ..End::rolled_back(reason, said(operation, what)) }
}

/// Refuses an operation that means another revision than the one that it would reach.
fn meant_for(operation: &Operation, revision: Option<&str>) -> Result<(), String> {
    let Some(meant) = operation.revision.as_deref().filter(|meant| Some(*meant) != revision) else { return Ok(()) };
    let now = revision.map_or_else(|| "there is none".to_owned(), |revision| format!("it is {revision:?} now"));
    Err(format!("operation.revision: revision {meant:?} is gone; {now}: look at it and ask again"))
}

fn pause(look: &mut Look<'_>, operation: &Operation) -> Result<(), String> {
    if let Some(pause) = &look.state.pause {
        return Err(format!("it is {} already; Resume ends that", pause.said()));
    }
    look.state.pause = Some(Pause { by: operation.by.clone(), since: look.now(), reason: operation.reason.clone() });
    Ok(())
}

impl Pause {
    /// Who paused it and why, in a part of a sentence.
    pub(crate) fn said(&self) -> String {
        let by = if self.by.is_empty() { "somebody" } else { &self.by };
        let reason = self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("paused by {by}{reason}")
    }
}
