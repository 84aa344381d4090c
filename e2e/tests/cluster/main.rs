//! End-to-end tests that bear each other's company: each in a namespace of its own, several at a time.

mod bad_input;
mod coverage;
mod dashboard;
mod delete;
mod fixtures;
mod gateway_alias;
mod held_back;
mod operations;
mod promote;
mod proxy_routes;
mod rollback;
