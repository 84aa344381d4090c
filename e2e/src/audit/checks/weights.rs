//! Stable and canary together keep the part of a rule's traffic that its owner gave to stable.

use std::collections::HashMap;

use serde_json::Value;

use super::routes::{combined, is_added, rules};
use crate::audit::{Check, Judged, Key, Write};

/// Per rule: name and weight of each backend, in order.
type Parts = Vec<Vec<(String, u64)>>;

/// What the owners of routes last asked for.
#[derive(Debug, Default)]
pub(super) struct Weights {
    owners: HashMap<Key, Parts>,
}

impl Check for Weights {
    fn promise(&self) -> &'static str {
        "weights of canary and stable together keep the relation to a rule's other backends"
    }

    fn see(&mut self, write: &Write, found: &mut Vec<String>) -> Judged {
        let Some(after) = write.after.as_deref().filter(|_| write.is_route()) else { return Judged::No };
        let now = parts(after);
        if !write.by_operator() {
            self.owners.insert(write.key.clone(), now);
            return Judged::No;
        }
        // A route that was made before the log began: what was there before is what its owner asked for.
        let Some(owner) = self.owners.entry(write.key.clone()).or_insert_with(|| now.clone()).get(..) else {
            return Judged::No;
        };
        if owner.len() != now.len() {
            found.push(format!("{} rules beside ours, and the owner's are {}", now.len(), owner.len()));
            return Judged::Yes;
        }
        for (index, (owner, now)) in owner.iter().zip(&now).enumerate() {
            if let Some(why) = differs(owner, now) {
                found.push(format!("rule {index}: {why}"));
            }
        }
        Judged::Yes
    }
}

fn parts(route: &Value) -> Parts {
    let own = rules(route).iter().filter(|rule| !is_added(rule));
    own.map(|rule| combined(rule).into_iter().map(|(name, weight)| (name.to_owned(), weight)).collect()).collect()
}

/// Why two rules do not split alike; exactly, by products instead of quotients.
fn differs(owner: &[(String, u64)], now: &[(String, u64)]) -> Option<String> {
    let names = |parts: &[(String, u64)]| parts.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let sum = |parts: &[(String, u64)]| parts.iter().map(|(_, weight)| u128::from(*weight)).sum::<u128>();
    let keeps = |((_, was), (_, is)): (&(String, u64), &(String, u64))| {
        u128::from(*was) * sum(now) == u128::from(*is) * sum(owner)
    };
    let holds = names(owner) == names(now) && owner.iter().zip(now).all(keeps) && (sum(owner) == 0) == (sum(now) == 0);
    (!holds).then(|| format!("{now:?} do not split as the owner's {owner:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::routes::testing::route, Weights};
    use crate::audit::{
        Event,
        testing::{breaks, by_user, holds, operator},
    };

    const ROUTES: &str = "gateway.networking.k8s.io/httproutes";

    /// A route of which `other` has a quarter, and what the operator makes of it.
    fn log(ours: &[(&str, u64)]) -> Vec<Event> {
        vec![
            by_user("create", ROUTES, "a/b", route(&[("app", 3), ("other", 1)]), 1),
            operator("patch", ROUTES, "a/b", route(ours), 2),
        ]
    }

    #[test]
    fn an_exact_split_holds_at_every_share() {
        holds(Weights::default(), log(&[("app", 3), ("app-canary", 0), ("other", 1)]), 1);
        holds(Weights::default(), log(&[("app", 27), ("app-canary", 3), ("other", 10)]), 1);
        holds(Weights::default(), log(&[("app", 0), ("app-canary", 3), ("other", 1)]), 1);
        holds(Weights::default(), log(&[("app", 3), ("other", 1)]), 1);
    }

    #[test]
    fn a_split_that_takes_from_others_is_found() {
        breaks(Weights::default(), log(&[("app", 27), ("app-canary", 3), ("other", 9)]), "do not split as");
        breaks(Weights::default(), log(&[("app", 3), ("app-canary", 1), ("other", 1)]), "do not split as");
        breaks(Weights::default(), log(&[("app", 3), ("app-canary", 0)]), "do not split as");
        breaks(Weights::default(), log(&[("app", 0), ("app-canary", 0), ("other", 0)]), "do not split as");
    }

    #[test]
    fn the_owner_may_change_the_relation_and_we_may_not_remove_a_rule() {
        let mut events = log(&[("app", 3), ("app-canary", 0), ("other", 1)]);
        events.push(by_user("update", ROUTES, "a/b", route(&[("app", 1), ("other", 1)]), 3));
        events.push(operator("patch", ROUTES, "a/b", route(&[("app", 1), ("app-canary", 1), ("other", 2)]), 4));
        holds(Weights::default(), events.clone(), 2);
        events.push(operator("patch", ROUTES, "a/b", json!({"spec": {"rules": []}}), 5));
        breaks(Weights::default(), events, "0 rules beside ours, and the owner's are 1");
    }

    #[test]
    fn a_rule_for_matching_requests_is_ours() {
        let mut ours = route(&[("app", 3), ("app-canary", 0), ("other", 1)]);
        let added = json!({"name": "sluice-b-0", "backendRefs": [{"name": "app-canary", "weight": 3}]});
        ours["spec"]["rules"].as_array_mut().unwrap().insert(0, added);
        let mut events = log(&[("app", 3), ("other", 1)]);
        events.push(operator("patch", ROUTES, "a/b", ours, 3));
        holds(Weights::default(), events, 2);
    }
}
