//! The series that a data plane exports on `/metrics`.

use crate::{Kind, Series};

/// Labels of what is counted for each backend of a rule, over all generations of the route.
const BACKEND: &[&str] = &["route", "rule", "backend"];

/// Requests by class of the answer.
pub const REQUESTS: Series = Series {
    name: "sluice_proxy_requests_total",
    kind: Kind::Counter,
    labels: &["route", "rule", "backend", "code_class"],
    help: "Requests answered, by class of the status code, of gRPC by grpc-status; what the proxy answered for a failed backend is 5xx",
};

/// Time from assignment to the end of the answer's body.
pub const REQUEST_DURATION: Series = Series {
    name: "sluice_proxy_request_duration_seconds",
    kind: Kind::Histogram,
    labels: BACKEND,
    help: "Time from the choice of the backend to the end of the response's body",
};

/// Requests being served.
pub const IN_FLIGHT: Series = Series {
    name: "sluice_proxy_requests_in_flight",
    kind: Kind::Gauge,
    labels: BACKEND,
    help: "Requests assigned to the backend that have not ended",
};

/// Requests that a ready endpoint did not answer.
pub const CONNECTION_FAILURES: Series = Series {
    name: "sluice_proxy_connection_failures_total",
    kind: Kind::Counter,
    labels: BACKEND,
    help: "Requests that failed without a complete response from an endpoint that was ready",
};

/// Requests that failed at an endpoint on its way out or in.
pub const DISRUPTIONS: Series = Series {
    name: "sluice_proxy_disruptions_total",
    kind: Kind::Counter,
    labels: BACKEND,
    help: "Requests that failed at an endpoint that was leaving, restarting or refusing",
};

/// What is passed on as it is.
pub const PASSAGES: Series = Series {
    name: "sluice_proxy_passages_open",
    kind: Kind::Gauge,
    labels: BACKEND,
    help: "Connections of TCPRoutes and TLSRoutes and flows of UDPRoutes that are open to the backend",
};

/// Bytes of what is passed on as it is.
pub const PASSAGE_BYTES: Series = Series {
    name: "sluice_proxy_passage_bytes_total",
    kind: Kind::Counter,
    labels: &["route", "rule", "backend", "direction"],
    help: "Bytes passed on from clients (received) and to them (sent) by TCPRoutes, TLSRoutes and UDPRoutes",
};

/// UDP flows that were too many.
pub const FLOWS_EVICTED: Series = Series {
    name: "sluice_proxy_flows_evicted_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Flows of UDPRoutes that were given up because there were as many as there may be",
};

/// Limits that clients met.
pub const LIMIT_HITS: Series = Series {
    name: "sluice_proxy_limit_hits_total",
    kind: Kind::Counter,
    labels: &["limit"],
    help: "How often a client was turned away at a limit (docs/proxy-limits.md)",
};

/// Endpoints that were left out.
pub const EJECTIONS: Series = Series {
    name: "sluice_proxy_ejections_total",
    kind: Kind::Counter,
    labels: &[],
    help: "How often a worker left out an endpoint because it failed (docs/proxy-backends.md)",
};

/// Lines of the access log that were not written.
pub const ACCESS_LOG_DROPPED: Series = Series {
    name: "sluice_proxy_access_log_dropped_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Lines of the access log that were dropped because whoever reads them does not keep up",
};

/// Spans that were lost.
pub const SPANS_DROPPED: Series = Series {
    name: "sluice_proxy_spans_dropped_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Spans of sampled requests that no collector took, or that there was no room for",
};

/// Requests of all kinds that are open.
pub const ACTIVE_REQUESTS: Series = Series {
    name: "sluice_proxy_active_requests",
    kind: Kind::Gauge,
    labels: &[],
    help: "Requests that are being answered and connections that are passed on, for scaling by load",
};

/// Live connections of clients.
pub const CONNECTIONS: Series =
    Series { name: "sluice_proxy_connections", kind: Kind::Gauge, labels: &[], help: "Connections of clients" };

/// Number of the configuration that is served.
pub const CONFIG_UPDATE: Series = Series {
    name: "sluice_proxy_config_update",
    kind: Kind::Gauge,
    labels: &[],
    help: "Number of the last configuration update that every worker serves",
};

/// What is running.
pub const BUILD: Series = Series {
    name: "sluice_proxy_build_info",
    kind: Kind::Gauge,
    labels: &["version"],
    help: "Always 1; the version of the program is the label",
};

/// Memory of the process.
pub const RESIDENT_MEMORY: Series = Series {
    name: "sluice_proxy_resident_memory_bytes",
    kind: Kind::Gauge,
    labels: &[],
    help: "Resident memory of the process",
};

/// Processor time of the process.
pub const CPU_SECONDS: Series = Series {
    name: "sluice_proxy_cpu_seconds_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Processor time of the process in user and kernel",
};

/// Every family, in the order of export.
pub const SERIES: [&Series; 18] = [
    &REQUESTS,
    &REQUEST_DURATION,
    &IN_FLIGHT,
    &CONNECTION_FAILURES,
    &DISRUPTIONS,
    &PASSAGES,
    &PASSAGE_BYTES,
    &EJECTIONS,
    &FLOWS_EVICTED,
    &LIMIT_HITS,
    &ACCESS_LOG_DROPPED,
    &SPANS_DROPPED,
    &ACTIVE_REQUESTS,
    &CONNECTIONS,
    &CONFIG_UPDATE,
    &BUILD,
    &RESIDENT_MEMORY,
    &CPU_SECONDS,
];
