//! What a route compares requests with, and how it changes them.

use http::{HeaderMap, Method, Request, header};
use sluice_proxy_core::filter::redirect::{Redirected, Redirection, Scheme};
use sluice_proxy_core::filter::{Cors, HeaderEdits, Rewriting};
use sluice_proxy_core::matching::{Hosts, PathMatcher, ValueMatcher, host};
use sluice_proxy_core::model::{self, HeaderEdit, PathEdit, PathMatch, Redirect, Rewrite, ValueMatch};

use super::text;

pub(super) const EDIT_WORDS: &[&str] =
    &["/", "//", "?", "#", "\n", "https", "http://a.test", "*", "a.test", "%2e", ".."];

/// The lines of an input, with empty ones where there are too few.
fn lines<const N: usize>(input: &[u8]) -> Option<[&str; N]> {
    let mut lines = text(input)?.split('\n');
    Some(std::array::from_fn(|_| lines.next().unwrap_or_default()))
}

/// A name matches itself and its wildcard, and nothing matches by accident of case or port.
pub(super) fn hosts(input: &[u8]) {
    let Some([pattern, authority]) = lines(input) else { return };
    let host = host::normalise(authority);
    assert_eq!(host::normalise(&host.to_ascii_uppercase()), host::normalise(&host), "case makes a difference");
    let mut hosts = Hosts::<bool>::default();
    *hosts.entry(Some(pattern)) = true;
    let found = hosts.matching(&host).count();
    let pattern = pattern.to_ascii_lowercase();
    let expected = match pattern.strip_prefix('*') {
        // One label or more in front of what follows the star.
        Some(suffix) => suffix.starts_with('.') && host.len() > suffix.len() && host.ends_with(suffix),
        None => *host == *pattern,
    };
    assert_eq!(found, usize::from(expected), "{host:?} by {pattern:?}");
    hosts.remove(Some(&pattern));
    assert_eq!(hosts.matching(&host).count(), 0, "{pattern:?} is still there");
}

/// A condition holds for the first parameter of its name, and for what a form would have sent.
pub(super) fn queries(input: &[u8]) {
    let Some([name, value, query]) = lines(input) else { return };
    for regex in [false, true] {
        let condition = ValueMatch { name: name.to_owned(), value: value.to_owned(), regex };
        let Ok(matcher) = ValueMatcher::<Box<str>>::new(name.into(), &condition) else { continue };
        // Whatever the query is.
        let _ = matcher.matches_query(query);
    }
    let encoded = format!("{}={}", form(name), form(value));
    let condition = ValueMatch { name: name.to_owned(), value: value.to_owned(), regex: false };
    let matcher = ValueMatcher::<Box<str>>::new(name.into(), &condition).expect("an exact value");
    assert!(matcher.matches_query(&encoded), "{encoded} is not found");
    let path = PathMatcher::new(Some(&PathMatch::Regex(value.to_owned())));
    // Patterns are compiled within their limit or refused, and read in linear time.
    assert!(path.is_err() || path.is_ok_and(|path| path.prefix_len().is_none()));
}

/// Every byte as a form may send it.
fn form(part: &str) -> String {
    part.bytes().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect()
}

fn digit(value: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(value)])
}

/// What is accepted of a route's edits makes requests and answers that are some.
pub(super) fn edits(input: &[u8]) {
    let Some([kind, edit, path, name]) = lines(input) else { return };
    let edit = if kind.is_empty() { PathEdit::Prefix(edit.into()) } else { PathEdit::Full(edit.into()) };
    // Of requests that are none nothing is routed.
    let plain = path.starts_with('/') && path.is_ascii();
    let uri = path.parse::<http::Uri>().ok().filter(|uri| plain && uri.authority().is_none());
    let Some((mut head, ())) = uri.and_then(|uri| Some(Request::get(uri).body(()).ok()?.into_parts())) else { return };
    let prefix = PathMatcher::new(Some(&PathMatch::Prefix("/a".into()))).expect("a prefix");
    let prefix = prefix.prefix_len().filter(|_| prefix.matches(head.uri.path()));
    redirect(kind, &edit, &head, prefix);
    if let Ok(rewriting) = Rewriting::compile(&Rewrite { hostname: None, path: Some(edit) }) {
        let query = head.uri.query().map(str::to_owned);
        rewriting.apply(&mut head, prefix);
        assert!(head.uri.path().starts_with('/'), "{} is no path", head.uri);
        assert_eq!(head.uri.query().map(str::to_owned), query, "the query has changed");
    }
    let pair = vec![(name.to_owned(), path.to_owned())];
    if let Ok(edits) = HeaderEdits::compile(&HeaderEdit { set: pair.clone(), add: pair, remove: vec![] }) {
        let mut headers = HeaderMap::new();
        edits.apply(&mut headers);
        assert!(!headers.contains_key(header::TRANSFER_ENCODING) && !headers.contains_key(header::CONTENT_LENGTH));
    }
    cors(name, path);
}

fn redirect(scheme: &str, edit: &PathEdit, head: &http::request::Parts, prefix: Option<usize>) {
    let scheme = Some(scheme.to_owned()).filter(|scheme| !scheme.is_empty());
    let redirect = Redirect { scheme, hostname: None, path: Some(edit.clone()), port: None, status: 302 };
    let Ok(redirection) = Redirection::compile(&redirect) else { return };
    let request = Redirected {
        scheme: Scheme::Http,
        host: "a.test",
        listener_port: 80,
        path: head.uri.path(),
        query: head.uri.query(),
        prefix,
    };
    let Some(location) = redirection.location(&request) else { return };
    let location = location.to_str().expect("visible ASCII");
    let rest = location.split_once("://a.test").map(|(_, rest)| rest);
    assert!(rest.is_some_and(|rest| rest.starts_with(['/', ':'])), "{location} is somewhere else");
}

/// An origin is marked as allowed when it is, and never as another one.
fn cors(origin: &str, request: &str) {
    let spec = model::Cors { origins: vec![origin.to_owned()], credentials: true, ..model::Cors::default() };
    let (Ok(cors), Ok(value)) = (Cors::compile(&spec), http::HeaderValue::from_str(request)) else { return };
    let asked = HeaderMap::from_iter([(header::ORIGIN, value.clone())]);
    if let sluice_proxy_core::filter::cors::Verdict::Forward(allowed) = cors.judge(&Method::GET, &asked) {
        let mut headers = HeaderMap::new();
        cors.mark(allowed.as_ref(), &mut headers);
        if let Some(marked) = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            assert_eq!(marked, value, "another origin is allowed");
        }
    }
}
