//! Events to writes: each with the object as it was before and as it is after.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    rc::Rc,
};

use serde_json::Value;
use sluice_crds::names::LABEL_OWNED_BY;

use super::{Event, Who, event::version, text};

/// Answers are logged in the order in which they were sent, which may differ from that of the writes by as much as there
/// were requests at the same time. This is many times more.
const WINDOW: usize = 512;

/// Which object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Group of the kind.
    pub group: String,
    /// Plural name of the kind.
    pub resource: String,
    /// Namespace; empty when it has none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A write that took effect.
#[derive(Clone, Debug)]
pub struct Write {
    /// The request.
    pub event: Event,
    /// On which object.
    pub key: Key,
    /// The object before; None when it was not there or is not known.
    pub before: Option<Rc<Value>>,
    /// The object after; None when it is gone or was not logged.
    pub after: Option<Rc<Value>>,
}

impl Write {
    /// By the operator.
    pub fn by_operator(&self) -> bool {
        self.event.who() == Who::Operator
    }

    /// Part of the object that was written, such as `status`; empty for the object itself.
    pub fn subresource(&self) -> &str {
        self.event.object_ref.as_ref().map_or("", |object| &object.subresource)
    }

    /// A route of the Gateway API itself, not its status.
    pub fn is_route(&self) -> bool {
        self.key.group == "gateway.networking.k8s.io"
            && self.key.resource.ends_with("routes")
            && self.subresource().is_empty()
    }

    /// A kind of Sluice's: the Rollout.
    pub fn is_rollout(&self) -> bool {
        self.key.group == sluice_crds::names::GROUP && self.key.resource == "rollouts"
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { resource, namespace, name, .. } = &self.key;
        let part = self.subresource();
        let slash = if part.is_empty() { "" } else { "/" };
        let Event { request_received_timestamp: at, verb, user, .. } = &self.event;
        let who = if self.event.pod().is_empty() { &user.username } else { self.event.pod() };
        write!(f, "{at:.3} {who} {verb} {resource}{slash}{part} {namespace}/{name}")?;
        self.event.version().map_or(Ok(()), |version| write!(f, " at {version}"))
    }
}

/// The operator made it.
pub(super) fn is_ours(object: &Value) -> bool {
    !owner(object).is_empty()
}

/// Name of the Rollout that an object of ours was made for; empty for what is not ours.
pub(super) fn owner(object: &Value) -> &str {
    object.pointer("/metadata/labels").and_then(|labels| labels.get(LABEL_OWNED_BY)?.as_str()).unwrap_or_default()
}

/// What is known of every object.
#[derive(Debug, Default)]
pub(super) struct History {
    objects: HashMap<Key, Rc<Value>>,
}

impl History {
    /// Takes the next event; a write when it is one that took effect.
    pub(super) fn replay(&mut self, event: Event) -> Option<Write> {
        let may_have_effect = event.took_effect() || event.is_open() && !event.is_dry_run();
        if !event.is_write() || !may_have_effect || event.stage != "ResponseComplete" {
            return None;
        }
        let object_ref = event.object_ref.clone()?;
        let name = match object_ref.name.as_str() {
            // generateName
            "" => text(&event.response_object, "/metadata/name").to_owned(),
            name => name.to_owned(),
        };
        let key =
            Key { group: object_ref.api_group, resource: object_ref.resource, namespace: object_ref.namespace, name };
        if event.is_open() {
            self.objects.remove(&key);
            return None;
        }
        // Where a write in between was not logged, as when the API server was killed, the differences are not this one's.
        let is_exact = |before: &Rc<Value>| event.tested_version().is_none_or(|tested| version(before) == Some(tested));
        let before = self.objects.get(&key).cloned().filter(|before| event.verb != "create" && is_exact(before));
        let after = match (event.object(), object_ref.subresource.as_str()) {
            (Some(part), "") if text(part, "/kind") == "PartialObjectMetadata" => {
                before.as_deref().map(|before| Rc::new(with_metadata(before.clone(), part)))
            }
            (Some(object), "" | "status") => Some(Rc::new(object.clone())),
            (Some(scale), "scale") => before.as_deref().map(|before| Rc::new(scaled(before.clone(), scale))),
            _ => None,
        };
        match &after {
            Some(after) if !is_gone(after) => {
                self.objects.insert(key.clone(), Rc::clone(after));
            }
            // Its last finalizer went, or it had none.
            Some(_) => {
                self.objects.remove(&key);
            }
            None if event.verb == "delete" => {
                self.objects.remove(&key);
            }
            // A binding, a token, or a body that was not logged: nothing is known any more.
            None if object_ref.subresource.is_empty() => {
                self.objects.remove(&key);
            }
            None => {}
        }
        Some(Write { event, key, before, after })
    }
}

/// An object of which the answer shows the metadata alone, because its writer asked for no more.
fn with_metadata(mut object: Value, part: &Value) -> Value {
    object["metadata"].clone_from(&part["metadata"]);
    object
}

/// An object that was scaled by its subresource.
fn scaled(mut object: Value, scale: &Value) -> Value {
    for path in ["/spec/replicas", "/metadata/resourceVersion"] {
        if let (Some(to), Some(from)) = (object.pointer_mut(path), scale.pointer(path)) {
            to.clone_from(from);
        }
    }
    object
}

/// It is not stored any more, though the answer shows it: it was being deleted, and nothing holds it back.
pub(super) fn is_gone(object: &Value) -> bool {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    !text(object, "/metadata/deletionTimestamp").is_empty() && finalizers.is_none_or(Vec::is_empty)
}

/// Events in the order of the resourceVersions that they made, which is the order in which they took effect.
pub(super) struct Ordered<I> {
    events: I,
    waiting: BTreeMap<(u64, u64), Event>,
    newest: u64,
    taken: u64,
}

impl<I> Ordered<I> {
    pub(super) fn new(events: I) -> Self {
        Self { events, waiting: BTreeMap::new(), newest: 0, taken: 0 }
    }
}

impl<I: Iterator<Item = Event>> Iterator for Ordered<I> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        while self.waiting.len() < WINDOW {
            let Some(event) = self.events.next() else { break };
            // What made no version keeps its place.
            let at = event.object().and_then(version).unwrap_or(self.newest);
            self.newest = self.newest.max(at);
            self.taken += 1;
            self.waiting.insert((at, self.taken), event);
        }
        self.waiting.pop_first().map(|(_, event)| event)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{History, Ordered};
    use crate::audit::testing::{by_user, operator};

    #[test]
    fn answers_that_overtook_each_other_are_put_in_order() {
        let of = |version: u64| by_user("create", "apps/deployments", "a/b", json!({}), version);
        let order: Vec<_> =
            Ordered::new([of(3), of(1), of(2)].into_iter()).filter_map(|event| event.version()).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn a_write_knows_what_was_there_before() {
        let mut history = History::default();
        let mut replay = |event| history.replay(event);
        let made = replay(by_user("create", "apps/deployments", "a/b", json!({"spec": {"replicas": 1}}), 1)).unwrap();
        assert!(made.before.is_none());
        let mut scale = by_user("patch", "apps/deployments/scale", "a/b", json!({"spec": {"replicas": 3}}), 2);
        scale.response_object["kind"] = json!("Scale");
        let scaled = replay(scale).unwrap();
        assert_eq!(scaled.after.as_ref().unwrap()["spec"]["replicas"], 3);
        let patched =
            replay(operator("patch", "apps/deployments", "a/b", json!({"spec": {"replicas": 3}}), 3)).unwrap();
        assert_eq!(patched.before, scaled.after);
        let mut gone = operator("delete", "apps/deployments", "a/b", json!({}), 4);
        gone.response_object = json!({"kind": "Status"});
        assert!(replay(gone).unwrap().before.is_some());
        let again = replay(operator("patch", "apps/deployments", "a/b", json!({}), 5)).unwrap();
        assert!(again.before.is_none());
    }

    #[test]
    fn an_answer_of_metadata_alone_leaves_the_rest_as_it_was() {
        let mut history = History::default();
        history.replay(by_user("create", "/services", "a/b", json!({"spec": {"x": 1}}), 1));
        let mut part = operator("patch", "/services", "a/b", json!({"kind": "PartialObjectMetadata"}), 2);
        part.response_object["metadata"]["finalizers"] = json!(["f"]);
        let after = history.replay(part.clone()).unwrap().after.unwrap();
        assert_eq!((&after["spec"]["x"], &after["metadata"]["finalizers"][0]), (&json!(1), &json!("f")));
        part.object_ref.as_mut().unwrap().name = "unknown".to_owned();
        assert!(history.replay(part).unwrap().after.is_none());
    }

    #[test]
    fn after_a_write_that_is_not_in_the_log_nothing_is_known() {
        let mut history = History::default();
        let mut before = |event| history.replay(event).unwrap().before.is_some();
        let sent = |version: &str| json!({"metadata": {"resourceVersion": version}});
        before(by_user("create", "apps/deployments", "a/b", json!({}), 1));
        let mut merged = operator("patch", "apps/deployments/status", "a/b", json!({}), 3);
        merged.request_object = sent("2");
        assert!(!before(merged.clone()));
        (merged.request_object, merged.response_object["metadata"]["resourceVersion"]) = (sent("3"), json!("4"));
        assert!(before(merged.clone()));
        merged.request_object = json!([{"op": "test", "path": "/metadata/resourceVersion", "value": "5"}]);
        assert!(!before(merged));
    }

    #[test]
    fn a_write_whose_answer_never_came_makes_its_object_unknown() {
        let mut history = History::default();
        history.replay(by_user("create", "apps/deployments", "a/b", json!({}), 1));
        let mut open = operator("patch", "apps/deployments", "a/b", json!({}), 2);
        (open.response_status.code, open.response_object) = (504, json!({"kind": "Status"}));
        assert!(history.replay(open).is_none());
        let next = history.replay(by_user("patch", "apps/deployments", "a/b", json!({}), 3)).unwrap();
        assert!(next.before.is_none());
    }

    #[test]
    fn what_was_refused_or_only_tried_is_no_write() {
        let mut history = History::default();
        let mut refused = operator("patch", "apps/deployments", "a/b", json!({}), 1);
        refused.response_status.code = 409;
        assert!(history.replay(refused).is_none());
        let mut tried = operator("patch", "apps/deployments", "a/b", json!({}), 1);
        tried.request_uri = "/x?fieldManager=a&dryRun=All".to_owned();
        assert!(history.replay(tried).is_none());
    }
}
