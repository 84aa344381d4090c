//! The contract between the proxy's controller, its data planes and the operator, generated from
//! `proto/control.proto`, which documents every message; and what is sent to collectors of traces (`proto/trace.proto`).

/// Messages, clients and servers of `sluice.control.v1`.
#[allow(missing_docs, clippy::pedantic, clippy::unwrap_used, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("sluice.control.v1");
}

/// Messages of OpenTelemetry's protocol, as far as the proxy speaks it.
#[allow(missing_docs, clippy::pedantic, clippy::unwrap_used, unreachable_pub)]
pub mod otlp {
    tonic::include_proto!("sluice.otlp.v1");
}

pub use prost::Message;

/// Audience of the tokens that data planes and the operator present to the controller.
pub const TOKEN_AUDIENCE: &str = "sluice-proxy-controller";
