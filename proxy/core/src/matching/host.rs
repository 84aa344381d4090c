//! Host names: exact ones, wildcards and "any", looked up from the most specific to the least.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Values by host name.
#[derive(Clone, Debug)]
pub struct Hosts<T> {
    exact: HashMap<Arc<str>, T>,
    /// By what follows the `*`, the dot included.
    wildcard: HashMap<Arc<str>, T>,
    any: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: None }
    }
}

impl<T> Hosts<T> {
    /// The value of a host name as written in the API: exact, with a leading `*.`, or none for any.
    pub fn entry(&mut self, hostname: Option<&str>) -> &mut T
    where
        T: Default,
    {
        match hostname {
            None => self.any.get_or_insert_default(),
            Some(name) => match name.strip_prefix('*') {
                Some(suffix) => self.wildcard.entry(suffix.to_ascii_lowercase().into()).or_default(),
                None => self.exact.entry(name.to_ascii_lowercase().into()).or_default(),
            },
        }
    }

    /// Values for a host in lower case, most specific first. A wildcard stands for one or more labels, never for none.
    pub fn matching<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a T> {
        let exact = (!self.exact.is_empty()).then(|| self.exact.get(host)).flatten();
        let wildcards = if self.wildcard.is_empty() { "" } else { host };
        let wildcard = wildcards
            .match_indices('.')
            .filter(|(dot, _)| *dot > 0)
            .filter_map(|(dot, _)| self.wildcard.get(&wildcards[dot..]));
        exact.into_iter().chain(wildcard).chain(&self.any)
    }

    /// Every value.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.wildcard.values()).chain(&self.any)
    }

    /// Removes the value of a host name as written in the API.
    pub fn remove(&mut self, hostname: Option<&str>) {
        match hostname {
            None => self.any = None,
            Some(name) => match name.strip_prefix('*') {
                Some(suffix) => drop(self.wildcard.remove(&*suffix.to_ascii_lowercase())),
                None => drop(self.exact.remove(&*name.to_ascii_lowercase())),
            },
        }
    }
}

/// The host of a `Host` header or authority: without port, in lower case.
pub fn normalise(authority: &str) -> Cow<'_, str> {
    let host = match authority.rfind(':') {
        // The colons of an address in brackets are not a port's.
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::{Hosts, normalise};

    #[test]
    fn the_most_specific_comes_first_and_an_apex_is_not_in_its_wildcard() {
        let mut hosts = Hosts::<&str>::default();
        for name in ["a.b.example.com", "*.example.com", "*.b.example.com", "example.org"] {
            *hosts.entry(Some(name)) = name;
        }
        *hosts.entry(None) = "any";
        let cases: [(&str, &[&str]); 7] = [
            ("a.b.example.com", &["a.b.example.com", "*.b.example.com", "*.example.com", "any"]),
            ("x.y.b.example.com", &["*.b.example.com", "*.example.com", "any"]),
            ("b.example.com", &["*.example.com", "any"]),
            ("example.com", &["any"]),
            (".example.com", &["any"]),
            ("example.org", &["example.org", "any"]),
            ("", &["any"]),
        ];
        for (host, expected) in cases {
            assert_eq!(hosts.matching(host).copied().collect::<Vec<_>>(), expected, "{host}");
        }
    }

    #[test]
    fn port_and_case_of_a_host_do_not_matter() {
        let cases = [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ];
        for (authority, host) in cases {
            assert_eq!(normalise(authority), host);
        }
    }
}
