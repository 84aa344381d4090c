//! Filters and what they may be combined with.

use sluice_gateway_types::{
    HeaderFilter, HeaderValue, PathModifier, RedirectFilter, RewriteFilter, RouteFilter, Unknown,
};
use sluice_proxy_core::model::{Filter, HeaderEdit, PathEdit, Redirect, Rewrite};

/// Why filters cannot be used: a reason of the specification and a message that names the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reason of condition `Accepted`.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

impl Refusal {
    /// A value that is not supported.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self { reason: "UnsupportedValue", message: message.into() }
    }
}

/// Where the filters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// On a backendRef.
    Backend,
    /// On a rule.
    Rule,
}

/// Translates filters; `place` names their field in messages.
pub fn filters(specs: &[RouteFilter], level: Level, place: &str) -> Result<Vec<Filter>, Refusal> {
    let translated: Result<Vec<_>, _> = specs
        .iter()
        .enumerate()
        .map(|(index, spec)| filter(spec, level, &format!("{place}.filters[{index}]")))
        .collect();
    let filters = translated?;
    let redirects = filters.iter().any(|filter| matches!(filter, Filter::Redirect(_)));
    let rewrites = filters.iter().any(|filter| matches!(filter, Filter::Rewrite(_)));
    if redirects && rewrites {
        let message = format!("{place}.filters: a redirect and a rewrite cannot be combined");
        return Err(Refusal { reason: "IncompatibleFilters", message });
    }
    Ok(filters)
}

/// Refuses fields that are not known.
pub fn known(unknown: &Unknown, place: &str) -> Result<(), Refusal> {
    match unknown.keys().next() {
        None => Ok(()),
        Some(field) => Err(Refusal::unsupported(format!("{place}.{field} is not supported"))),
    }
}

fn filter(spec: &RouteFilter, level: Level, place: &str) -> Result<Filter, Refusal> {
    let missing = || Refusal::unsupported(format!("{place} has no settings for its type {}", spec.type_));
    match spec.type_.as_str() {
        "RequestHeaderModifier" => {
            Ok(Filter::RequestHeaders(header_edit(spec.request_header_modifier.as_ref().ok_or_else(missing)?)))
        }
        "ResponseHeaderModifier" => {
            Ok(Filter::ResponseHeaders(header_edit(spec.response_header_modifier.as_ref().ok_or_else(missing)?)))
        }
        "RequestRedirect" if level == Level::Rule => {
            redirect(spec.request_redirect.as_ref().ok_or_else(missing)?, place).map(Filter::Redirect)
        }
        "URLRewrite" => rewrite(spec.url_rewrite.as_ref().ok_or_else(missing)?, place).map(Filter::Rewrite),
        other => Err(Refusal::unsupported(format!("{place}: filter {other} is not supported here"))),
    }
}

fn header_edit(spec: &HeaderFilter) -> HeaderEdit {
    let pairs = |values: &[HeaderValue]| values.iter().map(|h| (h.name.clone(), h.value.clone())).collect();
    HeaderEdit { set: pairs(&spec.set), add: pairs(&spec.add), remove: spec.remove.clone() }
}

fn redirect(spec: &RedirectFilter, place: &str) -> Result<Redirect, Refusal> {
    known(&spec.unknown, &format!("{place}.requestRedirect"))?;
    let number = |field: &str, value: i32| {
        u16::try_from(value).map_err(|_| Refusal::unsupported(format!("{place}.requestRedirect.{field}: {value}")))
    };
    Ok(Redirect {
        scheme: spec.scheme.clone(),
        hostname: spec.hostname.clone(),
        path: spec.path.as_ref().map(|path| path_edit(path, place)).transpose()?,
        port: spec.port.map(|port| number("port", port)).transpose()?,
        status: number("statusCode", spec.status_code.unwrap_or(302))?,
    })
}

fn rewrite(spec: &RewriteFilter, place: &str) -> Result<Rewrite, Refusal> {
    known(&spec.unknown, &format!("{place}.urlRewrite"))?;
    let path = spec.path.as_ref().map(|path| path_edit(path, place)).transpose()?;
    Ok(Rewrite { hostname: spec.hostname.clone(), path })
}

fn path_edit(spec: &PathModifier, place: &str) -> Result<PathEdit, Refusal> {
    match spec.type_.as_str() {
        "ReplaceFullPath" => Ok(PathEdit::Full(spec.replace_full_path.clone().unwrap_or_default())),
        "ReplacePrefixMatch" => Ok(PathEdit::Prefix(spec.replace_prefix_match.clone().unwrap_or_default())),
        other => Err(Refusal::unsupported(format!("{place}: path type {other} is not supported"))),
    }
}
