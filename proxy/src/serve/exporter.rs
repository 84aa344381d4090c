//! `/metrics`: the series of the signals table, from the workers' counters.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use sluice_signals::{self as signals, DURATION_BOUNDS_MS, Kind, Series};

use super::accounts::SeriesKey;
use super::counters::CellTotals;
use super::limits::Limit;
use super::plane::Plane;

/// Classes of status codes, in the counters' order.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Clock ticks of `/proc` in a second: a constant of the kernel's interface.
const TICKS: f64 = 100.0;
/// Bytes of a page where `/proc` counts pages.
const PAGE: u64 = 4096;

/// Everything that is exported at one moment.
#[derive(Debug, Default)]
pub(super) struct Exported {
    backends: BTreeMap<SeriesKey, CellTotals>,
    connections: u64,
    requests: u64,
    unlogged: u64,
    lost_spans: u64,
    evicted: u64,
    ejections: u64,
    /// How often each limit was met.
    hits: [u64; Limit::ALL.len()],
    update: u64,
    resident: u64,
    cpu_seconds: f64,
}

/// The text of all series.
pub(super) fn text(plane: &Plane) -> String {
    let (resident, cpu_seconds) = process();
    let exported = Exported {
        backends: plane.accounts.borrow().series(&plane.cells.borrow()),
        connections: plane.connections() as u64,
        requests: plane.requests() as u64,
        unlogged: plane.log.dropped(),
        lost_spans: plane.lost_spans(),
        evicted: plane.evicted_flows(),
        ejections: plane.ejections(),
        hits: Limit::ALL.map(|limit| plane.hits(limit)),
        update: plane.update.get(),
        resident,
        cpu_seconds,
    };
    encode(exported)
}

fn encode(exported: Exported) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(exported));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

impl Collector for Exported {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_durations(&mut encoder)?;
        self.encode_backends(&mut encoder, &signals::IN_FLIGHT, CellTotals::in_flight)?;
        self.encode_backends(&mut encoder, &signals::CONNECTION_FAILURES, |totals| totals.connection_failures)?;
        self.encode_backends(&mut encoder, &signals::DISRUPTIONS, |totals| totals.disruptions)?;
        self.encode_backends(&mut encoder, &signals::PASSAGES, CellTotals::open)?;
        self.encode_bytes(&mut encoder)?;
        describe(&mut encoder, &signals::EJECTIONS)?.encode_counter::<NoLabelSet, _, u64>(&self.ejections, None)?;
        describe(&mut encoder, &signals::FLOWS_EVICTED)?.encode_counter::<NoLabelSet, _, u64>(&self.evicted, None)?;
        self.encode_hits(&mut encoder)?;
        describe(&mut encoder, &signals::ACCESS_LOG_DROPPED)?
            .encode_counter::<NoLabelSet, _, u64>(&self.unlogged, None)?;
        describe(&mut encoder, &signals::SPANS_DROPPED)?
            .encode_counter::<NoLabelSet, _, u64>(&self.lost_spans, None)?;
        describe(&mut encoder, &signals::ACTIVE_REQUESTS)?.encode_gauge(&self.requests)?;
        describe(&mut encoder, &signals::CONNECTIONS)?.encode_gauge(&self.connections)?;
        describe(&mut encoder, &signals::CONFIG_UPDATE)?.encode_gauge(&self.update)?;
        let version = [(signals::BUILD.labels[0], env!("CARGO_PKG_VERSION"))];
        describe(&mut encoder, &signals::BUILD)?.encode_family(&version)?.encode_gauge(&1_u64)?;
        describe(&mut encoder, &signals::RESIDENT_MEMORY)?.encode_gauge(&self.resident)?;
        describe(&mut encoder, &signals::CPU_SECONDS)?.encode_counter::<NoLabelSet, _, f64>(&self.cpu_seconds, None)
    }
}

impl Exported {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut requests = describe(encoder, &signals::REQUESTS)?;
        for (key, totals) in &self.backends {
            for (class, count) in CLASSES.iter().zip(totals.responses).filter(|(_, count)| *count > 0) {
                let [route, rule, backend] = labels(&signals::REQUESTS, key);
                let class = (signals::REQUESTS.labels[3], *class);
                requests
                    .encode_family(&[route, rule, backend, class])?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn encode_hits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut hits = describe(encoder, &signals::LIMIT_HITS)?;
        for (limit, count) in Limit::ALL.iter().zip(self.hits) {
            let limit = (signals::LIMIT_HITS.labels[0], limit.name());
            hits.encode_family(&[limit])?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn encode_bytes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut bytes = describe(encoder, &signals::PASSAGE_BYTES)?;
        for (key, totals) in self.backends.iter().filter(|(_, totals)| totals.opened > 0) {
            for (direction, count) in [("received", totals.received_bytes), ("sent", totals.sent_bytes)] {
                let [route, rule, backend] = labels(&signals::PASSAGE_BYTES, key);
                let direction = (signals::PASSAGE_BYTES.labels[3], direction);
                bytes
                    .encode_family(&[route, rule, backend, direction])?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut durations = describe(encoder, &signals::REQUEST_DURATION)?;
        let bounds = DURATION_BOUNDS_MS.iter().map(|bound| *bound as f64 / 1e3).chain([f64::INFINITY]);
        for (key, totals) in &self.backends {
            let buckets: Vec<(f64, u64)> = bounds.clone().zip(totals.duration_buckets).collect();
            let sum = totals.duration_micros as f64 / 1e6;
            let count = totals.duration_buckets.iter().sum();
            let labels = labels(&signals::REQUEST_DURATION, key);
            let mut family = durations.encode_family(&labels)?;
            family.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn encode_backends(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        series: &Series,
        value: impl Fn(&CellTotals) -> u64,
    ) -> fmt::Result {
        let mut metric = describe(encoder, series)?;
        for (key, totals) in &self.backends {
            let labels = labels(series, key);
            let mut family = metric.encode_family(&labels)?;
            match series.kind {
                Kind::Counter => family.encode_counter::<NoLabelSet, _, u64>(&value(totals), None)?,
                Kind::Gauge | Kind::Histogram => family.encode_gauge(&value(totals))?,
            }
        }
        Ok(())
    }
}

fn labels<'a>(series: &Series, (route, rule, backend): &'a SeriesKey) -> [(&'static str, &'a str); 3] {
    [(series.labels[0], route), (series.labels[1], rule), (series.labels[2], backend)]
}

fn describe<'a>(encoder: &'a mut DescriptorEncoder<'_>, series: &Series) -> Result<MetricEncoder<'a>, fmt::Error> {
    let kind = match series.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    // The encoder adds the suffix of counters and the full stop of the help by itself.
    encoder.encode_descriptor(series.family(), series.help, None, kind)
}

/// Resident memory and processor seconds of this process; zeros where there is no `/proc`.
fn process() -> (u64, f64) {
    let field = |path: &str, after: &str, field: usize| {
        let text = std::fs::read_to_string(path).ok()?;
        text.rsplit(after).next()?.split_whitespace().nth(field)?.parse::<u64>().ok()
    };
    let resident = field("/proc/self/statm", "\n\n", 1).unwrap_or_default() * PAGE;
    // After the closing bracket of the name: the state is field 0, user and kernel time are 11 and 12.
    let ticks = |position| field("/proc/self/stat", ")", position).unwrap_or_default();
    (resident, (ticks(11) + ticks(12)) as f64 / TICKS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sluice_signals::SERIES;

    use super::{CellTotals, Exported, encode};

    fn exported() -> String {
        let totals =
            CellTotals { started: 3, ended: 2, responses: [0, 1, 0, 0, 1], opened: 1, ..CellTotals::default() };
        let key = ("HTTPRoute/a/b".into(), "0".into(), "a/c:80".into());
        encode(Exported { backends: [(key, totals)].into(), ..Exported::default() })
    }

    #[test]
    fn what_is_exported_is_what_the_table_says() {
        let text = exported();
        let types: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let expected: BTreeSet<String> =
            SERIES.iter().map(|series| format!("{} {}", series.family(), series.kind.word())).collect();
        assert_eq!(types, expected.iter().map(String::as_str).collect());
    }

    /// Without a bucket for everything there are no quantiles.
    #[test]
    fn the_last_bucket_has_no_bound() {
        let text = exported();
        let mut buckets = text.lines().filter(|line| line.starts_with("sluice_proxy_request_duration_seconds_bucket"));
        assert!(buckets.next_back().unwrap().contains("le=\"+Inf\""), "{text}");
    }

    #[test]
    fn samples_carry_the_labels_of_the_table() {
        let text = exported();
        for series in SERIES {
            let sample = text.lines().find(|line| line.starts_with(series.name)).unwrap_or_default();
            for label in series.labels {
                assert!(sample.contains(&format!("{label}=\"")), "{label} in {sample:?} of {}", series.name);
            }
        }
        assert!(text.contains(
            r#"sluice_proxy_requests_total{route="HTTPRoute/a/b",rule="0",backend="a/c:80",code_class="5xx"} 1"#
        ));
        assert!(text.contains("sluice_proxy_requests_in_flight{") && text.contains("le=\"0.001\""), "{text}");
    }
}
