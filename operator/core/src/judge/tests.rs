//! Tests of the judge.

use super::{
    Question, certify, f1, f3, judge,
    tally::{Counts, observe},
};
use crate::{
    decision::Verdict,
    plan::{Bad, Metric, Plan},
    state::{Config, Run},
    world::{Cell, DataPlane, Ready},
};

fn counts(bad: u64, all: u64) -> Counts {
    Counts { bad, all }
}

#[test]
fn four_errors_of_the_canary_alone_fail_at_ten_percent() {
    let evidence = |errors| f1::ln_e(&[(1_000, counts(errors, 80), counts(0, 720))], 1.0);
    assert!(evidence(3) < 100_f64.ln());
    assert!(evidence(4) > 100_f64.ln());
}

#[test]
fn a_shared_outage_is_no_evidence() {
    assert!(f1::ln_e(&[(1_000, counts(100, 1_000), counts(900, 9_000))], 1.0) < 0.0);
}

#[test]
fn evidence_does_not_depend_on_how_it_was_cut() {
    let whole = f1::ln_e(&[(1_000, counts(6, 100), counts(8, 900))], 1.0);
    let parts = f1::ln_e(&[(1_000, counts(2, 30), counts(5, 400)), (1_000, counts(4, 70), counts(3, 500))], 1.0);
    assert!((whole - parts).abs() < 1e-9);
}

#[test]
fn an_objective_fails_and_passes() {
    assert!(f3::ln_e(counts(12, 200), 0.01) > 100_f64.ln());
    assert!(f3::ln_e(counts(2, 200), 0.01) < 1.0);
    assert!(certify::objective(counts(0, 300), 0.01));
    assert!(!certify::objective(counts(0, 290), 0.01));
    assert!(!certify::objective(counts(30, 1_000), 0.01));
    // Not even an objective that allows everything makes numbers that are none.
    assert!(f3::ln_e(counts(5, 5), 1.0).is_finite());
}

#[test]
fn a_clean_canary_passes_a_comparison_after_sixty_five_requests() {
    let configs = |bad, all| [(1_000, counts(bad, all), counts(5, 900))];
    assert!(!certify::compare(&configs(0, 64), 1.0));
    assert!(certify::compare(&configs(0, 65), 1.0));
    assert!(!certify::compare(&configs(3, 65), 1.0));
}

fn plan(bad: Bad) -> Plan {
    Plan {
        workload: "app".to_owned(),
        service: "app".to_owned(),
        routes: Vec::new(),
        steps: Vec::new(),
        mirror_policies: false,
        progress_deadline_ms: 600_000,
        drain_ms: 10_000,
        metrics: vec![Metric { name: "m".to_owned(), bad, compare: None, objective: Some(0.01) }],
        promotion: crate::plan::Promotion::default(),
        analyse_known_good: false,
        alpha: 0.01,
    }
}

fn plane(pod: &str, cell: Cell) -> DataPlane {
    DataPlane { pod: pod.to_owned(), connected: true, applied: [].into(), ready: Ready::default(), cells: vec![cell] }
}

fn run() -> Run {
    let config = Config { route: "r".to_owned(), generation: 2, share: Some(1_000), step: Some(0), rules: Vec::new() };
    Run { configs: vec![config], ..Run::default() }
}

#[test]
fn a_hanging_canary_fails_by_the_age_of_its_requests() {
    let plan = plan(Bad::SlowerThan(1));
    let mut run = run();
    let hanging = Cell {
        route: "r".to_owned(),
        canary: true,
        generation: 2,
        started: 40,
        in_flight: 40,
        ages: vec![0, 5, 35],
        ..Cell::default()
    };
    observe(&mut run, &plan, &[plane("a", hanging)]);
    let question = |now| Question { step: 0, random: true, compare: true, now };
    assert_ne!(judge(&mut run, &plan, question(1_000)).metrics[0].verdict, Verdict::Fail, "one look is not enough");
    let judgement = judge(&mut run, &plan, question(2_000));
    assert_eq!(judgement.metrics[0].verdict, Verdict::Fail, "{judgement:?}");
    assert_eq!(judgement.metrics[0].canary, (35, 35));
}

#[test]
fn a_data_plane_that_vanishes_and_returns_counts_once() {
    let plan = plan(Bad::Error);
    let mut run = run();
    let cell = |errors| Cell {
        route: "r".to_owned(),
        canary: true,
        generation: 2,
        started: 100,
        ended: 100,
        errors,
        ..Cell::default()
    };
    observe(&mut run, &plan, &[plane("a", cell(4)), plane("b", cell(2))]);
    observe(&mut run, &plan, &[plane("a", cell(5))]);
    observe(&mut run, &plan, &[plane("a", cell(5)), plane("b", cell(2))]);
    assert_eq!(super::tally::counts(&run, &plan, 0, &run.configs[0], true), counts(7, 200));
}

#[test]
fn other_generations_are_no_evidence() {
    let plan = plan(Bad::Error);
    let mut run = run();
    let cell = Cell { route: "r".to_owned(), canary: true, generation: 1, ended: 9, errors: 9, ..Cell::default() };
    observe(&mut run, &plan, &[plane("a", cell)]);
    assert!(run.tallies.is_empty());
}

#[test]
fn a_canary_that_refuses_most_requests_fails_and_one_eviction_does_not() {
    let plan = plan(Bad::Error);
    let mut run = run();
    let refusing = |started, disruptions| Cell {
        route: "r".to_owned(),
        canary: true,
        generation: 2,
        started,
        ended: started - disruptions,
        disruptions,
        ..Cell::default()
    };
    let mut look = |second: i64, started, disruptions| {
        observe(&mut run, &plan, &[plane("a", refusing(started, disruptions))]);
        judge(&mut run, &plan, Question { step: 0, random: true, compare: true, now: second * 1_000 }).failed
    };
    assert_eq!(look(0, 100, 0), None);
    assert_eq!(look(5, 150, 15), None);
    assert_eq!(look(20, 300, 15), None, "an eviction");
    assert_eq!(look(21, 310, 20), None);
    let message = "70 of 90 requests to the canary within 11 s were refused or dropped by its pods; see why they restart \
                   or do not listen";
    assert_eq!(look(32, 400, 90), Some((crate::Reason::CanaryRefuses, message.to_owned())));
}
