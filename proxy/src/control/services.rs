//! The Service of each Gateway, and so its address: made in the namespace of the data planes, whose pods it selects.
//!
//! A port appears in it only when every connected data plane has bound it, so that the first connection to a new listener
//! finds somebody. Nothing is deleted on the word of a cache: the Gateway is looked up first, and the Service is deleted
//! only if it still is the one that was looked at.

pub mod alias;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use anyhow::Context as _;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};
use sha2::{Digest, Sha256};
use sluice_gateway_types::{Gateway, GatewayClass};
use sluice_proxy_core::model::{self, Transport};

use crate::control::{
    fleet::Progress,
    objects::Name,
    ports::GatewayPort,
    publish::Published,
    translate::{GatewayPlan, Translation, address::WantedAddress},
};

/// Marks the Services that are ours.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "sluice-proxy-controller");
/// Labels of the pods of data planes.
pub const DATA_PLANE: [(&str, &str); 2] =
    [("app.kubernetes.io/name", "sluice-proxy"), ("app.kubernetes.io/component", "data-plane")];
/// The Gateway of a Service, as `namespace/name`. An annotation, because a label's value is too short for it.
const GATEWAY: &str = "sluice.dev/gateway";
const LOAD_BALANCER: &str = "LoadBalancer";
const FIELD_MANAGER: &str = "sluice-proxy-controller";

/// Ports of a Service, each with its target port. Datagrams and streams may have the same number.
pub type Ports = BTreeMap<(Transport, u16), u16>;

/// The Service that a Gateway is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its name in the namespace of the data planes.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Port in the Gateway → port that data planes bind.
    pub ports: Ports,
    /// Its address; none when any will do.
    pub address: Option<IpAddr>,
}

/// Name of a Gateway's Service. Hashed, because namespace and name together are longer than a Service's name may be.
pub fn service_name(gateway: &Name) -> String {
    let digest = Sha256::digest(gateway.to_string().as_bytes());
    digest.iter().take(8).fold("gw-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// The label by which what is made for a Gateway is found. A label's value is shorter than a name may be.
fn gateway_name(gateway: &Name) -> (String, String) {
    let value = if gateway.name.len() <= 63 { gateway.name.clone() } else { service_name(gateway) };
    ("gateway.networking.k8s.io/gateway-name".to_owned(), value)
}

/// The Service that this Gateway is to have now, given what data planes serve and the ports that it has already (which
/// were bound once). None while it would have no port, or when the Gateway asks for an address that it cannot have.
pub fn wanted(
    gateway: &Name,
    plan: &GatewayPlan,
    live: Option<&Service>,
    served: u64,
    published: &Published,
) -> Option<Wanted> {
    let address = match plan.address {
        WantedAddress::Any => None,
        WantedAddress::Fixed(address) => Some(address),
        WantedAddress::Unusable(_) => return None,
    };
    let existing = live.map(ports_of).unwrap_or_default();
    let listeners = plan.listeners.iter().filter_map(|listener| listener.resource.as_ref());
    let place = |listener: &model::Listener| (listener.protocol.transport(), listener.port);
    let ports: Ports = listeners
        .filter(|listener| {
            let since = published.changed(&format!("listener/{}", listener.id));
            existing.get(&place(listener)) == Some(&listener.bind_port) || since.is_some_and(|since| since <= served)
        })
        .map(|listener| (place(listener), listener.bind_port))
        .collect();
    if ports.is_empty() {
        return None;
    }
    let own = [MANAGED_BY, ("app.kubernetes.io/name", "sluice-gateway")];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let labels = plan.labels.clone().into_iter().chain(own).chain([gateway_name(gateway)]).collect();
    let annotations = plan.annotations.clone().into_iter().chain([(GATEWAY.to_owned(), gateway.to_string())]).collect();
    Some(Wanted { name: service_name(gateway), labels, annotations, ports, address })
}

/// The ports that existing Services of ours send traffic to.
pub fn in_service<'a>(services: impl IntoIterator<Item = &'a Service>) -> BTreeMap<GatewayPort, u16> {
    let mut found = BTreeMap::new();
    for service in services {
        let Some(gateway) = gateway_of(service) else { continue };
        found.extend(ports_of(service).into_iter().map(|((_, port), bind)| ((gateway.clone(), port), bind)));
    }
    found
}

/// The Gateway of a Service that is ours.
pub fn gateway_of(service: &Service) -> Option<Name> {
    let labels = service.metadata.labels.as_ref()?;
    if labels.get(MANAGED_BY.0).map(String::as_str) != Some(MANAGED_BY.1) {
        return None;
    }
    let (namespace, name) = service.metadata.annotations.as_ref()?.get(GATEWAY)?.split_once('/')?;
    Some(Name::new(namespace, name))
}

/// Where clients reach the Service: what the load balancer says, or its cluster addresses.
pub fn addresses(service: &Service) -> Vec<(&'static str, String)> {
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()) == Some(LOAD_BALANCER) {
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
        let ingress = balancer.into_iter().flatten();
        return ingress
            .filter_map(|ingress| match (&ingress.ip, &ingress.hostname) {
                (Some(ip), _) => Some(("IPAddress", ip.clone())),
                (None, Some(hostname)) => Some(("Hostname", hostname.clone())),
                (None, None) => None,
            })
            .collect();
    }
    let addresses = spec.and_then(|spec| spec.cluster_ips.as_ref()).into_iter().flatten();
    addresses.filter(|address| *address != "None").map(|address| ("IPAddress", address.clone())).collect()
}

/// Port → target port.
pub fn ports_of(service: &Service) -> Ports {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
    ports
        .filter_map(|port| match port.target_port {
            Some(IntOrString::Int(target)) => Some((place_of(port)?, u16::try_from(target).ok()?)),
            Some(IntOrString::String(_)) | None => None,
        })
        .collect()
}

fn place_of(port: &ServicePort) -> Option<(Transport, u16)> {
    let transport = if port.protocol.as_deref() == Some("UDP") { Transport::Udp } else { Transport::Tcp };
    Some((transport, u16::try_from(port.port).ok()?))
}

/// Whether a Service was made with this address.
fn has_address(service: &Service, address: IpAddr) -> bool {
    let spec = service.spec.as_ref();
    let asked_for = if spec.and_then(|spec| spec.type_.as_deref()) == Some(LOAD_BALANCER) {
        spec.and_then(|spec| spec.load_balancer_ip.as_ref())
    } else {
        spec.and_then(|spec| spec.cluster_ip.as_ref())
    };
    asked_for.is_some_and(|found| found.parse() == Ok(address))
}

/// What the API server did not like in a Service, if that is what an error says.
fn refusal(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if status.code == 422 => Some(status.message.clone()),
        _ => None,
    }
}

/// What a pass over the Services did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// One was written or deleted: the caches will tell what came of it.
    pub wrote: bool,
    /// One could not be.
    pub failed: bool,
    /// Gateways that ask for an address which the API server does not give them, and why.
    pub refused: BTreeMap<Name, String>,
}

impl Outcome {
    /// With what another pass did.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.wrote |= other.wrote;
        self.failed |= other.failed;
        self.refused.extend(other.refused);
        self
    }

    fn add(&mut self, result: anyhow::Result<bool>) {
        match result {
            Ok(wrote) => self.wrote |= wrote,
            Err(error) => {
                self.failed = true;
                tracing::warn!("{error:#}");
            }
        }
    }
}

/// Makes and removes Services.
pub struct Services {
    client: Client,
    api: Api<Service>,
    service_type: String,
    controller: String,
}

impl Services {
    /// Services of this type in this namespace, for the Gateways of this controller.
    pub fn new(client: &Client, namespace: &str, service_type: &str, controller: &str) -> Self {
        Self {
            client: client.clone(),
            api: Api::namespaced(client.clone(), namespace),
            service_type: service_type.to_owned(),
            controller: controller.to_owned(),
        }
    }

    /// Brings the Services to what the translation wants. `live` are those of our namespace, by name. A failure is logged
    /// and concerns one Service alone.
    pub async fn reconcile(
        &self,
        translation: &Translation,
        published: &Published,
        progress: &Progress,
        live: &BTreeMap<String, Arc<Service>>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for (gateway, plan) in &translation.gateways {
            let found = live.get(&service_name(gateway)).map(|service| &**service);
            // A Gateway without a served listener keeps what it has: nobody answers there, and its address stays.
            if let Some(wanted) = wanted(gateway, plan, found, progress.served, published) {
                let result = self.ensure(&wanted, gateway, found).await;
                match result.as_ref().err().and_then(refusal).filter(|_| wanted.address.is_some()) {
                    Some(refusal) => drop(outcome.refused.insert(gateway.clone(), refusal)),
                    None => outcome.add(result),
                }
            }
        }
        for service in live.values() {
            match gateway_of(service) {
                Some(gateway) if !translation.gateways.contains_key(&gateway) => {
                    outcome.add(self.sweep(&gateway, service).await);
                }
                _ => {}
            }
        }
        outcome
    }

    async fn ensure(&self, wanted: &Wanted, gateway: &Name, live: Option<&Service>) -> anyhow::Result<bool> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let outcome = match live {
            Some(live) if gateway_of(live).as_ref() != Some(gateway) => {
                tracing::warn!(service = wanted.name, %gateway, "A Service of this name is not ours; left as it is");
                return Ok(false);
            }
            // The address of a Service cannot be changed; its event brings us back to make it anew.
            Some(live) if wanted.address.is_some_and(|address| !has_address(live, address)) => {
                return self.delete(live).await;
            }
            Some(live) if self.is_as_wanted(wanted, live) => return Ok(false),
            Some(live) => self.api.replace(&wanted.name, &params, &self.render(wanted, live)).await,
            None => self.api.create(&params, &self.render(wanted, &Service::default())).await,
        };
        match outcome {
            Ok(_) => tracing::info!(service = wanted.name, %gateway, ports = ?wanted.ports, "Service written"),
            // It appeared or changed since the cache saw it; its event brings us back.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).with_context(|| format!("cannot write the Service of Gateway {gateway}")),
        }
        Ok(true)
    }

    fn is_as_wanted(&self, wanted: &Wanted, live: &Service) -> bool {
        let holds = |live: &Option<BTreeMap<String, String>>, wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(key, value)| live.as_ref().and_then(|live| live.get(key)) == Some(value))
        };
        ports_of(live) == wanted.ports
            && holds(&live.metadata.labels, &wanted.labels)
            && holds(&live.metadata.annotations, &wanted.annotations)
            && live.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some(&*self.service_type)
    }

    /// The Service over what is there: node ports, addresses and what others added stay.
    fn render(&self, wanted: &Wanted, live: &Service) -> Service {
        let mut service = Service { status: None, ..live.clone() };
        service.metadata.name = Some(wanted.name.clone());
        service.metadata.labels.get_or_insert_default().extend(wanted.labels.clone());
        service.metadata.annotations.get_or_insert_default().extend(wanted.annotations.clone());
        let spec = service.spec.get_or_insert_default();
        let known = spec.ports.take().unwrap_or_default();
        let port = |(place, bind): (&(Transport, u16), &u16)| {
            let (protocol, name) = match place.0 {
                Transport::Tcp => ("TCP", format!("port-{}", place.1)),
                Transport::Udp => ("UDP", format!("udp-{}", place.1)),
            };
            ServicePort {
                name: Some(name),
                port: i32::from(place.1),
                protocol: Some(protocol.to_owned()),
                target_port: Some(IntOrString::Int(i32::from(*bind))),
                ..known.iter().find(|known| place_of(known) == Some(*place)).cloned().unwrap_or_default()
            }
        };
        spec.ports = Some(wanted.ports.iter().map(port).collect());
        spec.type_ = Some(self.service_type.clone());
        spec.selector = Some(DATA_PLANE.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let families = if wanted.address.is_some() { "SingleStack" } else { "PreferDualStack" };
        spec.ip_family_policy.get_or_insert_with(|| families.to_owned());
        match wanted.address.map(|address| address.to_string()) {
            Some(address) if self.service_type == LOAD_BALANCER => spec.load_balancer_ip = Some(address),
            Some(address) => spec.cluster_ip = Some(address),
            None => {}
        }
        service
    }

    /// Deletes the Service of a Gateway that is gone, after asking the API server whether it is.
    async fn sweep(&self, gateway: &Name, service: &Service) -> anyhow::Result<bool> {
        if self.is_ours(gateway).await? {
            return Ok(false);
        }
        tracing::info!(service = service.metadata.name, %gateway, "The Gateway of a Service is gone");
        self.delete(service).await
    }

    /// Deletes a Service if it still is as it was seen.
    async fn delete(&self, service: &Service) -> anyhow::Result<bool> {
        let Some(name) = &service.metadata.name else { return Ok(false) };
        let preconditions = Preconditions {
            uid: service.metadata.uid.clone(),
            resource_version: service.metadata.resource_version.clone(),
        };
        match self.api.delete(name, &DeleteParams::default().preconditions(preconditions)).await {
            Ok(_) => tracing::info!(service = name, "Service deleted"),
            // Gone already, or changed since: then its event brings us back.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot delete Service {name}")),
        }
        Ok(true)
    }

    async fn is_ours(&self, gateway: &Name) -> anyhow::Result<bool> {
        let gateways: Api<Gateway> = Api::namespaced(self.client.clone(), &gateway.namespace);
        let Some(found) = gateways.get_opt(&gateway.name).await? else { return Ok(false) };
        if found.metadata.deletion_timestamp.is_some() {
            return Ok(false);
        }
        let classes: Api<GatewayClass> = Api::all(self.client.clone());
        let class = classes.get_opt(&found.spec.gateway_class_name).await?;
        Ok(class.is_some_and(|class| class.spec.controller_name == self.controller))
    }
}
