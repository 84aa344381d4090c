//! The invariants see what is wrong: decisions that are forged in the middle of a run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod sim;

use serde_json::{Value, json};
use sim::{Sim, script};
use sluice_operator_core::{
    Action, Decision, State, World,
    coverage::{CopyState, Cover, Coverage, Source},
    decide, invariants,
    state::{End, Pause, Stable, Stage, Undone, Unjudged},
    world::{ReplicaSet, Telemetry},
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

/// So many of the canary's endpoints, or none because no route names it.
fn known_to_data_planes(world: &mut World, canary: Option<u32>) {
    let Telemetry::DataPlanes(planes) = &mut world.telemetry else { panic!("{:?}", world.telemetry) };
    for plane in planes {
        plane.ready.canary = canary;
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
fn weight_does_not_rise_onto_endpoints_that_a_data_plane_does_not_know() {
    let mut world = stepping();
    known_to_data_planes(&mut world, None);
    let broken = forged(&world, write(&world, weighted(8, 1)));
    let expected = "WriteRoute: the canary's weight rises above the endpoints that a data plane knows";
    assert_eq!(broken, [expected]);
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
    let mut world = sim.world();
    known_to_data_planes(&mut world, Some(1));
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

/// The workload rolls out, and a pod in four is stable's still.
const HALF_WAY: &str = "promotion rollback\ndeadline 30s\nstep 50% min=5s\nuntil Stable\nuser no-surge\ntemplate v2
    until WaitingForRollout\nrun 7s";

fn after(script: &str) -> World {
    let mut sim = Sim::new();
    script::run(&mut sim, script);
    sim.world()
}

/// Its rollout failed, the workload is paused, and its controller knows of it.
fn failed_half_way() -> World {
    let mut world = after(&format!("{HALF_WAY}\nversion v2 only-canary\nuntil PromotionFailed"));
    world.workload.as_mut().unwrap().observed = true;
    world
}

fn set_of<'w>(world: &'w World, revision: &str) -> &'w ReplicaSet {
    let mut sets = world.workload.as_ref().unwrap().replica_sets.iter();
    sets.find(|set| set.revision == revision).unwrap()
}

fn scale(set: &ReplicaSet, replicas: i32) -> Action {
    let (name, uid, resource_version) = (set.name.clone(), set.uid.clone(), set.resource_version.clone());
    Action::ScaleReplicaSet { name, uid, resource_version, replicas }
}

fn delete(set: &ReplicaSet) -> Action {
    let (name, uid, resource_version) = (set.name.clone(), set.uid.clone(), set.resource_version.clone());
    Action::DeleteReplicaSet { name, uid, resource_version }
}

#[test]
fn only_the_replica_set_of_a_failed_promotion_goes() {
    let world = failed_half_way();
    let (old, new) = (set_of(&world, "v1"), set_of(&world, "v2"));
    assert_eq!(forged(&world, scale(new, 0)), Vec::<String>::new(), "that is how it goes");
    assert_eq!(forged(&world, scale(old, 0)), ["ScaleReplicaSet: it is stable's"]);
    let up = ["ScaleReplicaSet: only stable's comes up, from nothing"];
    assert_eq!(forged(&world, scale(old, 4)), up);
    assert_eq!(forged(&world, scale(new, 4)), up);
    assert_eq!(forged(&world, scale(new, new.wanted)), ["ScaleReplicaSet: it changes nothing"]);
    let stale = ReplicaSet { resource_version: "0".to_owned(), ..new.clone() };
    assert_eq!(forged(&world, scale(&stale, 0)), ["ScaleReplicaSet: it is not the one that was looked at"]);
    assert_eq!(forged(&world, delete(new)), ["DeleteReplicaSet: it has pods"]);
    assert_eq!(forged(&world, delete(old)), ["DeleteReplicaSet: it is not the failed one"]);
    let mut unseen = world.clone();
    unseen.workload.as_mut().unwrap().observed = false;
    assert_eq!(forged(&unseen, scale(new, 0)), ["ScaleReplicaSet: the workload is not paused"]);
}

#[test]
fn what_rolls_out_is_neither_taken_down_nor_paused() {
    let world = after(HALF_WAY);
    let new = set_of(&world, "v2");
    assert_eq!(forged(&world, scale(new, 0)), ["ScaleReplicaSet: the run does not give it up"]);
    assert_eq!(forged(&world, delete(new)), ["DeleteReplicaSet: the run does not give it up"]);
    let resource_version = world.workload.as_ref().unwrap().resource_version.clone();
    let pause = Action::SetPaused { paused: true, resource_version };
    assert_eq!(forged(&world, pause), ["SetPaused: what is declared may run"]);
}

#[test]
fn a_failed_promotion_is_not_let_go_again_and_goes_back_as_pods_are_ready() {
    let world = failed_half_way();
    assert_eq!(set_of(&world, "v1").available, 1);
    let resource_version = world.workload.as_ref().unwrap().resource_version.clone();
    let resume = Action::SetPaused { paused: false, resource_version };
    assert_eq!(forged(&world, resume.clone()), ["SetPaused: revision was not judged"]);
    assert_eq!(forged(&world, write(&world, weighted(1, 3))), Vec::<String>::new(), "a pod, a quarter");
    let early = ["WriteRoute: traffic goes back to pods that are not ready"];
    assert_eq!(forged(&world, write(&world, weighted(1, 1))), early);
    // The workload was scaled to what is there: that makes its pods no stronger.
    let mut scaled = world.clone();
    scaled.workload.as_mut().unwrap().replicas = 1;
    assert_eq!(forged(&scaled, write(&scaled, weighted(1, 1))), early);

    let decision = decide(&world);
    let twice = Decision { actions: vec![resume.clone(), resume], ..decision.clone() };
    let broken = invariants::check(&world, &twice);
    assert!(broken.contains(&"two writes of the workload: the second would find another resourceVersion".to_owned()));
    let mut onwards = decision;
    onwards.state.run.as_mut().unwrap().stage = Stage::PromotingRoll;
    let broken = invariants::check(&world, &Decision { actions: Vec::new(), ..onwards });
    assert_eq!(broken, ["a run that goes back goes to PromotingRoll"]);
}

#[test]
fn nothing_is_promoted_but_what_was_judged() {
    let mut world = after(HALF_WAY);
    let mut decision = decide(&world);
    decision.state.stable =
        Some(Stable { revision: "v3".to_owned(), uid: "v3-0".to_owned(), name: "app-v3".to_owned() });
    let broken = invariants::check(&world, &Decision { actions: Vec::new(), ..decision });
    assert_eq!(broken, ["revision \"v3\" is stable, and the run was at \"v2\""]);
    // A newer template came in the middle, and the policy has paused it.
    let workload = world.workload.as_mut().unwrap();
    (workload.revision, workload.paused) = ("v3".to_owned(), true);
    let resume = Action::SetPaused { paused: false, resource_version: workload.resource_version.clone() };
    assert_eq!(forged(&world, resume), ["SetPaused: revision was not judged"]);
}

#[test]
fn a_pause_holds_what_needs_no_run() {
    let first = "version v1 ready=false\nstep 50% min=5s\nuntil WaitingForStable\noperation pause id=a\nrun 2s
        template v2\nuntil Paused";
    let world = after(first);
    let mut decision = decide(&world);
    let revision = "v2".to_owned();
    decision.state.unjudged = Some(Unjudged { revision, reason: "NoHealthyStable".to_owned(), since: world.now });
    let resource_version = world.workload.as_ref().unwrap().resource_version.clone();
    decision.actions = vec![Action::SetPaused { paused: false, resource_version }];
    assert_eq!(invariants::check(&world, &decision), ["SetPaused: revision was not judged"]);
    decision.state.pause = None;
    assert_eq!(invariants::check(&world, &decision), Vec::<String>::new());
}
