//! End-to-end tests that take away what others rely on, such as the operator or a data plane: one at a time.

mod api_server;
mod course;
mod crash;
mod data_plane;
mod idle;
mod no_policies;
mod policy_lost;
mod proxy_drain;
mod uninstall;
