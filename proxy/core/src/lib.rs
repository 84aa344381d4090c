//! The data plane's pure core: what a request matches, which backend it gets and how it is changed, as functions of the
//! snapshot, the request's head and a random number. No sockets, no clock, no randomness of its own.
#![forbid(unsafe_code)]

pub mod model;
