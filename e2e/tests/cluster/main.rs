//! End-to-end tests that bear each other's company: each in a namespace of its own, several at a time.

mod autoscaled;
mod bad_input;
mod break_glass;
mod coverage;
mod dashboard;
mod delete;
mod fixtures;
mod gateway_alias;
mod gateway_parameters;
mod gitops;
mod held_back;
mod operations;
mod promote;
mod promotion_fails;
mod proxy_routes;
mod rollback;
mod scenarios;
