//! What must hold of every decision, checked in every test and simulation step.

use serde_json::Value;

use crate::{
    Action, Decision, Plan, Reason, State, World,
    course::{Course, complete, last_first, plan_of, splits},
    coverage::{self, CopyState, Cover, Coverage, Gap, Source},
    decision::Phase,
    look::Look,
    phase::{is_known_good, is_same_but_for_annotations},
    routes::{self, Names},
    state::{Run, Stage, TeardownPart},
    takeback,
    teardown::Patience,
    world::{LiveRoute, ReplicaSet, Telemetry, Workload},
};

/// What a decision breaks; empty when it is sound.
pub fn check(world: &World, decision: &Decision) -> Vec<String> {
    let mut broken = Vec::new();
    report(decision, &mut broken);
    memory(world, decision, &mut broken);
    for action in &decision.actions {
        if let Err(why) = allowed(world, decision, action) {
            broken.push(format!("{}: {why}", name(action)));
        }
    }
    asked(world, decision, &mut broken);
    let is_workload_write = |action: &&Action| {
        matches!(action, Action::SetPaused { .. } | Action::LabelWorkload { .. } | Action::RestoreTemplate { .. })
    };
    if decision.actions.iter().filter(is_workload_write).count() > 1 {
        broken.push("two writes of the workload: the second would find another resourceVersion".to_owned());
    }
    broken
}

/// Every "not yet" has one named reason that a person can read.
fn report(decision: &Decision, broken: &mut Vec<String>) {
    let report = &decision.report;
    if report.message.is_empty() {
        broken.push(format!("{:?} says nothing", report.phase));
    }
    if Reason::ALL.iter().all(|reason| reason.as_str() != report.reason) {
        broken.push(format!("{:?} has no known reason: {:?}", report.phase, report.reason));
    }
    if report.phase == Phase::Invalid
        && let Some(action) = decision.actions.iter().find(|action| !matches!(action, Action::ConsumeOperation { .. }))
    {
        broken.push(format!("{} though the Rollout is invalid", name(action)));
    }
    let mut kinds: Vec<&str> = report.conditions.iter().map(|(kind, ..)| kind.as_str()).collect();
    kinds.sort_unstable();
    if kinds != ["Adopted", "ConfigChangedInPlace", "Promoted", "Ready", "Reconciling", "Stalled"] {
        broken.push(format!("conditions are {kinds:?}"));
    }
}

/// Memory survives being written, and changes what serves only to what was judged or seen to be complete.
fn memory(world: &World, decision: &Decision, broken: &mut Vec<String>) {
    let state = &decision.state;
    let written = serde_json::to_string(state).unwrap_or_default();
    if serde_json::from_str::<State>(&written).ok().as_ref() != Some(state) {
        broken.push("the state does not survive being written".to_owned());
    }
    let before = world.state.run.as_ref().filter(|run| run.in_progress());
    if let (Some(run), Some(stable)) = (before, &state.stable) {
        let was = world.state.stable.as_ref();
        let is_complete = |workload: &Workload| complete(workload).is_some_and(|set| set.uid == stable.uid);
        if was != Some(stable)
            && stable.revision != run.revision
            && !world.workload.as_ref().is_some_and(is_complete)
            && was.is_none_or(|was| was.revision != stable.revision)
        {
            broken.push(format!("revision {:?} is stable, and the run was at {:?}", stable.revision, run.revision));
        }
    }
    let ends = |run: &Run| run.end.as_ref().is_some_and(|end| end.outcome != "Promoted");
    let is_back = |run: &Run| matches!(run.stage, Stage::RollingBack | Stage::RolledBack);
    if let (Some(was), Some(is)) = (&world.state.run, &state.run)
        && was.started_at == is.started_at
        && ends(was)
        && is_back(was)
        && !is_back(is)
        && !(is.stage == Stage::StableLost && world.workload.as_ref().is_some_and(is_down))
    {
        broken.push(format!("a run that goes back goes to {:?}", is.stage));
    }
}

/// What a person asked for holds: a paused run stays where it is, and what was undone does not start by itself.
fn asked(world: &World, decision: &Decision, broken: &mut Vec<String>) {
    let (before, state) = (&world.state, &decision.state);
    let in_progress = |state: &State| state.run.clone().filter(Run::in_progress);
    let (was, is) = (in_progress(before), in_progress(state));
    let may_be_held = |run: &Run| {
        matches!(run.stage, Stage::Preparing | Stage::Stepping | Stage::PromotingScale | Stage::PromotingShift)
    };
    if let Some(run) =
        is.as_ref().filter(|run| run.still_since.is_some() != (state.pause.is_some() && may_be_held(run)))
    {
        broken.push(format!("the clocks of a run at {:?} and the pause are not the same", run.stage));
    }
    if before.pause.is_some()
        && state.pause.is_some()
        && let Some(run) = is.as_ref().filter(|run| run.end.is_none())
        && was.as_ref().is_none_or(|was| (was.stage, was.step) != (run.stage, run.step))
    {
        broken.push(format!("a paused run goes to {:?}, step {}", run.stage, run.step));
    }
    let starts = is.as_ref().filter(|run| was.as_ref().is_none_or(|was| was.started_at != run.started_at));
    let undone = state.undone.as_ref().zip(state.stable.as_ref());
    if let (Some(run), Some((undone, stable))) = (starts, undone)
        && undone.revision == run.revision
        && undone.stable == stable.revision
    {
        broken.push(format!("revision {:?} was undone and starts by itself", run.revision));
    }
}

/// Nothing that could be gone back to.
fn is_down(workload: &Workload) -> bool {
    workload.replica_sets.iter().all(|set| set.available == 0)
}

fn allowed(world: &World, decision: &Decision, action: &Action) -> Result<(), String> {
    match action {
        Action::AddFinalizer => require(!world.deleting, "the Rollout is being deleted"),
        Action::RemoveFinalizer => nothing_is_left(world),
        Action::ConsumeOperation { id } => {
            let is_recorded = decision.state.last_operation.as_ref().is_some_and(|last| last.id == *id);
            require(is_recorded, "the operation is consumed and not recorded")
        }
        Action::LabelWorkload { adopt, resource_version } => {
            let workload = at(world, resource_version)?;
            let is_ours = workload.label.as_deref() == Some(&world.name);
            require(*adopt != is_ours, "the label is not ours to change")
        }
        Action::ProbePolicy => require(decision.state.adoption.labelled, "nothing holds back without the label"),
        Action::SetPaused { paused, resource_version } => {
            may_pause(world, decision, at(world, resource_version)?, *paused)
        }
        Action::RestoreTemplate { revision, template, resource_version } => {
            restored(decision, at(world, resource_version)?, revision, template)
        }
        Action::ScaleReplicaSet { uid, resource_version, replicas, .. } => {
            scaled(world, decision, (uid, resource_version), *replicas)
        }
        Action::DeleteReplicaSet { uid, resource_version, .. } => {
            is_failed_and_empty(world, decision, (uid, resource_version))
        }
        Action::Freeze { revision, plan, cover, .. } => {
            let is_declared = world.workload.as_ref().is_some_and(|workload| workload.revision == *revision);
            require(is_declared, "another revision is declared")?;
            covered(world, plan, cover)
        }
        Action::ApplyCopies { revision, copies } => copies_are_missing(world, revision, copies),
        Action::DeleteCopies { copies } => copies_are_left(world, copies),
        Action::PruneRevisions { keep } => {
            let run = decision.state.run.as_ref().filter(|run| run.in_progress());
            require(run.is_none_or(|run| keep.contains(&run.revision)), "the run needs its frozen revision")?;
            let is_needed = coverage::left(world).next().is_some() && keep.is_empty();
            require(!is_needed, "it says what was copied, and the copies are there")
        }
        Action::ApplyCanaryWorkload { revision, replicas, .. } => sized(world, decision, revision, *replicas),
        Action::ApplyCanaryService => {
            require(world.canary_service.is_none_or(|service| service.ours), "it is not ours")
        }
        Action::DeleteCanaryService => {
            require(world.canary_service.is_some_and(|service| service.ours), "it is not ours")?;
            require(world.canary_service.is_some_and(|service| !service.deleting), "it is being deleted already")?;
            no_traffic(world)
        }
        Action::DeleteCanaryWorkload => {
            require(world.canary_workload.as_ref().is_some_and(|canary| canary.ours), "it is not ours")?;
            no_traffic(world)
        }
        Action::WriteRoute { route, rules, resource_version } => {
            written(world, decision, route, rules, resource_version)
        }
        Action::ReleaseRoute { route, resource_version } => released(world, route, resource_version),
    }
}

fn is_failed_and_empty(world: &World, decision: &Decision, (uid, version): (&str, &str)) -> Result<(), String> {
    let (workload, run, set) = given_up(world, decision, (uid, version))?;
    require(set.revision == run.revision && set.revision != stable_of(decision), "it is not the failed one")?;
    require(set.wanted == 0 && set.replicas == 0, "it has pods")?;
    require(workload.paused, "the workload is not paused")
}

fn sized(world: &World, decision: &Decision, revision: &str, replicas: i32) -> Result<(), String> {
    let run = decision.state.run.as_ref();
    let run = run.filter(|run| run.revision == *revision).ok_or("it is not the run's revision")?;
    require(world.canary_workload.as_ref().is_none_or(|canary| canary.ours), "it is not ours")?;
    behind_copies(world, run)?;
    let largest = world.canary_workload.as_ref().map_or(0, |canary| canary.wanted).max(reference(world, run));
    require(replicas <= largest, "the canary is larger than stable")
}

fn released(world: &World, route: &str, resource_version: &str) -> Result<(), String> {
    let known = world.routes.iter().find(|known| known.name == route).and_then(|known| known.live.as_ref());
    let live = known.ok_or("it does not exist")?;
    require(live.resource_version == resource_version, "it is not the one that was looked at")?;
    require(live.is_managed, "it is not ours to give up")?;
    no_traffic(world)
}

/// A workload is let go only on what serves already, what was judged, or where nothing serves.
fn may_pause(world: &World, decision: &Decision, workload: &Workload, paused: bool) -> Result<(), String> {
    require(workload.paused != paused, "it changes nothing")?;
    let state = &decision.state;
    let is_stable = state.stable.as_ref().is_some_and(|stable| stable.revision == workload.revision);
    let is_judged = state
        .run
        .as_ref()
        .is_some_and(|run| run.stage == Stage::PromotingRoll && run.revision == workload.revision && run.end.is_none());
    let is_unjudged = state.unjudged.as_ref().is_some_and(|unjudged| {
        unjudged.revision == workload.revision && needs_no_run(world, workload, &unjudged.reason)
    });
    if paused {
        let is_for_good = is_stable && state.adoption.by_pause;
        require(is_for_good || (!is_stable && !is_judged), "what is declared may run")
    } else {
        require(is_stable || is_judged || is_unjudged, "revision was not judged")
    }
}

/// Only stable's own template is written, because a person asked for it, and only where nothing rolls by it.
fn restored(decision: &Decision, workload: &Workload, revision: &str, template: &Value) -> Result<(), String> {
    let state = &decision.state;
    let is_asked =
        |revision: &str| state.undone.as_ref().is_some_and(|undone| undone.is_pending && undone.revision == *revision);
    require(is_asked(&workload.revision), "nobody asked for it")?;
    let is_stable = state.stable.as_ref().is_some_and(|stable| stable.revision == *revision);
    require(is_stable && workload.stable_template.as_ref() == Some(template), "it is not stable's template")?;
    require(workload.revision != *revision, "it changes nothing")?;
    require(workload.paused, "the workload is not paused")?;
    let at = state.run.as_ref().map(|run| run.stage);
    let is_at_rest = matches!(at, None | Some(Stage::RolledBack | Stage::PromotingFailed));
    require(is_at_rest, "the traffic does not go to stable yet")
}

/// The reason for rolling a template out without a run is one that the world bears out.
fn needs_no_run(world: &World, workload: &Workload, reason: &str) -> bool {
    let stable = world.state.stable.as_ref();
    let set = stable.and_then(|stable| workload.replica_sets.iter().find(|set| set.uid == stable.uid));
    match reason {
        "KnownGood" => is_known_good(&world.state, &workload.revision),
        "Restarted" => set.is_some_and(|set| is_same_but_for_annotations(workload, set)),
        reason => reason == Reason::NoHealthyStable.as_str(),
    }
}

/// What is given up of a paused workload: its run, and one of its ReplicaSets as it was looked at.
fn given_up<'a>(
    world: &'a World,
    decision: &'a Decision,
    (uid, resource_version): (&str, &str),
) -> Result<(&'a Workload, &'a Run, &'a ReplicaSet), String> {
    let workload = world.workload.as_ref().ok_or("the workload does not exist")?;
    let set = workload.replica_sets.iter().find(|set| set.uid == uid).ok_or("it is not the workload's")?;
    require(set.resource_version == resource_version, "it is not the one that was looked at")?;
    let run = decision.state.run.as_ref().ok_or("no run gives it up")?;
    let is_ended = run.end.as_ref().is_some_and(|end| end.outcome != "Promoted");
    require(run.let_go && (is_ended || world.deleting), "the run does not give it up")?;
    require(workload.paused && workload.observed, "the workload is not paused")?;
    Ok((workload, run, set))
}

fn stable_of(decision: &Decision) -> &str {
    decision.state.stable.as_ref().map_or("", |stable| &stable.revision)
}

/// The failed revision's ReplicaSet goes to 0, and stable's may come up for it: nothing else.
fn scaled(world: &World, decision: &Decision, set: (&str, &str), replicas: i32) -> Result<(), String> {
    let (workload, run, set) = given_up(world, decision, set)?;
    require(set.wanted != replicas, "it changes nothing")?;
    require(workload.revision != stable_of(decision), "stable's template is declared, so Kubernetes does it")?;
    let stable = decision.state.stable.as_ref().map(|stable| stable.uid.as_str());
    if replicas > 0 {
        return require(stable == Some(set.uid.as_str()) && set.wanted == 0, "only stable's comes up, from nothing");
    }
    require(stable != Some(set.uid.as_str()), "it is stable's")?;
    require(set.revision == run.revision, "it is not the failed one")
}

fn nothing_is_left(world: &World) -> Result<(), String> {
    require(world.deleting, "the Rollout is not being deleted")?;
    require(world.canary_workload.as_ref().is_none_or(|canary| !canary.ours), "the canary is there")?;
    require(world.canary_service.is_none_or(|service| !service.ours), "the canary's Service is there")?;
    require(coverage::left(world).next().is_none(), "copies are there")?;
    require(world.frozen.is_empty(), "frozen revisions are there")?;
    let label = world.workload.as_ref().and_then(|workload| workload.label.as_deref());
    require(label != Some(&world.name), "the label is there")
}

/// What is frozen was found out in this look, and leaves nothing that treats the two sides differently.
fn covered(world: &World, plan: &Plan, cover: &Cover) -> Result<(), String> {
    let Coverage::Known { labels, gaps } = &world.coverage else {
        return Err("it is not known what selects the pods".to_owned());
    };
    require(cover.labels == *labels && !labels.is_empty(), "the canary is told from stable otherwise")?;
    let is_closed = |gap: &Gap| coverage::is_copied(gap, plan) && cover.copies.contains(&gap.object);
    require(gaps.iter().all(is_closed), "something does not select the canary's pods, and is not copied")
}

fn copies_are_missing(world: &World, revision: &str, copies: &[Source]) -> Result<(), String> {
    let frozen = world.frozen.iter().find(|frozen| frozen.revision == *revision);
    let is_asked_for = |of| frozen.is_some_and(|frozen| frozen.cover.copies.contains(of));
    require(copies.iter().all(is_asked_for), "the frozen revision does not ask for it")?;
    let is_missing = |of: &Source| world.copies.iter().all(|copy| copy.of != *of || copy.state == CopyState::Missing);
    require(copies.iter().all(is_missing), "there is something of that name")
}

fn copies_are_left(world: &World, copies: &[Source]) -> Result<(), String> {
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
fn reference(world: &World, run: &Run) -> i32 {
    world.workload.as_ref().map_or(0, |workload| workload.replicas).max(run.replicas)
}

/// No request is sent to what is deleted, as far as the routes say.
fn no_traffic(world: &World) -> Result<(), String> {
    let Some(run) = &world.state.run else { return Ok(()) };
    let Some((plan, _)) = plan_of(world, run) else { return Ok(()) };
    for route in &plan.routes {
        let names = Names::new(world, plan, route);
        let live = world.routes.iter().find(|known| known.name == route.name).and_then(|known| known.live.as_ref());
        if live.is_some_and(|live| routes::has_ours(&live.rules, &names)) {
            return Err(format!("HTTPRoute {:?} still names it", route.name));
        }
    }
    Ok(())
}

fn written(
    world: &World,
    decision: &Decision,
    route: &str,
    rules: &Value,
    resource_version: &str,
) -> Result<(), String> {
    let known = world.routes.iter().find(|known| known.name == route).and_then(|known| known.live.as_ref());
    let live = known.ok_or("it does not exist")?;
    require(live.resource_version == resource_version, "it is not the one that was looked at")?;
    require(live.rules != *rules, "it changes nothing")?;
    let Some(mut run) = decision.state.run.clone().or_else(|| world.state.run.clone()) else { return Ok(()) };
    let Some((plan, frozen)) = plan_of(world, &run) else { return Ok(()) };
    let course = Course::take(&mut Look::new(world), &mut run, plan, frozen);
    let Some(view) = course.routes.iter().find(|view| view.name == route) else { return Ok(()) };
    // The ratio of stable and canary together to the other refs is in here too: it is what the weights are merged to.
    let splits = splits(plan);
    let splits = last_first(&run, route, &splits);
    let merged = |rules: &Value| routes::merge(&view.base, rules, &splits, &view.names);
    require(merged(&live.rules) == view.base, "it rests on other rules than the three-way merge of what is live")?;
    require(merged(rules) == view.base, "it changes what is not ours")?;
    raised(world, &run, live, rules, &view.names)?;
    let (before, after) = (routes::canary_share(&live.rules, &view.names), routes::canary_share(rules, &view.names));
    let is_raised = after.0 > before.0 || (after.1 && !before.1);
    require(!(course.is_contested && is_raised), "the route is contested, and the canary's weight rises")?;
    taken_back(world, decision, &course, (&live.rules, rules), &view.names)
}

/// Traffic leaves a canary that carried everything only for pods of the workload that are ready, as long as some come.
fn taken_back(
    world: &World,
    decision: &Decision,
    course: &Course<'_>,
    (live, written): (&Value, &Value),
    names: &Names<'_>,
) -> Result<(), String> {
    let Some(run) = decision.state.run.as_ref().filter(|run| takeback::is_bound(run, course)) else { return Ok(()) };
    let Some(workload) = &world.workload else { return Ok(()) };
    let (before, after) = (routes::canary_share(live, names).0, routes::canary_share(written, names).0);
    // From the verified restoration on only the owner's rules are written back.
    let is_shifted =
        world.state.run.as_ref().and_then(|run| run.teardown).is_some_and(|t| t.part > TeardownPart::Shift);
    if after >= before || is_shifted {
        return Ok(());
    }
    let stable = decision.state.stable.as_ref();
    let available = takeback::available(workload, stable);
    let patience = if world.deleting { Patience::Bounded } else { Patience::Endless };
    let is_carried = f64::from(available) >= (1.0 - after) * f64::from(workload.replicas) - 1e-9;
    let is_late = takeback::is_over(run, course, world.now, available, patience);
    require(is_carried || is_late, "traffic goes back to pods that are not ready")
}

/// Weight rises only onto ready pods, and never once the run goes back.
fn raised(world: &World, run: &Run, live: &LiveRoute, rules: &Value, names: &Names<'_>) -> Result<(), String> {
    let (before, matched_before) = routes::canary_share(&live.rules, names);
    let (after, is_matched) = routes::canary_share(rules, names);
    if after <= before && (matched_before || !is_matched) {
        return Ok(());
    }
    require(run.end.is_none(), "the run goes back, and the canary's weight rises")?;
    let canary = world.canary_workload.as_ref().filter(|canary| canary.ours && canary.revision == run.revision);
    let available = canary.map_or(0, |canary| canary.available);
    // While it rolls the workload may have been scaled; the reference is then its size at the start.
    let grows = matches!(run.stage, Stage::Stepping | Stage::PromotingShift);
    let size = if grows { reference(world, run) } else { run.replicas };
    let needed = (f64::from(size) * after - 1e-9).ceil().max(1.0);
    let is_below = run.stage == Stage::Stepping
        && world.workload.as_ref().is_some_and(|workload| workload.replicas < run.replicas);
    require(!is_below, "the canary's weight rises while stable is smaller than when the run began")?;
    require(f64::from(available) >= needed, "the canary's weight rises above its ready pods")?;
    let is_bundled = live.parents.iter().any(|parent| parent.bundled);
    let Telemetry::DataPlanes(planes) = &world.telemetry else {
        return require(!is_bundled, "the canary's weight rises and no data plane was asked what it knows");
    };
    let knows = planes.iter().all(|plane| f64::from(plane.ready.canary.unwrap_or_default()) >= needed);
    require(knows || !is_bundled, "the canary's weight rises above the endpoints that a data plane knows")
}

fn at<'w>(world: &'w World, resource_version: &str) -> Result<&'w Workload, String> {
    let workload = world.workload.as_ref().ok_or("the workload does not exist")?;
    require(workload.resource_version == resource_version, "it is not the one that was looked at")?;
    Ok(workload)
}

fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

fn name(action: &Action) -> String {
    let said = format!("{action:?}");
    said.split([' ', '{']).next().unwrap_or_default().to_owned()
}
