//! Once a run goes back, no write of ours gives its canary more traffic.

use std::collections::HashMap;

use serde_json::Value;

use super::routes::{canary_of_all, is_added, rules};
use crate::audit::{Check, Judged, Key, Write, text};

/// Phases of a run that goes back.
const GOES_BACK: [&str; 2] = ["RollingBack", "RolledBack"];

/// A run that goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ended {
    started_at: String,
    routes: Vec<String>,
    /// It has gone back, and not only begun to.
    over: bool,
}

/// The runs that go back, by their Rollout.
#[derive(Debug, Default)]
pub(super) struct AfterFailure {
    ended: HashMap<Key, Ended>,
}

impl Check for AfterFailure {
    fn promise(&self) -> &'static str {
        "the canary's weight never rises once its run goes back"
    }

    fn see(&mut self, write: &Write, found: &mut Vec<String>) -> Judged {
        if write.is_rollout() {
            self.learn(write);
            return Judged::No;
        }
        if !write.is_route() || !write.by_operator() {
            return Judged::No;
        }
        let Some(after) = write.after.as_deref() else { return Judged::No };
        let goes_back = |(rollout, ended): &(&Key, &Ended)| {
            rollout.namespace == write.key.namespace && ended.routes.contains(&write.key.name)
        };
        let Some((rollout, ended)) = self.ended.iter().find(goes_back) else { return Judged::No };
        let nothing = Value::Null;
        let before = write.before.as_deref().unwrap_or(&nothing);
        if rises(before, after) {
            found.push(format!(
                "more for the canary than before, and the run of {} of Rollout {} goes back",
                ended.started_at, rollout.name
            ));
        }
        Judged::Yes
    }
}

impl AfterFailure {
    fn learn(&mut self, write: &Write) {
        let Some(rollout) = write.after.as_deref() else {
            self.ended.remove(&write.key);
            return;
        };
        let started_at = text(rollout, "/status/run/startedAt");
        let phase = text(rollout, "/status/phase");
        if GOES_BACK.contains(&phase) && !started_at.is_empty() {
            let routes = rollout.pointer("/spec/routes").and_then(Value::as_array);
            let routes = routes.into_iter().flatten().map(|route| text(route, "/name").to_owned()).collect();
            let over = phase == "RolledBack";
            self.ended.insert(write.key.clone(), Ended { started_at: started_at.to_owned(), routes, over });
        } else if self.ended.get(&write.key).is_some_and(|ended| ended.over || ended.started_at != started_at) {
            // Another run, or none: what comes now is not of the run that went back. Two runs may start in one second,
            // which is as exact as the status tells it; but nothing follows on a run that is over except another.
            self.ended.remove(&write.key);
        }
    }
}

/// Any rule gives the canary a larger share than any rule did before, or a rule for matching requests came.
fn rises(before: &Value, after: &Value) -> bool {
    let own = |route| rules(route).iter().filter(|rule| !is_added(rule)).map(canary_of_all);
    let largest_before = own(before).max_by(|a, b| larger(*a, *b)).unwrap_or((0, 1));
    let added = |route| rules(route).iter().filter(|rule| is_added(rule)).count();
    own(after).any(|share| larger(share, largest_before).is_gt()) || added(after) > added(before)
}

/// Compares two shares exactly.
fn larger((part, all): (u64, u64), (other, of): (u64, u64)) -> std::cmp::Ordering {
    let product = |a: u64, b: u64| u128::from(a) * u128::from(b.max(1));
    product(part, of).cmp(&product(other, all))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::routes::testing::route, AfterFailure};
    use crate::audit::{
        Event,
        testing::{breaks, holds, operator},
    };

    fn status(phase: &str, started_at: &str, version: u64) -> Event {
        let rollout = json!({
            "spec": {"routes": [{"kind": "HTTPRoute", "name": "r"}]},
            "status": {"phase": phase, "run": {"startedAt": started_at}},
        });
        operator("patch", "sluice.dev/rollouts/status", "a/b", rollout, version)
    }

    fn at(share: u64, version: u64) -> Event {
        let rules = route(&[("app", 100 - share), ("app-canary", share)]);
        operator("patch", "gateway.networking.k8s.io/httproutes", "a/r", rules, version)
    }

    fn with_match(mut event: Event) -> Event {
        let added = json!({"name": "sluice-b-0", "backendRefs": [{"name": "app-canary"}]});
        event.response_object["spec"]["rules"].as_array_mut().unwrap().push(added);
        event
    }

    #[test]
    fn going_back_and_a_later_run_are_fine() {
        let going_back = vec![at(20, 1), status("RollingBack", "t1", 2), at(0, 3), status("RolledBack", "t1", 4)];
        holds(AfterFailure::default(), going_back.clone(), 1);
        let later = [going_back, vec![status("Stepping", "t2", 5), at(20, 6)]].concat();
        holds(AfterFailure::default(), later, 1);
    }

    #[test]
    fn a_run_that_starts_in_the_same_second_is_another() {
        let retried = vec![status("RolledBack", "t1", 1), status("Preparing", "t1", 2), at(0, 3), at(20, 4)];
        holds(AfterFailure::default(), retried, 0);
        let resumed = vec![at(0, 1), status("RollingBack", "t1", 2), status("Stepping", "t1", 3), at(20, 4)];
        breaks(AfterFailure::default(), resumed, "more for the canary");
    }

    #[test]
    fn a_weight_that_rises_again_is_found() {
        breaks(AfterFailure::default(), vec![at(20, 1), status("RollingBack", "t1", 2), at(30, 3)], "the run of t1");
        let after_all =
            vec![at(20, 1), status("RollingBack", "t1", 2), at(0, 3), status("RolledBack", "t1", 4), at(1, 5)];
        breaks(AfterFailure::default(), after_all, "more for the canary");
    }

    #[test]
    fn a_rule_for_matching_requests_that_comes_again_is_found() {
        let events = vec![at(0, 1), status("RollingBack", "t1", 2), with_match(at(0, 3))];
        breaks(AfterFailure::default(), events, "more for the canary");
        let kept = vec![with_match(at(0, 1)), status("RollingBack", "t1", 2), with_match(at(0, 3)), at(0, 4)];
        holds(AfterFailure::default(), kept, 2);
    }

    #[test]
    fn another_rollouts_route_is_another_matter() {
        let mut other = at(30, 3);
        other.object_ref.as_mut().unwrap().name = "other".to_owned();
        other.response_object["spec"]["rules"] = Value::Array(Vec::new());
        holds(AfterFailure::default(), vec![status("RollingBack", "t1", 2), other], 0);
    }
}
