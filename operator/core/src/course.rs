//! What a run follows: its frozen plan, the routes with what is live on them, and what stands in its way.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;

use crate::{
    Plan, Reason, World,
    contest::{self, Contest},
    judge::tally,
    look::Look,
    plan::Split,
    routes::{self, Live, Names},
    state::{Config, Run, Stage},
    takeback,
    world::{Frozen, LiveRoute, ReplicaSet, Workload},
};

/// What a run follows in one look.
pub(crate) struct Course<'w> {
    /// The frozen plan; before it is frozen, the spec's.
    pub plan: &'w Plan,
    /// The frozen revision.
    pub frozen: Option<&'w Frozen>,
    /// The workload.
    pub workload: Option<&'w Workload>,
    /// The routes of the plan.
    pub routes: Vec<RouteView<'w>>,
    /// Why the run must not go on. A failed verdict still rolls back.
    pub hold: Option<(Reason, String)>,
    /// A route is contested: no weight is raised, whatever the stage.
    pub is_contested: bool,
}

/// A route in one look.
pub(crate) struct RouteView<'w> {
    /// Name of the route.
    pub name: &'w str,
    /// Whose parts are whose.
    pub names: Names<'w>,
    /// The route; None when it is gone.
    pub live: Option<&'w LiveRoute>,
    /// What the user wrote.
    pub base: Value,
    /// The split that is live; None when it is none that we write.
    pub split: Option<Split>,
}

impl RouteView<'_> {
    /// The rules that are wanted; None asks for what the user wrote.
    pub(crate) fn wanted(&self, split: Option<&Split>) -> Value {
        match split {
            // A split that cannot be written was refused before the run, or its base holds the run.
            Some(split) => routes::apply(&self.base, split, &self.names).unwrap_or_else(|_| self.base.clone()),
            None => self.base.clone(),
        }
    }

    /// Live is exactly what the user wrote.
    pub(crate) fn is_base(&self) -> bool {
        self.live.is_none_or(|live| live.rules == self.base)
    }
}

/// The plan that a run follows, if any can be had.
pub(crate) fn plan_of<'w>(world: &'w World, run: &Run) -> Option<(&'w Plan, Option<&'w Frozen>)> {
    let frozen = world.frozen.iter().find(|frozen| frozen.revision == run.revision);
    let plan = match frozen {
        Some(frozen) => &frozen.plan,
        None => world.plan.as_ref().ok()?,
    };
    Some((plan, frozen))
}

/// Every split that a plan may make live: those of its steps, then those on the way back from a canary that carried
/// everything.
pub(crate) fn splits(plan: &Plan) -> Vec<Split> {
    let mut splits: Vec<Split> = plan.steps.iter().filter_map(|step| step.split.clone()).collect();
    splits.extend(takeback::shares().map(Split::Share).filter(|_| !plan.promotion.keep));
    splits
}

/// The splits that may be live on a route, the one that was seen last first.
pub(crate) fn last_first<'s>(run: &Run, route: &str, splits: &'s [Split]) -> Cow<'s, [Split]> {
    let last = run.contests.get(route).and_then(|contest| contest.split.as_ref());
    match last.filter(|last| splits.first() != Some(last)) {
        Some(last) => Cow::Owned([last].into_iter().chain(splits).cloned().collect()),
        None => Cow::Borrowed(splits),
    }
}

/// The split in force at a step: an approval keeps that of the step before.
pub(crate) fn split_at(plan: &Plan, step: usize) -> Split {
    let until = plan.steps.len().min(step + 1);
    plan.steps[..until].iter().rev().find_map(|step| step.split.clone()).unwrap_or(Split::Share(0))
}

impl<'w> Course<'w> {
    /// Takes in what is live: new bases and new generations go into the run's memory.
    pub(crate) fn take(look: &mut Look<'w>, run: &mut Run, plan: &'w Plan, frozen: Option<&'w Frozen>) -> Self {
        let world = look.world;
        let workload = world.workload.as_ref();
        let splits = splits(plan);
        let mut course = Self { plan, frozen, workload, routes: Vec::new(), hold: None, is_contested: false };
        for (index, route) in plan.routes.iter().enumerate() {
            let names = Names::new(world, plan, route);
            let live = world.routes.iter().find(|known| known.name == route.name).and_then(|known| known.live.as_ref());
            let mut view = RouteView { name: &route.name, names, live, base: Value::Null, split: None };
            let splits = last_first(run, &route.name, &splits);
            view.base = known_base(run, frozen, &view, &splits);
            if let Some(live) = live {
                recognise(look, run, &mut view, live, &splits);
                record(run, &view, live);
            } else {
                let message = format!("spec.routes[{index}].name: HTTPRoute {:?} is gone; create it again", route.name);
                course.hold = Some((Reason::RouteMissing, message));
            }
            if run.base_overrides.contains_key(&route.name)
                && let Err(why) = routes::preflight(&view.base, &splits, &view.names)
            {
                let message = format!("HTTPRoute {:?} was changed so that the run cannot go on: {why}", route.name);
                course.hold = Some((Reason::RouteChanged, message));
            } else if let Some(live) = live {
                course.is_contested |= contested(look, run, plan, &view, live);
            }
            course.routes.push(view);
        }
        if course.is_contested && course.hold.is_none() {
            course.hold = held_by_contest(look, run);
        }
        if let Some(hold) = in_the_way(world, run) {
            course.hold = Some(hold);
        }
        course
    }

    /// A person has dealt with whoever contests the routes.
    pub(crate) fn settle(&mut self, run: &mut Run) {
        run.contests.values_mut().for_each(Contest::settle);
        self.is_contested = false;
        self.hold.take_if(|(reason, _)| *reason == Reason::RouteContested);
    }

    /// `spec.rules` of each route as the user wrote it.
    pub(crate) fn bases(&self) -> BTreeMap<String, Value> {
        self.routes.iter().map(|route| (route.name.to_owned(), route.base.clone())).collect()
    }
}

/// Why the run must not go on, whatever the routes are.
fn in_the_way(world: &World, run: &Run) -> Option<(Reason, String)> {
    let Some(workload) = &world.workload else {
        return Some((
            Reason::WorkloadMissing,
            "spec.workload.name: the Deployment is gone in the middle of a run; create it again, or delete the Rollout"
                .to_owned(),
        ));
    };
    if let Some(other) = &world.claimed_by {
        let message =
            format!("spec.workload: the older Rollout {other:?} has it or one of the routes; delete one of them");
        return Some((Reason::Conflicted, message));
    }
    if let Err(message) = &world.service {
        return Some((Reason::InvalidSpec, format!("spec.service: {message}")));
    }
    let available: i32 = workload.replica_sets.iter().map(|set| set.available).sum();
    if available == 0 && run.in_progress() {
        let message = "no pod of the Deployment is available, so there is nothing to go back to; the split stays until \
                       one is";
        return Some((Reason::StableLost, message.to_owned()));
    }
    None
}

fn known_base(run: &Run, frozen: Option<&Frozen>, view: &RouteView<'_>, splits: &[Split]) -> Value {
    let known = run.base_overrides.get(view.name).or_else(|| frozen.and_then(|frozen| frozen.base.get(view.name)));
    match (known, view.live) {
        (Some(base), _) => base.clone(),
        (None, Some(live)) => routes::merge(&Value::Null, &live.rules, splits, &view.names),
        (None, None) => Value::Null,
    }
}

fn recognise(look: &mut Look<'_>, run: &mut Run, view: &mut RouteView<'_>, live: &LiveRoute, splits: &[Split]) {
    match routes::recognise(&view.base, &live.rules, splits, &view.names) {
        Live::Split(split) => view.split = Some(split),
        Live::Changed(base) if base != view.base => {
            let message =
                format!("HTTPRoute {:?} was changed by its owner; the run goes on with the new rules", view.name);
            look.note(Reason::RouteChanged, message);
            run.base_overrides.insert(view.name.to_owned(), base.clone());
            view.base = base;
            // An edit beside our weights leaves the split live.
            if let Live::Split(split) = routes::recognise(&view.base, &live.rules, splits, &view.names) {
                view.split = Some(split);
            }
        }
        // Changed, but only in our own weights: they are written again.
        Live::Base | Live::Changed(_) => {}
    }
}

/// Counts what other writers do to our parts; while the Rollout is deleted nothing of ours is meant to stay. True while the route is left to them.
fn contested(look: &mut Look<'_>, run: &mut Run, plan: &Plan, view: &RouteView<'_>, live: &LiveRoute) -> bool {
    let asked = asked(run, plan).filter(|_| !look.world.deleting);
    let contest = run.contests.entry(view.name.to_owned()).or_default();
    let seen = contest::Seen {
        generation: live.generation,
        split: view.split.as_ref(),
        asked: asked.as_ref(),
        manager: live.manager.as_deref(),
    };
    let outcome = contest.see(seen, look.now());
    let who = contest.who();
    let is_resting = contest.rests_until(look.now()).is_some();
    match outcome {
        contest::Outcome::Quiet => {}
        contest::Outcome::Reverted => {
            look.warn(
                Reason::RouteReverted,
                format!(
                    "HTTPRoute {:?} was written by {who} without the run's weights; they are written again",
                    view.name
                ),
            );
        }
        contest::Outcome::Contested => {
            look.warn(Reason::RouteContested, format!("HTTPRoute {:?} was written by {who} without the run's weights again and again; it is left alone for {} minutes", view.name, contest::REST_MS / 60_000));
            // What was live is not: the step begins anew when it is.
            run.live_since = None;
            run.verified_share = view.is_base().then_some(0);
        }
    }
    is_resting && asked.is_some()
}

/// The split that the run asks for by its stage; None where it takes its parts out.
fn asked(run: &Run, plan: &Plan) -> Option<Split> {
    match run.stage {
        Stage::Preparing => Some(Split::Share(0)),
        Stage::Stepping | Stage::PromotingScale => run.split.clone(),
        Stage::PromotingRoll | Stage::PromotingFailed | Stage::PromotingBack if plan.promotion.keep => {
            run.split.clone()
        }
        Stage::PromotingShift | Stage::PromotingRoll | Stage::PromotingFailed | Stage::PromotingBack => {
            Some(Split::Share(routes::WHOLE))
        }
        Stage::StableLost | Stage::Finishing | Stage::RollingBack | Stage::RolledBack => None,
    }
}

fn held_by_contest(look: &mut Look<'_>, run: &Run) -> Option<(Reason, String)> {
    let now = look.now();
    let resting = run.contests.iter().filter_map(|(name, contest)| Some((name, contest, contest.rests_until(now)?)));
    let (name, contest, until) = resting.max_by_key(|(.., until)| *until)?;
    look.next("write the weights again", Some(until));
    let message = format!(
        "HTTPRoute {name:?} was written by {} without the run's weights again and again: tell it to ignore them \
         (docs/gitops.md). The run holds and the traffic stays as it was left; after {} minutes it is tried again, on Abort it \
         rolls back",
        contest.who(),
        contest::REST_MS / 60_000
    );
    Some((Reason::RouteContested, message))
}

/// Remembers which split a generation serves, so that its counters can be judged.
fn record(run: &mut Run, view: &RouteView<'_>, live: &LiveRoute) {
    if run.configs.iter().any(|config| config.route == view.name && config.generation > live.generation) {
        // Deleted and made again: its generations start anew, and counters of the old ones must not pass for theirs.
        tally::forget(run, view.name);
    }
    let Some(split) = &view.split else { return };
    let is_known = |config: &Config| config.route == view.name && config.generation == live.generation;
    if run.configs.iter().any(is_known) {
        return;
    }
    let config = Config {
        route: view.name.to_owned(),
        generation: live.generation,
        share: match split {
            Split::Share(share) => Some(*share),
            Split::Match(_) => None,
        },
        step: (run.stage == Stage::Stepping && run.split.as_ref() == Some(split)).then_some(run.step),
        rules: if view.names.rules.is_empty() { Vec::new() } else { split_keys(view, live) },
    };
    if run.configs.len() >= Run::MAX_CONFIGS {
        let oldest = run.configs.remove(0);
        run.tallies.retain(|tally| tally.route != oldest.route || tally.generation != oldest.generation);
    }
    run.configs.push(config);
}

/// Keys of the rules that are split, and of our copies.
fn split_keys(view: &RouteView<'_>, live: &LiveRoute) -> Vec<String> {
    let mut keys = view.names.stepped_keys(&live.rules);
    keys.extend(view.names.copied_keys(&live.rules));
    keys
}

/// The ReplicaSet that carries what state.stable names, if all its replicas are available.
pub(crate) fn is_whole(workload: &Workload, uid: &str, replicas: i32) -> bool {
    workload.replica_sets.iter().any(|set| set.uid == uid && set.available >= replicas.max(1) && set.wanted >= replicas)
}

/// The ReplicaSet of the declared template, when the workload has rolled out to it completely. Judged by ReplicaSets, not
/// by conditions, which survive a pause.
pub(crate) fn complete(workload: &Workload) -> Option<&ReplicaSet> {
    let others_are_gone = workload
        .replica_sets
        .iter()
        .all(|set| set.revision == workload.revision || (set.replicas == 0 && set.wanted == 0));
    let of_revision = workload.replica_sets.iter().find(|set| {
        set.revision == workload.revision
            && set.wanted == workload.replicas
            && set.replicas == set.wanted
            && set.available == set.wanted
    });
    of_revision.filter(|set| workload.observed && others_are_gone && set.wanted > 0)
}
