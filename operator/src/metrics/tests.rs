//! The export is what the table says, and no more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use sluice_operator_core::{
    Decision, Report, State,
    decision::{MetricReport, Phase, Verdict},
    state::Run,
    world::{Cell, DataPlane, LiveRoute, Ready, Route, Telemetry},
};
use sluice_signals::{Kind, operator::SERIES};

use super::{Metrics, export, text};
use crate::{fixtures::observed, model::world};

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

/// A look in the middle of a run, with a data plane that has counted.
fn look(metrics: &Metrics) {
    let observed = observed();
    let mut world = world(&observed, "sluice.dev/proxy", 0);
    let (name, generation) = ("podinfo".to_owned(), 3);
    let live = LiveRoute {
        resource_version: "1".to_owned(),
        generation,
        rules: json!([]),
        parents: Vec::new(),
        manager: None,
        is_managed: false,
    };
    world.routes = vec![Route { name: name.clone(), live: Some(live) }];
    let cell = |canary, started| Cell {
        route: name.clone(),
        rule: "0".to_owned(),
        canary,
        generation,
        started,
        ..Cell::default()
    };
    let applied = [(name.clone(), generation)].into();
    let cells = vec![cell(false, 90), cell(true, 10)];
    world.telemetry = Telemetry::DataPlanes(vec![DataPlane {
        pod: "p".to_owned(),
        connected: true,
        ready: Ready::default(),
        applied,
        cells,
    }]);
    let run = Run { started_at: 1_800_000_000_000, ..Run::default() };
    let state = State { run: Some(run), ..State::default() };
    let decision =
        Decision { state, only_evidence_changed: false, actions: Vec::new(), report: report(), wake_at: None };
    metrics.report(&world, &observed.targets, &decision);
}

fn full() -> Arc<Metrics> {
    let metrics = Metrics::default();
    look(&metrics);
    metrics.outcome(("shop", "podinfo"), "Promoted", "Promoted", Duration::from_secs(90));
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
    for series in SERIES {
        assert!(text.contains(&format!("# HELP {} {}", series.family(), series.help)), "{}", series.name);
        if series.kind == Kind::Histogram {
            for (part, more) in [("sum", None), ("count", None), ("bucket", Some("le"))] {
                let labels: Vec<_> = more.into_iter().chain(series.labels.iter().copied()).collect();
                let sample = samples.remove(format!("{}_{part}", series.name).as_str());
                assert_eq!(sample, Some(labels), "{}_{part}", series.name);
            }
        } else {
            assert_eq!(samples.remove(series.name).as_deref(), Some(series.labels), "{}", series.name);
        }
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
        format!(r#"sluice_rollout_weight_ratio{{{of},arm="canary",kind="observed"}} 0.1"#),
        format!(r#"sluice_rollout_observed_requests{{{of},arm="stable"}} 90.0"#),
        format!(r#"sluice_rollout_data_planes{{{of},state="acknowledged"}} 1.0"#),
        format!("sluice_rollout_run_start_timestamp_seconds{{{of}}} 1800000000.0"),
        r#"sluice_rollout_run_duration_seconds_bucket{le="300.0",outcome="Promoted"} 1"#.to_owned(),
        r#"sluice_rollout_run_duration_seconds_bucket{le="60.0",outcome="Promoted"} 0"#.to_owned(),
        r#"sluice_operator_reconcile_duration_seconds_bucket{le="+Inf"} 1"#.to_owned(),
        format!("sluice_rollout_step{{{of}}} 2.0"),
        format!(r#"sluice_rollout_phase{{{of},phase="Stepping",reason="MinimumHold"}} 1.0"#),
        format!(r#"sluice_rollout_evidence{{{of},metric="errors",kind="bound"}} 5.3"#),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[test]
fn each_family_is_read_from_where_the_table_has_it() {
    let read = export::READ.iter().map(|(series, _)| series.name);
    assert!(read.eq(SERIES.iter().map(|series| series.name)));
}

#[test]
fn the_series_of_a_rollout_go_with_it() {
    let metrics = full();
    metrics.forget("shop", "podinfo");
    assert!(!text(&metrics).unwrap().contains("podinfo"));
}
