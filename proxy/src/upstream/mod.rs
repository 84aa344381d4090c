//! The way to backends: each worker has its own connections, so that a request never leaves its thread.

pub(crate) mod connect;
mod lease;
mod pool;
mod socket;

pub(crate) use lease::{Lease, SendError, Upgraded};
pub(crate) use pool::{Endpoint, InFlight, Pools};
