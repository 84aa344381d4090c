//! A route and what its parents report of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use sluice_crds::names::FIELD_MANAGER;
use sluice_operator_core::world::{LiveRoute, Parent, Route};

use super::condition;
use crate::objects::at;

/// The route as the core sees it. `proxy` is the controllerName of the bundled proxy.
pub(crate) fn route(name: &str, object: Option<&DynamicObject>, proxy: &str) -> Route {
    Route { name: name.to_owned(), live: object.map(|object| live(object, proxy)) }
}

fn live(object: &DynamicObject, proxy: &str) -> LiveRoute {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let list = |path: &str| at(object, path).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let statuses = list("/status/parents");
    let parents = list("/spec/parentRefs").iter().flat_map(|declared| {
        let wanted = identity(declared, namespace);
        // Several controllers may report on one parent; what is said of parents that are gone from the spec is stale.
        let mut of_it: Vec<_> = statuses
            .iter()
            .filter(|status| identity(&status["parentRef"], namespace) == wanted)
            .map(|status| parent(status, generation, proxy))
            .collect();
        if of_it.is_empty() {
            of_it.push(unreported(declared));
        }
        of_it
    });
    LiveRoute {
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
        generation,
        rules: at(object, "/spec/rules").cloned().unwrap_or_else(|| json!([])),
        parents: parents.collect(),
        manager: managers(object)
            .filter(|entry| !is_ours(entry))
            .max_by_key(|entry| entry.time.clone())
            .and_then(manager),
        is_managed: managers(object).any(is_ours),
    }
}

/// Field managers of `spec.rules`, which has one owner as a whole, or several who applied the same.
fn managers(object: &DynamicObject) -> impl Iterator<Item = &ManagedFieldsEntry> {
    let entries = object.metadata.managed_fields.iter().flatten();
    entries.filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(RULES).is_some()))
}

/// Where `spec.rules` is in an entry of managedFields.
const RULES: &str = "/f:spec/f:rules";

/// An entry is of our writes.
pub(crate) fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER)
}

fn manager(entry: &ManagedFieldsEntry) -> Option<String> {
    entry.manager.clone()
}

/// What a parentRef stands for, with the defaults that the API gives to what it leaves out.
fn identity(parent: &Value, namespace: &str) -> [String; 6] {
    let text = |field: &str, default: &str| parent[field].as_str().unwrap_or(default).to_owned();
    [
        text("group", "gateway.networking.k8s.io"),
        text("kind", "Gateway"),
        text("namespace", namespace),
        text("name", ""),
        text("sectionName", ""),
        parent["port"].to_string(),
    ]
}

fn parent(status: &Value, generation: i64, proxy: &str) -> Parent {
    let conditions = status.get("conditions");
    let accepted = condition(conditions, "Accepted");
    let resolved = condition(conditions, "ResolvedRefs");
    let observed = |condition: Option<&Value>| condition.and_then(|c| c["observedGeneration"].as_i64()).unwrap_or(0);
    let is_true = |condition: Option<&Value>| condition.is_some_and(|c| c["status"] == "True");
    let holds = |condition: Option<&Value>| is_true(condition) && observed(condition) >= generation;
    Parent {
        bundled: status["controllerName"] == proxy,
        accepted: holds(accepted),
        resolved: holds(resolved),
        generation: observed(accepted).min(observed(resolved)),
        message: [accepted, resolved]
            .into_iter()
            .flatten()
            .find(|c| !is_true(Some(c)))
            .map_or_else(String::new, message),
    }
}

fn message(condition: &Value) -> String {
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    format!("{}: {}", text("reason"), text("message"))
}

/// A parent that no controller has spoken of yet.
fn unreported(declared: &Value) -> Parent {
    let name = declared["name"].as_str().unwrap_or_default();
    Parent {
        bundled: false,
        accepted: false,
        resolved: false,
        generation: 0,
        message: format!("no controller has reported on the parent {name:?}"),
    }
}
