//! What is said of the objects of a folder, one finding a condition: the status that a controller would write once every data
//! plane served what they come to. What no controller answers for is said too, so that a misspelt name is not silence.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};
use sluice_gateway_types::{GROUP, ParentReference};

use crate::control::{
    fleet::Progress,
    objects::{AnyRoute, Name, Objects},
    publish::{Published, Publisher},
    status::{self, Reach},
    translate::{
        GatewayPlan, PolicyPlan, Translation,
        conditions::{ACCEPTED, PROGRAMMED, RESOLVED_REFS},
    },
};

/// One condition of an object, of one of its listeners, of a route at one parent, or of a policy at one Gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    #[serde(flatten)]
    subject: Subject,
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

/// What is said now and was not before, and of what nothing is said any more.
#[derive(Debug)]
pub struct News<'a> {
    /// New and changed findings.
    pub said: Vec<&'a Finding>,
    /// Objects, listeners and parents that are not there any more.
    pub gone: BTreeSet<&'a Subject>,
}

/// From what was said before to what is said now.
pub fn news<'a>(before: &'a BTreeSet<Finding>, now: &'a BTreeSet<Finding>) -> News<'a> {
    let subjects = |findings: &'a BTreeSet<Finding>| findings.iter().map(|finding| &finding.subject).collect();
    let (old, left): (BTreeSet<_>, BTreeSet<_>) = (subjects(before), subjects(now));
    News { said: now.difference(before).collect(), gone: old.difference(&left).copied().collect() }
}

/// Whose condition it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Subject {
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<ParentReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ancestor: Option<ParentReference>,
}

impl Finding {
    /// Whether it says that something is not served as it is written.
    pub fn is_rejection(&self) -> bool {
        self.status == "False" && [ACCEPTED, PROGRAMMED, RESOLVED_REFS].contains(&self.kind.as_str())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, kind, status, reason, message } = self;
        write!(f, "{subject}: {kind}={status} {reason}: {message}")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, Name::new(&self.namespace, &self.name))?;
        if let Some(listener) = &self.listener {
            write!(f, " listener {listener}")?;
        }
        for (role, reference) in [("parent", &self.parent), ("ancestor", &self.ancestor)] {
            let Some(reference) = reference else { continue };
            let (_, kind) = reference.group_and_kind();
            write!(f, " {role} {kind} {}", Name::of_parent(reference, ""))?;
            if let Some(section) = &reference.section_name {
                write!(f, " section {section}")?;
            }
            if let Some(port) = reference.port {
                write!(f, " port {port}")?;
            }
        }
        Ok(())
    }
}

impl Subject {
    fn new(kind: &'static str, name: &Name) -> Self {
        let (namespace, name) = (name.namespace.clone(), name.name.clone());
        Self { kind, namespace, name, listener: None, parent: None, ancestor: None }
    }

    fn says(&self, kind: &str, status: &str, reason: &str, message: &str) -> Finding {
        let [kind, status, reason, message] = [kind, status, reason, message].map(str::to_owned);
        Finding { subject: self.clone(), kind, status, reason, message }
    }

    /// Nobody has answered, as the API server words it.
    fn waits(&self, message: &str) -> Finding {
        self.says(ACCEPTED, "Unknown", "Pending", message)
    }

    /// The findings of a status, or of a part of it.
    fn conditions(&self, status: &Value) -> impl Iterator<Item = Finding> {
        let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        status["conditions"].as_array().into_iter().flatten().map(move |condition| {
            let [kind, status, reason, message] =
                ["type", "status", "reason", "message"].map(|field| text(condition, field));
            Finding { subject: self.clone(), kind, status, reason, message }
        })
    }

    /// The findings of a status that has listeners.
    fn with_listeners(&self, status: &Value) -> Vec<Finding> {
        let mut findings: Vec<_> = self.conditions(status).collect();
        for listener in status["listeners"].as_array().into_iter().flatten() {
            let name = listener["name"].as_str().map(str::to_owned);
            findings.extend(Self { listener: name, ..self.clone() }.conditions(listener));
        }
        findings
    }
}

/// The findings of all objects that have conditions, by kind and name; conditions in the order of the status.
pub fn findings(
    objects: &Objects,
    translation: &Translation,
    controller: &str,
) -> Result<Vec<Finding>, serde_json::Error> {
    let everything = Publisher::default();
    everything.publish(&translation.resources)?;
    let published = everything.newest();
    let mut findings = Vec::new();
    for class in &translation.classes {
        let subject = Subject::new("GatewayClass", &Name::new("", &class.name));
        findings.extend(subject.conditions(&status::class(&Value::Null, class, NOW)));
    }
    for name in objects.gateways.keys() {
        findings.extend(of_gateway(name, objects, translation, &published));
    }
    for name in objects.listener_sets.keys() {
        findings.extend(of_set(name, objects, translation, &published));
    }
    for route in objects.routes() {
        findings.extend(of_route(route, objects, translation, controller));
    }
    for (name, plan) in &translation.policies {
        findings.extend(of_policy(&Subject::new("BackendTLSPolicy", name), plan, controller)?);
    }
    for (name, plan) in &translation.traffic_policies {
        findings.extend(of_policy(&Subject::new("BackendTrafficPolicy", name), plan, controller)?);
    }
    Ok(findings)
}

/// Times are not told.
const NOW: &str = "";

fn of_gateway(name: &Name, objects: &Objects, translation: &Translation, published: &Published) -> Vec<Finding> {
    let subject = Subject::new("Gateway", name);
    if let Some(plan) = translation.gateways.get(name) {
        return subject.with_listeners(&status::gateway(&Value::Null, plan, &served(plan), published, NOW));
    }
    let class = objects.gateways.get(name).map_or("", |gateway| &gateway.spec.gateway_class_name);
    if objects.classes.iter().any(|known| known.metadata.name.as_deref() == Some(class)) {
        return vec![subject.waits(&format!("GatewayClass {class} is not served from here"))];
    }
    let message = format!("spec.gatewayClassName: GatewayClass {class} is not in these manifests");
    vec![subject.says(ACCEPTED, "False", "Invalid", &message)]
}

fn of_set(name: &Name, objects: &Objects, translation: &Translation, published: &Published) -> Vec<Finding> {
    let subject = Subject::new("ListenerSet", name);
    let plan = translation.listener_sets.get(name);
    if let Some((plan, gateway)) = plan.and_then(|plan| Some((plan, translation.gateways.get(&plan.gateway)?))) {
        let status = status::listener_set(&Value::Null, (name, plan), gateway, &served(gateway), published, NOW);
        return subject.with_listeners(&status);
    }
    let parent = objects.listener_sets.get(name).map(|set| &set.spec.parent_ref);
    let missing = parent.and_then(|parent| unserved(parent, name, objects).err());
    vec![match missing {
        Some(message) => subject.says(ACCEPTED, "False", "ParentNotAccepted", &format!("spec.parentRef: {message}")),
        None => subject.waits("its Gateway is not served from here"),
    }]
}

fn of_route(route: AnyRoute<'_>, objects: &Objects, translation: &Translation, controller: &str) -> Vec<Finding> {
    let name = route.name();
    let subject = Subject::new(name.kind.name(), &name.name);
    if route.parent_refs().is_empty() {
        return vec![subject.says(ACCEPTED, "False", "NoMatchingParent", "spec.parentRefs: it names no parent")];
    }
    let plan = translation.routes.get(&name);
    let status = plan.and_then(|plan| status::route(&Value::Null, plan, controller, NOW)).unwrap_or_default();
    let entries = status["parents"].as_array().map_or(&[][..], Vec::as_slice);
    let of_parent = |parent: &ParentReference| -> Vec<Finding> {
        let subject = Subject { parent: Some(parent.clone()), ..subject.clone() };
        if let Some(entry) = entries.iter().find(|entry| entry["parentRef"] == json!(parent)) {
            return subject.conditions(entry).collect();
        }
        vec![match unserved(parent, &name.name, objects) {
            Ok(message) => subject.waits(&message),
            Err(message) => subject.says(ACCEPTED, "False", "NoMatchingParent", &message),
        }]
    };
    route.parent_refs().iter().flat_map(of_parent).collect()
}

fn of_policy(subject: &Subject, plan: &PolicyPlan, controller: &str) -> Result<Vec<Finding>, serde_json::Error> {
    let Some(status) = status::policy(&Value::Null, plan, controller, NOW) else {
        return Ok(vec![subject.waits("no Gateway that is served from here reaches what it targets")]);
    };
    let mut findings = Vec::new();
    for entry in status["ancestors"].as_array().into_iter().flatten() {
        let ancestor = ParentReference::deserialize(&entry["ancestorRef"])?;
        findings.extend(Subject { ancestor: Some(ancestor), ..subject.clone() }.conditions(entry));
    }
    Ok(findings)
}

/// Why a parent is not ours to answer for; an error when it is not there at all.
fn unserved(parent: &ParentReference, child: &Name, objects: &Objects) -> Result<String, String> {
    let (name, (group, kind)) = (Name::of_parent(parent, &child.namespace), parent.group_and_kind());
    let is_there = match (group, kind) {
        (GROUP, "Gateway") => objects.gateways.contains_key(&name),
        (GROUP, "ListenerSet") => objects.listener_sets.contains_key(&name),
        _ => true,
    };
    if is_there {
        Ok(format!("{kind} {name} is not served from here"))
    } else {
        Err(format!("{kind} {name} is not in these manifests"))
    }
}

/// How a Gateway is reached once every data plane serves everything.
fn served(plan: &GatewayPlan) -> Reach {
    let served = plan.listeners.iter().filter_map(|listener| listener.resource.as_ref());
    Reach {
        progress: Progress { connected: 1, served: u64::MAX, refused: None },
        addresses: vec![("IPAddress", String::new())],
        ports: served.map(|listener| (listener.protocol.transport(), listener.port)).collect(),
        refused: None,
    }
}
