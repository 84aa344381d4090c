//! The invariants see what is wrong: decisions that are forged in the middle of a run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod sim;

use serde_json::{Value, json};
use sim::{Sim, script};
use sluice_operator_core::{Action, Decision, World, decide, invariants, state::End};

const SCRIPT: &str = "step 10% min=60s\nuntil Stable\ntemplate v2\nuntil MinimumHold";

fn stepping() -> World {
    let mut sim = Sim::new();
    script::run(&mut sim, SCRIPT);
    sim.world()
}

fn forged(world: &World, action: Action) -> Vec<String> {
    let decision = decide(world);
    assert_eq!(invariants::check(world, &decision), Vec::<String>::new());
    invariants::check(world, &Decision { actions: vec![action], ..decision })
}

fn write(world: &World, rules: impl FnOnce(Value) -> Value) -> Action {
    let live = world.routes[0].live.as_ref().unwrap();
    Action::WriteRoute {
        route: world.routes[0].name.clone(),
        rules: rules(live.rules.clone()),
        resource_version: live.resource_version.clone(),
    }
}

fn weighted(stable: u64, canary: u64) -> impl FnOnce(Value) -> Value {
    move |mut rules| {
        rules[0]["backendRefs"][0]["weight"] = json!(stable);
        rules[0]["backendRefs"][1]["weight"] = json!(canary);
        rules
    }
}

#[test]
fn the_workload_is_not_let_go_before_it_was_judged() {
    let world = stepping();
    let resource_version = world.workload.as_ref().unwrap().resource_version.clone();
    let broken = forged(&world, Action::SetPaused { paused: false, resource_version });
    assert_eq!(broken, ["SetPaused: revision was not judged"]);
}

#[test]
fn weight_does_not_rise_above_ready_pods_or_after_the_end() {
    let mut world = stepping();
    let broken = forged(&world, write(&world, weighted(1, 1)));
    assert_eq!(broken, ["WriteRoute: the canary's weight rises above its ready pods"]);
    assert_eq!(forged(&world, write(&world, weighted(19, 1))), Vec::<String>::new(), "a fall is always allowed");
    world.state.run.as_mut().unwrap().end = Some(End::default());
    let broken = forged(&world, write(&world, weighted(8, 1)));
    assert_eq!(broken, ["WriteRoute: the run goes back, and the canary's weight rises"]);
}

#[test]
fn routes_change_in_our_parts_alone() {
    let world = stepping();
    let broken = forged(
        &world,
        write(&world, |mut rules| {
            rules[0]["timeouts"] = json!({"request": "1h"});
            rules
        }),
    );
    assert_eq!(broken, ["WriteRoute: it changes what is not ours"]);
}

#[test]
fn nothing_that_is_needed_or_foreign_is_deleted() {
    let mut world = stepping();
    let broken = forged(&world, Action::DeleteCanaryWorkload);
    assert_eq!(broken, ["DeleteCanaryWorkload: HTTPRoute \"web\" still names it"]);
    assert_eq!(
        forged(&world, Action::PruneRevisions { keep: vec![] }),
        ["PruneRevisions: the run needs its frozen revision"]
    );
    world.deleting = true;
    assert_eq!(forged(&world, Action::RemoveFinalizer), ["RemoveFinalizer: the canary is there"]);
    let canary = world.canary_workload.as_mut().unwrap();
    canary.ours = false;
    assert_eq!(forged(&world, Action::DeleteCanaryWorkload), ["DeleteCanaryWorkload: it is not ours"]);
}

#[test]
fn stale_preconditions_and_silence_are_seen() {
    let world = stepping();
    let stale = Action::LabelWorkload { adopt: false, resource_version: "0".to_owned() };
    assert_eq!(forged(&world, stale), ["LabelWorkload: it is not the one that was looked at"]);
    let mut decision = decide(&world);
    decision.report.message.clear();
    decision.report.reason = "Something".to_owned();
    assert_eq!(invariants::check(&world, &decision).len(), 2);
}
