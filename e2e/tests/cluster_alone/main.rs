//! End-to-end tests that take away what others rely on, such as the operator or a data plane: one at a time.

mod crash;
mod proxy_drain;
