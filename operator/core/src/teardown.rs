//! Takes a run down: all traffic to the stable Service, the routes as the user wrote them, requests in flight ended, the
//! temporary objects gone. In this order, so that no request is ever sent where nobody is.

use crate::{
    Millis, Reason, capacity,
    course::{Course, RouteView},
    coverage,
    decision::Action,
    look::Look,
    state::{Run, Teardown, TeardownPart},
    takeback,
    verify::{self, Side, Target},
    world::LiveRoute,
};

/// How long the ownership of rules is tried to be given up: a courtesy, which holds nothing up for long.
const RELEASE_MS: Millis = 10_000;

/// Whether verification may be waited for without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The canary stays until the routes are verified.
    Endless,
    /// After the drain time the routes count as verified: a Rollout must go away when it is deleted.
    Bounded,
}

/// Goes on with taking the run down; `Ok` when nothing is left.
pub(crate) fn go_on(
    look: &mut Look<'_>,
    run: &mut Run,
    course: &Course<'_>,
    patience: Patience,
) -> Result<(), (Reason, String)> {
    let now = look.now();
    let drain = i64::try_from(course.plan.drain_ms).unwrap_or(i64::MAX / 2);
    loop {
        let teardown = *run.teardown.get_or_insert(Teardown { part: TeardownPart::Shift, since: now });
        let is_late = patience == Patience::Bounded && now - teardown.since >= drain;
        if patience == Patience::Bounded {
            look.wake(teardown.since + drain);
        }
        match teardown.part {
            TeardownPart::Shift => {
                // Where the user's own rules are live already there is nothing to shift.
                let is_restored = course.routes.iter().all(RouteView::is_base);
                let stable = look.state.stable.clone();
                if !is_restored
                    && let Some((left, why)) =
                        takeback::left_to_canary(run, look.world, stable.as_ref(), course, patience)
                {
                    look.wake(capacity::deadline(run, course));
                    heard_of(look, run, course, Target::AtMost(left), patience)?;
                    verify::bring(look, course, Target::AtMost(left))?;
                    run.verified_share = Some(left.min(run.verified_share.unwrap_or(left)));
                    return Err((Reason::WaitingForStable, why));
                }
                let target = if is_restored { Target::Base } else { Target::StableOnly };
                heard_of(look, run, course, target, patience)?;
                // A write is never passed over, only its verification.
                let is_written = verify::is_at(course, target);
                patiently(verify::bring(look, course, target), is_late && is_written)?;
                run.verified_share = Some(0);
                next(run, TeardownPart::Restore, now);
            }
            TeardownPart::Restore => {
                patiently(verify::bring(look, course, Target::Base), is_late)?;
                run.verified_share = None;
                next(run, TeardownPart::Drain, now);
            }
            // A route that names the canary again, by someone's edit or by a write that comes late, takes it back before
            // the canary goes, and requests that came to it in between have the drain time once more.
            TeardownPart::Drain | TeardownPart::Delete if !course.routes.iter().all(RouteView::is_base) => {
                let since = if patience == Patience::Bounded { teardown.since } else { now };
                run.teardown = Some(Teardown { part: TeardownPart::Drain, since });
                return verify::bring(look, course, Target::Base);
            }
            TeardownPart::Drain => {
                drained(look, course, teardown.since, drain)?;
                next(run, TeardownPart::Delete, now);
            }
            TeardownPart::Delete => {
                let deleted = delete(look, course);
                let given_back = release(look, course, teardown.since);
                return deleted.and(given_back);
            }
        }
    }
}

/// Traffic leaves a canary that carried everything only for pods that every data plane has heard of.
fn heard_of(
    look: &Look<'_>,
    run: &Run,
    course: &Course<'_>,
    target: Target<'_>,
    patience: Patience,
) -> Result<(), (Reason, String)> {
    let Some(workload) = course.workload.filter(|_| takeback::is_bound(run, course)) else { return Ok(()) };
    let available = takeback::available(workload, look.state.stable.as_ref());
    if verify::is_at(course, target) || takeback::is_over(run, course, look.now(), available, patience) {
        return Ok(());
    }
    verify::reachable(look, course, Side::Stable, available.min(workload.replicas))
}

fn next(run: &mut Run, part: TeardownPart, now: Millis) {
    run.teardown = Some(Teardown { part, since: now });
}

fn patiently(verified: Result<(), (Reason, String)>, is_late: bool) -> Result<(), (Reason, String)> {
    if is_late { Ok(()) } else { verified }
}

/// No request is in flight on the canary, by a look after the routes were verified; or the drain time is over.
fn drained(look: &mut Look<'_>, course: &Course<'_>, since: Millis, drain: Millis) -> Result<(), (Reason, String)> {
    let now = look.now();
    if now - since >= drain {
        return Ok(());
    }
    look.next("delete the canary", Some(since + drain));
    let left = (since + drain - now) / 1_000;
    match verify::in_flight(look, course) {
        Some(0) if now > since => Ok(()),
        Some(requests) => Err((
            Reason::Draining,
            format!("{requests} requests are in flight on the canary, which goes when they end, or in {left} s"),
        )),
        None => Err((Reason::Draining, format!("requests in flight on the canary are not known; it goes in {left} s"))),
    }
}

/// Deletes the temporary objects, ours alone.
pub(crate) fn delete(look: &mut Look<'_>, course: &Course<'_>) -> Result<(), (Reason, String)> {
    let world = look.world;
    let mut left = None;
    if let Some(service) = world.canary_service.filter(|service| service.ours) {
        if !service.deleting {
            look.act(Action::DeleteCanaryService);
        }
        left = Some(format!("Service {:?} is being deleted", crate::canary_name(course.plan)));
    }
    if let Some(canary) = world.canary_workload.as_ref().filter(|canary| canary.ours) {
        if !canary.deleting {
            look.act(Action::DeleteCanaryWorkload);
        }
        left = Some(format!("Deployment {:?} is being deleted", crate::canary_workload_name(course.plan)));
    }
    if left.is_none() && coverage::remove(look) {
        left = Some("the canary's copies of policies are being deleted".to_owned());
    }
    left.map_or(Ok(()), |message| Err((Reason::WaitingForObjects, message)))
}

/// Gives up the ownership of rules that are the user's own again, so that the next to apply others on the server's side is
/// not told of a conflict with us.
fn release(look: &mut Look<'_>, course: &Course<'_>, since: Millis) -> Result<(), (Reason, String)> {
    let mut left = Ok(());
    for route in &course.routes {
        let is_to_give = |live: &&LiveRoute| live.is_managed && live.rules == route.base;
        let Some(live) = route.live.filter(is_to_give).filter(|_| look.now() - since < RELEASE_MS) else { continue };
        look.act(Action::ReleaseRoute {
            route: route.name.to_owned(),
            resource_version: live.resource_version.clone(),
        });
        left = Err((Reason::WaitingForObjects, format!("the rules of HTTPRoute {:?} are given back", route.name)));
    }
    left
}
