//! BackendTLSPolicies: which of them governs a port of a Service, whether it can be used, and what its status says.
//!
//! A port that a policy governs is never spoken to in the clear: where the policy cannot be used, nobody is let through.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use sluice_gateway_types::{BackendTlsPolicy, BackendValidation, GROUP, SubjectAltName};
use sluice_proxy_core::model::{self, Authorities, SubjectName};

use crate::control::{
    objects::{Name, Objects},
    translate::{
        backend::ServiceRef,
        conditions::{ACCEPTED, Condition, RESOLVED_REFS},
        filter,
        reference::From,
        secrets::{self, Problem},
    },
};
use crate::tls;

/// What is said and made of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyPlan {
    /// Its generation.
    pub generation: i64,
    /// Gateways of ours whose routes reach its Services. Empty: it is not ours (any more).
    pub ancestors: BTreeSet<Name>,
    /// Whether it is in force.
    pub accepted: Condition,
    /// Whether its authorities are usable.
    pub resolved: Condition,
    /// What data planes are told; none when it governs nothing or cannot be used.
    pub resource: Option<model::BackendTls>,
}

/// A Service and the name of a port; none stands for every port that no policy names.
type Target<'a> = (Name, Option<&'a str>);

/// Every policy, and what it bears on.
#[derive(Debug)]
pub struct Policies<'a> {
    objects: &'a Objects,
    /// The policy of each target: of several the oldest, and of equally old ones the first by name.
    governing: BTreeMap<Target<'a>, &'a Name>,
    /// Gateways that reach a Service.
    reached: BTreeMap<Name, BTreeSet<Name>>,
}

impl<'a> Policies<'a> {
    /// All policies; what they bear on is still to be noted.
    pub fn new(objects: &'a Objects) -> Self {
        let mut oldest: Vec<_> = objects.backend_tls_policies.iter().collect();
        oldest.sort_by_key(|(name, policy)| {
            let created = policy.metadata.creation_timestamp.as_ref();
            (created.map_or(0, |time| time.0.as_second()), *name)
        });
        let mut governing = BTreeMap::new();
        for (name, policy) in oldest {
            for target in targets(name, policy) {
                governing.entry(target).or_insert(name);
            }
        }
        Self { objects, governing, reached: BTreeMap::new() }
    }

    /// Notes that routes lead from these Gateways to these Services.
    pub fn reach(&mut self, services: &BTreeSet<ServiceRef>, gateways: &BTreeSet<Name>) {
        if self.governing.is_empty() {
            return;
        }
        for reference in services {
            self.reached.entry(reference.service.clone()).or_default().extend(gateways.iter().cloned());
        }
    }

    /// The Services that policies are for.
    pub fn targets(&self) -> BTreeSet<Name> {
        self.governing.keys().map(|(service, _)| service.clone()).collect()
    }

    /// The policy that governs a port of a Service.
    pub fn of_port(&self, service: &Name, port: Option<&str>) -> Option<&'a Name> {
        let of = |port| self.governing.get(&(service.clone(), port)).copied();
        // A port without a name is meant by nobody who names one.
        port.and_then(|port| of(Some(port))).or_else(|| of(None))
    }

    /// What comes of every policy.
    pub fn plans(self) -> BTreeMap<Name, PolicyPlan> {
        let policies = self.objects.backend_tls_policies.iter();
        policies.map(|(name, policy)| (name.clone(), self.plan(name, policy))).collect()
    }

    fn plan(&self, name: &Name, policy: &BackendTlsPolicy) -> PolicyPlan {
        let targets: Vec<_> = targets(name, policy).filter(|(service, _)| self.reached.contains_key(service)).collect();
        let mut plan = PolicyPlan {
            generation: policy.metadata.generation.unwrap_or_default(),
            ancestors: targets.iter().flat_map(|(service, _)| &self.reached[service]).cloned().collect(),
            accepted: Condition::accepted(),
            resolved: Condition::resolved(),
            resource: None,
        };
        if plan.ancestors.is_empty() {
            // Nothing is looked up that nobody needs.
            return plan;
        }
        let tls = self.tls(name, policy, &mut plan.resolved);
        let unattached = targets.iter().find_map(|target| self.unattached(name, target));
        if let Some(condition) = unattached.or_else(|| tls.as_ref().err().cloned()) {
            plan.accepted = condition;
        }
        // Of several targets it keeps those that are its own.
        let governs = targets.iter().any(|target| self.governing.get(target) == Some(&name));
        plan.resource = tls.ok().filter(|_| governs);
        plan
    }

    /// Why a policy does not bear on one of its targets.
    fn unattached(&self, name: &Name, target: &Target<'_>) -> Option<Condition> {
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

    /// What a policy says, or why it cannot be used; what is wrong with its references is told in any case.
    fn tls(
        &self,
        name: &Name,
        policy: &BackendTlsPolicy,
        resolved: &mut Condition,
    ) -> Result<model::BackendTls, Condition> {
        let invalid = |message: String| Condition::no(ACCEPTED, "Invalid", message);
        let BackendValidation { hostname, subject_alt_names, unknown, .. } = &policy.spec.validation;
        let authorities = self.authorities(name, &policy.spec.validation, resolved)?;
        for (unknown, place) in [(&policy.spec.unknown, "spec"), (unknown, "validation")] {
            filter::known(unknown, place).map_err(|refusal| invalid(refusal.message))?;
        }
        if let Some(option) = policy.spec.options.keys().next() {
            return Err(invalid(format!("options: {option} is not known")));
        }
        let names = subject_alt_names.iter().map(subject_name).collect::<Result<_, _>>().map_err(invalid)?;
        let (id, hostname) = (name.to_string(), hostname.to_ascii_lowercase());
        let tls = model::BackendTls { id, hostname, names, authorities };
        tls::check_names(&tls).map_err(|error| invalid(format!("validation: {error}")))?;
        Ok(tls)
    }

    fn authorities(
        &self,
        name: &Name,
        validation: &BackendValidation,
        resolved: &mut Condition,
    ) -> Result<Authorities, Condition> {
        let no = |reason, message: String| Condition::no(ACCEPTED, reason, message);
        let references = &validation.ca_certificate_refs;
        let well_known = validation.well_known_ca_certificates.as_deref().filter(|known| !known.is_empty());
        match (well_known, references.is_empty()) {
            (Some("System"), true) => return Ok(Authorities::System),
            (Some(other), true) => {
                return Err(no(
                    "Invalid",
                    format!("validation.wellKnownCACertificates: {other} is not known; System is"),
                ));
            }
            (Some(_), false) | (None, true) => {
                let message = "validation: either caCertificateRefs or wellKnownCACertificates is to be given";
                return Err(no("Invalid", message.to_owned()));
            }
            (None, false) => {}
        }
        let from = From { group: GROUP, kind: "BackendTLSPolicy", namespace: &name.namespace };
        let (pem, problem) = secrets::all_authorities(references, from, self.objects);
        if let Some(problem) = problem {
            let reason = match problem {
                Problem::Kind(_) => "InvalidKind",
                Problem::NotPermitted(_) | Problem::Invalid(_) => "InvalidCACertificateRef",
            };
            let message = format!("validation.caCertificateRefs: {}", problem.message());
            *resolved = Condition::no(RESOLVED_REFS, reason, message);
        }
        if pem.is_empty() {
            return Err(no(
                "NoValidCACertificate",
                "no authority of validation.caCertificateRefs is usable".to_owned(),
            ));
        }
        Ok(Authorities::Listed(pem))
    }
}

/// The Services that a policy is for; what else it names is not ours to judge.
fn targets<'a>(name: &Name, policy: &'a BackendTlsPolicy) -> impl Iterator<Item = Target<'a>> {
    let namespace = name.namespace.clone();
    let services = policy.spec.target_refs.iter().filter(|target| {
        target.group.as_deref().unwrap_or_default().is_empty()
            && target.kind.as_deref().unwrap_or("Service") == "Service"
    });
    services.map(move |target| {
        let port = target.section_name.as_deref().filter(|port| !port.is_empty());
        (Name::new(&namespace, &target.name), port)
    })
}

fn subject_name(name: &SubjectAltName) -> Result<SubjectName, String> {
    let SubjectAltName { type_, hostname, uri } = name;
    match (type_.as_str(), hostname, uri) {
        ("Hostname", Some(hostname), _) => Ok(SubjectName::Hostname(hostname.to_ascii_lowercase())),
        ("URI", _, Some(uri)) => Ok(SubjectName::Uri(uri.clone())),
        ("Hostname" | "URI", ..) => Err(format!("validation.subjectAltNames: one of type {type_} has no value")),
        (other, ..) => Err(format!("validation.subjectAltNames: type {other} is not supported")),
    }
}
