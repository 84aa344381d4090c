//! Redirects: where `Location` points.

use http::{HeaderValue, StatusCode};

use super::FilterError;
use super::path::PathEdits;
use crate::model::Redirect;

/// A compiled redirect.
#[derive(Clone, Debug)]
pub struct Redirection {
    /// Status of the answer.
    pub status: StatusCode,
    scheme: Option<Scheme>,
    hostname: Option<Box<str>>,
    path: Option<PathEdits>,
    port: Option<u16>,
}

/// What is spoken between a client and the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// In TLS.
    Https,
}

impl Scheme {
    fn parse(scheme: &str) -> Result<Self, FilterError> {
        match scheme {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            other => Err(FilterError::Scheme(other.to_owned())),
        }
    }

    /// As in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What a redirect takes from the request where it says nothing itself.
#[derive(Clone, Copy, Debug)]
pub struct Redirected<'a> {
    /// What the client speaks.
    pub scheme: Scheme,
    /// Host without port.
    pub host: &'a str,
    /// Port of the listener in the Gateway's spec.
    pub listener_port: u16,
    /// Path of the request.
    pub path: &'a str,
    /// Query of the request.
    pub query: Option<&'a str>,
    /// Length of the path prefix that the rule matched.
    pub prefix: Option<usize>,
}

impl Redirection {
    /// Checks a redirect.
    pub fn compile(redirect: &Redirect) -> Result<Self, FilterError> {
        let status = match redirect.status {
            301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(redirect.status).ok(),
            _ => None,
        };
        Ok(Self {
            status: status.ok_or(FilterError::Status(redirect.status))?,
            scheme: redirect.scheme.as_deref().map(Scheme::parse).transpose()?,
            hostname: redirect.hostname.as_deref().map(super::rewrite::hostname).transpose()?,
            path: redirect.path.as_ref().map(PathEdits::compile).transpose()?,
            port: redirect.port,
        })
    }

    /// The `Location`; none when the request's own parts cannot stand in a header.
    ///
    /// Port, from the API's documentation: the redirect's; else, when it names a scheme, that scheme's; else the
    /// listener's. A port that its scheme implies is left out.
    pub fn location(&self, request: &Redirected<'_>) -> Option<HeaderValue> {
        let scheme = self.scheme.unwrap_or(request.scheme);
        let host = self.hostname.as_deref().unwrap_or(request.host);
        let port = self.port.or_else(|| self.scheme.map(Scheme::port)).unwrap_or(request.listener_port);
        let mut location = format!("{}://{host}", scheme.as_str());
        if port != scheme.port() {
            location.push(':');
            location.push_str(&port.to_string());
        }
        match &self.path {
            Some(path) => location.push_str(&path.apply(request.path, request.prefix)),
            None => location.push_str(request.path),
        }
        if let Some(query) = request.query {
            location.push('?');
            location.push_str(query);
        }
        HeaderValue::try_from(location).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Redirected, Redirection, Scheme};
    use crate::model::{PathEdit, Redirect};

    const REQUEST: Redirected<'_> = Redirected {
        scheme: Scheme::Http,
        host: "example.org",
        listener_port: 80,
        path: "/a/b",
        query: Some("q=1"),
        prefix: Some(2),
    };

    fn redirect() -> Redirect {
        Redirect { scheme: None, hostname: None, path: None, port: None, status: 302 }
    }

    fn location(redirect: &Redirect, listener_port: u16) -> String {
        let request = Redirected { listener_port, ..REQUEST };
        let location = Redirection::compile(redirect).expect("redirect").location(&request).expect("location");
        location.to_str().expect("ascii").to_owned()
    }

    #[test]
    fn ports_follow_the_api() {
        let with = |scheme: Option<&str>, port| Redirect { scheme: scheme.map(Into::into), port, ..redirect() };
        let cases = [
            (with(None, None), 80, "http://example.org/a/b?q=1"),
            (with(None, None), 8080, "http://example.org:8080/a/b?q=1"),
            (with(None, Some(80)), 8080, "http://example.org/a/b?q=1"),
            (with(None, Some(8083)), 80, "http://example.org:8083/a/b?q=1"),
            (with(Some("https"), None), 80, "https://example.org/a/b?q=1"),
            (with(Some("https"), None), 8080, "https://example.org/a/b?q=1"),
            (with(Some("https"), Some(443)), 8080, "https://example.org/a/b?q=1"),
            (with(Some("https"), Some(8443)), 80, "https://example.org:8443/a/b?q=1"),
            (with(Some("http"), None), 8080, "http://example.org/a/b?q=1"),
            (with(Some("http"), Some(443)), 80, "http://example.org:443/a/b?q=1"),
        ];
        for (redirect, port, expected) in cases {
            assert_eq!(location(&redirect, port), expected);
        }
    }

    #[test]
    fn what_the_client_speaks_stays() {
        let cases = [(443, "https://example.org/a/b?q=1"), (80, "https://example.org:80/a/b?q=1")];
        for (listener_port, expected) in cases {
            let request = Redirected { scheme: Scheme::Https, listener_port, ..REQUEST };
            let location = Redirection::compile(&redirect()).expect("redirect").location(&request);
            assert_eq!(location.expect("location"), expected);
        }
    }

    #[test]
    fn host_and_path_are_replaced() {
        let to = Redirect { hostname: Some("example.com".into()), ..redirect() };
        assert_eq!(location(&to, 80), "http://example.com/a/b?q=1");
        let to = Redirect { path: Some(PathEdit::Prefix("/z".into())), ..redirect() };
        assert_eq!(location(&to, 80), "http://example.org/z/b?q=1");
        let to = Redirect { path: Some(PathEdit::Full("/z".into())), ..redirect() };
        assert_eq!(location(&to, 80), "http://example.org/z?q=1");
    }

    #[test]
    fn what_is_not_a_redirect_is_refused() {
        assert!(Redirection::compile(&Redirect { status: 200, ..redirect() }).is_err());
        assert!(Redirection::compile(&Redirect { scheme: Some("ftp".into()), ..redirect() }).is_err());
        assert!(Redirection::compile(&Redirect { hostname: Some("a b".into()), ..redirect() }).is_err());
    }
}
