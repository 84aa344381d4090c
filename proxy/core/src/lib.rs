//! The data plane's pure core: what a request matches, which backend it gets and how it is changed, as functions of the
//! snapshot, the request's head and a random number. No sockets, no clock, no randomness of its own.
//!
//! ```text
//! model (resources as the controller sends them)
//!    │ table::build                                 once per configuration
//!    ▼
//! table::Snapshot ── route ──► rule ── pick ──► arm ── endpoint          once per request
//!                               │ filter, forward: change the heads
//! ```
#![forbid(unsafe_code)]

pub mod access_log;
pub mod balance;
pub mod cells;
pub mod cidr;
pub mod filter;
pub mod forward;
pub mod framing;
pub mod grpc;
pub mod health;
pub mod matching;
pub mod model;
pub mod outlier;
pub mod pick;
pub mod proxy_protocol;
pub mod request_id;
pub mod retry;
pub mod session;
pub mod table;
pub mod trace_context;
