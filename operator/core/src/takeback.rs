//! How much of the traffic the workload's own pods can take back from a canary that carried everything.
//!
//! Before the workload is let go its pods are all there, and traffic goes back to them at once. Afterwards some are gone:
//! traffic goes back as pods become ready, in quarters, so that a rollback writes the routes a few times and not once a pod.

use crate::{
    Millis, World, capacity,
    course::Course,
    phase::failed_set,
    routes::WHOLE,
    state::{Run, Stable},
    teardown::Patience,
    world::Workload,
};

/// Traffic goes back in so many parts.
const PARTS: i64 = 4;

/// The shares that the canary may have on the way back.
pub(crate) fn shares() -> impl Iterator<Item = u16> {
    (1..PARTS).filter_map(|part| u16::try_from(i64::from(WHOLE) * part / PARTS).ok())
}

/// What the canary may keep at most, in basis points, and what is waited for until it is nothing.
pub(crate) fn left_to_canary(
    run: &mut Run,
    world: &World,
    stable: Option<&Stable>,
    course: &Course<'_>,
    patience: Patience,
) -> Option<(u16, String)> {
    let workload = course.workload.filter(|_| is_bound(run, course))?;
    let available = available(workload, stable);
    capacity::progress(run, world.now, available, false);
    // Pods that are about to go, or that a workload on its way may replace, are not counted on.
    let goes = failed_set::goes(run, course, stable, workload, world.deleting);
    let share = if goes { 0 } else { share(run, workload, available) };
    if share == WHOLE || is_over(run, course, world.now, available, patience) {
        return None;
    }
    let mut pinned = workload.replica_sets.iter().filter(|set| stable.is_some_and(|stable| stable.uid == set.uid));
    let trouble = pinned.find_map(|set| set.trouble.as_deref());
    let message = format!(
        "{available} of {} pods of the Deployment are available{}, so {} % of the traffic stays on the canary",
        size(run, workload),
        trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default(),
        f64::from(WHOLE - share) / 100.0
    );
    Some((WHOLE - share, message))
}

/// The canary carried everything while the workload rolled, so its own pods may not suffice.
pub(crate) fn is_bound(run: &Run, course: &Course<'_>) -> bool {
    run.let_go && !course.plan.promotion.keep
}

/// Pods that traffic goes back to: stable's, or whatever the Service leads to where those are not known.
pub(crate) fn available(workload: &Workload, stable: Option<&Stable>) -> i32 {
    let pinned = stable.and_then(|stable| workload.replica_sets.iter().find(|set| set.uid == stable.uid));
    pinned.map_or_else(|| workload.replica_sets.iter().map(|set| set.available).sum(), |set| set.available)
}

/// Pods that are needed for all of the traffic: as many as the canary carries it with, even where the workload was scaled
/// down meanwhile.
pub(crate) fn size(run: &Run, workload: &Workload) -> i32 {
    workload.replicas.max(run.replicas)
}

/// The part of the traffic that so many pods can carry, in basis points, rounded down to a whole part.
fn share(run: &Run, workload: &Workload, available: i32) -> u16 {
    let of = i64::from(size(run, workload).max(1));
    let parts = (i64::from(available.max(0)) * PARTS / of).min(PARTS);
    u16::try_from(i64::from(WHOLE) * parts / PARTS).unwrap_or(WHOLE)
}

/// No pod came for the progress deadline: what is there takes everything, as the workload's own rolling update would have
/// it. Without any pod only a Rollout that is deleted goes so far.
pub(crate) fn is_over(run: &Run, course: &Course<'_>, now: Millis, available: i32, patience: Patience) -> bool {
    now >= capacity::deadline(run, course) && (available > 0 || patience == Patience::Bounded)
}
