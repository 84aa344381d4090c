//! The export is what the table says, and no more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sluice_operator_core::{
    Report, State,
    decision::{MetricReport, Phase, Verdict},
};

use super::{Metrics, SERIES, SeriesKind, text};

fn report() -> Report {
    Report {
        phase: Phase::Stepping,
        reason: "MinimumHold".to_owned(),
        step: Some((2, 4)),
        weight: Some(500),
        weight_wanted: Some(2_500),
        metrics: vec![MetricReport {
            name: "errors".to_owned(),
            verdict: Verdict::Undecided,
            message: String::new(),
            canary: (0, 1),
            stable: (0, 1),
            evidence: (-0.5, 5.3),
        }],
        ..Report::default()
    }
}

fn full() -> Arc<Metrics> {
    let metrics = Metrics::default();
    metrics.report("shop", "podinfo", "podinfo", &report(), &State::default());
    metrics.outcome("shop", "podinfo", "Promoted", "Promoted");
    metrics.api_call("get", "rollouts", "ok");
    metrics.asked("ok");
    metrics.reconciled("ok", Duration::from_millis(20));
    metrics.failed("conflict");
    Arc::new(metrics)
}

/// Labels of each sample, by its name.
fn samples(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parse = |line| {
        let (name, rest) = str::split_once(line, '{').unwrap_or_else(|| (line.split(' ').next().unwrap(), ""));
        let labels = rest.split('}').next().unwrap();
        (name, labels.split(',').filter(|l| !l.is_empty()).map(|label| label.split('=').next().unwrap()).collect())
    };
    lines.map(parse).collect()
}

#[test]
fn the_export_is_what_the_table_says() {
    let text = text(&full()).unwrap();
    let mut samples = samples(&text);
    for series in &SERIES {
        assert!(text.contains(&format!("# HELP {} {}", series.name, series.help)), "{}", series.name);
        let name = match series.kind {
            SeriesKind::Counter => format!("{}_total", series.name),
            SeriesKind::Gauge => series.name.to_owned(),
            SeriesKind::Histogram => {
                for part in ["sum", "count", "bucket"] {
                    samples.remove(format!("{}_{part}", series.name).as_str()).expect(part);
                }
                continue;
            }
        };
        assert_eq!(samples.remove(name.as_str()).as_deref(), Some(series.labels), "{name}");
    }
    assert!(samples.is_empty(), "not in the table: {samples:?}");
}

#[test]
fn values_are_those_of_the_report() {
    let text = text(&full()).unwrap();
    let of = r#"namespace="shop",rollout="podinfo""#;
    for line in [
        format!(r#"sluice_rollout_weight_ratio{{{of},arm="canary",kind="verified"}} 0.05"#),
        format!(r#"sluice_rollout_weight_ratio{{{of},arm="stable",kind="wanted"}} 0.75"#),
        format!("sluice_rollout_step{{{of}}} 2.0"),
        format!(r#"sluice_rollout_phase{{{of},phase="Stepping",reason="MinimumHold"}} 1.0"#),
        format!(r#"sluice_rollout_evidence{{{of},metric="errors",kind="bound"}} 5.3"#),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_series_of_a_rollout_go_with_it() {
    let metrics = full();
    metrics.forget("shop", "podinfo");
    assert!(!text(&metrics).unwrap().contains("podinfo"));
}
