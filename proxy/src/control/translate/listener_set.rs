//! ListenerSets: which of them a Gateway takes, in which order, and what their status says. Their listeners are translated
//! as the Gateway's own, behind which they stand.

use std::collections::BTreeMap;

use sluice_gateway_types::{GROUP, Gateway, ListenerSet};

use crate::control::{
    objects::{Name, Objects},
    translate::{
        conditions::{ACCEPTED, Condition},
        gateway::{GatewayPlan, ListenerPlan, Namespaces, accepted_by, namespaces},
    },
};

/// What is said of one ListenerSet.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSetPlan {
    /// Its generation.
    pub generation: i64,
    /// The Gateway of ours that it belongs to.
    pub gateway: Name,
    /// Whether any of its listeners is served.
    pub accepted: Condition,
}

/// ListenerSets by the Gateway that they name: the oldest first, and of equally old ones the first by namespace and name.
pub type Sets<'a> = BTreeMap<Name, Vec<(&'a Name, &'a ListenerSet)>>;

/// All of them, whether their Gateways take them or not.
pub fn by_gateway(objects: &Objects) -> Sets<'_> {
    let mut sets = Sets::new();
    for (name, set) in living(objects) {
        if let Some(gateway) = gateway_of(set) {
            sets.entry(gateway).or_default().push((name, set));
        }
    }
    for sets in sets.values_mut() {
        // They come by name, and equally old ones stay so.
        sets.sort_by_key(|(_, set)| set.metadata.creation_timestamp.as_ref().map(|time| time.0));
    }
    sets
}

fn living(objects: &Objects) -> impl Iterator<Item = (&Name, &ListenerSet)> {
    let sets = objects.listener_sets.iter().map(|(name, set)| (name, &**set));
    sets.filter(|(_, set)| set.metadata.deletion_timestamp.is_none())
}

/// The Gateway that a ListenerSet names.
pub fn gateway_of(set: &ListenerSet) -> Option<Name> {
    let parent = &set.spec.parent_ref;
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    (parent.group_and_kind() == (GROUP, "Gateway")).then(|| Name::of_parent(parent, namespace))
}

/// The namespaces whose ListenerSets a Gateway takes. Other than for routes the default is none.
pub fn allowed(gateway: &Gateway, namespace: &str) -> Result<Namespaces, String> {
    let selection = gateway.spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    match selection {
        Some(selection) if selection.from.is_some() => {
            namespaces(selection, namespace).map_err(|problem| format!("spec.allowedListeners.{problem}"))
        }
        _ => Ok(Namespaces::None),
    }
}

/// The ListenerSets that a Gateway takes, by precedence.
pub fn taken<'a>(
    gateway: &Name,
    allowed: &Result<Namespaces, String>,
    sets: &Sets<'a>,
    objects: &Objects,
) -> impl Iterator<Item = (&'a Name, &'a ListenerSet)> {
    let named = sets.get(gateway).map_or(&[][..], Vec::as_slice);
    named.iter().copied().filter(|(set, _)| takes(allowed, set, objects).is_ok())
}

/// Whether a Gateway takes a ListenerSet that names it, or why not.
fn takes(allowed: &Result<Namespaces, String>, set: &Name, objects: &Objects) -> Result<(), String> {
    let namespaces = allowed.as_ref().map_err(|problem| format!("the Gateway's {problem}"))?;
    if namespaces.allow(&set.namespace, objects) {
        return Ok(());
    }
    Err("the Gateway's spec.allowedListeners does not take ListenerSets of this namespace".to_owned())
}

/// Plans for the ListenerSets that name a Gateway of ours, which are counted at their Gateways.
pub fn plans(objects: &Objects, gateways: &mut BTreeMap<Name, GatewayPlan>) -> BTreeMap<Name, ListenerSetPlan> {
    let mut plans = BTreeMap::new();
    for (name, set) in living(objects) {
        let Some(gateway) = gateway_of(set) else { continue };
        let Some(plan) = gateways.get_mut(&gateway) else { continue };
        let accepted = accepted(name, plan, objects);
        plan.attached_sets += usize::from(accepted.holds);
        let generation = set.metadata.generation.unwrap_or_default();
        plans.insert(name.clone(), ListenerSetPlan { generation, gateway, accepted });
    }
    plans
}

fn accepted(set: &Name, gateway: &GatewayPlan, objects: &Objects) -> Condition {
    if let Err(problem) = takes(&gateway.allowed_sets, set, objects) {
        return Condition::no(ACCEPTED, "NotAllowed", problem);
    }
    // A Gateway whose own listeners are all bad still has those of its sets.
    if !gateway.accepted.holds && gateway.accepted.reason != "ListenersNotValid" {
        return Condition::no(ACCEPTED, "ParentNotAccepted", "the Gateway is not accepted");
    }
    accepted_by(gateway.listeners_of(Some(set)).map(|(_, listener)| listener), ListenerPlan::is_servable)
}
