//! The data plane with real sockets on loopback: a client that never repeats a request, so that a lost one is seen.

mod abuse;
mod admin;
mod backend_tls;
mod balancing;
mod bodies;
mod connections;
mod cors;
mod drain;
mod echo;
mod failures;
mod fixtures;
mod framing;
mod grpc;
mod limits;
mod mirrors;
mod retries;
mod routing;
mod sessions;
mod slow;
mod stream;
mod swaps;
mod tcp;
mod tls;
mod tls_routes;
mod udp;
mod websocket;
