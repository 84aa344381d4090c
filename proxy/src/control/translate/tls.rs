//! TLS of listeners: whether they end it, their certificates, what is asked of clients, and what backends are shown.

#[cfg(test)]
mod tests;

use sluice_gateway_types::{FrontendTls, FrontendValidation, Gateway, Listener, ListenerTls};
use sluice_proxy_core::model::{Certificate, ClientValidation, ListenerProtocol, Sharing, Termination};

use crate::control::{
    objects::Objects,
    translate::{
        conditions::{ACCEPTED, Condition, INSECURE_FRONTEND, RESOLVED_REFS},
        gateway::ListenerPlan,
        reference::From,
        secrets::{self, Problem},
    },
};

/// Gives a listener that ends TLS what it needs for it, or says what is wrong. `from` is who refers to its certificates;
/// authorities of clients are the Gateway's reference.
pub fn secure(
    plan: &mut ListenerPlan,
    spec: &Listener,
    frontend: Option<&FrontendTls>,
    (from, gateway): (From<'_>, From<'_>),
    objects: &Objects,
) {
    let secured = plan.protocol.filter(|protocol| protocol.sharing() == Sharing::ServerName && plan.accepted.holds);
    let Some(protocol) = secured else { return };
    let tls = spec.tls.clone().unwrap_or_default();
    match ends_tls(&tls, protocol) {
        Ok(ends_tls) => plan.ends_tls = ends_tls,
        Err(message) => plan.accepted = Condition::no(ACCEPTED, "UnsupportedValue", message),
    }
    if !plan.ends_tls {
        return;
    }
    let mut termination = Termination::default();
    for reference in &tls.certificate_refs {
        match secrets::certificate(reference, from, objects) {
            Ok(certificate) => {
                termination.certificates.push(certificate.id.clone());
                plan.certificates.push(certificate);
            }
            Err(problem) => unresolved(plan, certificate_problem(&problem)),
        }
    }
    if tls.certificate_refs.is_empty() {
        let message = "tls.certificateRefs: a listener of this protocol needs a certificate";
        unresolved(plan, Condition::no(RESOLVED_REFS, "InvalidCertificateRef", message));
    }
    // The specification has it for what handles HTTPS.
    let frontend = frontend.filter(|_| protocol == ListenerProtocol::Https);
    if let Some(validation) = frontend.and_then(|frontend| validation_of(frontend, plan.port)) {
        match clients(validation, gateway, objects, plan) {
            Some(clients) => termination.clients = Some(clients),
            None => return,
        }
    }
    plan.termination = Some(termination).filter(|termination| !termination.certificates.is_empty());
}

/// Of several problems the first is told.
fn unresolved(plan: &mut ListenerPlan, condition: Condition) {
    if plan.resolved.holds {
        plan.resolved = condition;
    }
}

/// Whether a listener of this protocol ends TLS, or what of its TLS is not supported.
fn ends_tls(tls: &ListenerTls, protocol: ListenerProtocol) -> Result<bool, String> {
    if let Some(field) = tls.unknown.keys().next() {
        return Err(format!("tls.{field} is not supported"));
    }
    if let Some(option) = tls.options.keys().next() {
        return Err(format!("tls.options: {option} is not known"));
    }
    match tls.mode.as_deref() {
        None | Some("Terminate") => Ok(true),
        Some("Passthrough") if protocol == ListenerProtocol::Tls => Ok(false),
        Some(mode) => Err(format!("tls.mode: {mode} is not supported for protocol {protocol}")),
    }
}

fn certificate_problem(problem: &Problem) -> Condition {
    let reason = match problem {
        Problem::NotPermitted(_) => "RefNotPermitted",
        Problem::Kind(_) | Problem::Invalid(_) => "InvalidCertificateRef",
    };
    Condition::no(RESOLVED_REFS, reason, format!("tls.certificateRefs: {}", problem.message()))
}

fn validation_of(frontend: &FrontendTls, port: u16) -> Option<&FrontendValidation> {
    let of_port = frontend.per_port.iter().find(|of| of.port == i32::from(port)).map(|of| &of.tls);
    of_port.unwrap_or(&frontend.default).validation.as_ref()
}

fn is_insecure(validation: &FrontendValidation) -> bool {
    validation.mode.as_deref() == Some("AllowInsecureFallback")
}

/// What is asked of the clients of a listener. None, with the reason in the plan, when nobody could be let in.
fn clients(
    validation: &FrontendValidation,
    gateway: From<'_>,
    objects: &Objects,
    plan: &mut ListenerPlan,
) -> Option<ClientValidation> {
    match validation.mode.as_deref() {
        None | Some("AllowValidOnly" | "AllowInsecureFallback") => {}
        Some(mode) => {
            let message = format!("the Gateway's tls.frontend: mode {mode} is not supported");
            plan.accepted = Condition::no(ACCEPTED, "UnsupportedValue", message);
            return None;
        }
    }
    let (authorities, problem) = secrets::all_authorities(&validation.ca_certificate_refs, gateway, objects);
    if let Some(problem) = problem {
        let reason = match problem {
            Problem::NotPermitted(_) => "RefNotPermitted",
            Problem::Kind(_) => "InvalidCACertificateKind",
            Problem::Invalid(_) => "InvalidCACertificateRef",
        };
        unresolved(plan, Condition::no(RESOLVED_REFS, reason, format!("caCertificateRefs: {}", problem.message())));
    }
    if authorities.is_empty() {
        let message = "no authority of the Gateway's tls.frontend for this port is usable";
        plan.accepted = Condition::no(ACCEPTED, "NoValidCACertificate", message);
        return None;
    }
    Some(ClientValidation { authorities, optional: is_insecure(validation) })
}

/// The certificate that a Gateway shows to backends, if it is usable, and what is said of it. None where it names none.
pub fn identity(gateway: &Gateway, from: From<'_>, objects: &Objects) -> Option<(Option<Certificate>, Condition)> {
    let reference = gateway.spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()?;
    Some(match secrets::certificate(reference, from, objects) {
        Ok(certificate) => (Some(certificate), Condition::resolved()),
        Err(problem) => {
            let reason = match problem {
                Problem::NotPermitted(_) => "RefNotPermitted",
                Problem::Kind(_) | Problem::Invalid(_) => "InvalidClientCertificateRef",
            };
            let message = format!("tls.backend.clientCertificateRef: {}", problem.message());
            (None, Condition::no(RESOLVED_REFS, reason, message))
        }
    })
}

/// Has what comes to the listeners that are served go on under this certificate.
pub fn show(identity: &Certificate, listeners: &mut [ListenerPlan]) {
    for plan in listeners {
        if let Some(listener) = &mut plan.resource {
            listener.identity = Some(identity.id.clone());
            plan.certificates.push(identity.clone());
        }
    }
}

/// Said of a Gateway that lets clients in whose certificates are not valid.
pub fn insecure(gateway: &Gateway) -> Option<Condition> {
    let frontend = gateway.spec.tls.as_ref()?.frontend.as_ref()?;
    let all = [&frontend.default].into_iter().chain(frontend.per_port.iter().map(|of| &of.tls));
    let insecure = all.filter_map(|tls| tls.validation.as_ref()).any(is_insecure);
    insecure.then(|| {
        let message = "tls.frontend lets clients in whose certificates are not valid, or who have none";
        Condition::yes(INSECURE_FRONTEND, "ConfigurationChanged", message)
    })
}
