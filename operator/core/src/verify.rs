//! Brings the routes to a split, and tells when it is live everywhere.
//!
//! A route is verified when every parent reports Accepted and ResolvedRefs at its generation and, where a parent is the
//! bundled proxy's, every data plane that may be serving serves that generation.

use crate::{
    Reason,
    course::{Course, RouteView},
    decision::Action,
    look::Look,
    plan::Split,
    routes,
    world::{DataPlane, LiveRoute, Telemetry},
};

/// Whose pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Those of the stable Service.
    Stable,
    /// Those of the canary's Service.
    Canary,
}

/// What a route is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'s> {
    /// What the user wrote.
    Base,
    /// A split.
    Split(&'s Split),
    /// At most this share to the canary, in basis points. A smaller one stays: the canary's weight only falls.
    AtMost(u16),
    /// All traffic to stable, by either form: a route that someone restored already is not given our parts again.
    StableOnly,
}

impl Target<'_> {
    fn is_met(self, route: &RouteView<'_>, live: &LiveRoute) -> bool {
        match self {
            Self::Base => live.rules == route.base,
            Self::Split(split) => live.rules == route.wanted(Some(split)),
            Self::AtMost(share) => {
                let (live, is_matched) = routes::canary_share(&live.rules, &route.names);
                !is_matched && live <= f64::from(share) / f64::from(routes::WHOLE) + 1e-9
            }
            Self::StableOnly => live.rules == route.base || live.rules == route.wanted(Some(&Split::Share(0))),
        }
    }

    fn rules(self, route: &RouteView<'_>) -> serde_json::Value {
        match self {
            Self::Base => route.wanted(None),
            Self::Split(split) => route.wanted(Some(split)),
            Self::AtMost(share) => route.wanted(Some(&Split::Share(share))),
            Self::StableOnly => route.wanted(Some(&Split::Share(0))),
        }
    }
}

/// No route is left to be written.
pub(crate) fn is_at(course: &Course<'_>, target: Target<'_>) -> bool {
    course.routes.iter().all(|route| route.live.is_none_or(|live| target.is_met(route, live)))
}

/// Writes every route that is not at the target. Then says what is missing until all of them are verified there.
pub(crate) fn bring(look: &mut Look<'_>, course: &Course<'_>, target: Target<'_>) -> Result<(), (Reason, String)> {
    let mut written = None;
    for route in &course.routes {
        let Some(live) = route.live else { continue };
        if target.is_met(route, live) {
            continue;
        }
        look.act(Action::WriteRoute {
            route: route.name.to_owned(),
            rules: target.rules(route),
            resource_version: live.resource_version.clone(),
        });
        written = written.or(Some(route.name));
    }
    if let Some(name) = written {
        return Err((Reason::WaitingForRoutes, format!("HTTPRoute {name:?} is being written")));
    }
    for route in &course.routes {
        if let Some(live) = route.live {
            verified(look, route.name, live)?;
        }
    }
    Ok(())
}

fn verified(look: &Look<'_>, name: &str, live: &LiveRoute) -> Result<(), (Reason, String)> {
    if live.parents.is_empty() {
        let message =
            format!("no Gateway reports on HTTPRoute {name:?}; see its parentRefs and the Gateway's controller");
        return Err((Reason::WaitingForRoutes, message));
    }
    for parent in &live.parents {
        if parent.generation < live.generation {
            let message = format!(
                "a parent of HTTPRoute {name:?} reports on generation {}, it is at {}",
                parent.generation, live.generation
            );
            return Err((Reason::WaitingForRoutes, message));
        }
        if !parent.accepted || !parent.resolved {
            let what = if parent.accepted { "resolve its refs" } else { "accept it" };
            let message = format!("a parent of HTTPRoute {name:?} does not {what}: {}", parent.message);
            return Err((Reason::WaitingForRoutes, message));
        }
    }
    if live.parents.iter().any(|parent| parent.bundled) { acknowledged(look, name, live) } else { Ok(()) }
}

fn acknowledged(look: &Look<'_>, name: &str, live: &LiveRoute) -> Result<(), (Reason, String)> {
    for plane in data_planes(look)? {
        let generation = plane.applied.get(name).copied().unwrap_or_default();
        if generation != live.generation {
            let message = format!(
                "data plane {:?} serves generation {generation} of HTTPRoute {name:?}, it is at {}",
                plane.pod, live.generation
            );
            return Err((Reason::WaitingForDataPlanes, message));
        }
    }
    Ok(())
}

/// Every data plane that may be serving; an error when one of them cannot be asked.
fn data_planes<'w>(look: &Look<'w>) -> Result<&'w [DataPlane], (Reason, String)> {
    let wait = |message: String| Err((Reason::WaitingForDataPlanes, message));
    let planes = match &look.world.telemetry {
        Telemetry::NotAsked => return wait("the data planes were not asked yet".to_owned()),
        Telemetry::Unavailable(why) => {
            return wait(format!("the proxy's controller cannot be asked what is served: {why}; see that it runs"));
        }
        Telemetry::DataPlanes(planes) => planes,
    };
    if planes.is_empty() {
        return wait("no data plane of the proxy is known; see that its pods run".to_owned());
    }
    match planes.iter().find(|plane| !plane.connected) {
        Some(plane) => wait(format!(
            "data plane {:?} is not connected to its controller and may serve older routes; see why, or delete the pod",
            plane.pod
        )),
        None => Ok(planes),
    }
}

/// Brings the routes to a split in which the canary's share may rise, once every data plane has this many ready endpoints
/// to send it to.
pub(crate) fn raise(
    look: &mut Look<'_>,
    course: &Course<'_>,
    split: &Split,
    replicas: i32,
) -> Result<(), (Reason, String)> {
    let is_there = course.routes.iter().all(|route| route.split.as_ref() == Some(split));
    if !is_there && let Err(unreachable) = reachable(look, course, Side::Canary, replicas) {
        introduce(look, course);
        return Err(unreachable);
    }
    bring(look, course, Target::Split(split))
}

/// A data plane hears of the endpoints of the Services that its routes name. Where somebody has taken the canary out of a
/// route, it is named again first, without traffic.
fn introduce(look: &mut Look<'_>, course: &Course<'_>) {
    for route in &course.routes {
        let Some(live) = route.live.filter(|live| !routes::has_ours(&live.rules, &route.names)) else { continue };
        look.act(Action::WriteRoute {
            route: route.name.to_owned(),
            rules: route.wanted(Some(&Split::Share(0))),
            resource_version: live.resource_version.clone(),
        });
    }
}

/// Every data plane has this many ready endpoints of a side to send requests to. What the API server says of pods they
/// hear of later, so this is asked before their share rises. Other implementations than the bundled proxy cannot be asked.
pub(crate) fn reachable(look: &Look<'_>, course: &Course<'_>, side: Side, wanted: i32) -> Result<(), (Reason, String)> {
    let mut live = course.routes.iter().filter_map(|route| route.live);
    if !live.any(|live| live.parents.iter().any(|parent| parent.bundled)) {
        return Ok(());
    }
    for plane in data_planes(look)? {
        let (ready, service) = match side {
            Side::Stable => (plane.ready.stable, course.plan.service.clone()),
            Side::Canary => (plane.ready.canary, crate::canary_name(course.plan)),
        };
        let ready = ready.unwrap_or_default();
        if i64::from(ready) < i64::from(wanted) {
            let message =
                format!("data plane {:?} knows {ready} of {wanted} ready endpoints of Service {service:?}", plane.pod);
            return Err((Reason::WaitingForDataPlanes, message));
        }
    }
    Ok(())
}

/// Requests in flight on the canary; None when it cannot be known.
pub(crate) fn in_flight(look: &Look<'_>, course: &Course<'_>) -> Option<u64> {
    let Telemetry::DataPlanes(planes) = &look.world.telemetry else { return None };
    let is_bundled = |route: &RouteView<'_>| route.live.is_some_and(|live| live.parents.iter().any(|p| p.bundled));
    let is_ours = |name: &str| course.routes.iter().any(|route| route.name == name);
    let all_known = !planes.is_empty() && planes.iter().all(|plane| plane.connected);
    // A parent that is not the bundled proxy counts nothing here.
    let all_bundled = course.routes.iter().all(is_bundled)
        && course.routes.iter().filter_map(|route| route.live).all(|live| live.parents.iter().all(|p| p.bundled));
    let cells = planes.iter().flat_map(|plane| &plane.cells);
    let counted = cells.filter(|cell| cell.canary && is_ours(&cell.route)).map(|cell| cell.in_flight).sum();
    (all_known && all_bundled).then_some(counted)
}
