//! HTTPRoutes: which listeners they are attached to, their rules, and what their status says.

use std::collections::{BTreeMap, BTreeSet};

use sluice_gateway_types::{
    GROUP, HttpBackendRef, HttpRoute, ParentReference, PathMatch, RouteMatch, RouteRetry, RouteRule, RouteTimeouts,
    ValueMatch,
};
use sluice_proxy_core::{cells::Cells, model, model::Resource, table::Snapshot};

use crate::control::{
    objects::{Name, Objects},
    translate::{
        backend::{self, ServiceRef},
        conditions::{ACCEPTED, Condition},
        duration,
        filter::{self, Level, Refusal},
        gateway::{GatewayPlan, ListenerPlan},
        host,
    },
};

/// What is said of one route.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePlan {
    /// Its generation.
    pub generation: i64,
    /// Parents of ours, in the order of the spec. Empty: the route is not ours (any more).
    pub parents: Vec<ParentPlan>,
}

/// What is said of a route at one parent.
#[derive(Clone, Debug, PartialEq)]
pub struct ParentPlan {
    /// As in the spec.
    pub parent: ParentReference,
    /// Whether it is attached there.
    pub accepted: Condition,
    /// Whether its backends are usable.
    pub resolved: Condition,
}

/// What a route comes to.
#[derive(Debug)]
pub struct Outcome {
    /// Its status.
    pub plan: RoutePlan,
    /// What data planes serve; none when it is attached nowhere.
    pub resource: Option<model::Route>,
    /// The Services that the resource names.
    pub backends: BTreeSet<ServiceRef>,
}

/// The rules of a route with what they refer to.
struct Rules {
    list: Vec<model::Rule>,
    backends: BTreeSet<ServiceRef>,
    resolved: Condition,
}

impl Rules {
    /// Notes a reference to a backend; returns whether it can be used.
    fn refer(&mut self, reference: &HttpBackendRef, namespace: &str, objects: &Objects) -> bool {
        let resolved = backend::resolve(reference, namespace, objects);
        let valid = resolved.is_ok();
        match resolved {
            Ok(service) => {
                self.backends.insert(service);
            }
            Err(problem) if self.resolved.holds => self.resolved = problem,
            Err(_) => {}
        }
        valid
    }
}

/// Translates a route and counts it at the listeners that it is attached to.
pub fn plan(route: &HttpRoute, gateways: &mut BTreeMap<Name, GatewayPlan>, objects: &Objects) -> Outcome {
    let name = Name::of(&route.metadata);
    let generation = route.metadata.generation.unwrap_or_default();
    let parents: Vec<_> = route.spec.parent_refs.iter().filter(|p| parent_name(p, &name, gateways).is_some()).collect();
    if parents.is_empty() || route.metadata.deletion_timestamp.is_some() {
        let plan = RoutePlan { generation, parents: vec![] };
        return Outcome { plan, resource: None, backends: BTreeSet::new() };
    }
    let mut resource = skeleton(route, &name);
    let (refusal, resolved, backends) = match rules(route, &name.namespace, objects) {
        Ok(found) => {
            resource.rules = found.list;
            (check(&resource).err(), found.resolved, found.backends)
        }
        Err(refusal) => (Some(refusal), Condition::resolved(), BTreeSet::new()),
    };
    let mut attached = BTreeSet::new();
    let mut plans = Vec::with_capacity(parents.len());
    for parent in parents {
        let outcome = attach(parent, &name, &resource.hostnames, gateways, objects);
        let accepted = match (&refusal, outcome) {
            (_, Err(condition)) => condition,
            (Some(refusal), Ok(_)) => Condition::no(ACCEPTED, refusal.reason, refusal.message.clone()),
            (None, Ok(places)) => {
                attached.extend(places);
                Condition::accepted()
            }
        };
        plans.push(ParentPlan { parent: parent.clone(), accepted, resolved: resolved.clone() });
    }
    resource.listeners = count(&attached, gateways);
    let resource = Some(resource).filter(|resource| !resource.listeners.is_empty());
    Outcome { plan: RoutePlan { generation, parents: plans }, resource, backends }
}

/// A listener: its Gateway and its place in it.
type Place = (Name, usize);

/// Counts the route at each listener once, and returns the ids of those that are served.
fn count(attached: &BTreeSet<Place>, gateways: &mut BTreeMap<Name, GatewayPlan>) -> Vec<String> {
    let mut served = Vec::new();
    for (gateway, index) in attached {
        if let Some(listener) = gateways.get_mut(gateway).and_then(|plan| plan.listeners.get_mut(*index)) {
            listener.attached += 1;
            served.extend(listener.resource.as_ref().map(|resource| resource.id.clone()));
        }
    }
    served
}

/// The Gateway of ours that a parent reference names.
fn parent_name(parent: &ParentReference, route: &Name, gateways: &BTreeMap<Name, GatewayPlan>) -> Option<Name> {
    if parent.group.as_deref().unwrap_or(GROUP) != GROUP || parent.kind.as_deref().unwrap_or("Gateway") != "Gateway" {
        return None;
    }
    let name = Name::new(parent.namespace.as_deref().unwrap_or(&route.namespace), &parent.name);
    gateways.contains_key(&name).then_some(name)
}

/// The listeners of the parent that take the route. Each step narrows them down and has a reason of its own.
fn attach(
    parent: &ParentReference,
    route: &Name,
    hostnames: &[String],
    gateways: &BTreeMap<Name, GatewayPlan>,
    objects: &Objects,
) -> Result<Vec<Place>, Condition> {
    let no = |reason, message: &str| Condition::no(ACCEPTED, reason, message);
    let Some(name) = parent_name(parent, route, gateways) else {
        return Err(no("NoMatchingParent", "the Gateway does not exist"));
    };
    let listeners = gateways[&name].listeners.iter().enumerate();
    let named = |listener: &ListenerPlan| {
        parent.section_name.as_ref().is_none_or(|section| *section == listener.name)
            && parent.port.is_none_or(|port| port == i32::from(listener.port))
    };
    let candidates: Vec<_> = listeners.filter(|(_, listener)| named(listener)).collect();
    if candidates.is_empty() {
        return Err(no("NoMatchingParent", "the Gateway has no listener with this sectionName and port"));
    }
    let allows = |listener: &ListenerPlan| {
        listener.kinds.contains(&"HTTPRoute") && listener.namespaces.allow(&route.namespace, objects)
    };
    let allowed: Vec<_> = candidates.into_iter().filter(|(_, listener)| allows(listener)).collect();
    if allowed.is_empty() {
        return Err(no("NotAllowedByListeners", "no listener allows HTTPRoutes of this namespace"));
    }
    let matching = allowed.into_iter().filter(|(_, l)| host::intersects(l.hostname.as_deref(), hostnames));
    let places: Vec<_> = matching.map(|(index, _)| (name.clone(), index)).collect();
    if places.is_empty() {
        return Err(no("NoMatchingListenerHostname", "no listener's host name matches one of the route's"));
    }
    Ok(places)
}

fn skeleton(route: &HttpRoute, name: &Name) -> model::Route {
    let created = route.metadata.creation_timestamp.as_ref();
    model::Route {
        id: format!("HTTPRoute/{name}"),
        generation: route.metadata.generation.unwrap_or_default(),
        created: created.map_or(0, |time| time.0.as_second()),
        listeners: vec![],
        hostnames: route.spec.hostnames.iter().map(|host| host.to_ascii_lowercase()).collect(),
        rules: vec![],
    }
}

/// Compiles the route as a data plane would. A data plane refuses a whole update for one bad resource, so what it
/// would refuse must be refused here, where the route's author is told.
fn check(route: &model::Route) -> Result<(), Refusal> {
    let listener = model::Listener { id: "check".to_owned(), bind_port: 1, port: 1, hostname: None };
    let route = model::Route { listeners: vec![listener.id.clone()], ..route.clone() };
    let resources = [Resource::Listener(listener), Resource::Route(route)];
    Snapshot::build(&resources, &mut Cells::default())
        .map(drop)
        .map_err(|error| Refusal::unsupported(format!("spec.rules: {}", error.problem)))
}

fn rules(route: &HttpRoute, namespace: &str, objects: &Objects) -> Result<Rules, Refusal> {
    let absent = [RouteRule::default()];
    let specs = route.spec.rules.as_deref().unwrap_or(&absent);
    let mut found = Rules { list: vec![], backends: BTreeSet::new(), resolved: Condition::resolved() };
    for (index, spec) in specs.iter().enumerate() {
        let rule = rule(spec, index, namespace, objects, &mut found)?;
        found.list.push(rule);
    }
    Ok(found)
}

fn rule(
    spec: &RouteRule,
    index: usize,
    namespace: &str,
    objects: &Objects,
    found: &mut Rules,
) -> Result<model::Rule, Refusal> {
    let place = format!("spec.rules[{index}]");
    filter::known(&spec.unknown, &place)?;
    let matches: Result<Vec<_>, _> =
        spec.matches.iter().enumerate().map(|(i, m)| condition(m, &format!("{place}.matches[{i}]"))).collect();
    let mut resolve = |reference: &HttpBackendRef| {
        found.refer(reference, namespace, objects).then(|| backend::id(reference, namespace))
    };
    let filters = filter::filters(&spec.filters, Level::Rule, &place, &mut resolve)?;
    let backends: Result<Vec<_>, _> = spec
        .backend_refs
        .iter()
        .enumerate()
        .map(|(i, reference)| weighted(reference, &format!("{place}.backendRefs[{i}]"), namespace, objects, found))
        .collect();
    Ok(model::Rule {
        name: spec.name.clone().unwrap_or_else(|| index.to_string()),
        matches: matches?,
        filters,
        backends: backends?,
        timeouts: spec.timeouts.as_ref().map(|spec| timeouts(spec, &place)).transpose()?.unwrap_or_default(),
        retry: spec.retry.as_ref().map(|spec| retry(spec, &place)).transpose()?,
    })
}

fn duration(text: Option<&String>, place: &str) -> Result<Option<u64>, Refusal> {
    let bad = |text: &String| Refusal::unsupported(format!("{place}: {text:?} is not a duration such as 1m30s"));
    text.map(|text| duration::millis(text).ok_or_else(|| bad(text))).transpose()
}

fn timeouts(spec: &RouteTimeouts, place: &str) -> Result<model::Timeouts, Refusal> {
    let place = format!("{place}.timeouts");
    filter::known(&spec.unknown, &place)?;
    let request = duration(spec.request.as_ref(), &format!("{place}.request"))?;
    let backend = duration(spec.backend_request.as_ref(), &format!("{place}.backendRequest"))?;
    if request.is_some_and(|request| request > 0 && backend.is_some_and(|backend| backend > request)) {
        return Err(Refusal::unsupported(format!("{place}: backendRequest cannot be longer than request")));
    }
    Ok(model::Timeouts { request, backend })
}

fn retry(spec: &RouteRetry, place: &str) -> Result<model::Retry, Refusal> {
    let place = format!("{place}.retry");
    filter::known(&spec.unknown, &place)?;
    let code = |code: &i32| {
        let valid = u16::try_from(*code).ok().filter(|code| (400..600).contains(code));
        valid.ok_or_else(|| Refusal::unsupported(format!("{place}.codes: {code} is not the status of an error")))
    };
    let attempts = spec.attempts.unwrap_or(1);
    Ok(model::Retry {
        codes: spec.codes.iter().map(code).collect::<Result<_, _>>()?,
        attempts: u32::try_from(attempts)
            .map_err(|_| Refusal::unsupported(format!("{place}.attempts: {attempts} is not a number of attempts")))?,
        backoff: duration(spec.backoff.as_ref(), &format!("{place}.backoff"))?,
    })
}

fn weighted(
    reference: &HttpBackendRef,
    place: &str,
    namespace: &str,
    objects: &Objects,
    found: &mut Rules,
) -> Result<model::WeightedBackend, Refusal> {
    filter::known(&reference.unknown, place)?;
    // No filter of a backend names another one.
    let filters = filter::filters(&reference.filters, Level::Backend, place, &mut |_| None)?;
    let valid = found.refer(reference, namespace, objects);
    let weight = u32::try_from(reference.weight.unwrap_or(1)).unwrap_or_default();
    Ok(model::WeightedBackend { backend: backend::id(reference, namespace), weight, valid, filters })
}

fn condition(spec: &RouteMatch, place: &str) -> Result<model::Match, Refusal> {
    filter::known(&spec.unknown, place)?;
    let values = |specs: &[ValueMatch], field: &str, lower: bool| -> Result<Vec<_>, Refusal> {
        specs.iter().map(|spec| value(spec, &format!("{place}.{field}"), lower)).collect()
    };
    Ok(model::Match {
        path: spec.path.as_ref().map(|spec| path(spec, place)).transpose()?,
        headers: first_of_name(values(&spec.headers, "headers", true)?),
        query: first_of_name(values(&spec.query_params, "queryParams", false)?),
        method: spec.method.clone(),
    })
}

/// Of entries with an equivalent name only the first counts, as the API says.
fn first_of_name(values: Vec<model::ValueMatch>) -> Vec<model::ValueMatch> {
    let mut names = BTreeSet::new();
    values.into_iter().filter(|value| names.insert(value.name.clone())).collect()
}

fn value(spec: &ValueMatch, place: &str, lower: bool) -> Result<model::ValueMatch, Refusal> {
    let regex = match spec.type_.as_deref().unwrap_or("Exact") {
        "Exact" => false,
        "RegularExpression" => true,
        other => return Err(Refusal::unsupported(format!("{place}: type {other} is not supported"))),
    };
    let name = if lower { spec.name.to_ascii_lowercase() } else { spec.name.clone() };
    Ok(model::ValueMatch { name, value: spec.value.clone(), regex })
}

fn path(spec: &PathMatch, place: &str) -> Result<model::PathMatch, Refusal> {
    let value = spec.value.clone().unwrap_or_else(|| "/".to_owned());
    match spec.type_.as_deref().unwrap_or("PathPrefix") {
        "Exact" => Ok(model::PathMatch::Exact(value)),
        "PathPrefix" => Ok(model::PathMatch::Prefix(value)),
        "RegularExpression" => Ok(model::PathMatch::Regex(value)),
        other => Err(Refusal::unsupported(format!("{place}.path: type {other} is not supported"))),
    }
}
