//! `sluice-proxy`: a Gateway API proxy in two roles. `controller` watches the cluster and publishes configuration;
//! `serve` is the data plane and knows no cluster. `check` says what the two would make of a folder of manifests.
//!
//! ```text
//! control/  watch ─► translate ─► publish ─► status
//!                                  │  ▲
//!                        updates   ▼  │  acknowledgements, counters
//! serve/    receive ─► build ─► swap ─► workers
//! request/                               └► check ─► route ─► pick ─► filter ─► forward ─► answer
//! upstream/                                                                      └► endpoint ─► connection
//! ```
#![forbid(unsafe_code)]

mod check;
pub mod cli;
pub mod control;
mod request;
pub mod serve;
mod tls;
mod upstream;
