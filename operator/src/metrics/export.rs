//! The text that is scraped.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use sluice_operator_core::decision::MetricReport;
use sluice_signals::{Kind, Series, operator as table};

use super::{Key, Metrics, Numbers, OfRollout, histogram::Histogram, phase_name};

/// Basis points of a whole.
const WHOLE: f64 = 10_000.0;

/// Values of the labels, and the value.
type Row<V> = (Vec<String>, V);

/// How the values of a family are read.
pub(super) enum Read {
    /// One number for each set of labels.
    Numbers(fn(&Numbers) -> Vec<Row<f64>>),
    /// One histogram for each set of labels.
    Histograms(fn(&Numbers) -> Vec<Row<&Histogram>>),
}

/// How each family of the table is read, in its order.
pub(super) const READ: [(&Series, Read); table::SERIES.len()] = [
    (&table::INFO, Read::Numbers(info)),
    (&table::PHASE, Read::Numbers(phase)),
    (&table::WEIGHT, Read::Numbers(weights)),
    (&table::OBSERVED, Read::Numbers(observed_requests)),
    (&table::STEP, Read::Numbers(step)),
    (&table::STEPS, Read::Numbers(steps)),
    (&table::VERDICT, Read::Numbers(verdicts)),
    (&table::EVIDENCE, Read::Numbers(evidence)),
    (&table::DATA_PLANES, Read::Numbers(data_planes)),
    (&table::RUN_START, Read::Numbers(run_start)),
    (&table::OUTCOMES, Read::Numbers(outcomes)),
    (&table::RUN_DURATION, Read::Histograms(run_durations)),
    (&table::RECONCILES, Read::Numbers(reconciles)),
    (&table::RECONCILE_DURATION, Read::Histograms(look_durations)),
    (&table::RECONCILE_ERRORS, Read::Numbers(errors)),
    (&table::API_CALLS, Read::Numbers(api_calls)),
    (&table::TELEMETRY_ASKED, Read::Numbers(asked)),
    (&table::LEADER, Read::Numbers(leader)),
    (&table::BUILD, Read::Numbers(build_info)),
];

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
        for (series, read) in &READ {
            match read {
                Read::Numbers(read) => family(&mut encoder, series, read(&numbers), |value, one| match series.kind {
                    Kind::Counter => ConstCounter::new(value).encode(one),
                    Kind::Gauge | Kind::Histogram => ConstGauge::new(value).encode(one),
                })?,
                Read::Histograms(read) => family(&mut encoder, series, read(&numbers), |histogram, mut one| {
                    one.encode_histogram::<NoLabelSet>(histogram.sum(), histogram.count(), &histogram.buckets(), None)
                })?,
            }
        }
        Ok(())
    }
}

/// A family with all its values; one without values is left out.
fn family<V>(
    encoder: &mut DescriptorEncoder<'_>,
    series: &Series,
    rows: Vec<Row<V>>,
    encode: impl Fn(V, MetricEncoder<'_>) -> Result<(), fmt::Error>,
) -> Result<(), fmt::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let kind = match series.kind {
        Kind::Gauge => MetricType::Gauge,
        Kind::Counter => MetricType::Counter,
        Kind::Histogram => MetricType::Histogram,
    };
    // The encoder adds the suffix of counters by itself.
    let mut family = encoder.encode_descriptor(series.family(), series.help, None, kind)?;
    if series.labels.is_empty() {
        // There is at most one.
        return rows.into_iter().next().map_or(Ok(()), |(_, value)| encode(value, family));
    }
    for (values, value) in rows {
        let labels: Vec<_> = series.labels.iter().copied().zip(values).collect();
        encode(value, family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Rows of each Rollout, with its namespace and name in front.
fn each(numbers: &Numbers, rows: impl Fn(&OfRollout) -> Vec<Row<f64>>) -> Vec<Row<f64>> {
    let of = |(key, rollout): (&Key, &OfRollout)| {
        let key = [key.0.clone(), key.1.clone()];
        rows(rollout).into_iter().map(|(values, value)| (key.iter().cloned().chain(values).collect(), value)).collect()
    };
    numbers.rollouts.iter().flat_map(|entry| -> Vec<Row<f64>> { of(entry) }).collect()
}

fn info(numbers: &Numbers) -> Vec<Row<f64>> {
    each(numbers, |of| vec![([&of.workload, &of.service, &of.stable, &of.run].map(Clone::clone).to_vec(), 1.0)])
}

fn phase(numbers: &Numbers) -> Vec<Row<f64>> {
    each(numbers, |of| vec![(vec![phase_name(of.report.phase), of.report.reason.clone()], 1.0)])
}

fn weights(numbers: &Numbers) -> Vec<Row<f64>> {
    each(numbers, |of| {
        let set = |weight: Option<u16>| weight.map(|weight| f64::from(weight) / WHOLE);
        let kinds = [
            ("wanted", set(of.report.weight_wanted)),
            ("verified", set(of.report.weight)),
            ("observed", of.traffic.share()),
        ];
        kinds
            .into_iter()
            .filter_map(|(kind, weight)| Some((kind, weight?)))
            .flat_map(|(kind, canary)| [("stable", kind, 1.0 - canary), ("canary", kind, canary)])
            .map(|(arm, kind, ratio)| (vec![arm.to_owned(), kind.to_owned()], ratio))
            .collect()
    })
}

fn observed_requests(numbers: &Numbers) -> Vec<Row<f64>> {
    each(numbers, |of| {
        let arms = |(stable, canary)| [("stable", stable), ("canary", canary)];
        let counts = of.traffic.requests.map(arms).into_iter().flatten();
        counts.map(|(arm, count): (&str, u64)| (vec![arm.to_owned()], count as f64)).collect()
    })
}

fn data_planes(numbers: &Numbers) -> Vec<Row<f64>> {
    each(numbers, |of| {
        let Some(planes) = of.traffic.planes else { return Vec::new() };
        let states = [("known", planes.known), ("connected", planes.connected), ("acknowledged", planes.acknowledged)];
        states.map(|(state, count)| (vec![state.to_owned()], count as f64)).to_vec()
    })
}

fn run_start(numbers: &Numbers) -> Vec<Row<f64>> {
    each(numbers, |of| of.run_started.map(|at| (Vec::new(), at as f64 / 1e3)).into_iter().collect())
}

fn step(numbers: &Numbers) -> Vec<Row<f64>> {
    each(numbers, |of| of.report.step.map(|(current, _)| (Vec::new(), current as f64)).into_iter().collect())
}

fn steps(numbers: &Numbers) -> Vec<Row<f64>> {
    each(numbers, |of| of.report.step.map(|(_, all)| (Vec::new(), all as f64)).into_iter().collect())
}

fn verdicts(numbers: &Numbers) -> Vec<Row<f64>> {
    let row = |metric: &MetricReport| (vec![metric.name.clone(), format!("{:?}", metric.verdict)], 1.0);
    each(numbers, |of| of.report.metrics.iter().map(row).collect())
}

fn evidence(numbers: &Numbers) -> Vec<Row<f64>> {
    each(numbers, |of| {
        let of_metric = |metric: &MetricReport| {
            let (value, bound) = metric.evidence;
            [("value", value), ("bound", bound)]
                .map(|(kind, number)| (vec![metric.name.clone(), kind.to_owned()], number))
        };
        of.report.metrics.iter().flat_map(of_metric).collect()
    })
}

fn outcomes(numbers: &Numbers) -> Vec<Row<f64>> {
    each(numbers, |of| {
        let row = |((outcome, reason), count): (&(String, String), &u64)| {
            (vec![outcome.clone(), reason.clone()], *count as f64)
        };
        of.outcomes.iter().map(row).collect()
    })
}

fn run_durations(numbers: &Numbers) -> Vec<Row<&Histogram>> {
    numbers.runs.iter().map(|(outcome, histogram)| (vec![outcome.clone()], histogram)).collect()
}

fn look_durations(numbers: &Numbers) -> Vec<Row<&Histogram>> {
    vec![(Vec::new(), &numbers.looks)]
}

fn counts(counts: &BTreeMap<&'static str, u64>) -> Vec<Row<f64>> {
    counts.iter().map(|(label, count)| (vec![(*label).to_owned()], *count as f64)).collect()
}

fn reconciles(numbers: &Numbers) -> Vec<Row<f64>> {
    counts(&numbers.reconciles)
}

fn errors(numbers: &Numbers) -> Vec<Row<f64>> {
    counts(&numbers.errors)
}

fn asked(numbers: &Numbers) -> Vec<Row<f64>> {
    counts(&numbers.asked)
}

fn api_calls(numbers: &Numbers) -> Vec<Row<f64>> {
    let row = |((verb, resource, result), count): (&(&str, &str, &str), &u64)| {
        (vec![(*verb).to_owned(), (*resource).to_owned(), (*result).to_owned()], *count as f64)
    };
    numbers.api_calls.iter().map(row).collect()
}

fn leader(numbers: &Numbers) -> Vec<Row<f64>> {
    vec![(Vec::new(), f64::from(u8::from(numbers.leads)))]
}

fn build_info(_: &Numbers) -> Vec<Row<f64>> {
    vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)]
}
