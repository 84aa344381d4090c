//! End-to-end harness: a cluster, Sluice in it, load that counts every request, and waits for states.
//!
//! The tests, the demo and the figures are made of these parts. They all run where a cluster is given by `KUBECONFIG`
//! and its Services can be reached: in the network namespace that `sluice-cluster exec` enters, or on a node.
#![forbid(unsafe_code)]

pub mod app;
pub mod audit;
pub mod cluster;
pub mod dashboard;
pub mod diagnose;
pub mod docs;
pub mod follow;
pub mod gateway;
pub mod install;
pub mod load;
pub mod local;
pub mod manifest;
pub mod outage;
pub mod probe;
pub mod procfs;
pub mod prometheus;
pub mod scenario;
pub mod share;
pub mod stats;
pub mod streams;
pub mod suite;
pub mod tls;
pub mod victim;
pub mod wait;
