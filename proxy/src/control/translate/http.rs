//! The rules of HTTPRoutes.

use sluice_gateway_types::{HttpRouteSpec, PathMatch, RouteMatch, RouteRetry, RouteRule, RouteTimeouts};
use sluice_proxy_core::model;

use crate::control::translate::{
    duration,
    filter::{self, Refusal},
    route::{self, Rules},
};

/// Translates the rules of an HTTPRoute.
pub fn rules(spec: &HttpRouteSpec, found: &mut Rules<'_>) -> Result<(), Refusal> {
    found.each(spec.rules.as_deref(), rule)
}

fn rule(spec: &RouteRule, index: usize, found: &mut Rules<'_>) -> Result<model::Rule, Refusal> {
    let place = format!("spec.rules[{index}]");
    filter::known(&spec.unknown, &place)?;
    let matches: Result<Vec<_>, _> =
        spec.matches.iter().enumerate().map(|(i, m)| condition(m, &format!("{place}.matches[{i}]"))).collect();
    let matches = matches?;
    let (filters, backends) = found.work(Ok(()), &spec.filters, &spec.backend_refs, &place)?;
    Ok(model::Rule {
        name: spec.name.clone().unwrap_or_else(|| index.to_string()),
        matches,
        filters,
        backends,
        timeouts: spec.timeouts.as_ref().map(|spec| timeouts(spec, &place)).transpose()?.unwrap_or_default(),
        retry: spec.retry.as_ref().map(|spec| retry(spec, &place)).transpose()?,
        session: spec.session_persistence.as_ref().map(|spec| found.sessions.session(spec, &place)).transpose()?,
    })
}

fn timeouts(spec: &RouteTimeouts, place: &str) -> Result<model::Timeouts, Refusal> {
    let place = format!("{place}.timeouts");
    filter::known(&spec.unknown, &place)?;
    let request = duration::field(spec.request.as_ref(), &format!("{place}.request"))?;
    let backend = duration::field(spec.backend_request.as_ref(), &format!("{place}.backendRequest"))?;
    if request.is_some_and(|request| request > 0 && backend.is_some_and(|backend| backend > request)) {
        return Err(Refusal::unsupported(format!("{place}: backendRequest cannot be longer than request")));
    }
    Ok(model::Timeouts { request, backend })
}

fn retry(spec: &RouteRetry, place: &str) -> Result<model::Retry, Refusal> {
    let place = format!("{place}.retry");
    filter::known(&spec.unknown, &place)?;
    let code = |code: &i32| {
        let valid = u16::try_from(*code).ok().filter(|code| (400..600).contains(code));
        valid.ok_or_else(|| Refusal::unsupported(format!("{place}.codes: {code} is not the status of an error")))
    };
    let attempts = spec.attempts.unwrap_or(1);
    Ok(model::Retry {
        codes: spec.codes.iter().map(code).collect::<Result<_, _>>()?,
        attempts: u32::try_from(attempts)
            .map_err(|_| Refusal::unsupported(format!("{place}.attempts: {attempts} is not a number of attempts")))?,
        backoff: duration::field(spec.backoff.as_ref(), &format!("{place}.backoff"))?,
    })
}

fn condition(spec: &RouteMatch, place: &str) -> Result<model::Match, Refusal> {
    filter::known(&spec.unknown, place)?;
    Ok(model::Match {
        path: spec.path.as_ref().map(|spec| path(spec, place)).transpose()?,
        headers: route::headers(&spec.headers, place)?,
        query: route::query(&spec.query_params, place)?,
        method: spec.method.clone(),
    })
}

fn path(spec: &PathMatch, place: &str) -> Result<model::PathMatch, Refusal> {
    let value = spec.value.clone().unwrap_or_else(|| "/".to_owned());
    match spec.type_.as_deref().unwrap_or("PathPrefix") {
        "Exact" => Ok(model::PathMatch::Exact(value)),
        "PathPrefix" => Ok(model::PathMatch::Prefix(value)),
        "RegularExpression" => Ok(model::PathMatch::Regex(value)),
        other => Err(Refusal::unsupported(format!("{place}.path: type {other} is not supported"))),
    }
}
