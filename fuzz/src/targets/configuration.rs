//! Objects of users and messages of the controller.

use std::collections::BTreeMap;

use http::Request;
use prost::Message;
use sluice_crds::Rollout;
use sluice_proxy::control::files;
use sluice_proxy::control::ports::PortAllocations;
use sluice_proxy::control::translate;
use sluice_proxy_core::cells::Cells;
use sluice_proxy_core::model::Resource;
use sluice_proxy_core::table::{Compiler, Snapshot};
use sluice_wire::v1;

use super::text;

pub(super) const MANIFEST_WORDS: &[&str] = &[
    "\n---\n",
    "kind: HTTPRoute\n",
    "kind: Gateway\n",
    "metadata: {name: a}\n",
    "spec: {",
    "rules: [",
    "matches: [",
    "filters: [",
    "type: RegularExpression",
    "type: URLRewrite",
    "type: RequestRedirect",
    "requestRedirect: {",
    "timeouts: {request: 1s}",
    "weight: -1",
    "port: 70000",
    "hostnames: ['*.a.test']",
    "backendRefs: [",
    "{name: app, port: 80}",
    "value: '('",
];
pub(super) const ROLLOUT_WORDS: &[&str] =
    &["weight: 101", "hold: {min: 1h}", "approval: {}", "match: {headers: []}", "steps: [", "null", "1e300", "-1", "'"];
pub(super) const UPDATE_WORDS: &[&str] = &[
    "{\"kind\":\"Listener\"",
    "{\"kind\":\"Route\"",
    "{\"kind\":\"Backend\"",
    "\"rules\":[",
    "\"matches\":[",
    "\"filters\":[",
    "{\"type\":\"Regex\",\"value\":\"",
    "\"weight\":4294967295",
    "\"denominator\":0",
    "\"address\":\"127.0.0.1:1\"",
    "\"protocol\":\"Http1\"",
    "18446744073709551616",
];

/// Whatever a tenant writes, what comes of it is served: a data plane refuses a whole update for one bad resource, so the
/// translation must not make any.
pub(super) fn manifests(input: &[u8]) {
    let Some(objects) = text(input).and_then(|text| files::parse(text).ok()) else { return };
    let translation = translate::translate(&objects, &PortAllocations::identity(), "sluice.dev/gateway-controller");
    let built = Snapshot::build(translation.resources.values(), &mut Cells::default());
    assert!(built.is_ok(), "a data plane would refuse it: {}", built.err().map(|e| e.to_string()).unwrap_or_default());
}

/// A Rollout is read or refused, and what was read is written as it was.
pub(super) fn rollouts(input: &[u8]) {
    let Ok(rollout) = serde_json::from_slice::<Rollout>(input) else { return };
    let written = serde_json::to_value(&rollout).expect("a value");
    let read: Rollout = serde_json::from_value(written.clone()).expect("what was written is read");
    assert_eq!(serde_json::to_value(&read).expect("a value"), written, "written and read it is another one");
}

/// A message of the controller is served or refused; what is refused leaves no trace, and what is served step by step is
/// what it would be at once.
pub(super) fn updates(input: &[u8]) {
    let Some(update) = v1::ToDataPlane::decode(input).ok().and_then(|message| message.update) else { return };
    let mut resources = BTreeMap::new();
    for v1::Resource { key, json } in update.upsert {
        if let Some(resource) = serde_json::from_slice::<Resource>(&json).ok().filter(|resource| resource.key() == key)
        {
            resources.insert(key, resource);
        }
    }
    let mut compiler = Compiler::default();
    let mut cells = Cells::default();
    let mut served = Vec::new();
    for (key, resource) in &resources {
        if compiler.update([(key.clone(), Some(resource))], &mut cells).is_ok() {
            served.push(resource.clone());
        }
    }
    let at_once = Snapshot::build(&served, &mut Cells::default()).expect("each was accepted");
    for path in ["/", "/a", "/a/b", "*"] {
        let request = Request::get(path).header("x", "1").body(()).expect("a request");
        let (head, ()) = request.into_parts();
        for resource in &served {
            let Resource::Listener(listener) = resource else { continue };
            let found = |snapshot: &Snapshot| {
                let matched = snapshot.route(listener.bind_port, None, "a.test", path, &head).ok()?;
                Some((matched.listener_port, matched.prefix, snapshot.rule(matched)?.name.clone()))
            };
            assert_eq!(found(compiler.current()), found(&at_once), "{path}");
        }
    }
}
