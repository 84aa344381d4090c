//! Templates that need no run: the workload rolls them out at once, by its own rolling update.
//!
//! - `Restarted`: stable's template but for annotations that make no new version;
//! - `KnownGood`: it was promoted before, or served until another one was;
//! - `NoHealthyStable`: there is nothing to compare with and nothing to go back to.

use crate::{
    Plan, Reason,
    decision::{Action, Phase},
    look::{Look, Next},
    phase::{adopting, run::PROMOTED},
    state::{Ended, Stable, State, Unjudged},
    world::{ReplicaSet, Workload},
};

/// Reasons to roll a template out that is held back.
const DIRECT: [Reason; 3] = [Reason::Restarted, Reason::KnownGood, Reason::NoHealthyStable];

/// Why the declared template, which is held back, needs no run.
pub(super) fn why(look: &Look<'_>, plan: &Plan, workload: &Workload, stable: &Stable) -> Option<Reason> {
    if let Some(reason) = decided(&look.state, workload) {
        return Some(reason);
    }
    let set = workload.replica_sets.iter().find(|set| set.uid == stable.uid);
    if set.is_some_and(|set| is_same_but_for_annotations(workload, set)) {
        return Some(Reason::Restarted);
    }
    if !plan.analyse_known_good && is_known_good(&look.state, &workload.revision) {
        return Some(Reason::KnownGood);
    }
    set.is_none_or(|set| set.available == 0).then_some(Reason::NoHealthyStable)
}

/// What was decided for the declared template in an earlier look stays decided: the pause is not taken back half way.
fn decided(state: &State, workload: &Workload) -> Option<Reason> {
    let unjudged = state.unjudged.as_ref().filter(|unjudged| unjudged.revision == workload.revision)?;
    DIRECT.into_iter().find(|reason| reason.as_str() == unjudged.reason)
}

pub(crate) fn is_same_but_for_annotations(workload: &Workload, set: &ReplicaSet) -> bool {
    !workload.plain.is_empty() && workload.plain == set.plain
}

/// It was promoted when it ran last, or it served until another one was promoted. How it was promoted does not matter: it
/// served. But what somebody went back from is not known to be good.
pub(crate) fn is_known_good(state: &State, revision: &str) -> bool {
    for ended in &state.history {
        let is_promoted = ended.outcome == PROMOTED;
        if ended.revision == revision {
            return is_promoted;
        }
        if is_promoted && ended.replaced.as_deref() == Some(revision) {
            return ended.reason != Reason::KnownGood.as_str();
        }
    }
    false
}

/// Lets the workload roll the declared template out.
pub(super) fn roll(look: &mut Look<'_>, workload: &Workload, stable: &Stable, reason: Reason) -> Next {
    let revision = &workload.revision;
    let message = match reason {
        Reason::Restarted => format!(
            "revision {revision:?} differs from the stable {:?} in annotations alone that make no new version: it rolls out \
             at once",
            stable.revision
        ),
        Reason::KnownGood => format!(
            "revision {revision:?} is known good, for it served before: it rolls out at once, without steps (knownGood: \
             Analyse would take them all again)"
        ),
        _ => format!(
            "no pod of the stable revision {:?} is available, so there is nothing to go back to: revision {revision:?} rolls \
             out without being judged",
            stable.revision
        ),
    };
    if decided(&look.state, workload).is_none() {
        let is_warning = reason == Reason::NoHealthyStable;
        look.report.events.push((is_warning, reason.as_str().to_owned(), message.clone()));
        let reason = reason.as_str().to_owned();
        look.state.unjudged = Some(Unjudged { revision: revision.clone(), reason, since: look.now() });
    }
    look.act(Action::SetPaused { paused: false, resource_version: workload.resource_version.clone() });
    look.say(Phase::Stable, reason, message)
}

/// What is said while it rolls out.
pub(super) fn rolling(workload: &Workload, reason: &str) -> String {
    let how = match DIRECT.into_iter().find(|known| known.as_str() == reason) {
        Some(Reason::Restarted) => "at once, for nothing but annotations differ",
        Some(Reason::KnownGood) => "at once, for it served before",
        _ => "without being judged",
    };
    format!(
        "revision {:?} rolls out {how}; when it is complete it is stable: {}",
        workload.revision,
        adopting::waiting(workload)
    )
}

/// A known good revision has rolled out completely: the history says so, as of any other promotion.
pub(super) fn complete(look: &mut Look<'_>, workload: &Workload) {
    let Some(unjudged) = look.state.unjudged.take() else { return };
    if unjudged.reason != Reason::KnownGood.as_str() {
        return;
    }
    let now = look.now();
    look.enter_history(Ended {
        revision: workload.revision.clone(),
        started_at: unjudged.since,
        ended_at: now,
        outcome: PROMOTED.to_owned(),
        reason: Reason::KnownGood.as_str().to_owned(),
        message: format!("revision {:?} served before and rolled out at once", workload.revision),
        images: workload.images.clone(),
        by: None,
        replaced: look.state.stable.as_ref().map(|stable| stable.revision.clone()),
    });
}
