//! Cross-origin resource sharing: which web pages may use a response. A preflight is answered here and never forwarded;
//! every other request is, and its response says what the page may do with it.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::FilterError;
use crate::model;

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Box<[Pattern]>,
    credentials: bool,
    methods: List,
    headers: List,
    expose: Option<HeaderValue>,
    max_age: HeaderValue,
}

/// Origins that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Some { scheme: Box<str>, host: Host, port: u16 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    Exact(Box<str>),
    /// What follows the `*`, the dot included.
    Suffix(Box<str>),
}

/// What a preflight may ask for.
#[derive(Clone, Debug)]
enum List {
    /// Nothing beyond what is always allowed.
    Safe,
    Any,
    Some(HeaderValue),
}

/// What the filter has to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered with these headers.
    Preflight(HeaderMap),
    /// It is forwarded; the response is marked for this origin if that is allowed.
    Forward(Option<HeaderValue>),
}

/// Every header of a response that is the filter's.
const OURS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

impl Cors {
    /// Checks a filter.
    pub fn compile(spec: &model::Cors) -> Result<Self, FilterError> {
        let pattern = |origin: &String| Pattern::parse(origin).ok_or_else(|| FilterError::Origin(origin.clone()));
        let any_exposed = spec.expose.iter().any(|name| name == "*");
        Ok(Self {
            origins: spec.origins.iter().map(pattern).collect::<Result<_, _>>()?,
            credentials: spec.credentials,
            methods: List::compile(&spec.methods)?,
            headers: List::compile(&spec.headers)?,
            expose: match (any_exposed, spec.credentials) {
                // With credentials `*` means a header of that name.
                (true, true) => None,
                (true, false) => Some(HeaderValue::from_static("*")),
                (false, _) => joined(&spec.expose)?,
            },
            max_age: HeaderValue::from(spec.max_age),
        })
    }

    /// What is to be done with a request.
    pub fn judge(&self, method: &Method, headers: &HeaderMap) -> Verdict {
        let origin = headers.get(header::ORIGIN);
        let allowed = origin.filter(|origin| self.allows(origin));
        let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
        match (origin, asked) {
            (Some(_), Some(asked)) if *method == Method::OPTIONS => {
                Verdict::Preflight(self.preflight(allowed, asked, headers))
            }
            _ => Verdict::Forward(allowed.cloned()),
        }
    }

    fn preflight(&self, allowed: Option<&HeaderValue>, method: &HeaderValue, asked: &HeaderMap) -> HeaderMap {
        let mut answer = HeaderMap::new();
        if let Some(origin) = allowed {
            self.allow_origin(&mut answer, origin);
            let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
            let methods = self.methods.answer(Some(method));
            for (name, value) in [
                (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, self.headers.answer(wanted)),
                (header::ACCESS_CONTROL_MAX_AGE, Some(&self.max_age)),
            ] {
                if let Some(value) = value {
                    answer.insert(name, value.clone());
                }
            }
        }
        let varies = "origin, access-control-request-method, access-control-request-headers";
        answer.insert(header::VARY, HeaderValue::from_static(varies));
        answer
    }

    /// Marks the response to a request that was forwarded. What the backend says itself does not count: the route's
    /// filter is where it is decided.
    pub fn mark(&self, allowed: Option<&HeaderValue>, response: &mut HeaderMap) {
        for name in &OURS {
            response.remove(name);
        }
        if let Some(origin) = allowed {
            self.allow_origin(response, origin);
        }
        response.append(header::VARY, HeaderValue::from_static("origin"));
    }

    fn allow_origin(&self, response: &mut HeaderMap, origin: &HeaderValue) {
        // The page's own origin is right in every case; `*` is not with credentials.
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(expose) = &self.expose {
            response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        let parts = split(origin);
        self.origins.iter().any(|pattern| match (pattern, &parts) {
            (Pattern::Any, _) => true,
            (Pattern::Some { scheme, host, port }, Some((of_scheme, of_host, of_port))) => {
                scheme.eq_ignore_ascii_case(of_scheme) && *port == *of_port && host.takes(of_host)
            }
            (Pattern::Some { .. }, None) => false,
        })
    }
}

impl Pattern {
    fn parse(origin: &str) -> Option<Self> {
        if origin == "*" {
            return Some(Self::Any);
        }
        let (scheme, host, port) = split(origin)?;
        let host = match host.strip_prefix('*') {
            Some("") => Host::Any,
            Some(suffix) if suffix.starts_with('.') => Host::Suffix(suffix.to_ascii_lowercase().into()),
            Some(_) => return None,
            None => Host::Exact(host.to_ascii_lowercase().into()),
        };
        Some(Self::Some { scheme: scheme.into(), host, port })
    }
}

impl Host {
    fn takes(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.eq_ignore_ascii_case(host),
            Self::Suffix(suffix) => {
                let start = host.len().checked_sub(suffix.len());
                let end = start.filter(|start| *start > 0).and_then(|start| host.get(start..));
                end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
        }
    }
}

impl List {
    fn compile(values: &[String]) -> Result<Self, FilterError> {
        if values.iter().any(|value| value == "*") {
            return Ok(Self::Any);
        }
        Ok(joined(values)?.map_or(Self::Safe, Self::Some))
    }

    /// What to answer to a page that asks for `asked`.
    fn answer<'a>(&'a self, asked: Option<&'a HeaderValue>) -> Option<&'a HeaderValue> {
        match self {
            Self::Safe => None,
            Self::Any => asked,
            Self::Some(list) => Some(list),
        }
    }
}

fn joined(values: &[String]) -> Result<Option<HeaderValue>, FilterError> {
    let valid = |value: &&String| HeaderName::try_from(value.as_str()).is_err();
    if let Some(bad) = values.iter().find(valid) {
        return Err(FilterError::HeaderName(bad.clone()));
    }
    let list = values.join(", ");
    Ok(HeaderValue::try_from(list).ok().filter(|list| !list.is_empty()))
}

/// Scheme, host and port of an origin; the port is the scheme's where it is not named.
fn split(origin: &str) -> Option<(&str, &str, u16)> {
    let (scheme, rest) = origin.split_once("://")?;
    let implied = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => 80,
        _ if scheme.eq_ignore_ascii_case("https") => 443,
        _ => return None,
    };
    let (host, port) = match rest.rfind(':') {
        // The colons of an address in brackets are not a port's.
        Some(colon) if !rest[colon..].contains(']') => (&rest[..colon], rest[colon + 1..].parse().ok()?),
        _ => (rest, implied),
    };
    (!host.is_empty()).then_some((scheme, host, port))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Method};

    use super::{Cors, Verdict};
    use crate::model;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn spec(origins: &[&str]) -> model::Cors {
        model::Cors { origins: strings(origins), max_age: 5, ..model::Cors::default() }
    }

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).expect("name"), HeaderValue::from_str(value).expect("value"))
        };
        list.iter().map(pair).collect()
    }

    /// Headers of the answer to a preflight, without `Vary`.
    fn preflight(spec: &model::Cors, origin: &str, asked: &[(&str, &str)]) -> Vec<String> {
        let mut request = headers(&[("origin", origin), ("access-control-request-method", "PUT")]);
        request.extend(headers(asked));
        let verdict = Cors::compile(spec).expect("filter").judge(&Method::OPTIONS, &request);
        let Verdict::Preflight(mut answer) = verdict else { panic!("not a preflight: {verdict:?}") };
        answer.remove("vary").expect("vary");
        let mut lines: Vec<_> = answer
            .iter()
            .map(|(name, value)| {
                let name = name.as_str().trim_start_matches("access-control-");
                format!("{name}: {}", value.to_str().expect("ascii"))
            })
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn origins_are_matched_as_the_api_says() {
        let cases = [
            ("https://www.foo.com", "https://www.foo.com", true),
            ("https://www.foo.com", "https://WWW.foo.com:443", true),
            ("https://www.foo.com", "http://www.foo.com", false),
            ("https://www.foo.com", "https://www.foo.com:8443", false),
            ("https://www.foo.com:8443", "https://www.foo.com:8443", true),
            ("https://*.bar.com", "https://www.bar.com", true),
            ("https://*.bar.com", "https://xpto.www.bar.com", true),
            ("https://*.bar.com", "https://bar.com", false),
            ("https://*.bar.com", "https://.bar.com", false),
            ("https://*.bar.com", "https://foobar.com", false),
            ("http://*", "http://anything.test", true),
            ("http://*", "http://anything.test:81", false),
            ("*", "https://foobar.com:12345", true),
            ("*", "null", true),
            ("http://*", "null", false),
            ("http://[::1]", "http://[::1]", true),
            ("http://[::1]:81", "http://[::1]:81", true),
        ];
        for (pattern, origin, expected) in cases {
            let allowed = !preflight(&spec(&[pattern]), origin, &[]).is_empty();
            assert_eq!(allowed, expected, "{pattern} {origin}");
        }
        for bad in ["ftp://a", "a", "https://", "https://*a.com", "https://a:port"] {
            assert!(Cors::compile(&spec(&[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_preflight_is_told_what_is_allowed() {
        let list = model::Cors {
            credentials: true,
            methods: strings(&["GET", "OPTIONS"]),
            headers: strings(&["x-header-1", "x-header-2"]),
            expose: strings(&["x-header-3"]),
            max_age: 3600,
            ..spec(&["https://www.foo.com"])
        };
        let expected = [
            "allow-credentials: true",
            "allow-headers: x-header-1, x-header-2",
            "allow-methods: GET, OPTIONS",
            "allow-origin: https://www.foo.com",
            "expose-headers: x-header-3",
            "max-age: 3600",
        ];
        assert_eq!(preflight(&list, "https://www.foo.com", &[]), expected);
        assert!(preflight(&list, "https://foobar.com", &[]).is_empty());
    }

    #[test]
    fn wildcards_answer_with_what_was_asked_for() {
        let any =
            model::Cors { methods: strings(&["*"]), headers: strings(&["*"]), expose: strings(&["*"]), ..spec(&["*"]) };
        let asked = [("access-control-request-headers", "x-a, x-b")];
        let expected = [
            "allow-headers: x-a, x-b",
            "allow-methods: PUT",
            "allow-origin: https://a.test",
            "expose-headers: *",
            "max-age: 5",
        ];
        assert_eq!(preflight(&any, "https://a.test", &asked), expected);
        let with_credentials = model::Cors { credentials: true, ..any };
        let expected = ["allow-credentials: true", "allow-methods: PUT", "allow-origin: https://a.test", "max-age: 5"];
        assert_eq!(preflight(&with_credentials, "https://a.test", &[]), expected);
    }

    #[test]
    fn other_requests_are_forwarded_and_their_responses_marked_for_allowed_origins() {
        let cors = Cors::compile(&spec(&["https://www.foo.com"])).expect("filter");
        let marked = |method: &Method, request: &[(&str, &str)]| {
            let Verdict::Forward(allowed) = cors.judge(method, &headers(request)) else { panic!("answered") };
            let mut response = headers(&[("access-control-allow-origin", "https://theirs.test")]);
            cors.mark(allowed.as_ref(), &mut response);
            response.get("access-control-allow-origin").map(|value| value.to_str().expect("ascii").to_owned())
        };
        let good = ("origin", "https://www.foo.com");
        let asks = ("access-control-request-method", "GET");
        assert_eq!(marked(&Method::GET, &[good, asks]).as_deref(), Some("https://www.foo.com"));
        assert_eq!(marked(&Method::OPTIONS, &[good]).as_deref(), Some("https://www.foo.com"));
        assert_eq!(marked(&Method::OPTIONS, &[asks]), None);
        assert_eq!(marked(&Method::PUT, &[("origin", "https://foobar.com")]), None);
    }
}
