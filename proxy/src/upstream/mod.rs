//! The way to backends: each worker has its own connections, so that a request never leaves its thread.

pub(crate) mod connect;
mod lease;
mod pool;
mod socket;

use std::sync::Arc;

use sluice_proxy_core::table::Backend;

use crate::tls::connectors::Connector;

pub(crate) use lease::{Lease, SendError, Upgraded};
pub(crate) use pool::{Endpoint, InFlight, Pools, Wishes};
pub(crate) use socket::ServerStream;

/// A backend, and what connections to it are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upstream<'a> {
    pub(crate) backend: &'a Backend,
    /// None where it is spoken to in the clear.
    pub(crate) connector: Option<&'a Arc<Connector>>,
}
