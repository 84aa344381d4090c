//! What objects' status is to say, as a difference to what it says.
//!
//! Pure: from the live status (as JSON, so that what others wrote stays as they wrote it) to the status to write, or
//! nothing when they are equal. [`crate::control::writer`] writes it.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};
use sluice_gateway_types::GROUP;
use sluice_proxy_core::model::Transport;

use crate::control::{
    fleet::Progress,
    objects::Name,
    publish::Published,
    translate::{
        ClassPlan, GatewayPlan, ListenerSetPlan, PolicyPlan, RoutePlan,
        address::WantedAddress,
        class::SUPPORTED_FEATURES,
        conditions::{Condition, PROGRAMMED, is_true_at, merge},
        gateway::ListenerPlan,
    },
};

/// What is known beside the translation: how far data planes are and where the Gateway is reached.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// How far data planes are.
    pub progress: Progress,
    /// Types and values of addresses.
    pub addresses: Vec<(&'static str, String)>,
    /// Ports that the Gateway's Service has.
    pub ports: Vec<(Transport, u16)>,
    /// Why the API server does not give the Service the address that the Gateway asks for.
    pub refused: Option<String>,
}

/// The status of a GatewayClass.
pub fn class(live: &Value, plan: &ClassPlan, now: &str) -> Value {
    let mut status = object(live);
    let conditions = merge(list(live, "conditions"), std::slice::from_ref(&plan.accepted), plan.generation, now);
    status.insert("conditions".to_owned(), Value::Array(conditions));
    let features = SUPPORTED_FEATURES.iter().map(|name| json!({"name": name})).collect();
    status.insert("supportedFeatures".to_owned(), features);
    Value::Object(status)
}

/// The status of a Gateway.
pub fn gateway(live: &Value, plan: &GatewayPlan, reach: &Reach, published: &Published, now: &str) -> Value {
    let own = plan.listeners_of(None).map(|(_, listener)| listener);
    let listeners = Listeners::of(live, own, plan.generation, reach, published, now);
    let programmed = gateway_programmed(plan, reach, listeners.programmed, listeners.pending);
    let mut conditions = vec![plan.accepted.clone(), sticky(programmed, live, plan.generation)];
    conditions.extend(plan.resolved.clone());
    conditions.extend(plan.insecure.clone());
    let mut status = object(live);
    status.insert("conditions".to_owned(), merge(list(live, "conditions"), &conditions, plan.generation, now).into());
    status.insert("listeners".to_owned(), Value::Array(listeners.status));
    if plan.attached_sets > 0 || status.contains_key("attachedListenerSets") {
        status.insert("attachedListenerSets".to_owned(), plan.attached_sets.into());
    }
    let addresses: Vec<_> = reach.addresses.iter().map(|(kind, value)| json!({"type": kind, "value": value})).collect();
    if !addresses.is_empty() {
        status.insert("addresses".to_owned(), Value::Array(addresses));
    }
    Value::Object(status)
}

/// The status of a ListenerSet of a Gateway.
pub fn listener_set(
    live: &Value,
    (name, plan): (&Name, &ListenerSetPlan),
    gateway: &GatewayPlan,
    reach: &Reach,
    published: &Published,
    now: &str,
) -> Value {
    let of_set = gateway.listeners_of(Some(name)).map(|(_, listener)| listener);
    let listeners = Listeners::of(live, of_set, plan.generation, reach, published, now);
    let programmed = set_programmed(plan, gateway, reach, listeners.programmed, listeners.pending);
    let conditions = [plan.accepted.clone(), sticky(programmed, live, plan.generation)];
    let mut status = object(live);
    status.insert("conditions".to_owned(), merge(list(live, "conditions"), &conditions, plan.generation, now).into());
    status.insert("listeners".to_owned(), Value::Array(listeners.status));
    Value::Object(status)
}

/// What is said of the listeners of one object.
struct Listeners {
    status: Vec<Value>,
    /// How many are programmed.
    programmed: usize,
    /// What the first that is not yet waits for.
    pending: Option<String>,
}

impl Listeners {
    fn of<'a>(
        live: &Value,
        plans: impl Iterator<Item = &'a ListenerPlan>,
        generation: i64,
        reach: &Reach,
        published: &Published,
        now: &str,
    ) -> Self {
        let old_listeners = list(live, "listeners");
        let mut listeners = Self { status: vec![], programmed: 0, pending: None };
        for plan in plans {
            let old = old_listeners.iter().find(|old| old["name"] == plan.name.as_str()).unwrap_or(&Value::Null);
            let programmed = sticky(listener_programmed(plan, reach, published), old, generation);
            if programmed.holds {
                listeners.programmed += 1;
            } else if plan.resource.is_some() {
                listeners.pending.get_or_insert_with(|| programmed.message.clone());
            }
            listeners.status.push(listener_status(old, plan, programmed, generation, now));
        }
        listeners
    }
}

/// The status of a route. None: nothing of ours is or was in it.
pub fn route(live: &Value, plan: &RoutePlan, controller: &str, now: &str) -> Option<Value> {
    let of = Entries { list: "parents", reference: "parentRef", controller, generation: plan.generation, now };
    let wanted = plan.parents.iter().map(|at| (json!(at.parent), vec![at.accepted.clone(), at.resolved.clone()]));
    of.merged(live, wanted.collect())
}

/// The API: a policy tells of so many Gateways at most, whoever writes it.
const MOST_ANCESTORS: usize = 16;

/// The status of a policy. None: nothing of ours is or was in it. It is in force at Gateways that it has no room
/// for, too.
pub fn policy(live: &Value, plan: &PolicyPlan, controller: &str, now: &str) -> Option<Value> {
    let of = Entries { list: "ancestors", reference: "ancestorRef", controller, generation: plan.generation, now };
    let foreign = list(live, of.list).iter().filter(|entry| !of.is_ours(entry)).count();
    let wanted = plan.ancestors.iter().take(MOST_ANCESTORS.saturating_sub(foreign)).map(|gateway| {
        let reference =
            json!({"group": GROUP, "kind": "Gateway", "namespace": gateway.namespace, "name": gateway.name});
        (reference, [&plan.accepted].into_iter().chain(&plan.resolved).cloned().collect())
    });
    of.merged(live, wanted.collect())
}

/// A list in a status to which several controllers write, each its own entries.
struct Entries<'a> {
    /// Name of the list.
    list: &'a str,
    /// The field that tells entries of one controller apart.
    reference: &'a str,
    controller: &'a str,
    generation: i64,
    now: &'a str,
}

impl Entries<'_> {
    fn is_ours(&self, entry: &Value) -> bool {
        entry["controllerName"] == self.controller
    }

    /// The status with these entries of ours, and those of other controllers exactly as they are. None: nothing of ours is
    /// or was in it.
    fn merged(&self, live: &Value, wanted: Vec<(Value, Vec<Condition>)>) -> Option<Value> {
        let old = list(live, self.list);
        if wanted.is_empty() && !old.iter().any(|entry| self.is_ours(entry)) {
            return None;
        }
        let mut wanted: Vec<(Value, Value)> = wanted
            .into_iter()
            .map(|(reference, conditions)| {
                let is_known = |entry: &&Value| self.is_ours(entry) && entry[self.reference] == reference;
                let known = old.iter().find(is_known).unwrap_or(&Value::Null);
                let conditions = merge(list(known, "conditions"), &conditions, self.generation, self.now);
                let name = self.reference;
                let entry = json!({name: reference, "controllerName": self.controller, "conditions": conditions});
                (reference, entry)
            })
            .collect();
        let mut entries = Vec::new();
        for entry in old {
            if !self.is_ours(entry) {
                entries.push(entry.clone());
            } else if let Some(at) = wanted.iter().position(|(reference, _)| *reference == entry[self.reference]) {
                entries.push(wanted.remove(at).1);
            }
        }
        entries.extend(wanted.into_iter().map(|(_, entry)| entry));
        let mut status = object(live);
        status.insert(self.list.to_owned(), Value::Array(entries));
        Some(Value::Object(status))
    }
}

fn listener_status(old: &Value, plan: &ListenerPlan, programmed: Condition, generation: i64, now: &str) -> Value {
    let conditions = [plan.accepted.clone(), programmed, plan.resolved.clone(), plan.conflicted.clone()];
    json!({
        "name": plan.name,
        "supportedKinds": plan.supported_kinds(),
        "attachedRoutes": plan.attached,
        "conditions": merge(list(old, "conditions"), &conditions, generation, now),
    })
}

fn listener_programmed(plan: &ListenerPlan, reach: &Reach, published: &Published) -> Condition {
    let no = |reason, message: String| Condition::no(PROGRAMMED, reason, message);
    if plan.conflicted.holds {
        return no(plan.conflicted.reason, plan.conflicted.message.clone());
    }
    let Some(listener) = &plan.resource else {
        return no("Invalid", "the listener is not valid".to_owned());
    };
    let progress = &reach.progress;
    if progress.connected == 0 {
        return no("Pending", "no data plane is connected".to_owned());
    }
    let since = published.changed(&format!("listener/{}", listener.id));
    match (since, &progress.refused) {
        (Some(since), _) if since <= progress.served => {}
        (_, Some((update, error))) => return no("Pending", format!("a data plane refused update {update}: {error}")),
        (_, None) => return no("Pending", "not every data plane serves it yet".to_owned()),
    }
    if !reach.ports.contains(&(listener.protocol.transport(), plan.port)) {
        return no("Pending", "the Service does not have its port yet".to_owned());
    }
    Condition::yes(PROGRAMMED, "Programmed", "Every data plane serves it")
}

fn gateway_programmed(plan: &GatewayPlan, reach: &Reach, programmed: usize, pending: Option<String>) -> Condition {
    let no = |reason, message: String| Condition::no(PROGRAMMED, reason, message);
    if !plan.accepted.holds {
        return no("Invalid", "the Gateway is not accepted".to_owned());
    }
    if let Some(problem) = unusable_address(plan, reach) {
        return no("AddressNotUsable", problem);
    }
    match pending {
        Some(message) => no("Pending", message),
        None if programmed == 0 => no("Invalid", "no listener is served".to_owned()),
        None if reach.addresses.is_empty() => no("AddressNotAssigned", NO_ADDRESS.to_owned()),
        None => Condition::yes(PROGRAMMED, "Programmed", "Every data plane serves it"),
    }
}

fn set_programmed(
    plan: &ListenerSetPlan,
    gateway: &GatewayPlan,
    reach: &Reach,
    programmed: usize,
    pending: Option<String>,
) -> Condition {
    let no = |reason, message: String| Condition::no(PROGRAMMED, reason, message);
    if !plan.accepted.holds {
        return no(plan.accepted.reason, plan.accepted.message.clone());
    }
    if let Some(problem) = unusable_address(gateway, reach) {
        return no("ParentNotProgrammed", problem);
    }
    match pending {
        Some(message) => no("Pending", message),
        None if programmed == 0 => no("ListenersNotValid", "no listener is served".to_owned()),
        None if reach.addresses.is_empty() => no("Pending", NO_ADDRESS.to_owned()),
        None => Condition::yes(PROGRAMMED, "Programmed", "Every data plane serves it"),
    }
}

const NO_ADDRESS: &str = "the Service has no address yet";

/// Why the Gateway cannot have the address that it asks for.
fn unusable_address(plan: &GatewayPlan, reach: &Reach) -> Option<String> {
    match &plan.address {
        WantedAddress::Unusable(problem) => Some(problem.clone()),
        _ => reach.refused.as_ref().map(|problem| format!("spec.addresses: {problem}")),
    }
}

/// What was programmed at this generation stays so while something is merely pending: a controller that restarts, or a data
/// plane that comes or goes, takes nothing away from what is served.
fn sticky(condition: Condition, old: &Value, generation: i64) -> Condition {
    let waits = !condition.holds && ["Pending", "AddressNotAssigned"].contains(&condition.reason);
    if waits && is_true_at(list(old, "conditions"), PROGRAMMED, generation) {
        return Condition::yes(PROGRAMMED, "Programmed", "Every data plane serves it");
    }
    condition
}

/// Whether two statuses of an object with listeners differ in how much is attached to it at most.
pub fn differs_in_counts_only(live: &Value, wanted: &Value) -> bool {
    let without_counts = |status: &Value| {
        let mut status = object(status);
        status.remove("attachedListenerSets");
        for listener in status.get_mut("listeners").and_then(Value::as_array_mut).into_iter().flatten() {
            listener.as_object_mut().and_then(|listener| listener.remove("attachedRoutes"));
        }
        status
    };
    without_counts(live) == without_counts(wanted)
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
