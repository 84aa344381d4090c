//! The way to backends: each worker has its own connections, so that a request never leaves its thread.

mod choice;
pub(crate) mod connect;
mod lease;
mod pool;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use sluice_proxy_core::table::Backend;

use crate::tls::connectors::Connector;

pub(crate) use choice::Wishes;
pub(crate) use lease::{Lease, SendError, Upgraded};
pub(crate) use pool::{Endpoint, InFlight, Pools};
pub(crate) use socket::ServerStream;

/// A backend, and what connections to it are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream<'a> {
    pub(crate) backend: &'a Backend,
    /// None where it is spoken to in the clear.
    pub(crate) connector: Option<&'a Arc<Connector>>,
}

impl Upstream<'_> {
    fn connect_timeout(self) -> Duration {
        let of_policy = self.backend.traffic.as_ref().and_then(|traffic| traffic.connect_timeout);
        of_policy.unwrap_or(connect::CONNECT_TIMEOUT)
    }

    /// Whether a connection that has served so many requests may serve another.
    fn allows_another(self, served: u32) -> bool {
        let most = self.backend.traffic.as_ref().and_then(|traffic| traffic.requests_per_connection);
        most.is_none_or(|most| served < most)
    }
}
