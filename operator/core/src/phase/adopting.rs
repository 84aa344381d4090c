//! Adopting: our finalizer and label, proof that changes of the workload are held back, and a version that serves.

use crate::{
    PROBE_RETRY_MS, Reason,
    course::complete,
    decision::{Action, Phase},
    look::{Look, Next},
    report::POLICY_MISSING,
    state::{Adoption, Stable, Unjudged},
    world::{ReplicaSet, Workload},
};

/// Takes in what the world says of the label and the policy.
pub(super) fn take_answers(look: &mut Look<'_>) {
    let world = look.world;
    let Some(workload) = &world.workload else { return };
    let adoption = &mut look.state.adoption;
    let labelled = workload.label.as_deref() == Some(&world.name);
    if labelled != adoption.labelled {
        // What was answered without the label says nothing about a workload with it.
        *adoption = Adoption { labelled, ..Adoption::default() };
    }
    if labelled && workload.held_back.is_some() {
        let by_pause = workload.held_back == Some(false) && world.no_policy_api;
        *adoption = Adoption { labelled, held_back: workload.held_back, by_pause };
    }
}

/// Finalizer, label, and the policy's proof; `Err` while one of them is missing.
pub(super) fn ensure(look: &mut Look<'_>, workload: &Workload) -> Result<(), Next> {
    if !look.world.finalizer {
        look.act(Action::AddFinalizer);
        return Err(look.say(Phase::Adopting, Reason::WaitingForObjects, "the finalizer is being added"));
    }
    if !look.state.adoption.labelled {
        look.act(Action::LabelWorkload { adopt: true, resource_version: workload.resource_version.clone() });
        return Err(look.say(Phase::Adopting, Reason::WaitingForObjects, "the workload is being labelled"));
    }
    ask(look);
    if look.state.adoption.holds() {
        return Ok(());
    }
    if look.state.adoption.held_back.is_some() {
        return Err(look.say(Phase::Adopting, Reason::PolicyMissing, POLICY_MISSING));
    }
    let message = "it is asked by a dry run whether a change of the workload is held back";
    Err(look.say(Phase::Adopting, Reason::ProbingPolicy, message))
}

/// Has the policy probed, when it is time.
pub(super) fn ask(look: &mut Look<'_>) {
    let probed_at = look.world.probed_at;
    if crate::wants(&look.state, look.now(), probed_at).probe {
        look.act(Action::ProbePolicy);
        look.wake(look.now() + PROBE_RETRY_MS);
        return;
    }
    look.wake(probed_at + look.state.adoption.ask_again_after());
}

/// Looks for the version that serves, to pin it.
pub(super) fn look_at(look: &mut Look<'_>, workload: &Workload) -> Next {
    if let Some(set) = complete(workload) {
        return pin(look, set);
    }
    if !workload.paused {
        let message = waiting(workload);
        return look.say(Phase::Adopting, Reason::WaitingForStable, message);
    }
    // Paused: the declared template is held back. A version that was complete when it came is what serves.
    if let Some(set) = held_up(workload) {
        return pin(look, set);
    }
    if let Some(pause) = &look.state.pause {
        let message = format!(
            "no version of the workload is completely available, and the declared template is held back: {}. Resume lets it \
             roll out, without being judged",
            pause.said()
        );
        look.next("let the declared template roll out when operation Resume comes", None);
        return look.say(Phase::Adopting, Reason::Paused, message);
    }
    let message = "no version of the workload is completely available, so there is nothing to go back to: the declared \
                   template rolls out without being judged";
    look.warn(Reason::NoHealthyStable, message);
    look.state.unjudged = Some(Unjudged {
        revision: workload.revision.clone(),
        reason: Reason::NoHealthyStable.as_str().to_owned(),
        since: look.now(),
    });
    look.act(Action::SetPaused { paused: false, resource_version: workload.resource_version.clone() });
    look.say(Phase::Adopting, Reason::NoHealthyStable, message)
}

/// The one ReplicaSet with pods, all of them available, none of them of the declared template.
fn held_up(workload: &Workload) -> Option<&ReplicaSet> {
    let mut with_pods = workload.replica_sets.iter().filter(|set| set.replicas > 0 || set.wanted > 0);
    let set = with_pods.next()?;
    let is_whole = set.wanted > 0 && set.replicas == set.wanted && set.available == set.wanted;
    (is_whole && workload.observed && with_pods.next().is_none()).then_some(set)
}

pub(super) fn pin(look: &mut Look<'_>, set: &ReplicaSet) -> Next {
    look.state.stable = Some(Stable { revision: set.revision.clone(), uid: set.uid.clone(), name: set.name.clone() });
    look.note(Reason::Serving, format!("ReplicaSet {:?} with revision {:?} is stable", set.name, set.revision));
    Next::Again
}

/// Why pods of a ReplicaSet are not there or not ready, in brackets, where that is known.
pub(super) fn trouble(set: Option<&ReplicaSet>) -> String {
    set.and_then(|set| set.trouble.as_ref()).map(|trouble| format!(" ({trouble})")).unwrap_or_default()
}

pub(super) fn waiting(workload: &Workload) -> String {
    if workload.replicas == 0 {
        return "the workload is scaled to zero; scale it up".to_owned();
    }
    let of_revision = workload.replica_sets.iter().find(|set| set.revision == workload.revision);
    let available = of_revision.map_or(0, |set| set.available);
    format!(
        "{available} of {} pods of the declared template are available{}; the workload's own rollout must come to its end",
        workload.replicas,
        trouble(of_revision)
    )
}
