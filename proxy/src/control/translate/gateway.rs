//! Gateways of ours: which of their listeners are served, and what their status says.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::{Selector, SelectorExt};
use serde_json::{Value, json};
use sluice_gateway_types::{GROUP, Gateway, Listener, ListenerAllowedRoutes};
use sluice_proxy_core::model::{self, ListenerProtocol, Sharing, Taken};

use crate::control::{
    objects::{Name, Objects},
    ports::{GatewayPort, PortAllocations},
    translate::{
        address::{self, WantedAddress},
        class::ClassPlan,
        conditions::{ACCEPTED, CONFLICTED, Condition},
        host, protocol,
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
    /// In the order of the spec.
    pub listeners: Vec<ListenerPlan>,
    /// Labels for its Service.
    pub labels: BTreeMap<String, String>,
    /// Annotations for its Service.
    pub annotations: BTreeMap<String, String>,
}

/// What is said and made of one listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerPlan {
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
    fn is_servable(&self) -> bool {
        self.accepted.holds && !self.kinds.is_empty() && (!self.ends_tls || self.termination.is_some())
    }

    /// `supportedKinds` of its status.
    pub fn supported_kinds(&self) -> Value {
        self.kinds.iter().map(|kind| json!({"group": GROUP, "kind": kind})).collect()
    }
}

/// Plans for the Gateways of the accepted classes.
pub fn plans(objects: &Objects, classes: &[ClassPlan], ports: &PortAllocations) -> BTreeMap<Name, GatewayPlan> {
    let mut taken = Taken::default();
    ours(objects, classes)
        .map(|(name, gateway)| (name.clone(), plan(name, gateway, objects, ports, &mut taken)))
        .collect()
}

/// The ports that Gateways of the accepted classes want bound.
pub fn wanted_ports(objects: &Objects, classes: &[ClassPlan]) -> BTreeSet<GatewayPort> {
    ours(objects, classes)
        .flat_map(|(name, gateway)| {
            let served = gateway.spec.listeners.iter().filter(|listener| protocol::served(&listener.protocol).is_ok());
            served.filter_map(|listener| Some((name.clone(), u16::try_from(listener.port).ok()?)))
        })
        .collect()
}

fn ours<'a>(objects: &'a Objects, classes: &[ClassPlan]) -> impl Iterator<Item = (&'a Name, &'a Gateway)> {
    let accepted: BTreeSet<_> = classes.iter().filter(|class| class.accepted.holds).map(|c| c.name.clone()).collect();
    objects
        .gateways
        .iter()
        .filter(move |(_, gateway)| accepted.contains(&gateway.spec.gateway_class_name))
        .filter(|(_, gateway)| gateway.metadata.deletion_timestamp.is_none())
        .map(|(name, gateway)| (name, &**gateway))
}

fn plan(
    name: &Name,
    gateway: &Gateway,
    objects: &Objects,
    ports: &PortAllocations,
    taken: &mut Taken<Name>,
) -> GatewayPlan {
    let infrastructure = gateway.spec.infrastructure.clone().unwrap_or_default();
    let refused = refusal(gateway);
    let mut listeners: Vec<_> = gateway.spec.listeners.iter().map(|spec| listener(spec, &name.namespace)).collect();
    let from = From { group: GROUP, kind: "Gateway", namespace: &name.namespace };
    let frontend = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
    for (plan, spec) in listeners.iter_mut().zip(&gateway.spec.listeners) {
        tls::secure(plan, spec, frontend, (from, from), objects);
    }
    protocol::mark_conflicts(&mut listeners);
    for plan in &mut listeners {
        if refused.is_none() && plan.is_servable() {
            publish(plan, name, ports, taken);
        }
    }
    let (identity, resolved) = tls::identity(gateway, from, objects).unzip();
    if let Some(Some(identity)) = identity {
        tls::show(&identity, &mut listeners);
    }
    let accepted = refused.unwrap_or_else(|| accepted_by_listeners(&listeners));
    GatewayPlan {
        uid: gateway.metadata.uid.clone().unwrap_or_default(),
        generation: gateway.metadata.generation.unwrap_or_default(),
        accepted,
        resolved,
        insecure: tls::insecure(gateway),
        address: address::wanted(gateway, &objects.address_pools),
        listeners,
        labels: infrastructure.labels,
        annotations: infrastructure.annotations,
    }
}

/// Gives the listener its resource, or says why data planes cannot bind it.
fn publish(plan: &mut ListenerPlan, gateway: &Name, ports: &PortAllocations, taken: &mut Taken<Name>) {
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
    let (id, hostname) = (format!("{gateway}/{}", plan.name), plan.hostname.clone());
    let termination = plan.termination.clone();
    let (port, identity) = (plan.port, None);
    plan.resource = Some(model::Listener { id, bind_port, port, protocol, hostname, termination, identity });
}

fn refusal(gateway: &Gateway) -> Option<Condition> {
    if gateway.spec.infrastructure.as_ref().is_some_and(|wanted| wanted.parameters_ref.is_some()) {
        let message = "spec.infrastructure.parametersRef is not supported";
        return Some(Condition::no(ACCEPTED, "InvalidParameters", message));
    }
    let types = gateway.spec.addresses.iter().map(|address| address.type_.as_deref().unwrap_or("IPAddress"));
    let unsupported = types.into_iter().find(|kind| *kind != "IPAddress")?;
    let message = format!("spec.addresses: addresses of type {unsupported} are not supported");
    Some(Condition::no(ACCEPTED, "UnsupportedAddress", message))
}

fn accepted_by_listeners(listeners: &[ListenerPlan]) -> Condition {
    let valid = listeners.iter().filter(|listener| listener.accepted.holds).count();
    let message = format!("{valid} of {} listeners are valid", listeners.len());
    match valid {
        0 => Condition::no(ACCEPTED, "ListenersNotValid", message),
        valid if valid < listeners.len() => Condition::yes(ACCEPTED, "ListenersNotValid", message),
        _ => Condition::accepted(),
    }
}

fn listener(spec: &Listener, namespace: &str) -> ListenerPlan {
    let allowed = spec.allowed_routes.clone().unwrap_or_default();
    let (namespaces, bad_namespaces) = match namespaces(&allowed, namespace) {
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
        bad_namespaces.map_or_else(Condition::accepted, |problem| Condition::no(ACCEPTED, "UnsupportedValue", problem))
    };
    ListenerPlan {
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

fn namespaces(allowed: &ListenerAllowedRoutes, own: &str) -> Result<Namespaces, String> {
    let Some(selection) = &allowed.namespaces else { return Ok(Namespaces::Only(own.to_owned())) };
    match selection.from.as_deref().unwrap_or("Same") {
        "All" => Ok(Namespaces::All),
        "None" => Ok(Namespaces::None),
        "Same" => Ok(Namespaces::Only(own.to_owned())),
        "Selector" => Selector::try_from(selection.selector.clone().unwrap_or_default())
            .map(Namespaces::Selected)
            .map_err(|error| format!("allowedRoutes.namespaces.selector: {error}")),
        other => Err(format!("allowedRoutes.namespaces.from: {other} is not supported")),
    }
}
