//! What can go wrong between the operator and the API server, each once at a time.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use sluice_operator_core::{
    Action, Decision, Millis, State, World,
    coverage::Coverage,
    world::{Telemetry, Workload},
};

/// Where a fault strikes a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before the write.
    Before,
    /// It dies after it.
    After,
    /// The write is done and its reply is lost: the process looks again at once.
    LostReply,
    /// Another writer came first: the write is refused.
    Conflict,
    /// The process is stopped, or the network is, when the write is on its way: it arrives so many milliseconds later, when
    /// another process has taken over long ago.
    Late(Millis),
}

/// One disturbance of a run.
#[derive(Clone, Debug)]
pub(crate) enum Disturbance {
    /// A fault at the write of this number.
    Write(usize, Fault),
    /// The look of this number is shown a part as it was.
    Stale(usize, Part, Arc<View>),
    /// The event that would have led to the look of this number is lost.
    Missed(usize),
}

impl Disturbance {
    /// In a few words.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Write(at, fault) => format!("{fault:?} at write {at}"),
            Self::Stale(look, part, view) => format!("{part:?} as of {} s at look {look}", view.world.now / 1_000),
            Self::Missed(look) => format!("the event before look {look} is lost"),
        }
    }
}

/// A part of the world that a cache may show as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Canary,
    Everything,
    Frozen,
    Routes,
    Telemetry,
    Workload,
}

impl Part {
    /// The view, with this part as it was. The clock is the process's own.
    pub(crate) fn stale(self, view: View, old: &View) -> View {
        let View { world, canary_version, service_version, copies_version, frozen_version } = view;
        let View {
            world: past,
            canary_version: canary_then,
            service_version: service_then,
            copies_version: copies_then,
            frozen_version: frozen_then,
        } = old.clone();
        let now = world.now;
        match self {
            Self::Canary => View {
                world: World {
                    canary_workload: past.canary_workload,
                    canary_service: past.canary_service,
                    copies: past.copies,
                    ..world
                },
                canary_version: canary_then,
                service_version: service_then,
                copies_version: copies_then,
                frozen_version,
            },
            Self::Everything => View {
                world: World { now, ..past },
                canary_version: canary_then,
                service_version: service_then,
                copies_version: copies_then,
                frozen_version: frozen_then,
            },
            Self::Frozen => View {
                world: World { frozen: past.frozen, ..world },
                canary_version,
                service_version,
                copies_version,
                frozen_version: frozen_then,
            },
            Self::Routes => View {
                world: World { routes: past.routes, ..world },
                canary_version,
                service_version,
                copies_version,
                frozen_version,
            },
            Self::Telemetry => View {
                world: World { telemetry: past.telemetry, ..world },
                canary_version,
                service_version,
                copies_version,
                frozen_version,
            },
            Self::Workload => View {
                world: World { workload: past.workload, ..world },
                canary_version,
                service_version,
                copies_version,
                frozen_version,
            },
        }
    }
}

/// What a look saw: the world, and what the shell takes as preconditions of its writes beside it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) world: World,
    /// UID and resourceVersion of the temporary Deployment and Service.
    pub(crate) canary_version: u64,
    pub(crate) service_version: u64,
    /// Of the copies together.
    pub(crate) copies_version: u64,
    /// Of the frozen revisions together.
    pub(crate) frozen_version: u64,
}

/// What wakes the operator: all that is watched, without what only a look can see.
pub(crate) fn watched(world: World) -> World {
    World {
        now: 0,
        state: State::default(),
        telemetry: Telemetry::NotAsked,
        frozen: Vec::new(),
        probed_at: 0,
        no_policy_api: false,
        coverage: Coverage::NotAsked,
        copies: Vec::new(),
        workload: world.workload.map(|workload| Workload { held_back: None, ..workload }),
        ..world
    }
}

/// A write on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Late {
    /// When it arrives.
    pub(crate) at: Millis,
    /// What it relies on.
    pub(crate) view: View,
    /// What it follows from.
    pub(crate) decision: Decision,
    /// The action; None for the state.
    pub(crate) write: Option<Action>,
}

/// The operator does not look before this changes or the time has come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asleep {
    pub(crate) seen: World,
    pub(crate) until: Millis,
}

/// What is noted of a run is no part of the cluster: two clusters are equal whatever has been noted of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noted<T>(pub(crate) T);

impl<T> PartialEq for Noted<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Deref for Noted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Noted<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
