//! The invariants see what is wrong: decisions that are forged in the middle of a run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod sim;

use serde_json::{Value, json};
use sim::{Sim, script};
use sluice_operator_core::{
    Action, Decision, State, World,
    coverage::{CopyState, Cover, Coverage, Source},
    decide, invariants,
    state::{End, Pause, Stage, Undone},
};

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
fn a_contested_route_is_left_alone() {
    let mut sim = Sim::new();
    script::run(&mut sim, &format!("{SCRIPT}\ncontest kustomize-controller\nuntil RouteContested"));
    let world = sim.world();
    let ours = json!([{"backendRefs": [{"group": "", "kind": "Service", "name": "app", "port": 80, "weight": 9},
        {"group": "", "kind": "Service", "name": "app-canary", "port": 80, "weight": 1}],
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "timeouts": {"request": "3s"}}]);
    let broken = forged(&world, write(&world, |_| ours));
    assert_eq!(broken, ["WriteRoute: the route is contested, and the canary's weight rises"]);
}

#[test]
fn rules_are_given_back_only_without_parts_of_ours() {
    let world = stepping();
    let resource_version = world.routes[0].live.as_ref().unwrap().resource_version.clone();
    let broken = forged(&world, Action::ReleaseRoute { route: "web".to_owned(), resource_version });
    assert_eq!(broken, ["ReleaseRoute: HTTPRoute \"web\" still names it"]);
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
fn a_template_is_written_only_where_it_was_asked_for_and_nothing_rolls() {
    let world = stepping();
    let workload = world.workload.as_ref().unwrap();
    let write = |revision: &str, template: Value| Action::RestoreTemplate {
        revision: revision.to_owned(),
        template,
        resource_version: workload.resource_version.clone(),
    };
    let stable = || workload.stable_template.clone().unwrap();
    assert_eq!(forged(&world, write("v1", stable())), ["RestoreTemplate: nobody asked for it"]);
    let undone = Undone { revision: "v2".to_owned(), stable: "v1".to_owned(), is_pending: true, ..Undone::default() };
    let asked = World { state: State { undone: Some(undone), ..world.state.clone() }, ..world.clone() };
    assert_eq!(forged(&asked, write("v1", stable())), ["RestoreTemplate: the traffic does not go to stable yet"]);
    assert_eq!(forged(&asked, write("v1", json!({}))), ["RestoreTemplate: it is not stable's template"]);
    assert_eq!(forged(&asked, write("v2", stable())), ["RestoreTemplate: it is not stable's template"]);
    let mut resumed = asked.clone();
    resumed.workload.as_mut().unwrap().paused = false;
    assert_eq!(forged(&resumed, write("v1", stable())), ["RestoreTemplate: the workload is not paused"]);
}

#[test]
fn a_paused_run_that_goes_on_and_an_undone_one_that_starts_are_seen() {
    let mut world = stepping();
    world.state.pause = Some(Pause::default());
    world.state.run.as_mut().unwrap().still_since = Some(world.now);
    let mut decision = decide(&world);
    assert_eq!(invariants::check(&world, &decision), Vec::<String>::new());
    let run = decision.state.run.as_mut().unwrap();
    run.stage = Stage::PromotingScale;
    assert_eq!(invariants::check(&world, &decision), ["a paused run goes to PromotingScale, step 0"]);
    decision.state.run.as_mut().unwrap().stage = Stage::PromotingRoll;
    let broken = invariants::check(&world, &decision);
    assert_eq!(broken[0], "the clocks of a run at PromotingRoll and the pause are not the same");

    let mut decision = decide(&stepping());
    let undone = Undone { revision: "v2".to_owned(), stable: "v1".to_owned(), ..Undone::default() };
    decision.state.undone = Some(undone);
    let mut before = stepping();
    before.state.run = None;
    let broken = invariants::check(&before, &decision);
    assert!(broken.contains(&"revision \"v2\" was undone and starts by itself".to_owned()), "{broken:?}");
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

#[test]
fn a_canary_that_something_does_not_cover_is_not_made() {
    let mut sim = Sim::new();
    script::run(
        &mut sim,
        "step 10% min=60s\nuntil Stable\nselects NetworkPolicy web\ntemplate v2\nuntil CanaryNotCovered",
    );
    let mut world = sim.world();
    let freeze = |cover: Cover| Action::Freeze {
        revision: "v2".to_owned(),
        template: json!({}),
        plan: world.plan.clone().unwrap(),
        base: [].into(),
        cover,
    };
    let labels = vec!["app".to_owned()];
    let (unlabelled, uncovered) = (freeze(Cover::default()), freeze(Cover { labels, copies: Vec::new() }));
    assert_eq!(forged(&world, unlabelled), ["Freeze: the canary is told from stable otherwise"]);
    let broken = forged(&world, uncovered.clone());
    assert_eq!(broken, ["Freeze: something does not select the canary's pods, and is not copied"]);
    world.coverage = Coverage::NotAsked;
    assert_eq!(forged(&world, uncovered), ["Freeze: it is not known what selects the pods"]);
}

#[test]
fn copies_last_as_long_as_the_pods_that_they_are_for() {
    let mut sim = Sim::new();
    script::run(&mut sim, &format!("selects PodDisruptionBudget web\n{SCRIPT}"));
    let mut world = sim.world();
    let of = Source { kind: "PodDisruptionBudget".to_owned(), name: "web".to_owned() };
    let copies = vec![of];
    let delete = || Action::DeleteCopies { copies: copies.clone() };
    assert_eq!(forged(&world, delete()), ["DeleteCopies: there are pods that it is for"]);
    let again = Action::ApplyCopies { revision: "v2".to_owned(), copies: copies.clone() };
    assert_eq!(forged(&world, again), ["ApplyCopies: there is something of that name"]);
    let unasked = Action::ApplyCopies { revision: "v1".to_owned(), copies: copies.clone() };
    assert_eq!(forged(&world, unasked), ["ApplyCopies: the frozen revision does not ask for it"]);
    world.copies[0].state = CopyState::Foreign;
    assert_eq!(forged(&world, delete()), ["DeleteCopies: it is not ours"]);
}

#[test]
fn the_canary_is_never_larger_than_stable_and_gets_no_more_while_stable_is_too_small() {
    let mut world = stepping();
    let apply = |replicas| Action::ApplyCanaryWorkload { revision: "v2".to_owned(), template: json!({}), replicas };
    assert_eq!(forged(&world, apply(4)), Vec::<String>::new());
    assert_eq!(forged(&world, apply(5)), ["ApplyCanaryWorkload: the canary is larger than stable"]);
    world.canary_workload.as_mut().unwrap().available = 4;
    world.workload.as_mut().unwrap().replicas = 3;
    let broken = forged(&world, write(&world, weighted(1, 1)));
    assert_eq!(broken, ["WriteRoute: the canary's weight rises while stable is smaller than when the run began"]);
}
