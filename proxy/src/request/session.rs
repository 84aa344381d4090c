//! A request's session, from its token to what the response says of it.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use sluice_proxy_core::filter::redirect::Scheme;
use sluice_proxy_core::session::{Answered, Session, Visit};
use sluice_proxy_core::table::Arm;

use crate::serve::connection::Open;
use crate::upstream::{Upstream, Wishes};

/// A session while its request is served. Boxed: most rules have none, and their requests are to be no larger for it.
pub(super) struct Visiting<'a>(Box<(&'a Session, Visit, u32)>);

impl<'a> Visiting<'a> {
    /// Reads a request's token. The clock is only asked where sessions end.
    pub(super) fn begin(session: &'a Session, headers: &HeaderMap) -> Self {
        let now = if session.ends() { seconds() } else { 0 };
        Self(Box::new((session, session.read(headers, now), now)))
    }

    /// What tells the client where it has been, if it does not know.
    pub(super) fn end(self, open: &Open, arm: &Arm, address: SocketAddr) -> Option<(HeaderName, HeaderValue)> {
        let (session, visit, now) = *self.0;
        let secure = open.connection.scheme() == Scheme::Https;
        session.tell(visit, Answered { backend: &arm.backend, address, secure }, now)
    }
}

/// What a request asks of the choice of its endpoint; nothing, as most do, where there is no session that it comes back to
/// and nothing that its backend spreads requests by. Boxed for the same reason.
pub(super) fn wishes(
    visiting: Option<&Visiting<'_>>,
    arm: &Arm,
    upstream: Option<Upstream<'_>>,
    headers: &HeaderMap,
    client: &HeaderValue,
) -> Option<Box<Wishes>> {
    let kept = visiting.and_then(|visiting| visiting.0.1.endpoint(&arm.backend));
    let key = upstream.and_then(|upstream| upstream.backend.traffic.as_ref()?.key(Some(headers), client.as_bytes()));
    (kept.is_some() || key.is_some()).then(|| Box::new(Wishes { kept, key }))
}

/// Since the epoch.
fn seconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}
