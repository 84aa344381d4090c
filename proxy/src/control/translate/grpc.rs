//! The rules of GRPCRoutes.

use sluice_gateway_types::{GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule, GrpcRouteSpec, RouteFilter};
use sluice_proxy_core::model::{self, PathMatch};

use crate::control::translate::{
    filter::{self, Refusal},
    route::{self, Rules},
};

/// Filters that a GRPCRoute may have, of those that an HTTPRoute may.
const FILTERS: [&str; 3] = ["RequestHeaderModifier", "RequestMirror", "ResponseHeaderModifier"];

/// Translates the rules of a GRPCRoute.
pub fn rules(spec: &GrpcRouteSpec, found: &mut Rules<'_>) -> Result<(), Refusal> {
    found.each(spec.rules.as_deref(), rule)
}

fn rule(spec: &GrpcRouteRule, index: usize, found: &mut Rules<'_>) -> Result<model::Rule, Refusal> {
    let place = format!("spec.rules[{index}]");
    filter::known(&spec.unknown, &place)?;
    let mut references = spec.backend_refs.iter().enumerate();
    let supported = only_ours(&spec.filters, &place).and_then(|()| {
        references
            .try_for_each(|(index, backend)| only_ours(&backend.filters, &format!("{place}.backendRefs[{index}]")))
    });
    let matches: Result<Vec<_>, _> =
        spec.matches.iter().enumerate().map(|(i, m)| condition(m, &format!("{place}.matches[{i}]"))).collect();
    let matches = matches?;
    let (filters, backends) = found.work(supported, &spec.filters, &spec.backend_refs, &place)?;
    Ok(model::Rule {
        name: spec.name.clone().unwrap_or_else(|| index.to_string()),
        matches,
        filters,
        backends,
        session: spec.session_persistence.as_ref().map(|spec| found.sessions.session(spec, &place)).transpose()?,
        ..model::Rule::default()
    })
}

fn only_ours(filters: &[RouteFilter], place: &str) -> Result<(), Refusal> {
    match filters.iter().position(|filter| !FILTERS.contains(&filter.type_.as_str())) {
        None => Ok(()),
        Some(index) => {
            let type_ = &filters[index].type_;
            let message = format!("{place}.filters[{index}]: filter {type_} is not supported in GRPCRoutes");
            Err(Refusal::unsupported(message))
        }
    }
}

fn condition(spec: &GrpcRouteMatch, place: &str) -> Result<model::Match, Refusal> {
    filter::known(&spec.unknown, place)?;
    Ok(model::Match {
        path: spec.method.as_ref().map(|spec| method(spec, &format!("{place}.method"))).transpose()?,
        headers: route::headers(&spec.headers, place)?,
        ..model::Match::default()
    })
}

fn method(spec: &GrpcMethodMatch, place: &str) -> Result<PathMatch, Refusal> {
    let given = |part: &Option<String>| part.clone().filter(|part| !part.is_empty());
    let regex = route::is_regex(spec.type_.as_deref(), place)?;
    let (service, method) = (given(&spec.service), given(&spec.method));
    if service.is_none() && method.is_none() {
        return Err(Refusal::unsupported(format!("{place}: service or method must be given")));
    }
    Ok(PathMatch::Grpc(model::GrpcMethod { service, method, regex }))
}
