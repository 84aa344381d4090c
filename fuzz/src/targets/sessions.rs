//! What clients show of their sessions.

use http::{HeaderMap, HeaderValue, header};
use sluice_proxy_core::model::{Carrier, Session};
use sluice_proxy_core::session;

pub(super) const WORDS: &[&str] = &["s=", "; ", "AAAA", "-_", "="];

/// No token is taken that nobody was given.
pub(super) fn tokens(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    let carrier = Carrier::Cookie { name: "s".into(), path: "/".into(), permanent: false };
    let session = session::Session::new(&Session { seed: "seed".into(), carrier, timeout: None }).expect("a session");
    let visit = session.read(&HeaderMap::from_iter([(header::COOKIE, value)]), 0);
    assert_eq!(visit.endpoint("shop/app:80"), None, "{input:?}");
}
