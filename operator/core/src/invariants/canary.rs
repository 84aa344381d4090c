//! What must hold of a write of the temporary workload and of what is made for it.

use super::require;
use crate::{
    Decision, Plan, World,
    coverage::{self, CopyState, Cover, Coverage, Gap, Source},
    state::{Run, Stage},
};

pub(super) fn sized(world: &World, decision: &Decision, revision: &str, replicas: i32) -> Result<(), String> {
    let run = decision.state.run.as_ref();
    let run = run.filter(|run| run.revision == *revision).ok_or("it is not the run's revision")?;
    require(world.canary_workload.as_ref().is_none_or(|canary| canary.ours), "it is not ours")?;
    behind_copies(world, run)?;
    let largest = world.canary_workload.as_ref().map_or(0, |canary| canary.wanted).max(reference(world, run));
    require(replicas <= largest, "the canary is larger than stable")
}

pub(super) fn nothing_is_left(world: &World) -> Result<(), String> {
    require(world.deleting, "the Rollout is not being deleted")?;
    require(world.canary_workload.as_ref().is_none_or(|canary| !canary.ours), "the canary is there")?;
    require(world.canary_service.is_none_or(|service| !service.ours), "the canary's Service is there")?;
    require(coverage::left(world).next().is_none(), "copies are there")?;
    require(world.frozen.is_empty(), "frozen revisions are there")?;
    let label = world.workload.as_ref().and_then(|workload| workload.label.as_deref());
    require(label != Some(&world.name), "the label is there")
}

/// What is frozen was found out in this look, and leaves nothing that treats the two sides differently.
pub(super) fn covered(world: &World, plan: &Plan, cover: &Cover) -> Result<(), String> {
    let Coverage::Known { labels, gaps, attached } = &world.coverage else {
        return Err("it is not known what selects the pods".to_owned());
    };
    require(cover.labels == *labels && !labels.is_empty(), "the canary is told from stable otherwise")?;
    let is_closed = |gap: &Gap| coverage::is_copied(gap, plan) && cover.copies.contains(&gap.object);
    require(gaps.iter().all(is_closed), "something does not select the canary's pods, and is not copied")?;
    require(attached.is_empty() || !coverage::copies_rules(plan), "a copied rule would be without a policy")
}

pub(super) fn copies_are_missing(world: &World, revision: &str, copies: &[Source]) -> Result<(), String> {
    let frozen = world.frozen.iter().find(|frozen| frozen.revision == *revision);
    let is_asked_for = |of| frozen.is_some_and(|frozen| frozen.cover.copies.contains(of));
    require(copies.iter().all(is_asked_for), "the frozen revision does not ask for it")?;
    let is_missing = |of: &Source| world.copies.iter().all(|copy| copy.of != *of || copy.state == CopyState::Missing);
    require(copies.iter().all(is_missing), "there is something of that name")
}

pub(super) fn copies_are_left(world: &World, copies: &[Source]) -> Result<(), String> {
    let is_ours = |of: &Source| coverage::left(world).any(|left| left == of);
    require(copies.iter().all(is_ours), "it is not ours")?;
    let pods = world.canary_workload.as_ref().filter(|canary| canary.ours);
    require(pods.is_none(), "there are pods that it is for")
}

/// The first pods of a canary come up behind everything that is copied for them.
fn behind_copies(world: &World, run: &Run) -> Result<(), String> {
    if world.canary_workload.is_some() || run.stage != Stage::Preparing {
        return Ok(());
    }
    let frozen = world.frozen.iter().find(|frozen| frozen.revision == run.revision);
    let copies = frozen.map_or(&[][..], |frozen| &frozen.cover.copies);
    let is_there = |of: &Source| coverage::left(world).any(|left| left == of);
    require(copies.iter().all(is_there), "a copy is missing")
}

/// The size that shares are shares of.
pub(super) fn reference(world: &World, run: &Run) -> i32 {
    world.workload.as_ref().map_or(0, |workload| workload.replicas).max(run.replicas)
}
