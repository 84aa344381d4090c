//! The data plane with real sockets on loopback: a client that never repeats a request, so that a lost one is seen.

mod admin;
mod bodies;
mod drain;
mod failures;
mod fixtures;
mod routing;
mod stream;
mod swaps;
