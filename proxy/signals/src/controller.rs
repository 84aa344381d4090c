//! The series that the proxy's controller exports on `/metrics`.

use crate::{Kind, Series};

/// Prefix of the names.
pub const PREFIX: &str = "sluice_controller";

const fn series(name: &'static str, kind: Kind, help: &'static str) -> Series {
    Series { name, kind, labels: &[], help }
}

/// Every family, in the order of export.
pub const SERIES: [Series; 8] = [
    series("sluice_controller_data_planes", Kind::Gauge, "Connected data planes"),
    series("sluice_controller_update", Kind::Gauge, "Number of the newest configuration update"),
    series("sluice_controller_update_served", Kind::Gauge, "The update that every connected data plane serves"),
    series("sluice_controller_status_writes_total", Kind::Counter, "Status writes"),
    series("sluice_controller_status_failures_total", Kind::Counter, "Status writes that failed"),
    series("sluice_controller_translation_seconds", Kind::Histogram, "Duration of a translation"),
    series("sluice_controller_stream_bytes_total", Kind::Counter, "Configuration sent to data planes"),
    series("sluice_controller_stream_updates_total", Kind::Counter, "Updates sent to data planes"),
];
