//! What is promoted is what was analysed: the template that is let go, and the one of the ReplicaSet that then serves.

use std::{collections::HashMap, rc::Rc};

use serde_json::Value;

use crate::audit::{Check, Judged, Key, Write, history::is_ours, text};
use sluice_crds::names::LABEL_ROLLOUT;

/// A Rollout as it was last seen.
#[derive(Debug, Default)]
struct Seen {
    phase: String,
    revision: String,
    /// UID of stable's ReplicaSet.
    stable: String,
}

/// What was frozen, by namespace and name, and what is known of Rollouts and ReplicaSets.
#[derive(Debug, Default)]
pub(super) struct Promoted {
    frozen: HashMap<(String, String), Value>,
    rollouts: HashMap<(String, String), Seen>,
    /// By UID.
    replica_sets: HashMap<String, Rc<Value>>,
}

impl Check for Promoted {
    fn promise(&self) -> &'static str {
        "the promoted template is the analysed one"
    }

    fn see(&mut self, write: &Write, found: &mut Vec<String>) -> Judged {
        let Some(after) = write.after.as_deref() else { return Judged::No };
        let Key { group, resource, namespace, name } = &write.key;
        match (group.as_str(), resource.as_str()) {
            ("apps", "controllerrevisions") if is_ours(after) => {
                let template = after.pointer("/data/template").map(canonical).unwrap_or_default();
                self.frozen.insert((namespace.clone(), name.clone()), template);
            }
            ("apps", "replicasets") => {
                let uid = text(after, "/metadata/uid").to_owned();
                self.replica_sets.extend(write.after.clone().map(|object| (uid, object)));
            }
            ("apps", "deployments") if write.by_operator() && !is_ours(after) => {
                return self.let_go(write, after, found);
            }
            _ if write.is_rollout() => return self.rollout(write, after, found),
            _ => {}
        }
        Judged::No
    }
}

impl Promoted {
    /// The Deployment is let go in a promotion: it must declare the frozen template, or that of stable, to which it goes
    /// back then.
    fn let_go(&self, write: &Write, after: &Value, found: &mut Vec<String>) -> Judged {
        let is_paused = |object: &Value| object.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or(false);
        let was_paused = write.before.as_deref().is_none_or(is_paused);
        let label = after.pointer("/metadata/labels").and_then(|labels| labels.get(LABEL_ROLLOUT)?.as_str());
        let rollout = (write.key.namespace.clone(), label.unwrap_or_default().to_owned());
        let Some(seen) = self.rollouts.get(&rollout).filter(|seen| seen.phase == "Promoting") else {
            return Judged::No;
        };
        if !was_paused || is_paused(after) {
            return Judged::No;
        }
        let template = after.pointer("/spec/template");
        let stable = self.replica_sets.get(&seen.stable).and_then(|set| set.pointer("/spec/template"));
        if stable.is_some() && stable.map(canonical) == template.map(canonical) {
            return Judged::Yes;
        }
        self.compare(&rollout, &seen.revision, template, "let go with", found)
    }

    /// The status says that the workload is complete: its ReplicaSet must be of the frozen template.
    fn rollout(&mut self, write: &Write, after: &Value, found: &mut Vec<String>) -> Judged {
        let rollout = (write.key.namespace.clone(), write.key.name.clone());
        let phase = text(after, "/status/phase").to_owned();
        let revision = text(after, "/status/run/revision").to_owned();
        let uid = text(after, "/status/stable/replicaSetUid");
        let seen = Seen { phase: phase.clone(), revision: revision.clone(), stable: uid.to_owned() };
        let was = self.rollouts.insert(rollout.clone(), seen);
        let is_completed =
            phase == "Finishing" && was.is_some_and(|was| was.phase == "Promoting" && was.revision == revision);
        if !is_completed {
            return Judged::No;
        }
        let Some(set) = self.replica_sets.get(uid) else {
            found.push(format!("the ReplicaSet {uid:?} that is said to serve was never written"));
            return Judged::Yes;
        };
        self.compare(&rollout, &revision, set.pointer("/spec/template"), "complete with", found)
    }

    fn compare(
        &self,
        (namespace, rollout): &(String, String),
        revision: &str,
        template: Option<&Value>,
        how: &str,
        found: &mut Vec<String>,
    ) -> Judged {
        let frozen = self.frozen.get(&(namespace.clone(), format!("{rollout}-{revision}")));
        match (frozen, template.map(canonical)) {
            (Some(frozen), Some(template)) if *frozen == template => {}
            (Some(_), _) => {
                found.push(format!("{how} a template that is not that of the frozen revision {revision:?}"));
            }
            (None, _) => found.push(format!("{how} revision {revision:?}, which was never frozen")),
        }
        Judged::Yes
    }
}

/// A template without what the Deployment controller adds to a ReplicaSet's, and without nulls, which mean absent.
fn canonical(template: &Value) -> Value {
    fn without_nulls(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, value| !value.is_null());
                fields.values_mut().for_each(without_nulls);
            }
            Value::Array(items) => items.iter_mut().for_each(without_nulls),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    without_nulls(&mut template);
    template
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Promoted;
    use crate::audit::{
        Event,
        testing::{breaks, by_user, holds, operator},
    };

    fn template(image: &str) -> Value {
        json!({"metadata": {"creationTimestamp": null, "labels": {"app": "b"}}, "spec": {"image": image}})
    }

    fn deployment(image: &str, paused: bool) -> Value {
        json!({
            "metadata": {"labels": {"sluice.dev/rollout": "b"}},
            "spec": {"paused": paused, "template": template(image)},
        })
    }

    fn status(phase: &str, version: u64) -> Event {
        let status = json!({"status": {"phase": phase, "run": {"revision": "r1"}, "stable": {"replicaSetUid": "u"}}});
        operator("patch", "sluice.dev/rollouts/status", "a/b", status, version)
    }

    /// A promotion: frozen with one image, let go with another, complete with a third.
    fn log(frozen: &str, let_go: &str, complete: &str) -> Vec<Event> {
        let labels = json!({"sluice.dev/owned-by": "b"});
        let revision = json!({"metadata": {"labels": labels}, "data": {"template": template(frozen)}});
        let mut set = json!({"metadata": {"uid": "u"}, "spec": {"template": template(complete)}});
        set["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = json!("5d");
        vec![
            operator("create", "apps/controllerrevisions", "a/b-r1", revision, 1),
            by_user("update", "apps/deployments", "a/b", deployment(let_go, true), 2),
            status("Promoting", 3),
            operator("patch", "apps/deployments", "a/b", deployment(let_go, false), 4),
            by_user("create", "apps/replicasets", "a/b-5d", set, 5),
            status("Finishing", 6),
        ]
    }

    #[test]
    fn the_analysed_template_may_go() {
        holds(Promoted::default(), log("v2", "v2", "v2"), 2);
    }

    #[test]
    fn another_template_is_found() {
        breaks(Promoted::default(), log("v2", "v3", "v2"), "let go with a template that is not that of the frozen");
        breaks(Promoted::default(), log("v2", "v2", "v3"), "complete with a template that is not");
        breaks(Promoted::default(), log("v2", "v2", "v2").split_off(1)[..3].to_vec(), "which was never frozen");
    }

    #[test]
    fn a_promotion_may_go_back_to_the_template_of_stable() {
        let going_back = |declared| {
            let mut events = log("v2", declared, "v1");
            events.truncate(5);
            events.remove(3);
            // The ReplicaSet that serves is there already.
            events.push(operator("patch", "apps/deployments", "a/b", deployment(declared, false), 6));
            events
        };
        holds(Promoted::default(), going_back("v1"), 1);
        breaks(Promoted::default(), going_back("v3"), "let go with a template that is not that of the frozen");
    }

    #[test]
    fn what_is_let_go_outside_of_a_promotion_is_another_matter() {
        let mut events = log("v2", "v3", "v2");
        events[2] = status("Stable", 3);
        holds(Promoted::default(), events, 0);
    }
}
