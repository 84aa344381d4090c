//! Filters and what they may be combined with.

use sluice_gateway_types::{
    CorsFilter, HeaderFilter, HeaderValue, HttpBackendRef, MirrorFilter, PathModifier, RedirectFilter, RewriteFilter,
    RouteFilter, Unknown,
};
use sluice_proxy_core::model::{Cors, Filter, HeaderEdit, Mirror, PathEdit, Redirect, Rewrite};

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

/// Translates filters; `place` names their field in messages. `resolve` gives the id of a backend that a filter names, or
/// none (and remembers why) when it cannot be used: then nothing is sent there.
pub fn filters(
    specs: &[RouteFilter],
    level: Level,
    place: &str,
    resolve: &mut dyn FnMut(&HttpBackendRef) -> Option<String>,
) -> Result<Vec<Filter>, Refusal> {
    let mut filters = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        filters.extend(filter(spec, level, &format!("{place}.filters[{index}]"), resolve)?);
    }
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

fn filter(
    spec: &RouteFilter,
    level: Level,
    place: &str,
    resolve: &mut dyn FnMut(&HttpBackendRef) -> Option<String>,
) -> Result<Option<Filter>, Refusal> {
    let missing = || Refusal::unsupported(format!("{place} has no settings for its type {}", spec.type_));
    let translated = match spec.type_.as_str() {
        "RequestHeaderModifier" => {
            Filter::RequestHeaders(header_edit(spec.request_header_modifier.as_ref().ok_or_else(missing)?))
        }
        "ResponseHeaderModifier" => {
            Filter::ResponseHeaders(header_edit(spec.response_header_modifier.as_ref().ok_or_else(missing)?))
        }
        "RequestRedirect" if level == Level::Rule => {
            Filter::Redirect(redirect(spec.request_redirect.as_ref().ok_or_else(missing)?, place)?)
        }
        "URLRewrite" => Filter::Rewrite(rewrite(spec.url_rewrite.as_ref().ok_or_else(missing)?, place)?),
        "CORS" if level == Level::Rule => Filter::Cors(cors(spec.cors.as_ref().ok_or_else(missing)?, place)?),
        "RequestMirror" if level == Level::Rule => {
            let mirror = mirror(spec.request_mirror.as_ref().ok_or_else(missing)?, place, resolve)?;
            return Ok(mirror.map(Filter::Mirror));
        }
        other => return Err(Refusal::unsupported(format!("{place}: filter {other} is not supported here"))),
    };
    Ok(Some(translated))
}

fn cors(spec: &CorsFilter, place: &str) -> Result<Cors, Refusal> {
    known(&spec.unknown, &format!("{place}.cors"))?;
    let max_age = spec.max_age.unwrap_or(5);
    let max_age =
        u32::try_from(max_age).map_err(|_| Refusal::unsupported(format!("{place}.cors.maxAge: {max_age}")))?;
    Ok(Cors {
        origins: spec.allow_origins.clone(),
        credentials: spec.allow_credentials.unwrap_or(false),
        methods: spec.allow_methods.clone(),
        headers: spec.allow_headers.clone(),
        expose: spec.expose_headers.clone(),
        max_age,
    })
}

fn mirror(
    spec: &MirrorFilter,
    place: &str,
    resolve: &mut dyn FnMut(&HttpBackendRef) -> Option<String>,
) -> Result<Option<Mirror>, Refusal> {
    let place = format!("{place}.requestMirror");
    known(&spec.unknown, &place)?;
    known(&spec.backend_ref.unknown, &format!("{place}.backendRef"))?;
    if spec.backend_ref.weight.is_some() || !spec.backend_ref.filters.is_empty() {
        return Err(Refusal::unsupported(format!("{place}.backendRef: weight and filters are not for mirrors")));
    }
    let (numerator, denominator) = match (spec.percent, &spec.fraction) {
        (None, None) => (1, 1),
        (Some(percent), None) => (percent, 100),
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (Some(_), Some(_)) => {
            return Err(Refusal::unsupported(format!("{place}: percent and fraction cannot be combined")));
        }
    };
    let (Ok(numerator), Ok(denominator @ 1..)) = (u32::try_from(numerator), u32::try_from(denominator)) else {
        return Err(Refusal::unsupported(format!("{place}: {numerator} of {denominator} is not a share")));
    };
    Ok(resolve(&spec.backend_ref).map(|backend| Mirror { backend, numerator, denominator }))
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
