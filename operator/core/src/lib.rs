//! The decision core of the operator: [`World`] in, [`Decision`] out.
//!
//! No IO, no clock, no randomness: time and answers are part of the world. Everything that the shell does follows from
//! a decision; the decision leaves nothing to choose when it is carried out.
#![forbid(unsafe_code)]

mod capacity;
mod config;
pub mod contest;
mod course;
pub mod coverage;
pub mod decision;
pub mod election;
pub mod invariants;
pub mod judge;
mod look;
mod operation;
mod phase;
pub mod plan;
pub mod reason;
mod report;
pub mod routes;
pub mod state;
mod takeback;
mod teardown;
mod undo;
mod verify;
pub mod world;

pub use decision::{Action, Decision, Report};
pub use plan::Plan;
pub use reason::Reason;
pub use state::State;
pub use world::World;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// How long an answer of the policy probe is believed.
pub const PROBE_AGAIN_MS: Millis = 10 * 60 * 1000;

/// How soon a policy that does not hold changes back is asked again.
pub const PROBE_RETRY_MS: Millis = 5 * 1000;

/// What the shell is to ask before it builds the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Counters and acknowledgements of the data planes.
    pub telemetry: bool,
    /// Whether a change of the workload is held back, by a dry run.
    pub probe: bool,
    /// Versions of the ConfigMaps that stable's template names: in a run, which looks each second, as seldom as the probe.
    pub config_maps: bool,
}

/// What to ask before the world is built, from memory and from when the policy was probed last.
pub fn wants(state: &State, now: Millis, probed_at: Millis) -> Wants {
    let adoption = &state.adoption;
    let due = adoption.held_back.is_none() || now >= probed_at + adoption.ask_again_after();
    let telemetry = state.run.as_ref().is_some_and(state::Run::in_progress);
    let probe = adoption.labelled && due;
    Wants { telemetry, probe, config_maps: state.stable.is_some() && (probe || !telemetry) }
}

/// Name of the temporary Service.
pub fn canary_name(plan: &Plan) -> String {
    format!("{}-canary", plan.service)
}

/// Name of the temporary Deployment.
pub fn canary_workload_name(plan: &Plan) -> String {
    format!("{}-canary", plan.workload)
}

/// One look: what is to be done about what was observed.
pub fn decide(world: &World) -> Decision {
    let mut look = look::Look::new(world);
    phase::look_on(&mut look);
    config::take_answers(&mut look);
    look.into_decision()
}
