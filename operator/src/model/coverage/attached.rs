//! Policies that are attached to a single rule of a route.

use kube::api::DynamicObject;
use serde_json::Value;
use sluice_operator_core::coverage::{Attached, Source};

use super::{Subject, is_ignored, list};
use crate::{cluster::Kind, objects::at, observe::covering::ATTACHED};

/// Those that are attached to a rule that sends requests to the stable Service, and so may be copied.
pub(super) fn attached(subject: &Subject<'_>, objects: &[(Kind, DynamicObject)]) -> Vec<Attached> {
    let mut found = Vec::new();
    for (kind, object) in objects.iter().filter(|(kind, object)| ATTACHED.contains(kind) && !is_ignored(object)) {
        let name = object.metadata.name.clone().unwrap_or_default();
        // The older form has one target.
        for target in list(object, "/spec/targetRefs").chain(at(object, "/spec/targetRef")) {
            let Some((route, rule)) = rule_of(subject, target) else { continue };
            let policy = Source { kind: kind.resource().kind, name: name.clone() };
            found.push(Attached { policy, route: route.to_owned(), rule: rule.to_owned() });
        }
    }
    found.sort();
    found
}

/// The route and rule that a target names, if it names a rule of ours.
fn rule_of<'a>(subject: &Subject<'_>, target: &'a Value) -> Option<(&'a str, &'a str)> {
    let text = |field: &str| target.get(field).and_then(Value::as_str);
    let (name, section) = (text("name")?, text("sectionName")?);
    let is_route = text("kind") == Some("HTTPRoute");
    let (_, route) = subject.routes.iter().find(|(known, _)| is_route && known == name)?;
    let service = subject.service.metadata.name.as_deref();
    let leads_to_stable = |rule: &Value| {
        let refs = rule.get("backendRefs").and_then(Value::as_array).into_iter().flatten();
        refs.filter_map(|backend| backend.get("name")?.as_str()).any(|backend| Some(backend) == service)
    };
    let mut rules = list(route.as_ref()?, "/spec/rules");
    let is_copied =
        rules.any(|rule| rule.get("name").and_then(Value::as_str) == Some(section) && leads_to_stable(rule));
    is_copied.then_some((name, section))
}
