//! No run is in progress: is everything in order, and does one have to begin?

use crate::{
    Plan, Reason, World,
    course::splits,
    coverage,
    decision::{Action, Phase},
    look::{Look, Next},
    operation,
    phase::{adopting, held, rolled_back, stable},
    routes::{self, Names},
    undo,
    world::Workload,
};

pub(super) fn look_at(look: &mut Look<'_>) -> Next {
    let next = at_rest(look);
    if next == Next::Wait {
        held::describe(look);
    }
    next
}

fn at_rest(look: &mut Look<'_>) -> Next {
    let world = look.world;
    let checked = checked(world);
    operation::settled(look, checked.as_ref().map(|(_, workload)| *workload).map_err(|(_, why)| why.as_str()));
    let (plan, workload) = match checked {
        Ok(valid) => valid,
        Err((reason, message)) => return look.say(Phase::Invalid, reason, message),
    };
    undo::settle(look, workload);
    if sweep(look, plan) {
        let message = "parts that an earlier run left are being removed";
        return look.say(Phase::Adopting, Reason::WaitingForObjects, message);
    }
    if let Err(message) = routes_fit(world, plan) {
        return look.say(Phase::Invalid, Reason::InvalidSpec, message);
    }
    if look.state.run.is_some() {
        return rolled_back::look_at(look, workload);
    }
    // Who takes the label away and resumes the workload breaks the glass: it is followed, and adopted again afterwards.
    let is_broken = !look.state.adoption.labelled
        && !workload.paused
        && look.state.stable.as_ref().is_some_and(|stable| stable.revision != workload.revision);
    if !is_broken && let Err(next) = adopting::ensure(look, workload) {
        // A template that came through cannot wait until the policy is back.
        return stable::came_through(look, workload).unwrap_or(next);
    }
    // A Deployment that was made anew has other ReplicaSets: nothing of what is remembered serves.
    let is_known = |uid: &str| workload.replica_sets.iter().any(|set| set.uid == uid);
    if look.state.stable.as_ref().is_some_and(|stable| workload.observed && !is_known(&stable.uid)) {
        look.state.stable = None;
    }
    match look.state.stable.clone() {
        Some(stable) => stable::look_at(look, plan, workload, &stable),
        None => adopting::look_at(look, workload),
    }
}

/// What a Rollout needs before anything of the user's is touched.
fn checked(world: &World) -> Result<(&Plan, &Workload), (Reason, String)> {
    let invalid = |message: String| (Reason::InvalidSpec, message);
    let plan = world.plan.as_ref().map_err(|message| invalid(message.clone()))?;
    if let Some(other) = &world.claimed_by {
        let message = format!(
            "spec.workload: the older Rollout {other:?} has Deployment {:?} or one of the routes; delete one of the two",
            plan.workload
        );
        return Err((Reason::Conflicted, message));
    }
    let Some(workload) = &world.workload else {
        return Err(invalid(format!(
            "spec.workload.name: Deployment {:?} not found in namespace {:?}; create it or correct the name",
            plan.workload, world.namespace
        )));
    };
    if let Some(why) = &workload.unsupported {
        return Err(invalid(format!("spec.workload: Deployment {:?} cannot run beside itself: {why}", plan.workload)));
    }
    world.service.as_ref().map_err(|why| invalid(format!("spec.service: {why}")))?;
    let taken = |kind: &str, name: String| {
        let message = format!("{kind} {name:?} exists and is not this Rollout's; rename or delete it");
        Err((Reason::CanaryTaken, message))
    };
    if world.canary_workload.as_ref().is_some_and(|canary| !canary.ours) {
        return taken("Deployment", crate::canary_workload_name(plan));
    }
    if world.canary_service.is_some_and(|service| !service.ours) {
        return taken("Service", crate::canary_name(plan));
    }
    Ok((plan, workload))
}

/// Every step can be written into every route.
fn routes_fit(world: &World, plan: &Plan) -> Result<(), String> {
    for (index, route) in plan.routes.iter().enumerate() {
        let known = world.routes.iter().find(|known| known.name == route.name);
        let Some(live) = known.and_then(|known| known.live.as_ref()) else {
            return Err(format!(
                "spec.routes[{index}].name: HTTPRoute {:?} not found in namespace {:?}; create it or correct the name",
                route.name, world.namespace
            ));
        };
        let names = Names::new(world, plan, route);
        routes::preflight(&live.rules, &splits(plan), &names)
            .map_err(|why| format!("spec.routes[{index}]: HTTPRoute {:?}: {why}", route.name))?;
    }
    Ok(())
}

/// Removes parts that are ours though no run is in progress, as after a status that was lost. True while traffic may still
/// see any; frozen revisions go beside all else.
pub(super) fn sweep(look: &mut Look<'_>, plan: &Plan) -> bool {
    let world = look.world;
    let service = world.canary_service.filter(|service| service.ours);
    let workload = world.canary_workload.as_ref().filter(|canary| canary.ours);
    let mut left = false;
    // Without an object of ours the names in a route may be the user's own.
    if service.is_some() || workload.is_some() || !world.frozen.is_empty() {
        left = sweep_routes(look, plan);
    }
    if left {
        return true;
    }
    if service.is_some_and(|service| !service.deleting) {
        look.act(Action::DeleteCanaryService);
    }
    if workload.is_some_and(|canary| !canary.deleting) {
        look.act(Action::DeleteCanaryWorkload);
    }
    // The revision says what was copied, so it stays until that is gone; and a copy as long as there are pods for it.
    let copies = if workload.is_some() { coverage::left(world).next().is_some() } else { coverage::remove(look) };
    if !world.frozen.is_empty() && !copies {
        look.act(Action::PruneRevisions { keep: Vec::new() });
    }
    service.is_some() || workload.is_some() || copies
}

fn sweep_routes(look: &mut Look<'_>, plan: &Plan) -> bool {
    let world = look.world;
    let mut left = false;
    for route in &plan.routes {
        let names = Names::new(world, plan, route);
        let known = world.routes.iter().find(|known| known.name == route.name);
        let Some(live) = known.and_then(|known| known.live.as_ref()) else { continue };
        if !routes::has_ours(&live.rules, &names) {
            continue;
        }
        let base = world.frozen.iter().find_map(|frozen| frozen.base.get(&route.name)).unwrap_or(&live.rules);
        look.act(Action::WriteRoute {
            route: route.name.clone(),
            rules: routes::merge(base, &live.rules, &splits(plan), &names),
            resource_version: live.resource_version.clone(),
        });
        left = true;
    }
    left
}
