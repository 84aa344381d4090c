//! On a real API server: what the CustomResourceDefinition takes and refuses, and what the policies and rights of the
//! manifest do.

mod api;
mod floor;
mod guard;
mod pause;
mod rights;
mod shared;
mod writes;
