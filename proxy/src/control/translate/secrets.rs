//! Certificates in Secrets and authorities in ConfigMaps, by reference. Permission is asked for before existence, so that
//! nobody finds out what exists in another namespace; what is not permitted is not even looked up.

use sluice_gateway_types::ObjectReference;
use sluice_proxy_core::model::{Certificate, PrivateKey};

use crate::control::{
    objects::{Name, Objects},
    translate::reference::{self, From, To},
};
use crate::tls;

/// Why a reference is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It names something of a kind that cannot be used.
    Kind(String),
    /// No ReferenceGrant permits it.
    NotPermitted(String),
    /// What it names does not exist or holds nothing usable.
    Invalid(String),
}

impl Problem {
    /// For a person.
    pub fn message(&self) -> &str {
        match self {
            Self::Kind(message) | Self::NotPermitted(message) | Self::Invalid(message) => message,
        }
    }
}

/// What a reference names, if it is of this kind and permitted.
fn target(reference: &ObjectReference, kind: &str, from: From<'_>, objects: &Objects) -> Result<Name, Problem> {
    let group = reference.group.as_deref().unwrap_or_default();
    let named = reference.kind.as_deref().unwrap_or(kind);
    if !group.is_empty() || named != kind {
        let shown = if group.is_empty() { "core" } else { group };
        return Err(Problem::Kind(format!("kind {named} in group {shown} is not supported; {kind} is")));
    }
    let name = Name::new(reference.namespace.as_deref().unwrap_or(from.namespace), &reference.name);
    let to = To { group, kind, namespace: &name.namespace, name: &name.name };
    if reference::permitted(objects, from, to) {
        Ok(name)
    } else {
        Err(Problem::NotPermitted(format!("no ReferenceGrant permits the reference to {kind} {name}")))
    }
}

/// The certificate and key of a Secret of type `kubernetes.io/tls`.
pub fn certificate(reference: &ObjectReference, from: From<'_>, objects: &Objects) -> Result<Certificate, Problem> {
    let name = target(reference, "Secret", from, objects)?;
    let invalid = |what: &dyn std::fmt::Display| Problem::Invalid(format!("Secret {name}: {what}"));
    let secret = objects.secret(&name).ok_or_else(|| invalid(&"it does not exist"))?;
    let field = |field: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(field));
        let value = value.ok_or_else(|| invalid(&format_args!("it has no {field}")))?;
        std::str::from_utf8(&value.0).map_err(|_| invalid(&format_args!("{field} is not PEM")))
    };
    let (chain, key) = (field("tls.crt")?, field("tls.key")?);
    tls::certified_key(chain, key).map_err(|error| invalid(&error))?;
    Ok(Certificate { id: name.to_string(), chain: chain.to_owned(), key: PrivateKey::new(key) })
}

/// The authorities of a ConfigMap, as PEM.
pub fn authorities(reference: &ObjectReference, from: From<'_>, objects: &Objects) -> Result<String, Problem> {
    let name = target(reference, "ConfigMap", from, objects)?;
    let invalid = |what: &dyn std::fmt::Display| Problem::Invalid(format!("ConfigMap {name}: {what}"));
    let map = objects.config_map(&name).ok_or_else(|| invalid(&"it does not exist"))?;
    let text = map.data.as_ref().and_then(|data| data.get("ca.crt")).ok_or_else(|| invalid(&"it has no ca.crt"))?;
    tls::authorities(text).map_err(|error| invalid(&error))?;
    // Several are put one behind the other.
    Ok(format!("{}\n", text.trim_end()))
}

/// The authorities of all references that are of use, as PEM, and the first that is not.
pub fn all_authorities(references: &[ObjectReference], from: From<'_>, objects: &Objects) -> (String, Option<Problem>) {
    let mut all = String::new();
    let mut first = None;
    for reference in references {
        match authorities(reference, from, objects) {
            Ok(text) => all.push_str(&text),
            Err(problem) => drop(first.get_or_insert(problem)),
        }
    }
    (all, first)
}
