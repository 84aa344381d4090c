//! What must hold of every decision, checked in every test and simulation step.

use crate::{Decision, World};

/// What a decision breaks; empty when it is sound.
pub fn check(_world: &World, _decision: &Decision) -> Vec<String> {
    Vec::new()
}
