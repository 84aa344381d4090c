//! What is not ours is not touched: of a user's object a few fields are written, of other objects those that we made.

use serde_json::Value;
use sluice_crds::names::FIELD_MANAGER;

use crate::audit::{Check, Judged, Who, Write, diff::changed, history::is_ours, text};

/// The fields of users' objects that the operator writes, by `group/resource[/subresource]`. Below each everything counts.
const FIELDS: &[(&str, &[&str])] = &[
    ("sluice.dev/rollouts", &["/metadata/finalizers", "/operation"]),
    ("sluice.dev/rollouts/status", &["/status"]),
    // The template is written by Undo alone.
    ("apps/deployments", &["/metadata/labels/sluice.dev~1rollout", "/spec/paused", "/spec/template"]),
    // A promotion that failed is taken back under pause.
    ("apps/replicasets", &["/spec/replicas"]),
    ("gateway.networking.k8s.io/httproutes", &["/spec/rules"]),
    ("gateway.networking.k8s.io/grpcroutes", &["/spec/rules"]),
    ("gateway.networking.k8s.io/tlsroutes", &["/spec/rules"]),
    ("gateway.networking.k8s.io/tcproutes", &["/spec/rules"]),
    ("gateway.networking.k8s.io/udproutes", &["/spec/rules"]),
];

/// What is not an object of a run: told by rights alone.
const APART: [&str; 2] = ["leases", "events"];

/// Needs no memory beyond the history's.
#[derive(Debug)]
pub(super) struct ForeignFields;

impl Check for ForeignFields {
    fn promise(&self) -> &'static str {
        "no write touches what is not ours"
    }

    fn see(&mut self, write: &Write, found: &mut Vec<String>) -> Judged {
        match write.event.who() {
            Who::Operator if !APART.contains(&write.key.resource.as_str()) => {}
            Who::Controller if write.subresource() == "status" => {
                let (Some(before), Some(after)) = (&write.before, &write.after) else { return Judged::No };
                complain(changed(before, after), &["/status"], found);
                return Judged::Yes;
            }
            _ => return Judged::No,
        }
        let subject = write.before.as_deref().or(write.after.as_deref());
        match (write.event.verb.as_str(), subject) {
            // A ReplicaSet that a promotion left empty is removed too.
            ("delete", Some(object)) if !is_ours(object) && write.key.resource != "replicasets" => {
                found.push("deleted, and the operator did not make it".to_owned());
            }
            ("create", Some(object)) if !is_ours(object) => {
                found.push("made without the label that says for which Rollout".to_owned());
            }
            ("patch" | "update", Some(object)) if !is_ours(object) => fields(write, found),
            // An object of ours, or one of which nothing is known.
            (_, Some(_)) => {}
            (_, None) => return Judged::No,
        }
        Judged::Yes
    }
}

/// Judges the fields of a user's object, by what the request names and by what became of it.
fn fields(write: &Write, found: &mut Vec<String>) {
    let part = write.subresource();
    let slash = if part.is_empty() { "" } else { "/" };
    let kind = format!("{}/{}{slash}{part}", write.key.group, write.key.resource);
    let allowed = FIELDS.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, fields)| fields);
    if let (Some(before), Some(after)) = (&write.before, &write.after) {
        complain(changed(before, after), allowed, found);
    }
    let patch = write.event.request_object.as_array().map(Vec::as_slice).unwrap_or_default();
    let written = patch.iter().filter(|operation| text(operation, "/op") != "test" && !gives_up(&kind, operation));
    // The first label of an object comes with the map of all; what it holds is seen above.
    let paths = written.map(|operation| text(operation, "/path").to_owned()).filter(|path| path != "/metadata/labels");
    complain(paths.collect(), allowed, found);
}

/// The ownership of a route's rules is given back after a run: the list of managers without us.
fn gives_up(kind: &str, operation: &Value) -> bool {
    let managers = operation.get("value").and_then(Value::as_array);
    let others_only = managers.is_some_and(|all| all.iter().all(|entry| text(entry, "/manager") != FIELD_MANAGER));
    text(operation, "/path") == "/metadata/managedFields"
        && kind.starts_with("gateway.networking.k8s.io/")
        && others_only
}

fn complain(mut paths: Vec<String>, allowed: &[&str], found: &mut Vec<String>) {
    let is_below =
        |path: &str, field: &str| path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    paths.retain(|path| !allowed.iter().any(|field| is_below(path, field)));
    paths.dedup();
    let said = format!("writes {}, which is not ours", paths.join(", "));
    if !paths.is_empty() && !found.contains(&said) {
        found.push(said);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ForeignFields;
    use crate::audit::{
        Event,
        testing::{breaks, by_user, holds, operator},
    };

    const ROUTES: &str = "gateway.networking.k8s.io/httproutes";

    /// The operator changes a user's object from one state to another.
    fn log(resource: &str, before: Value, after: Value) -> Vec<Event> {
        vec![by_user("create", resource, "a/b", before, 1), operator("patch", resource, "a/b", after, 2)]
    }

    #[test]
    fn our_fields_of_users_objects_may_change() {
        let labels = json!({"metadata": {"labels": {"sluice.dev/rollout": "b"}}, "spec": {"replicas": 2}});
        holds(ForeignFields, log("apps/deployments", json!({"spec": {"replicas": 2}}), labels), 1);
        let paused = json!({"spec": {"paused": true}});
        holds(ForeignFields, log("apps/deployments", json!({"spec": {}}), paused), 1);
        let rules = json!({"spec": {"hostnames": ["x"], "rules": [1]}});
        holds(ForeignFields, log(ROUTES, json!({"spec": {"hostnames": ["x"], "rules": []}}), rules), 1);
        let mut status = operator("patch", "sluice.dev/rollouts/status", "a/b", json!({"status": {"phase": "x"}}), 2);
        status.request_object = json!([{"op": "add", "path": "/status", "value": {}}]);
        holds(ForeignFields, vec![by_user("create", "sluice.dev/rollouts", "a/b", json!({}), 1), status], 1);
    }

    #[test]
    fn other_fields_of_users_objects_are_found() {
        for (resource, before, after, says) in [
            ("apps/deployments", json!({"spec": {"replicas": 2}}), json!({"spec": {"replicas": 3}}), "/spec/replicas"),
            ("apps/deployments", json!({}), json!({"metadata": {"labels": {"x": "y"}}}), "/metadata/labels/x"),
            (ROUTES, json!({"spec": {"hostnames": ["x"]}}), json!({"spec": {"hostnames": ["y"]}}), "/spec/hostnames"),
            ("sluice.dev/rollouts", json!({"spec": {"a": 1}}), json!({"spec": {"a": 2}}), "/spec/a"),
            ("/services", json!({"spec": {"a": 1}}), json!({"spec": {"a": 2}}), "/spec/a"),
        ] {
            breaks(ForeignFields, log(resource, before, after), says);
        }
    }

    #[test]
    fn a_patch_is_judged_by_what_it_names_even_when_nothing_is_known_of_the_object() {
        let mut patch = operator("patch", "apps/deployments", "a/b", json!({}), 2);
        patch.request_object = json!([{"op": "add", "path": "/spec/replicas", "value": 1}]);
        breaks(ForeignFields, vec![patch.clone()], "/spec/replicas");
        patch.request_object[0]["path"] = json!("/spec/pausedX");
        breaks(ForeignFields, vec![patch.clone()], "/spec/pausedX");
        patch.request_object[0]["path"] = json!("/spec/paused");
        holds(ForeignFields, vec![patch], 1);
    }

    #[test]
    fn of_a_routes_managers_only_our_own_entry_may_go() {
        let mut patch = operator("patch", ROUTES, "a/b", json!({}), 2);
        let managers = |names: &[&str]| names.iter().map(|name| json!({"manager": name})).collect::<Vec<_>>();
        patch.request_object =
            json!([{"op": "replace", "path": "/metadata/managedFields", "value": managers(&["kubectl"])}]);
        holds(ForeignFields, vec![patch.clone()], 1);
        patch.request_object[0]["value"] = json!(managers(&["kubectl", "sluice-operator"]));
        breaks(ForeignFields, vec![patch], "/metadata/managedFields");
    }

    #[test]
    fn our_objects_are_ours() {
        let ours = |replicas: u32| json!({"metadata": {"labels": {"sluice.dev/owned-by": "b"}}, "spec": {"replicas": replicas}});
        let events = vec![
            operator("create", "apps/deployments", "a/c", ours(1), 1),
            operator("patch", "apps/deployments", "a/c", ours(2), 2),
            operator("delete", "apps/deployments", "a/c", ours(2), 3),
        ];
        holds(ForeignFields, events, 3);
    }

    #[test]
    fn making_without_the_label_and_deleting_what_is_a_users_is_found() {
        breaks(ForeignFields, vec![operator("create", "/services", "a/c", json!({}), 1)], "made without the label");
        let delete = operator("delete", "/services", "a/b", json!({}), 2);
        breaks(ForeignFields, vec![by_user("create", "/services", "a/b", json!({}), 1), delete], "did not make it");
    }
}
