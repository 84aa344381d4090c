//! RolledBack: the workload stays paused on the bad template until another one is declared.

use crate::{
    Reason,
    decision::{Action, Phase},
    look::{Look, Next},
    phase::adopting,
    undo,
    world::Workload,
};

pub(super) fn look_at(look: &mut Look<'_>, workload: &Workload) -> Next {
    let Some(run) = look.state.run.clone() else { return Next::Again };
    let stable = look.state.stable.clone();
    let is_reverted = stable.as_ref().is_some_and(|stable| stable.revision == workload.revision);
    let is_gone =
        stable.is_none_or(|stable| workload.observed && workload.replica_sets.iter().all(|s| s.uid != stable.uid));
    // Another restart of what was rejected is no new version.
    let is_same = workload.revision == run.revision || (!run.plain.is_empty() && run.plain == workload.plain);
    if is_reverted || is_gone || !is_same {
        look.state.run = None;
        return Next::Again;
    }
    let end = run.end.unwrap_or_default();
    if !workload.paused {
        let runs = workload.replica_sets.iter().any(|set| set.revision == workload.revision && set.replicas > 0);
        if runs || !look.state.adoption.labelled {
            // Somebody took the label away and resumed it, or the policy is gone: it is followed, not fought.
            look.state.run = None;
            return Next::Again;
        }
        look.warn(
            Reason::Unpaused,
            "the workload was resumed on the template that was rolled back; it is paused again",
        );
        look.doubt();
        look.act(Action::SetPaused { paused: true, resource_version: workload.resource_version.clone() });
    }
    if undo::write_back(look, workload) {
        let message =
            format!("revision {:?} was rolled back, and stable's template is being written back", run.revision);
        return look.say(Phase::RolledBack, Reason::WaitingForObjects, message);
    }
    if look.state.adoption.labelled {
        adopting::ask(look);
    }
    let left: i32 =
        workload.replica_sets.iter().filter(|set| set.revision == run.revision).map(|set| set.replicas).sum();
    let left = if left > 0 { format!("; {left} pods of it stay in the Deployment until then") } else { String::new() };
    look.next("start a run when another template is declared", None);
    look.say_as(
        Phase::RolledBack,
        &end.reason,
        format!(
            "revision {:?} was rolled back: {}. The workload stays paused; declare another template, or the old one \
             again; Undo does that, and Retry starts this one again{left}",
            run.revision, end.message
        ),
    )
}
