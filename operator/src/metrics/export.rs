//! The text that is scraped.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use sluice_operator_core::decision::MetricReport;

use super::{Key, Metrics, Numbers, OfRollout, Row, SECONDS, SERIES, Series, SeriesKind, phase_name};

/// Basis points of a whole.
const WHOLE: f64 = 10_000.0;

/// The export in the OpenMetrics text format.
pub(crate) fn text(metrics: &Arc<Metrics>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Export(Arc::clone(metrics))));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Export(Arc<Metrics>);

impl Collector for Export {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let numbers = self.0.numbers();
        for series in &SERIES {
            let Series { name, kind, help, labels, read } = series;
            let (type_, help) = (metric_type(*kind), help.trim_end_matches('.'));
            if *kind == SeriesKind::Histogram {
                let histogram = encoder.encode_descriptor(name, help, None, type_)?;
                encode_histogram(&numbers, histogram)?;
                continue;
            }
            let rows = read(&numbers);
            // A family without values is left out.
            if rows.is_empty() {
                continue;
            }
            let mut family = encoder.encode_descriptor(name, help, None, type_)?;
            for (values, value) in rows {
                let labels: Vec<_> = labels.iter().copied().zip(values).collect();
                let one = family.encode_family(&labels)?;
                match kind {
                    SeriesKind::Counter => ConstCounter::new(value).encode(one)?,
                    SeriesKind::Gauge | SeriesKind::Histogram => ConstGauge::new(value).encode(one)?,
                }
            }
        }
        Ok(())
    }
}

const fn metric_type(kind: SeriesKind) -> MetricType {
    match kind {
        SeriesKind::Gauge => MetricType::Gauge,
        SeriesKind::Counter => MetricType::Counter,
        SeriesKind::Histogram => MetricType::Histogram,
    }
}

fn encode_histogram(numbers: &Numbers, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    let bounds = SECONDS.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(numbers.buckets).collect();
    let count = numbers.buckets.iter().sum();
    encoder.encode_histogram::<NoLabelSet>(numbers.seconds, count, &buckets, None)
}

/// The histogram has buckets instead of rows.
pub(super) fn of_histogram(_: &Numbers) -> Vec<Row> {
    Vec::new()
}

/// Rows of each Rollout, with its namespace and name in front.
fn each(numbers: &Numbers, rows: impl Fn(&OfRollout) -> Vec<(Vec<String>, f64)>) -> Vec<Row> {
    let of = |(key, rollout): (&Key, &OfRollout)| {
        let key = [key.0.clone(), key.1.clone()];
        rows(rollout).into_iter().map(|(values, value)| (key.iter().cloned().chain(values).collect(), value)).collect()
    };
    numbers.rollouts.iter().flat_map(|entry| -> Vec<Row> { of(entry) }).collect()
}

pub(super) fn info(numbers: &Numbers) -> Vec<Row> {
    each(numbers, |of| vec![(vec![of.workload.clone(), of.stable.clone(), of.run.clone()], 1.0)])
}

pub(super) fn phase(numbers: &Numbers) -> Vec<Row> {
    each(numbers, |of| vec![(vec![phase_name(of.report.phase), of.report.reason.clone()], 1.0)])
}

pub(super) fn weights(numbers: &Numbers) -> Vec<Row> {
    each(numbers, |of| {
        let kinds = [("wanted", of.report.weight_wanted), ("verified", of.report.weight)];
        let known = kinds.into_iter().filter_map(|(kind, weight)| Some((kind, f64::from(weight?) / WHOLE)));
        known
            .flat_map(|(kind, canary)| [("stable", kind, 1.0 - canary), ("canary", kind, canary)])
            .map(|(arm, kind, ratio)| (vec![arm.to_owned(), kind.to_owned()], ratio))
            .collect()
    })
}

pub(super) fn step(numbers: &Numbers) -> Vec<Row> {
    each(numbers, |of| of.report.step.map(|(current, _)| (Vec::new(), current as f64)).into_iter().collect())
}

pub(super) fn steps(numbers: &Numbers) -> Vec<Row> {
    each(numbers, |of| of.report.step.map(|(_, all)| (Vec::new(), all as f64)).into_iter().collect())
}

pub(super) fn verdicts(numbers: &Numbers) -> Vec<Row> {
    let row = |metric: &MetricReport| (vec![metric.name.clone(), format!("{:?}", metric.verdict)], 1.0);
    each(numbers, |of| of.report.metrics.iter().map(row).collect())
}

pub(super) fn evidence(numbers: &Numbers) -> Vec<Row> {
    each(numbers, |of| {
        let of_metric = |metric: &MetricReport| {
            let (value, bound) = metric.evidence;
            [("value", value), ("bound", bound)]
                .map(|(kind, number)| (vec![metric.name.clone(), kind.to_owned()], number))
        };
        of.report.metrics.iter().flat_map(of_metric).collect()
    })
}

pub(super) fn outcomes(numbers: &Numbers) -> Vec<Row> {
    each(numbers, |of| {
        let row = |((outcome, reason), count): (&(String, String), &u64)| {
            (vec![outcome.clone(), reason.clone()], *count as f64)
        };
        of.outcomes.iter().map(row).collect()
    })
}

fn counts(counts: &BTreeMap<&'static str, u64>) -> Vec<Row> {
    counts.iter().map(|(label, count)| (vec![(*label).to_owned()], *count as f64)).collect()
}

pub(super) fn reconciles(numbers: &Numbers) -> Vec<Row> {
    counts(&numbers.reconciles)
}

pub(super) fn errors(numbers: &Numbers) -> Vec<Row> {
    counts(&numbers.errors)
}

pub(super) fn asked(numbers: &Numbers) -> Vec<Row> {
    counts(&numbers.asked)
}

pub(super) fn api_calls(numbers: &Numbers) -> Vec<Row> {
    let row = |((verb, resource, result), count): (&(&str, &str, &str), &u64)| {
        (vec![(*verb).to_owned(), (*resource).to_owned(), (*result).to_owned()], *count as f64)
    };
    numbers.api_calls.iter().map(row).collect()
}

pub(super) fn build_info(_: &Numbers) -> Vec<Row> {
    vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)]
}
