//! Figures of the controller itself.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// The figures; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Data planes that are connected.
    pub data_planes: Gauge<u64, AtomicU64>,
    /// Number of the newest update.
    pub update: Gauge<u64, AtomicU64>,
    /// The update that every connected data plane serves.
    pub served: Gauge<u64, AtomicU64>,
    /// Status writes that changed something.
    pub status_writes: Counter,
    /// Status writes that failed and are tried again.
    pub status_failures: Counter,
    /// Seconds that a translation took.
    pub translation: Histogram,
    /// Bytes of configuration sent to data planes.
    pub stream_bytes: Counter,
    /// Updates sent to data planes.
    pub stream_updates: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(sluice_signals::controller::PREFIX);
        let (data_planes, update, served) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (status_writes, status_failures) = (Counter::default(), Counter::default());
        let (stream_bytes, stream_updates) = (Counter::default(), Counter::default());
        let translation = Histogram::new(exponential_buckets(0.000_1, 4.0, 8));
        registry.register("data_planes", "Connected data planes", data_planes.clone());
        registry.register("update", "Number of the newest configuration update", update.clone());
        registry.register("update_served", "The update that every connected data plane serves", served.clone());
        registry.register("status_writes", "Status writes", status_writes.clone());
        registry.register("status_failures", "Status writes that failed", status_failures.clone());
        registry.register("translation_seconds", "Duration of a translation", translation.clone());
        registry.register("stream_bytes", "Configuration sent to data planes", stream_bytes.clone());
        registry.register("stream_updates", "Updates sent to data planes", stream_updates.clone());
        Self {
            registry: Arc::new(registry),
            data_planes,
            update,
            served,
            status_writes,
            status_failures,
            translation,
            stream_bytes,
            stream_updates,
        }
    }
}

impl Metrics {
    /// Counts an update that is sent.
    pub fn sent(&self, bytes: usize) {
        self.stream_updates.inc();
        self.stream_bytes.inc_by(bytes as u64);
    }

    /// All figures in the OpenMetrics text format.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use sluice_signals::controller::SERIES;

    use super::Metrics;

    #[test]
    fn what_is_exported_is_what_the_table_says() {
        let text = Metrics::default().text().unwrap();
        for series in &SERIES {
            assert!(text.contains(&format!("# TYPE {} {}\n", series.family(), series.kind.word())), "{}", series.name);
            assert!(text.contains(&format!("# HELP {} {}", series.family(), series.help)), "{}", series.name);
        }
        assert_eq!(text.matches("# TYPE ").count(), SERIES.len());
    }
}
