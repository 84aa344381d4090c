//! BackendTLSPolicies: which of them governs a port of a Service, whether it can be used, and what its status says.
//!
//! A port that a policy governs is never spoken to in the clear: where the policy cannot be used, nobody is let through.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use sluice_gateway_types::{BackendTlsPolicy, BackendValidation, GROUP, SubjectAltName};
use sluice_proxy_core::model::{self, Authorities, SubjectName};

use crate::control::{
    objects::{Name, Objects},
    translate::{
        conditions::{ACCEPTED, Condition, RESOLVED_REFS},
        filter,
        policy::{self, Attachments, PolicyPlan, Target},
        reference::From,
        secrets::{self, Problem},
    },
};
use crate::tls;

/// Every policy, and what it bears on.
#[derive(Debug)]
pub struct Policies<'a> {
    objects: &'a Objects,
    /// What they bear on.
    pub attachments: Attachments<'a>,
}

impl<'a> Policies<'a> {
    /// All policies; what they bear on is still to be noted.
    pub fn new(objects: &'a Objects) -> Self {
        let policies = objects.backend_tls_policies.iter();
        let policies = policies.map(|(name, policy)| (name, &policy.metadata, targets(name, policy)));
        Self { objects, attachments: Attachments::new(objects, policies.collect()) }
    }

    /// What comes of every policy.
    pub fn plans(self) -> BTreeMap<Name, PolicyPlan> {
        let policies = self.objects.backend_tls_policies.iter();
        policies.map(|(name, policy)| (name.clone(), self.plan(name, policy))).collect()
    }

    fn plan(&self, name: &Name, policy: &BackendTlsPolicy) -> PolicyPlan {
        let (targets, ancestors) = self.attachments.reached(targets(name, policy));
        let mut plan = PolicyPlan {
            generation: policy.metadata.generation.unwrap_or_default(),
            ancestors,
            accepted: Condition::accepted(),
            resolved: None,
            resource: None,
        };
        let mut resolved = Condition::resolved();
        // Nothing is looked up that nobody needs.
        if !plan.ancestors.is_empty() {
            let tls = self.tls(name, policy, &mut resolved);
            let unattached = self.attachments.unattached(name, &targets);
            if let Some(condition) = unattached.or_else(|| tls.as_ref().err().cloned()) {
                plan.accepted = condition;
            }
            plan.resource = tls.ok().filter(|_| self.attachments.governs(name, &targets));
        }
        plan.resolved = Some(resolved);
        plan
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

fn targets<'a>(name: &Name, policy: &'a BackendTlsPolicy) -> Vec<Target<'a>> {
    let targets = policy.spec.target_refs.iter().filter_map(|target| {
        let kind = (target.group.as_deref(), target.kind.as_deref());
        policy::target(name, kind, &target.name, target.section_name.as_deref())
    });
    targets.collect()
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
