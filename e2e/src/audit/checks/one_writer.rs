//! The operator writes as one: a pod that another one took over from writes again only after it took the lease back.

use std::collections::HashMap;

use crate::audit::{Check, Judged, Key, Who, Write, history, text};
use sluice_crds::names::LABEL_ROLLOUT;

/// Who wrote for a Rollout, and who took the lease.
#[derive(Debug, Default)]
pub(super) struct OneWriter {
    /// Writes so far: the clock of this check.
    writes: u64,
    /// By Rollout: when each pod wrote last.
    last: HashMap<Key, HashMap<String, u64>>,
    /// When each pod last wrote a lease.
    leased: HashMap<String, u64>,
}

impl Check for OneWriter {
    fn promise(&self) -> &'static str {
        "one pod of the operator writes at a time"
    }

    fn see(&mut self, write: &Write, found: &mut Vec<String>) -> Judged {
        if write.event.who() != Who::Operator || write.event.pod().is_empty() {
            return Judged::No;
        }
        self.writes += 1;
        let pod = write.event.pod().to_owned();
        if write.key.resource == "leases" {
            self.leased.insert(pod, self.writes);
            return Judged::No;
        }
        let Some(rollout) = rollout_of(write) else { return Judged::No };
        let last = self.last.entry(rollout).or_default();
        let leased = self.leased.get(&pod).copied().unwrap_or_default();
        let other = last.iter().filter(|(other, _)| **other != pod).max_by_key(|(_, at)| **at);
        // It wrote before the other did, so the other took over, and it is back without the lease.
        if let (Some(own), Some((other, at))) = (last.get(&pod), other)
            && own < at
            && leased <= *at
        {
            found.push(format!("{other} has written since {pod} did, and {pod} took no lease in between"));
        }
        last.insert(pod, self.writes);
        Judged::Yes
    }
}

/// The Rollout for which a write is.
fn rollout_of(write: &Write) -> Option<Key> {
    let named = |name: &str| Key {
        group: sluice_crds::names::GROUP.to_owned(),
        resource: "rollouts".to_owned(),
        namespace: write.key.namespace.clone(),
        name: name.to_owned(),
    };
    if write.is_rollout() {
        return Some(write.key.clone());
    }
    let object = write.after.as_deref().or(write.before.as_deref())?;
    let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(LABEL_ROLLOUT)?.as_str());
    [history::owner(object), label.unwrap_or_default()].into_iter().find(|name| !name.is_empty()).map(named).or_else(
        || {
            // A route does not say whose it is: all writes of one route are for one Rollout.
            write.is_route().then(|| Key { name: text(object, "/metadata/name").to_owned(), ..write.key.clone() })
        },
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::OneWriter;
    use crate::audit::{
        Event,
        testing::{breaks, by_pod, holds},
    };

    fn status(pod: &str, version: u64) -> Event {
        by_pod(pod, "patch", "sluice.dev/rollouts/status", "a/b", json!({}), version)
    }

    fn canary(pod: &str, version: u64) -> Event {
        let labels = json!({"metadata": {"labels": {"sluice.dev/owned-by": "b"}}});
        by_pod(pod, "patch", "apps/deployments", "a/b-canary", labels, version)
    }

    fn lease(pod: &str, version: u64) -> Event {
        by_pod(pod, "update", "coordination.k8s.io/leases", "s/operator", json!({}), version)
    }

    #[test]
    fn a_pod_that_takes_over_is_fine() {
        holds(OneWriter::default(), vec![status("x", 1), canary("x", 2), status("y", 3), canary("y", 4)], 4);
    }

    #[test]
    fn a_pod_that_comes_back_by_the_lease_is_fine() {
        holds(OneWriter::default(), vec![status("x", 1), status("y", 2), lease("x", 3), status("x", 4)], 3);
    }

    #[test]
    fn two_pods_that_take_turns_are_found() {
        breaks(OneWriter::default(), vec![status("x", 1), status("y", 2), status("x", 3)], "y has written since x did");
        // A lease of before the other took over is none.
        let late = vec![lease("x", 1), status("x", 2), lease("y", 3), status("y", 4), canary("x", 5)];
        breaks(OneWriter::default(), late, "took no lease");
    }
}
