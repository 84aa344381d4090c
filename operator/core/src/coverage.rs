//! What else selects the workload's pods: before a run makes pods of its own, whatever protects or admits stable's must
//! do the same for the canary's.

use serde::{Deserialize, Serialize};

use crate::{
    Millis, Plan, Reason, State, World,
    course::Course,
    decision::Action,
    look::Look,
    plan::Split,
    state::{Run, Stage},
    world::Frozen,
};

/// How soon it is asked again what selects the pods of a run that is held for it: these objects are not watched.
pub(crate) const ASK_AGAIN_MS: Millis = 10_000;

/// Objects that a message names; the rest are counted.
const NAMED: usize = 10;

/// What else in the namespace selects the workload's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coverage {
    /// Not asked in this look.
    #[default]
    NotAsked,
    /// As it is now.
    Known {
        /// Keys of the labels in which the canary's pods are to differ from stable's.
        labels: Vec<String>,
        /// What selects one side's pods and not the other's, with these labels.
        gaps: Vec<Gap>,
        /// Policies that a copy of a rule would not have.
        attached: Vec<Attached>,
    },
}

/// A policy that is attached to a single rule of a route, by `sectionName` (GEP-713). A copy of the rule, as a step with
/// `match` makes it, has another name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attached {
    /// The policy.
    pub policy: Source,
    /// Name of the HTTPRoute.
    pub route: String,
    /// Name of the rule.
    pub rule: String,
}

/// An object that selects the pods of one side only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The object.
    pub object: Source,
    /// What can be done about it.
    pub remedy: Remedy,
}

/// What can be done about an object that selects the pods of one side only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// A copy for the canary, always.
    Copy,
    /// A copy for the canary, where the plan asks for it.
    Mirror,
    /// Nothing that a copy could do.
    Change,
}

/// An object by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// What is there under the name of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyState {
    /// Nothing.
    Missing,
    /// Our copy.
    Ours,
    /// Somebody else's object.
    Foreign,
}

/// A copy that the frozen revision asks for, as it was observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// What it is a copy of.
    pub of: Source,
    /// What is there.
    pub state: CopyState,
}

/// How the canary of a run is told from stable, and what is copied for it: part of the frozen revision, so that neither
/// changes in the middle of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cover {
    /// Keys of the labels that differ. Empty in revisions that were frozen before this was asked.
    pub labels: Vec<String>,
    /// What is copied for the canary.
    pub copies: Vec<Source>,
}

/// True while it is to be asked what selects the pods: a run is prepared, and its revision is not frozen yet.
pub fn wants(state: &State, frozen: &[Frozen]) -> bool {
    let run = state.run.as_ref().filter(|run| run.stage == Stage::Preparing);
    run.is_some_and(|run| frozen.iter().all(|frozen| frozen.revision != run.revision))
}

/// What is frozen with the revision; `Err` with why it must not be yet, None while it is not known.
pub(crate) fn settle(look: &Look<'_>, plan: &Plan) -> Result<Option<Cover>, (Reason, String)> {
    let Coverage::Known { labels, gaps, attached } = &look.world.coverage else { return Ok(None) };
    let open: Vec<&Gap> = gaps.iter().filter(|gap| !is_copied(gap, plan)).collect();
    if !open.is_empty() {
        return Err((Reason::CanaryNotCovered, not_covered(labels, &open)));
    }
    if !attached.is_empty() && copies_rules(plan) {
        return Err((Reason::PolicyNotCopied, not_copied(attached)));
    }
    let copies = gaps.iter().map(|gap| gap.object.clone()).collect();
    Ok(Some(Cover { labels: labels.clone(), copies }))
}

/// Some step sends requests to a copy of a rule.
pub(crate) fn copies_rules(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step.split, Some(Split::Match(_))))
}

/// A copy closes the gap.
pub(crate) fn is_copied(gap: &Gap, plan: &Plan) -> bool {
    match gap.remedy {
        Remedy::Copy => true,
        Remedy::Mirror => plan.mirror_policies,
        Remedy::Change => false,
    }
}

fn not_covered(labels: &[String], open: &[&Gap]) -> String {
    let mut names: Vec<String> =
        open.iter().take(NAMED).map(|gap| format!("{} {:?}", gap.object.kind, gap.object.name)).collect();
    if open.len() > NAMED {
        names.push(format!("{} more", open.len() - NAMED));
    }
    let mirror = if open.iter().any(|gap| gap.remedy == Remedy::Mirror) {
        "set spec.strategy.canary.mirrorPolicies: true for copies of the policies that last as long as the run, "
    } else {
        ""
    };
    format!(
        "the canary's pods differ from stable's in label {}, and these would treat the two differently: {}. To go on, {mirror}\
         let them select by a label that does not differ, or label with sluice.dev/canary-coverage=ignore what the canary can \
         do without",
        labels.join(" and "),
        names.join(", ")
    )
}

fn not_copied(attached: &[Attached]) -> String {
    let said = |Attached { policy, route, rule }: &Attached| {
        format!("{} {:?} to rule {rule:?} of HTTPRoute {route:?}", policy.kind, policy.name)
    };
    let mut names: Vec<String> = attached.iter().take(NAMED).map(said).collect();
    if attached.len() > NAMED {
        names.push(format!("{} more", attached.len() - NAMED));
    }
    format!(
        "a step with match copies rules of the route, and requests that take a copy would go around what is attached by \
         sectionName: {}. To go on, attach it to the whole route, use weights instead of match, or label with \
         sluice.dev/canary-coverage=ignore what the canary can do without",
        names.join(", ")
    )
}

/// Has the copies made; `Ok` when all are there. Pods come up only behind them.
pub(crate) fn ensure(look: &mut Look<'_>, run: &Run, course: &Course<'_>) -> Result<(), (Reason, String)> {
    let copies = course.frozen.map_or(&[][..], |frozen| &frozen.cover.copies);
    let world = look.world;
    let state = |of: &Source| world.copies.iter().find(|copy| copy.of == *of).map(|copy| copy.state);
    if let Some(taken) = copies.iter().find(|of| state(of) == Some(CopyState::Foreign)) {
        return Err((Reason::CanaryTaken, taken_message(taken)));
    }
    let missing: Vec<Source> = copies.iter().filter(|of| state(of) != Some(CopyState::Ours)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(|of| format!("{} {:?}", of.kind, of.name)).collect();
    look.act(Action::ApplyCopies { revision: run.revision.clone(), copies: missing });
    Err((Reason::WaitingForObjects, format!("copies for the canary are being made of {}", names.join(", "))))
}

fn taken_message(of: &Source) -> String {
    let Source { kind, name } = of;
    let copy = copy_name(name);
    format!(
        "{kind} {copy:?}, the name of the canary's copy of {name:?}, exists and is not this Rollout's; rename or delete it"
    )
}

/// Name of the canary's copy of an object.
pub fn copy_name(of: &str) -> String {
    format!("{of}-canary")
}

/// Removes the copies; true while there are any. To be called when no pod is left that they are for.
pub(crate) fn remove(look: &mut Look<'_>) -> bool {
    let left: Vec<Source> = left(look.world).cloned().collect();
    if left.is_empty() {
        return false;
    }
    look.act(Action::DeleteCopies { copies: left });
    true
}

/// Copies of ours that are there.
pub(crate) fn left(world: &World) -> impl Iterator<Item = &Source> {
    world.copies.iter().filter(|copy| copy.state == CopyState::Ours).map(|copy| &copy.of)
}
