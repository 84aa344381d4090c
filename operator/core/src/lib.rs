//! The decision core of the operator: [`World`] in, [`Decision`] out.
//!
//! No IO, no clock, no randomness: time and answers are part of the world. Everything that the shell does follows from
//! a decision; the decision leaves nothing to choose when it is carried out.
#![forbid(unsafe_code)]

pub mod decision;
pub mod plan;
pub mod state;
pub mod world;

pub use decision::{Action, Decision, Report};
pub use plan::Plan;
pub use state::State;
pub use world::World;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;
