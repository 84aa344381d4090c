//! End-to-end tests that take away what others rely on, such as the operator or a data plane: one at a time.

mod api_server;
mod course;
mod crash;
mod no_policies;
mod proxy_drain;
