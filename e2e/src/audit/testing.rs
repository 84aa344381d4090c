//! Small synthetic logs.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Check, Event, Scope, replay};

/// A request of the operator's pod `operator-1` on `group/resource[/subresource]`, carried out; `after` is the object.
pub(super) fn operator(verb: &str, resource: &str, object: &str, after: Value, version: u64) -> Event {
    by_pod("operator-1", verb, resource, object, after, version)
}

/// The same of another pod of the operator.
pub(super) fn by_pod(pod: &str, verb: &str, resource: &str, object: &str, after: Value, version: u64) -> Event {
    let user = json!({
        "username": "system:serviceaccount:sluice-system:sluice-operator",
        "extra": {"authentication.kubernetes.io/pod-name": [pod]},
    });
    event(&user, verb, resource, object, after, version)
}

/// The same of a person.
pub(super) fn by_user(verb: &str, resource: &str, object: &str, after: Value, version: u64) -> Event {
    event(&json!({"username": "kubernetes-admin"}), verb, resource, object, after, version)
}

fn event(user: &Value, verb: &str, resource: &str, object: &str, mut after: Value, version: u64) -> Event {
    let mut parts = resource.split('/');
    let mut part = || parts.next().unwrap_or_default();
    let (group, resource, subresource) = (part(), part(), part());
    let (namespace, name) = object.split_once('/').unwrap();
    after["metadata"]["resourceVersion"] = json!(version.to_string());
    after["metadata"]["name"] = json!(name);
    after["metadata"]["namespace"] = json!(namespace);
    serde_json::from_value(json!({
        "stage": "ResponseComplete",
        "requestURI": "/apis/x",
        "verb": verb,
        "user": user,
        "objectRef": {
            "apiGroup": group, "resource": resource, "subresource": subresource, "namespace": namespace, "name": name,
        },
        "responseStatus": {"code": 200},
        "responseObject": after,
        "requestReceivedTimestamp": Timestamp::UNIX_EPOCH.to_string(),
    }))
    .unwrap()
}

/// What a check finds in a log, with the number of writes that it judged.
pub(super) fn run(check: impl Check + 'static, events: Vec<Event>) -> (u64, Vec<String>) {
    let events = events.into_iter().map(Ok);
    let mut report = replay(events, &Scope::default(), None, vec![Box::new(check)]);
    let outcome = report.outcomes.remove(0);
    (outcome.judged, outcome.found)
}

/// The check holds of a log, and judged this many writes of it.
pub(super) fn holds(check: impl Check + 'static, events: Vec<Event>, judged: u64) {
    assert_eq!(run(check, events), (judged, Vec::new()));
}

/// The check finds exactly one thing in a log, and says this.
pub(super) fn breaks(check: impl Check + 'static, events: Vec<Event>, says: &str) {
    let (_, found) = run(check, events);
    assert!(found.len() == 1 && found[0].contains(says), "{found:#?} does not say {says:?} once");
}
