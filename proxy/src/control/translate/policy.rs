//! Policies for Services (GEP-713): which one of a kind governs a port, whom one tells of itself, and whether it bears on
//! what it names.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sluice_proxy_core::model;

use crate::control::{
    objects::{Name, Objects},
    translate::{
        backend::ServiceRef,
        backend_tls,
        conditions::{ACCEPTED, Condition},
        traffic,
    },
};

/// What is said and made of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyPlan {
    /// Its generation.
    pub generation: i64,
    /// Gateways of ours whose routes reach its Services. Empty: it is not ours (any more).
    pub ancestors: BTreeSet<Name>,
    /// Whether it is in force.
    pub accepted: Condition,
    /// Whether its references are usable, where it can have any.
    pub resolved: Option<Condition>,
    /// What data planes are told of it by itself; none when it governs nothing or cannot be used.
    pub resource: Option<model::BackendTls>,
}

/// A Service and the name of a port; none stands for every port that no policy names.
pub type Target<'a> = (Name, Option<&'a str>);

/// A reference to a Service in the namespace of `policy`; none to anything else, which is not ours to judge.
pub fn target<'a>(
    policy: &Name,
    (group, kind): (Option<&str>, Option<&str>),
    service: &str,
    port: Option<&'a str>,
) -> Option<Target<'a>> {
    let is_service = group.unwrap_or_default().is_empty() && kind.unwrap_or("Service") == "Service";
    is_service.then(|| (Name::new(&policy.namespace, service), port.filter(|port| !port.is_empty())))
}

/// All policies of one kind, and what they bear on.
#[derive(Debug)]
pub struct Attachments<'a> {
    objects: &'a Objects,
    /// The policy of each target: of several the oldest, and of equally old ones the first by name.
    governing: BTreeMap<Target<'a>, &'a Name>,
    /// Gateways that reach a Service.
    reached: BTreeMap<Name, BTreeSet<Name>>,
}

impl<'a> Attachments<'a> {
    /// Those of policies with these targets; what they bear on is still to be noted.
    pub fn new(objects: &'a Objects, mut policies: Vec<(&'a Name, &ObjectMeta, Vec<Target<'a>>)>) -> Self {
        policies.sort_by_key(|(name, metadata, _)| {
            let created = metadata.creation_timestamp.as_ref();
            (created.map_or(0, |time| time.0.as_second()), *name)
        });
        let mut governing = BTreeMap::new();
        for (name, _, targets) in policies {
            for target in targets {
                governing.entry(target).or_insert(name);
            }
        }
        Self { objects, governing, reached: BTreeMap::new() }
    }

    fn reach(&mut self, services: &BTreeSet<ServiceRef>, gateways: &BTreeSet<Name>) {
        if self.governing.is_empty() {
            return;
        }
        for reference in services {
            self.reached.entry(reference.service.clone()).or_default().extend(gateways.iter().cloned());
        }
    }

    fn targets(&self) -> impl Iterator<Item = &Name> {
        self.governing.keys().map(|(service, _)| service)
    }

    /// The policy that governs a port of a Service.
    pub fn of_port(&self, service: &Name, port: Option<&str>) -> Option<&'a Name> {
        let of = |port| self.governing.get(&(service.clone(), port)).copied();
        // A port without a name is meant by nobody who names one.
        port.and_then(|port| of(Some(port))).or_else(|| of(None))
    }

    /// The targets that routes of ours lead to, and the Gateways that they come from.
    pub fn reached<'t>(&self, targets: Vec<Target<'t>>) -> (Vec<Target<'t>>, BTreeSet<Name>) {
        let targets: Vec<_> = targets.into_iter().filter(|(service, _)| self.reached.contains_key(service)).collect();
        let gateways = targets.iter().flat_map(|(service, _)| &self.reached[service]).cloned().collect();
        (targets, gateways)
    }

    /// Whether a policy governs one of these targets: of several it keeps those that are its own.
    pub fn governs(&self, name: &Name, targets: &[Target<'_>]) -> bool {
        targets.iter().any(|target| self.governing.get(target) == Some(&name))
    }

    /// Why a policy does not bear on the first of its targets on which it does not.
    pub fn unattached(&self, name: &Name, targets: &[Target<'_>]) -> Option<Condition> {
        targets.iter().find_map(|target| self.unattached_from(name, target))
    }

    fn unattached_from(&self, name: &Name, target: &Target<'_>) -> Option<Condition> {
        let (service, port) = target;
        let governing = self.governing.get(target)?;
        if *governing != name {
            let message = format!("targetRefs: Service {service} has policy {governing} already, which comes first");
            return Some(Condition::no(ACCEPTED, "Conflicted", message));
        }
        let port = (*port)?;
        let spec = self.objects.services.get(service).and_then(|service| service.spec.as_ref());
        let mut ports = spec.and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
        if ports.any(|candidate| candidate.name.as_deref() == Some(port)) {
            return None;
        }
        let message = format!("targetRefs: Service {service} has no port of the name {port}");
        Some(Condition::no(ACCEPTED, "TargetNotFound", message))
    }
}

/// All policies.
#[derive(Debug)]
pub struct Policies<'a> {
    tls: backend_tls::Policies<'a>,
    traffic: traffic::Policies<'a>,
}

/// What comes of every policy.
#[derive(Debug)]
pub struct Plans {
    /// BackendTLSPolicies.
    pub tls: BTreeMap<Name, PolicyPlan>,
    /// BackendTrafficPolicies.
    pub traffic: BTreeMap<Name, PolicyPlan>,
}

impl<'a> Policies<'a> {
    /// All policies; what they bear on is still to be noted.
    pub fn new(objects: &'a Objects) -> Self {
        Self { tls: backend_tls::Policies::new(objects), traffic: traffic::Policies::new(objects) }
    }

    /// Notes that routes lead from these Gateways to these Services.
    pub fn reach(&mut self, services: &BTreeSet<ServiceRef>, gateways: &BTreeSet<Name>) {
        self.tls.attachments.reach(services, gateways);
        self.traffic.attachments.reach(services, gateways);
    }

    /// The Services that policies are for.
    pub fn targets(&self) -> BTreeSet<Name> {
        self.tls.attachments.targets().chain(self.traffic.attachments.targets()).cloned().collect()
    }

    /// The BackendTLSPolicy that governs a port of a Service.
    pub fn tls(&self, service: &Name, port: Option<&str>) -> Option<&'a Name> {
        self.tls.attachments.of_port(service, port)
    }

    /// What the BackendTrafficPolicy says that governs a port of a Service, where it can be used.
    pub fn traffic(&self, service: &Name, port: Option<&str>) -> Option<model::Traffic> {
        self.traffic.of_port(service, port)
    }

    /// What comes of every policy.
    pub fn plans(self) -> Plans {
        Plans { tls: self.tls.plans(), traffic: self.traffic.plans() }
    }
}
