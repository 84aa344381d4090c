//! Every operation at every place where a Rollout can stand: it takes effect, or it is refused with the field and the way
//! out, and then nothing else is different.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod sim;

use sim::{Sim, script};
use sluice_operator_core::{
    Action, Decision, World, decide, invariants,
    world::{Operation, OperationKind},
};

const KINDS: [OperationKind; 8] = [
    OperationKind::Promote,
    OperationKind::PromoteFull,
    OperationKind::Abort,
    OperationKind::Pause,
    OperationKind::Resume,
    OperationKind::Retry,
    OperationKind::Undo,
    OperationKind::SkipAnalysis,
];

const PLAN: &str = "deadline 30s\nstep 10% min=60s\nstep approval\nmetric errors objective=0.01\n";
const RUN: &str = "until Stable\ntemplate v2\n";
const LIVE: &str = "until Stable\ntemplate v2\nuntil MinimumHold\n";
const ROLL: &str = "until Stable\ntemplate v2\nuntil MinimumHold\noperation promotefull\nuntil WaitingForRollout\n";

/// It takes effect.
const DONE: &str = "";
const NO_RUN: &str = "one starts when the workload's template changes";
const NOT_PAUSED: &str = "it is not paused";
const PAUSED: &str = "it is paused by jane already; Resume ends that";
const BACK: &str = "going back to stable";
const LATE: &str = "it is being promoted already; Abort or Undo goes back";
const RUNS: &str = "Abort ends it first";
const OVER: &str = "the revision is promoted; to go back declare the old template again";
const AGAIN: &str = "Retry starts it again, Undo takes its template back";
const FAILED: &str = "Retry rolls the workload out again, Undo goes back";
const WAITS: &str = "Resume starts it, Undo takes its template back";
const INVALID: &str = "the Rollout is invalid: spec.workload: the older Rollout";
const DELETED: &str = "the Rollout is being deleted";
/// Where it stands, how it came there, and what each operation of [`KINDS`] is answered with.
const TABLE: &[(&str, [&str; 2], [&str; 8])] = &[
    (
        "adopting",
        ["run 1s\n", ""],
        [NO_RUN, NO_RUN, NO_RUN, DONE, NOT_PAUSED, NO_RUN, "no stable version is known yet", NO_RUN],
    ),
    ("invalid", ["claimed\nrun 3s\n", ""], [INVALID, INVALID, INVALID, DONE, NOT_PAUSED, INVALID, INVALID, INVALID]),
    (
        "stable",
        ["until Stable\n", ""],
        [NO_RUN, NO_RUN, NO_RUN, DONE, NOT_PAUSED, NO_RUN, "to go back further declare an older template", NO_RUN],
    ),
    (
        "held by a pause",
        ["until Stable\noperation pause\nrun 1s\ntemplate v2\nuntil Paused\n", ""],
        [WAITS, WAITS, WAITS, PAUSED, DONE, WAITS, DONE, WAITS],
    ),
    ("preparing", [RUN, "until Preparing\n"], ["or PromoteFull", DONE, DONE, DONE, NOT_PAUSED, RUNS, DONE, DONE]),
    (
        "preparing, paused",
        [RUN, "until Preparing\noperation pause\nuntil Paused\n"],
        [DONE, DONE, DONE, PAUSED, DONE, RUNS, DONE, DONE],
    ),
    ("stepping", [LIVE, ""], [DONE, DONE, DONE, DONE, NOT_PAUSED, RUNS, DONE, DONE]),
    ("stepping, paused", [LIVE, "operation pause\nuntil Paused\n"], [DONE, DONE, DONE, PAUSED, DONE, RUNS, DONE, DONE]),
    (
        "an approval without analysis",
        [LIVE, "operation skipanalysis\nuntil AwaitingApproval\n"],
        [DONE, DONE, DONE, DONE, NOT_PAUSED, RUNS, DONE, "without analysis already"],
    ),
    (
        "promoting: scale",
        [LIVE, "until AwaitingApproval\noperation promote\nuntil Promoting\n"],
        [LATE, DONE, DONE, DONE, NOT_PAUSED, RUNS, DONE, DONE],
    ),
    (
        "promoting: shift, in full",
        [LIVE, "operation promotefull\nuntil Promoting\nuntil WaitingForRoutes\n"],
        [LATE, "in full already", DONE, DONE, NOT_PAUSED, RUNS, DONE, "without analysis already"],
    ),
    (
        "promoting: roll",
        [LIVE, "until AwaitingApproval\noperation promote\nuntil WaitingForRollout\n"],
        [LATE, LATE, DONE, "Abort or Undo goes back", NOT_PAUSED, RUNS, DONE, DONE],
    ),
    (
        "promoting: roll, half way",
        [ROLL, "run 7s\n"],
        [LATE, "in full already", DONE, "Abort or Undo goes back", NOT_PAUSED, RUNS, DONE, "without analysis already"],
    ),
    (
        "promotion failed",
        [
            LIVE,
            "until AwaitingApproval\noperation promote\nuntil WaitingForRollout\nrun 7s\nversion v2 only-canary\n\
             until PromotionFailed\n",
        ],
        [DONE, LATE, DONE, FAILED, NOT_PAUSED, DONE, DONE, FAILED],
    ),
    (
        "promoting: back",
        [ROLL, "run 7s\ntemplate v1\nrun 1s\n"],
        [BACK, "in full already", BACK, BACK, NOT_PAUSED, BACK, BACK, BACK],
    ),
    ("finishing", [ROLL, "until Finishing\n"], [OVER, "in full already", OVER, OVER, NOT_PAUSED, OVER, OVER, OVER]),
    (
        "rolling back",
        [LIVE, "operation abort\nuntil RollingBack\n"],
        [BACK, BACK, BACK, BACK, NOT_PAUSED, "ask again when the phase is RolledBack", DONE, BACK],
    ),
    (
        "rolled back",
        [LIVE, "operation abort\nuntil RolledBack\n"],
        [AGAIN, AGAIN, AGAIN, DONE, NOT_PAUSED, DONE, DONE, AGAIN],
    ),
    ("deleted in a run", [LIVE, "delete\nrun 1s\n"], [DELETED; 8]),
];

fn at(scripts: &[&str]) -> World {
    let mut sim = Sim::new();
    script::run(&mut sim, &format!("{PLAN}{}", scripts.concat()));
    sim.world()
}

fn asked(world: &World, kind: OperationKind, revision: Option<&str>) -> (World, Decision) {
    let operation = Operation {
        id: "asked".to_owned(),
        kind,
        revision: revision.map(str::to_owned),
        by: "ann".to_owned(),
        reason: Some("because".to_owned()),
    };
    let world = World { operation: Some(operation), ..world.clone() };
    let decision = decide(&world);
    assert_eq!(invariants::check(&world, &decision), Vec::<String>::new(), "{kind:?}");
    (world, decision)
}

/// The decision without the record of the operation.
fn without_record(mut decision: Decision, before: &World) -> Decision {
    decision.state.operations.clone_from(&before.state.operations);
    decision.state.last_operation.clone_from(&before.state.last_operation);
    decision.actions.retain(|action| !matches!(action, Action::ConsumeOperation { .. }));
    decision.report.events.retain(|(_, reason, _)| reason != "OperationRefused");
    decision.only_evidence_changed = false;
    decision
}

fn refused(place: &str, world: &World, kind: OperationKind, revision: Option<&str>, expected: &str) {
    let (_, decision) = asked(world, kind, revision);
    let last = decision.state.last_operation.clone().unwrap();
    let message = last.message.unwrap_or_default();
    assert!(!last.done, "{place}: {kind:?} took effect");
    assert!(message.starts_with("operation.") && message.contains(expected), "{place}: {kind:?}: {message}");
    let is_told = |(is_warning, reason, told): &(bool, String, String)| {
        *is_warning && reason == "OperationRefused" && told.contains("by ann") && told.contains(&message)
    };
    assert!(decision.report.events.iter().any(is_told), "{place}: {kind:?}: {:?}", decision.report.events);
    let (with, without) = (without_record(decision, world), without_record(decide(world), world));
    assert_eq!(with, without, "{place}: {kind:?} was refused and changed something");
}

#[test]
fn every_operation_takes_effect_or_is_refused_and_changes_nothing() {
    for (place, scripts, expected) in TABLE {
        let world = at(scripts);
        for (kind, expected) in KINDS.into_iter().zip(*expected) {
            if !expected.is_empty() {
                refused(place, &world, kind, None, expected);
                continue;
            }
            let (_, decision) = asked(&world, kind, None);
            let last = decision.state.last_operation.clone().unwrap();
            assert!(last.done, "{place}: {kind:?}: {:?}", last.message);
            assert_eq!((last.by.as_str(), last.message.as_deref()), ("ann", Some("because")), "{place}: {kind:?}");
            assert_eq!(decision.state.operations.first(), Some(&last), "{place}: {kind:?}");
            let (with, without) = (without_record(decision, &world), without_record(decide(&world), &world));
            assert_ne!(with.state, without.state, "{place}: {kind:?} took no effect");
        }
    }
}

#[test]
fn an_operation_for_another_revision_is_refused_everywhere() {
    for (place, scripts, _) in TABLE {
        let world = at(scripts);
        for kind in KINDS {
            let expected = if world.deleting { "" } else { "operation.revision: revision \"other\" is gone" };
            refused(place, &world, kind, Some("other"), expected);
        }
    }
}

#[test]
fn what_is_deleted_takes_no_operation() {
    let world = World { deleting: true, ..at(&["until Stable\n"]) };
    for kind in KINDS {
        refused("deleted", &world, kind, None, DELETED);
    }
}

#[test]
fn undo_and_retry_need_what_they_go_back_to() {
    let rolled_back = at(&[LIVE, "operation abort\nuntil RolledBack\n"]);
    let mut world = rolled_back.clone();
    world.workload.as_mut().unwrap().stable_template = None;
    let expected = "the ReplicaSet of revision \"v1\" is gone, so its template is not known; declare it again";
    refused("no ReplicaSet", &world, OperationKind::Undo, None, expected);

    let mut world = rolled_back.clone();
    world.workload.as_mut().unwrap().paused = false;
    let expected = "revision \"v2\" rolls out already; declare the template of revision \"v1\" again";
    refused("resumed", &world, OperationKind::Undo, None, expected);

    let mut world = rolled_back;
    for set in &mut world.workload.as_mut().unwrap().replica_sets {
        set.available = 0;
    }
    refused("stable is down", &world, OperationKind::Retry, None, "no pod of ReplicaSet \"app-v1\" is available");

    let mut world = at(&[LIVE]);
    world.workload = None;
    refused("no workload", &world, OperationKind::Undo, None, "the Deployment is gone");
}

#[test]
fn analysis_is_skipped_only_where_there_is_some() {
    let mut sim = Sim::new();
    script::run(&mut sim, "step 10% min=60s\nuntil Stable\ntemplate v2\nuntil MinimumHold");
    refused("no metrics", &sim.world(), OperationKind::SkipAnalysis, None, "the run has no metrics (spec.analysis)");
}

#[test]
fn twenty_operations_are_remembered_and_each_is_heard_once() {
    let mut world = at(&["until Stable\n"]);
    for number in 0..25 {
        let id = number.to_string();
        let operation =
            Operation { id, kind: OperationKind::Resume, revision: None, by: "ann".to_owned(), reason: None };
        world.operation = Some(operation);
        world.state = decide(&world).state;
    }
    let ids: Vec<String> = world.state.operations.iter().map(|operation| operation.id.clone()).collect();
    assert_eq!(ids, (5..25).rev().map(|number: i32| number.to_string()).collect::<Vec<_>>());
    // An old view shows an earlier one again.
    world.operation.as_mut().unwrap().id = "7".to_owned();
    let decision = decide(&world);
    assert_eq!(decision.state, world.state);
    assert!(decision.actions.contains(&Action::ConsumeOperation { id: "7".to_owned() }));
}

/// Somebody declares the undone template each time before the next look: that does not go on for ever.
#[test]
fn a_template_is_written_back_only_so_often() {
    let mut world = at(&[LIVE, "operation abort\nuntil RolledBack\n"]);
    world = asked(&world, OperationKind::Undo, None).0;
    let mut written = 0;
    for version in 0..30 {
        world.workload.as_mut().unwrap().resource_version = format!("again-{version}");
        let decision = decide(&world);
        assert_eq!(invariants::check(&world, &decision), Vec::<String>::new());
        written += decision.actions.iter().filter(|action| matches!(action, Action::RestoreTemplate { .. })).count();
        world.state = decision.state;
    }
    assert_eq!(written, 10);
    let report = decide(&world).report;
    assert_eq!(report.reason, "Aborted", "{report:?}");
}
