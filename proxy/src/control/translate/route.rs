//! Routes of all kinds: which listeners they are attached to, their backends, and what their status says. The rules are
//! each kind's own.

use std::collections::BTreeSet;

use sluice_gateway_types::{GROUP, HttpBackendRef, ParentReference, RouteFilter, ValueMatch};
use sluice_proxy_core::{model, table};

use crate::control::{
    objects::{AnyRoute, Name, Objects, RouteName},
    shared_map::SharedMap,
    translate::{
        backend::{self, Referrer, ServiceRef},
        conditions::{ACCEPTED, Condition},
        filter::{self, Level, Refusal},
        gateway::{GatewayPlan, ListenerPlan},
        grpc, host, http, l4, listener_set,
        rivals::Rivals,
        session,
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
    /// What it has to do with.
    pub reach: Reach,
}

/// What a route has to do with. When one of these changes, so may what it comes to; when it changes, so may these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reach {
    /// Its host names in lower case.
    pub hostnames: Vec<String>,
    /// The listeners that would take it, were there no older rival.
    pub wanted: BTreeSet<Place>,
    /// The listeners that it is attached to.
    pub attached: BTreeSet<Place>,
    /// The Services that it names, whether it may use them or not.
    pub named: BTreeSet<Name>,
    /// The Services that it can use.
    pub backends: BTreeSet<ServiceRef>,
    /// Whether data planes serve it.
    pub served: bool,
}

impl Reach {
    /// The backends that data planes need for it.
    pub fn used(&self) -> impl Iterator<Item = &ServiceRef> {
        self.backends.iter().filter(|_| self.served)
    }

    /// The Gateways that it is attached to.
    pub fn gateways(&self) -> BTreeSet<Name> {
        self.attached.iter().map(|(gateway, _)| gateway.clone()).collect()
    }
}

/// The rules of a route with what they refer to.
pub struct Rules<'a> {
    from: Referrer<'a>,
    objects: &'a Objects,
    /// Whose sessions those of its rules are.
    pub sessions: session::Owner,
    /// The rules so far.
    pub list: Vec<model::Rule>,
    named: BTreeSet<Name>,
    backends: BTreeSet<ServiceRef>,
    resolved: Condition,
    /// Why the first rule that cannot be served as it is written is answered 500.
    unsupported: Option<Refusal>,
}

impl<'a> Rules<'a> {
    fn new(from: Referrer<'a>, sessions: session::Owner, objects: &'a Objects) -> Self {
        Self {
            from,
            objects,
            sessions,
            list: vec![],
            named: BTreeSet::new(),
            backends: BTreeSet::new(),
            resolved: Condition::resolved(),
            unsupported: None,
        }
    }

    /// Translates each rule of a spec; without any there is one of defaults.
    pub fn each<R: Default>(
        &mut self,
        rules: Option<&[R]>,
        translate: fn(&R, usize, &mut Self) -> Result<model::Rule, Refusal>,
    ) -> Result<(), Refusal> {
        let absent = [R::default()];
        for (index, spec) in rules.unwrap_or(&absent).iter().enumerate() {
            let rule = translate(spec, index, self)?;
            self.list.push(rule);
        }
        Ok(())
    }

    /// Notes a reference to a backend; returns whether it can be used.
    fn refer(&mut self, reference: &HttpBackendRef) -> bool {
        self.named.insert(backend::service_of(reference, self.from.namespace));
        let resolved = backend::resolve(reference, self.from, self.objects);
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

    /// What a rule does with requests. A filter that is not `supported`, here or in its settings, must not be left out: the
    /// rule has no backends then, and answers 500 while the others are served.
    pub fn work(
        &mut self,
        supported: Result<(), Refusal>,
        specs: &[RouteFilter],
        references: &[HttpBackendRef],
        place: &str,
    ) -> Result<(Vec<model::Filter>, Vec<model::WeightedBackend>), Refusal> {
        match supported.and_then(|()| self.filters(specs, place)) {
            Ok(filters) => Ok((filters, self.backends(references, place)?)),
            Err(refusal) => {
                self.unsupported.get_or_insert(refusal);
                Ok((vec![], vec![]))
            }
        }
    }

    fn filters(&mut self, specs: &[RouteFilter], place: &str) -> Result<Vec<model::Filter>, Refusal> {
        let mut resolve = |reference: &HttpBackendRef| self.refer(reference).then(|| backend::id(reference, self.from));
        filter::filters(specs, Level::Rule, place, &mut resolve)
    }

    /// The backends of a rule, whose references stand at `place`.
    pub fn backends(
        &mut self,
        references: &[HttpBackendRef],
        place: &str,
    ) -> Result<Vec<model::WeightedBackend>, Refusal> {
        let places = (0..).map(|index| format!("{place}.backendRefs[{index}]"));
        references.iter().zip(places).map(|(reference, place)| self.weighted(reference, &place)).collect()
    }

    fn weighted(&mut self, reference: &HttpBackendRef, place: &str) -> Result<model::WeightedBackend, Refusal> {
        filter::known(&reference.unknown, place)?;
        // No filter of a backend names another one.
        let filters = filter::filters(&reference.filters, Level::Backend, place, &mut |_| None);
        let valid = self.refer(reference) && filters.is_ok();
        let filters = filters.unwrap_or_else(|refusal| {
            self.unsupported.get_or_insert(refusal);
            vec![]
        });
        let weight = u32::try_from(reference.weight.unwrap_or(1)).unwrap_or_default();
        Ok(model::WeightedBackend { backend: backend::id(reference, self.from), weight, valid, filters })
    }
}

/// Translates a route.
pub fn plan(
    route: AnyRoute<'_>,
    gateways: &SharedMap<Name, GatewayPlan>,
    rivals: &mut Rivals,
    objects: &Objects,
) -> Outcome {
    let name = route.name();
    let generation = route.metadata().generation.unwrap_or_default();
    let parents: Vec<_> =
        route.parent_refs().iter().filter(|p| Parent::find(p, &name.name, gateways, objects).is_some()).collect();
    if parents.is_empty() || route.metadata().deletion_timestamp.is_some() {
        let plan = RoutePlan { generation, parents: vec![] };
        return Outcome { plan, resource: None, reach: Reach::default() };
    }
    let mut resource = skeleton(route, &name);
    let mut reach = Reach { hostnames: resource.hostnames.clone(), ..Reach::default() };
    let from = Referrer { kind: name.kind, namespace: &name.name.namespace };
    let mut rules = Rules::new(from, session::Owner::new(&name, route.metadata()), objects);
    let translated = translate_rules(route, &mut rules);
    reach.named = rules.named;
    let (refusal, unsupported, resolved) = match translated {
        Ok(()) => {
            (resource.rules, reach.backends) = (rules.list, rules.backends);
            (check(&resource).err(), rules.unsupported, rules.resolved)
        }
        Err(refusal) => (Some(refusal), None, Condition::resolved()),
    };
    let refused = |refusal: &Refusal| Condition::no(ACCEPTED, refusal.reason, refusal.message.clone());
    let mut plans = Vec::with_capacity(parents.len());
    for parent in parents {
        let outcome = attach(parent, &name, &resource.hostnames, gateways, objects);
        let accepted = match (&refusal, outcome) {
            (_, Err(condition)) => condition,
            (Some(refusal), Ok(_)) => refused(refusal),
            (None, Ok(places)) => {
                reach.wanted.extend(places.iter().cloned());
                match rivals.admit(&name, &resource.hostnames, places, gateways) {
                    Ok(places) => {
                        reach.attached.extend(places);
                        // Its other rules are served all the same.
                        unsupported.as_ref().map_or_else(Condition::accepted, refused)
                    }
                    Err(condition) => condition,
                }
            }
        };
        plans.push(ParentPlan { parent: parent.clone(), accepted, resolved: resolved.clone() });
    }
    resource.listeners = served(&reach.attached, gateways);
    reach.served = !resource.listeners.is_empty();
    let resource = Some(resource).filter(|_| reach.served);
    Outcome { plan: RoutePlan { generation, parents: plans }, resource, reach }
}

fn translate_rules(route: AnyRoute<'_>, found: &mut Rules<'_>) -> Result<(), Refusal> {
    let kind = route.kind();
    match route {
        AnyRoute::Grpc(route) => grpc::rules(&route.spec, found),
        AnyRoute::Http(route) => http::rules(&route.spec, found),
        AnyRoute::Tcp(route) => l4::rules(&route.spec.rules, kind, found),
        AnyRoute::Tls(route) => {
            l4::named(&route.spec.hostnames)?;
            l4::rules(&route.spec.rules, kind, found)
        }
        AnyRoute::Udp(route) => l4::rules(&route.spec.rules, kind, found),
    }
}

/// A listener: its Gateway and its place in it.
pub type Place = (Name, usize);

/// The ids of those listeners that are served.
fn served(attached: &BTreeSet<Place>, gateways: &SharedMap<Name, GatewayPlan>) -> Vec<String> {
    let listeners = attached.iter().filter_map(|(gateway, index)| gateways.get(gateway)?.listeners.get(*index));
    listeners.filter_map(|listener| Some(listener.resource.as_ref()?.id.clone())).collect()
}

/// Whose listeners a parent reference means: those of a Gateway of ours, or of one of its ListenerSets.
struct Parent {
    gateway: Name,
    set: Option<Name>,
}

impl Parent {
    /// None when it is nobody's of ours.
    fn find(
        parent: &ParentReference,
        route: &Name,
        gateways: &SharedMap<Name, GatewayPlan>,
        objects: &Objects,
    ) -> Option<Self> {
        let name = Name::of_parent(parent, &route.namespace);
        let found = match parent.group_and_kind() {
            (GROUP, "Gateway") => Self { gateway: name, set: None },
            (GROUP, "ListenerSet") => {
                Self { gateway: listener_set::gateway_of(objects.listener_sets.get(&name)?)?, set: Some(name) }
            }
            _ => return None,
        };
        gateways.contains_key(&found.gateway).then_some(found)
    }
}

/// The listeners of the parent that take the route. Each step narrows them down and has a reason of its own.
fn attach(
    parent: &ParentReference,
    route: &RouteName,
    hostnames: &[String],
    gateways: &SharedMap<Name, GatewayPlan>,
    objects: &Objects,
) -> Result<Vec<Place>, Condition> {
    let no = |reason, message: &str| Condition::no(ACCEPTED, reason, message);
    let Some(Parent { gateway: name, set }) = Parent::find(parent, &route.name, gateways, objects) else {
        return Err(no("NoMatchingParent", "the parent does not exist"));
    };
    let gateway = &gateways[&name];
    if set.as_ref().is_some_and(|set| !gateway.sets.contains_key(set)) {
        return Err(no("NoMatchingParent", "the Gateway does not take the ListenerSet"));
    }
    let named = |listener: &ListenerPlan| {
        parent.section_name.as_ref().is_none_or(|section| *section == listener.name)
            && parent.port.is_none_or(|port| port == i32::from(listener.port))
    };
    let listeners = gateway.listeners_of(set.as_ref());
    let candidates: Vec<_> = listeners.filter(|(_, listener)| named(listener)).collect();
    if candidates.is_empty() {
        return Err(no("NoMatchingParent", "the parent has no listener with this sectionName and port"));
    }
    let kind = route.kind.name();
    let allows = |listener: &ListenerPlan| {
        listener.kinds.contains(&kind) && listener.namespaces.allow(&route.name.namespace, objects)
    };
    let allowed: Vec<_> = candidates.into_iter().filter(|(_, listener)| allows(listener)).collect();
    if allowed.is_empty() {
        return Err(no("NotAllowedByListeners", &format!("no listener allows {kind}s of this namespace")));
    }
    let matching = allowed.into_iter().filter(|(_, l)| host::intersects(l.hostname.as_deref(), hostnames));
    let places: Vec<_> = matching.map(|(index, _)| (name.clone(), index)).collect();
    if places.is_empty() {
        return Err(no("NoMatchingListenerHostname", "no listener's host name matches one of the route's"));
    }
    Ok(places)
}

fn skeleton(route: AnyRoute<'_>, name: &RouteName) -> model::Route {
    model::Route {
        id: name.to_string(),
        generation: route.metadata().generation.unwrap_or_default(),
        created: route.created(),
        listeners: vec![],
        hostnames: route.hostnames().iter().map(|host| host.to_ascii_lowercase()).collect(),
        rules: vec![],
    }
}

/// Compiles the route as a data plane would. A data plane refuses a whole update for one bad resource, so what it
/// would refuse must be refused here, where the route's author is told.
fn check(route: &model::Route) -> Result<(), Refusal> {
    table::check(route).map_err(|problem| Refusal::unsupported(format!("spec.rules: {problem}")))
}

/// Conditions on values of headers.
pub fn headers(specs: &[ValueMatch], place: &str) -> Result<Vec<model::ValueMatch>, Refusal> {
    let mut headers = values(specs, &format!("{place}.headers"))?;
    for header in &mut headers {
        header.name.make_ascii_lowercase();
    }
    Ok(first_of_name(headers))
}

/// Conditions on values of query parameters.
pub fn query(specs: &[ValueMatch], place: &str) -> Result<Vec<model::ValueMatch>, Refusal> {
    values(specs, &format!("{place}.queryParams")).map(first_of_name)
}

fn values(specs: &[ValueMatch], place: &str) -> Result<Vec<model::ValueMatch>, Refusal> {
    specs.iter().map(|spec| value(spec, place)).collect()
}

/// Of entries with an equivalent name only the first counts, as the API says.
fn first_of_name(values: Vec<model::ValueMatch>) -> Vec<model::ValueMatch> {
    let mut names = BTreeSet::new();
    values.into_iter().filter(|value| names.insert(value.name.clone())).collect()
}

fn value(spec: &ValueMatch, place: &str) -> Result<model::ValueMatch, Refusal> {
    let regex = is_regex(spec.type_.as_deref(), place)?;
    Ok(model::ValueMatch { name: spec.name.clone(), value: spec.value.clone(), regex })
}

/// Whether a condition of type `Exact` (the default) or `RegularExpression` is the latter.
pub fn is_regex(type_: Option<&str>, place: &str) -> Result<bool, Refusal> {
    match type_.unwrap_or("Exact") {
        "Exact" => Ok(false),
        "RegularExpression" => Ok(true),
        other => Err(Refusal::unsupported(format!("{place}: type {other} is not supported"))),
    }
}
