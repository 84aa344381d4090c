//! The rules of TCPRoutes, TLSRoutes and UDPRoutes.

use sluice_gateway_types::L4RouteRule;
use sluice_proxy_core::model;

use crate::control::{
    objects::RouteKind,
    translate::{
        filter::{self, Refusal},
        route::Rules,
    },
};

/// Refuses a TLSRoute for every server: where none are named one may well have been forgotten.
pub fn named(hostnames: &[String]) -> Result<(), Refusal> {
    if hostnames.is_empty() {
        return Err(Refusal::unsupported("spec.hostnames: a TLSRoute needs at least one"));
    }
    Ok(())
}

/// Translates the one rule that such a route has: there is nothing by which another one could be chosen.
pub fn rules(specs: &[L4RouteRule], kind: RouteKind, found: &mut Rules<'_>) -> Result<(), Refusal> {
    let [spec] = specs else {
        return Err(Refusal::unsupported(format!("spec.rules: a {} has exactly one rule", kind.name())));
    };
    let place = "spec.rules[0]";
    filter::known(&spec.unknown, place)?;
    if let Some(index) = spec.backend_refs.iter().position(|reference| !reference.filters.is_empty()) {
        let message = format!("{place}.backendRefs[{index}].filters are not for a {}", kind.name());
        return Err(Refusal::unsupported(message));
    }
    let backends = found.backends(&spec.backend_refs, place)?;
    let name = spec.name.clone().unwrap_or_else(|| "0".to_owned());
    found.list.push(model::Rule { name, backends, ..model::Rule::default() });
    Ok(())
}
