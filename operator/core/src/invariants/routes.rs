//! What must hold of a write of a route.

use serde_json::Value;

use super::{canary::reference, require};
use crate::{
    Decision, World,
    course::{Course, last_first, plan_of, splits},
    look::Look,
    routes::{self, Names},
    state::{Run, Stage, TeardownPart},
    takeback,
    teardown::Patience,
    world::{LiveRoute, Telemetry},
};

pub(super) fn written(
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
    let is_carried = f64::from(available) >= (1.0 - after) * f64::from(takeback::size(run, workload)) - 1e-9;
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

pub(super) fn released(world: &World, route: &str, resource_version: &str) -> Result<(), String> {
    let known = world.routes.iter().find(|known| known.name == route).and_then(|known| known.live.as_ref());
    let live = known.ok_or("it does not exist")?;
    require(live.resource_version == resource_version, "it is not the one that was looked at")?;
    require(live.is_managed, "it is not ours to give up")?;
    no_traffic(world)
}

/// No request is sent to what is deleted, as far as the routes say.
pub(super) fn no_traffic(world: &World) -> Result<(), String> {
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
