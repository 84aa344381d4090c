//! Undo: stable's template is written back into the paused workload. What is declared then is what runs, so the next look
//! lets the workload go: a second write, tested by its resourceVersion.
//!
//! The revision that was undone does not start by itself while the same version is stable: a GitOps tool that declares it
//! again must not bring it back against the person. It is held as rolled back, and Retry starts it.

use crate::{
    Reason,
    decision::Action,
    look::Look,
    state::{End, Run, Stage, Undone},
    world::{Operation, Workload},
};

/// So often is the template written, if somebody declares the undone one each time before the next look sees it.
const MAX_WRITES: u32 = 10;

/// Remembers that the declared template is to be taken back.
pub(crate) fn ask(look: &mut Look<'_>, workload: &Workload, operation: &Operation) -> Result<(), String> {
    let stable = look.state.stable.as_ref().map(|stable| stable.revision.clone()).unwrap_or_default();
    if workload.stable_template.is_none() {
        return Err(format!(
            "the ReplicaSet of revision {stable:?} is gone, so its template is not known; declare it again"
        ));
    }
    look.state.undone = Some(Undone {
        revision: workload.revision.clone(),
        stable,
        by: operation.by.clone(),
        reason: operation.reason.clone(),
        is_pending: true,
        ..Undone::default()
    });
    Ok(())
}

/// Writes stable's template, while that is asked for and the undone one is declared. True when it is being written.
pub(crate) fn write_back(look: &mut Look<'_>, workload: &Workload) -> bool {
    let Some(undone) = look.state.undone.as_mut().filter(|undone| undone.is_pending) else { return false };
    let (true, true, Some(template)) =
        (undone.revision == workload.revision, workload.paused, workload.stable_template.as_ref())
    else {
        return false;
    };
    if undone.written_at != workload.resource_version {
        if undone.writes == MAX_WRITES {
            undone.is_pending = false;
            let message = format!(
                "the template of revision {:?} was written back {MAX_WRITES} times and was replaced each time: find who \
                 declares revision {:?}; Undo tries again",
                undone.stable, undone.revision
            );
            look.warn(Reason::Undone, message);
            return false;
        }
        undone.writes += 1;
        undone.written_at.clone_from(&workload.resource_version);
    }
    let revision = undone.stable.clone();
    look.act(Action::RestoreTemplate {
        revision,
        template: template.clone(),
        resource_version: workload.resource_version.clone(),
    });
    true
}

/// Where another version is stable nothing is undone any more. Where another template is declared nothing is to be written.
pub(crate) fn settle(look: &mut Look<'_>, workload: &Workload) {
    if current(look).is_none() {
        look.state.undone = None;
    }
    if let Some(undone) = look.state.undone.as_mut().filter(|undone| undone.revision != workload.revision) {
        undone.is_pending = false;
    }
}

/// What is undone, as long as the version is stable that it was taken back to.
fn current<'l>(look: &'l Look<'_>) -> Option<&'l Undone> {
    let stable = look.state.stable.as_ref()?;
    look.state.undone.as_ref().filter(|undone| undone.stable == stable.revision)
}

/// How a run ends whose template was taken back by Undo.
pub(crate) fn end_of(look: &Look<'_>, run: &Run) -> Option<End> {
    let undone = current(look).filter(|undone| undone.revision == run.revision)?;
    let end = End::rolled_back(Reason::Undone, undone.said());
    Some(End { by: Some(undone.by.clone()), ..end })
}

/// The undone revision is declared again: it counts as rolled back, so that it stays where it is.
pub(crate) fn held(look: &Look<'_>, workload: &Workload) -> Option<Run> {
    let undone = current(look).filter(|undone| undone.revision == workload.revision)?;
    let again = if undone.is_pending { "" } else { ", and it was declared again" };
    let end = End::rolled_back(Reason::Undone, format!("{}{again}", undone.said()));
    Some(Run {
        revision: workload.revision.clone(),
        started_at: look.now(),
        replicas: workload.replicas.max(1),
        images: workload.images.clone(),
        stage: Stage::RolledBack,
        end: Some(End { by: Some(undone.by.clone()), ..end }),
        ..Run::default()
    })
}

impl Undone {
    fn said(&self) -> String {
        let by = if self.by.is_empty() { "somebody" } else { &self.by };
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{by} undid it{reason}")
    }
}
