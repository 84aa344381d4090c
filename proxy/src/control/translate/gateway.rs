//! Gateways of ours: which of their listeners are served, and what their status says.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use kube::core::{Selector, SelectorExt};
use serde_json::{Value, json};
use sluice_gateway_types::{GROUP, Gateway, Listener, NamespaceSelection};
use sluice_proxy_core::model::{self, ListenerProtocol, Sharing, Taken};

use crate::control::{
    objects::{Name, Objects},
    ports::{GatewayPort, PortAllocations},
    translate::{
        address::{self, WantedAddress},
        class::ClassPlan,
        conditions::{ACCEPTED, CONFLICTED, Condition},
        host,
        listener_set::{self, Sets},
        parameters::{self, Asked, Collector},
        protocol::{self, Merged},
        reference::From,
        tls,
    },
};

/// What is said and made of one Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayPlan {
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Whether it is served at all.
    pub accepted: Condition,
    /// Only where there is something to resolve.
    pub resolved: Option<Condition>,
    /// Said where clients are let in whose certificates are not valid.
    pub insecure: Option<Condition>,
    /// The address that it asks for.
    pub address: WantedAddress,
    /// Its own in the order of the spec, then those of its ListenerSets.
    pub listeners: Vec<ListenerPlan>,
    /// Which of these are those of the ListenerSets that it takes.
    pub sets: BTreeMap<Name, Range<usize>>,
    /// Namespaces whose ListenerSets it takes, or what is wrong with their choice.
    pub allowed_sets: Result<Namespaces, String>,
    /// How many ListenerSets it has that are accepted.
    pub attached_sets: usize,
    /// What it asks for beyond its listeners; none where that is nothing, or it is not accepted.
    pub parameters: Option<model::Gateway>,
    /// Who is to take its spans.
    pub collector: Option<Collector>,
    /// Labels for its Service.
    pub labels: BTreeMap<String, String>,
    /// Annotations for its Service.
    pub annotations: BTreeMap<String, String>,
}

/// What is said and made of one listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerPlan {
    /// The ListenerSet that it is of; none for one of the Gateway itself.
    pub set: Option<Name>,
    /// Its name.
    pub name: String,
    /// The port in the spec.
    pub port: u16,
    /// What is spoken; none when that is not served.
    pub protocol: Option<ListenerProtocol>,
    /// Its host name in lower case; none where there are no hosts.
    pub hostname: Option<String>,
    /// Kinds of routes that may attach to it.
    pub kinds: Vec<&'static str>,
    /// Namespaces whose routes may attach to it.
    pub namespaces: Namespaces,
    /// Routes that are attached to it.
    pub attached: i32,
    /// Whether it is valid.
    pub accepted: Condition,
    /// Whether what it refers to is valid.
    pub resolved: Condition,
    /// Whether it contradicts another listener.
    pub conflicted: Condition,
    /// Certificates that data planes need for it.
    pub certificates: Vec<model::Certificate>,
    /// Whether it is to end its clients' TLS.
    pub ends_tls: bool,
    /// How it ends TLS; none where it does not or cannot.
    pub termination: Option<model::Termination>,
    /// What data planes serve; none when it is not served.
    pub resource: Option<model::Listener>,
}

/// A choice of namespaces.
#[derive(Clone, Debug, PartialEq)]
pub enum Namespaces {
    /// Every one.
    All,
    /// None at all.
    None,
    /// The one.
    Only(String),
    /// Those with fitting labels.
    Selected(Selector),
}

impl Namespaces {
    /// Whether a namespace is chosen.
    pub fn allow(&self, namespace: &str, objects: &Objects) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(one) => one == namespace,
            Self::Selected(selector) => {
                objects.namespaces.get(namespace).is_some_and(|labels| selector.matches(labels))
            }
        }
    }
}

impl ListenerPlan {
    /// Whether data planes could do something with it.
    pub fn is_servable(&self) -> bool {
        self.accepted.holds && !self.kinds.is_empty() && (!self.ends_tls || self.termination.is_some())
    }

    /// `supportedKinds` of its status.
    pub fn supported_kinds(&self) -> Value {
        self.kinds.iter().map(|kind| json!({"group": GROUP, "kind": kind})).collect()
    }
}

impl GatewayPlan {
    /// The listeners of one of its ListenerSets, or its own, each with its place among all.
    pub fn listeners_of(&self, set: Option<&Name>) -> impl Iterator<Item = (usize, &ListenerPlan)> {
        let places = match set {
            Some(set) => self.sets.get(set).cloned().unwrap_or_default(),
            None => 0..self.listeners.partition_point(|listener| listener.set.is_none()),
        };
        places.clone().zip(&self.listeners[places])
    }
}

/// Plans for the Gateways of the accepted classes.
pub fn plans(objects: &Objects, classes: &[ClassPlan], ports: &PortAllocations) -> BTreeMap<Name, GatewayPlan> {
    let mut taken = Taken::default();
    let sets = listener_set::by_gateway(objects);
    ours(objects, classes)
        .map(|(name, gateway, class)| (name.clone(), plan((name, gateway, class), &sets, objects, ports, &mut taken)))
        .collect()
}

/// The ports that Gateways of the accepted classes want bound.
pub fn wanted_ports(objects: &Objects, classes: &[ClassPlan]) -> BTreeSet<GatewayPort> {
    let sets = listener_set::by_gateway(objects);
    ours(objects, classes)
        .flat_map(|(name, gateway, _)| {
            let allowed = listener_set::allowed(gateway, &name.namespace);
            let of_sets = listener_set::taken(name, &allowed, &sets, objects).flat_map(|(_, set)| &set.spec.listeners);
            let all = gateway.spec.listeners.iter().chain(of_sets);
            let served = all.filter(|listener| protocol::served(&listener.protocol).is_ok());
            served.filter_map(|listener| Some((name.clone(), u16::try_from(listener.port).ok()?))).collect::<Vec<_>>()
        })
        .collect()
}

/// A Gateway with its name and its class.
type Ours<'a> = (&'a Name, &'a Gateway, &'a ClassPlan);

fn ours<'a>(objects: &'a Objects, classes: &'a [ClassPlan]) -> impl Iterator<Item = Ours<'a>> {
    let accepted: BTreeMap<_, _> =
        classes.iter().filter(|class| class.accepted.holds).map(|class| (class.name.as_str(), class)).collect();
    let lives = |gateway: &&Gateway| gateway.metadata.deletion_timestamp.is_none();
    objects.gateways.iter().filter_map(move |(name, gateway)| {
        let class = accepted.get(gateway.spec.gateway_class_name.as_str())?;
        Some(&**gateway).filter(lives).map(|gateway| (name, gateway, *class))
    })
}

fn plan(
    (name, gateway, class): Ours<'_>,
    sets: &Sets<'_>,
    objects: &Objects,
    ports: &PortAllocations,
    taken: &mut Taken<Name>,
) -> GatewayPlan {
    let infrastructure = gateway.spec.infrastructure.clone().unwrap_or_default();
    let asked = parameters::of_gateway(name, gateway, class.parameters.as_ref(), objects);
    let refused = asked.as_ref().err().cloned().or_else(|| refusal(gateway));
    let Asked { settings: parameters, collector } = asked.ok().filter(|_| refused.is_none()).unwrap_or_default();
    let allowed_sets = listener_set::allowed(gateway, &name.namespace);
    let mut merged = Merged::default();
    merged.add(of_object(gateway, name, None, &gateway.spec.listeners, objects));
    let mut places = BTreeMap::new();
    for (set_name, set) in listener_set::taken(name, &allowed_sets, sets, objects) {
        let start = merged.listeners.len();
        merged.add(of_object(gateway, name, Some(set_name), &set.spec.listeners, objects));
        places.insert(set_name.clone(), start..merged.listeners.len());
    }
    let mut listeners = merged.listeners;
    for plan in &mut listeners {
        if refused.is_none() && plan.is_servable() {
            publish(plan, name, parameters.is_some(), ports, taken);
        }
    }
    let owner = From { group: GROUP, kind: "Gateway", namespace: &name.namespace };
    let (identity, mut resolved) = tls::identity(gateway, owner, objects).unzip();
    if let Some(Collector { found: Err(problem), .. }) = &collector
        && resolved.as_ref().is_none_or(|resolved| resolved.holds)
    {
        resolved = Some(problem.clone());
    }
    if let Some(Some(identity)) = identity {
        tls::show(&identity, &mut listeners);
    }
    let own = listeners.iter().filter(|listener| listener.set.is_none());
    let accepted = refused.unwrap_or_else(|| accepted_by(own, |listener| listener.accepted.holds));
    GatewayPlan {
        uid: gateway.metadata.uid.clone().unwrap_or_default(),
        generation: gateway.metadata.generation.unwrap_or_default(),
        accepted,
        resolved,
        insecure: tls::insecure(gateway),
        address: address::wanted(gateway, &objects.address_pools),
        listeners,
        sets: places,
        allowed_sets,
        attached_sets: 0,
        parameters,
        collector,
        labels: infrastructure.labels,
        annotations: infrastructure.annotations,
    }
}

/// The listeners of a Gateway or of one of its ListenerSets, each by itself. Their certificates are the reference of the
/// object that they stand in; what is asked of clients is the Gateway's.
fn of_object(
    gateway: &Gateway,
    name: &Name,
    set: Option<&Name>,
    specs: &[Listener],
    objects: &Objects,
) -> Vec<ListenerPlan> {
    let owner = From { group: GROUP, kind: "Gateway", namespace: &name.namespace };
    let from = set.map_or(owner, |set| From { kind: "ListenerSet", namespace: &set.namespace, ..owner });
    let frontend = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
    let plans = specs.iter().map(|spec| {
        let mut plan = listener(spec, set, from.namespace);
        tls::secure(&mut plan, spec, frontend, (from, owner), objects);
        plan
    });
    plans.collect()
}

/// Gives the listener its resource, or says why data planes cannot bind it.
fn publish(
    plan: &mut ListenerPlan,
    gateway: &Name,
    has_parameters: bool,
    ports: &PortAllocations,
    taken: &mut Taken<Name>,
) {
    let Some(protocol) = plan.protocol else { return };
    let Some(bind_port) = ports.get(gateway, plan.port) else {
        plan.accepted =
            Condition::no(ACCEPTED, "PortUnavailable", "the range of ports that data planes bind is used up");
        return;
    };
    // Only without a cluster, where ports are bound as they are, can two Gateways meet on one.
    if let Err((clash, other)) = taken.take(protocol, bind_port, plan.hostname.as_deref(), gateway) {
        plan.accepted = Condition::no(ACCEPTED, "PortUnavailable", format!("Gateway {other} has {}", clash.what()));
        return;
    }
    let id = match &plan.set {
        Some(set) => format!("{gateway}/{set}/{}", plan.name),
        None => format!("{gateway}/{}", plan.name),
    };
    let (hostname, termination) = (plan.hostname.clone(), plan.termination.clone());
    let (port, identity) = (plan.port, None);
    let gateway = has_parameters.then(|| gateway.to_string());
    plan.resource = Some(model::Listener { id, bind_port, port, protocol, hostname, termination, identity, gateway });
}

fn refusal(gateway: &Gateway) -> Option<Condition> {
    let types = gateway.spec.addresses.iter().map(|address| address.type_.as_deref().unwrap_or("IPAddress"));
    let unsupported = types.into_iter().find(|kind| *kind != "IPAddress")?;
    let message = format!("spec.addresses: addresses of type {unsupported} are not supported");
    Some(Condition::no(ACCEPTED, "UnsupportedAddress", message))
}

/// Whether there is a valid one among the listeners of an object.
pub fn accepted_by<'a>(
    listeners: impl Iterator<Item = &'a ListenerPlan>,
    is_valid: impl Fn(&ListenerPlan) -> bool,
) -> Condition {
    let (valid, bad): (Vec<_>, Vec<_>) = listeners.partition(|listener| is_valid(listener));
    let message = format!("{} of {} listeners are valid", valid.len(), valid.len() + bad.len());
    match valid.len() {
        0 => Condition::no(ACCEPTED, "ListenersNotValid", message),
        _ if !bad.is_empty() => Condition::yes(ACCEPTED, "ListenersNotValid", message),
        _ => Condition::accepted(),
    }
}

fn listener(spec: &Listener, set: Option<&Name>, namespace: &str) -> ListenerPlan {
    let allowed = spec.allowed_routes.clone().unwrap_or_default();
    let selection = allowed.namespaces.clone().unwrap_or_default();
    let (namespaces, bad_namespaces) = match namespaces(&selection, namespace) {
        Ok(namespaces) => (namespaces, None),
        Err(problem) => (Namespaces::None, Some(problem)),
    };
    let protocol = protocol::served(&spec.protocol);
    let (kinds, resolved) = match protocol {
        Ok(protocol) => protocol::allowed_kinds(protocol, &allowed),
        Err(_) => (vec![], Condition::resolved()),
    };
    let port = u16::try_from(spec.port).ok().filter(|port| *port > 0);
    let hosts = protocol.as_ref().is_ok_and(|protocol| protocol.sharing() != Sharing::Nothing);
    let accepted = if let Err(unsupported) = &protocol {
        unsupported.clone()
    } else if port.is_none() {
        Condition::no(ACCEPTED, "PortUnavailable", format!("{} is not a port", spec.port))
    } else if spec.tls.is_some() && protocol.as_ref().is_ok_and(|protocol| protocol.sharing() != Sharing::ServerName) {
        Condition::no(ACCEPTED, "UnsupportedValue", "tls is not for listeners of this protocol")
    } else if spec.filters.is_some() {
        Condition::no(ACCEPTED, "UnsupportedValue", "filters of a listener are not supported")
    } else {
        bad_namespaces.map_or_else(Condition::accepted, |problem| {
            Condition::no(ACCEPTED, "UnsupportedValue", format!("allowedRoutes.{problem}"))
        })
    };
    ListenerPlan {
        set: set.cloned(),
        name: spec.name.clone(),
        port: port.unwrap_or_default(),
        protocol: protocol.ok(),
        hostname: host::normalised(spec.hostname.as_deref().filter(|_| hosts)),
        kinds,
        namespaces,
        attached: 0,
        accepted,
        resolved,
        conflicted: Condition::no(CONFLICTED, "NoConflicts", "No conflicts"),
        certificates: vec![],
        ends_tls: false,
        termination: None,
        resource: None,
    }
}

/// The namespaces that are selected, beside one's own.
pub fn namespaces(selection: &NamespaceSelection, own: &str) -> Result<Namespaces, String> {
    match selection.from.as_deref().unwrap_or("Same") {
        "All" => Ok(Namespaces::All),
        "None" => Ok(Namespaces::None),
        "Same" => Ok(Namespaces::Only(own.to_owned())),
        "Selector" => Selector::try_from(selection.selector.clone().unwrap_or_default())
            .map(Namespaces::Selected)
            .map_err(|error| format!("namespaces.selector: {error}")),
        other => Err(format!("namespaces.from: {other} is not supported")),
    }
}
