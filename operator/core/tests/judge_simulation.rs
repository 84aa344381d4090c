//! How often the judge blames a good canary, and how soon it finds a bad one: thousands of runs with fixed seeds.
//!
//! Requests are drawn as the data planes draw them: each independently, with the exact share. 100 requests a second, 10 %
//! of them to the canary, a look each second. `cargo test --test judge_simulation -- --nocapture` prints the table.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use sluice_operator_core::{
    decision::Verdict,
    judge::{self, Question, tally},
    plan::{Bad, Metric, Plan, Promotion},
    state::{Config, Run},
    world::{Cell, DataPlane, Ready},
};

/// splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn is(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }
}

/// What happens to requests in a second: probabilities of a bad one for canary and stable.
type Rates = fn(second: u64) -> (f64, f64);

struct Case {
    name: &'static str,
    runs: u64,
    looks: u64,
    rate: u64,
    share: u16,
    metric: Metric,
    rates: Rates,
}

fn plan(metric: Metric) -> Plan {
    Plan {
        workload: "app".to_owned(),
        service: "app".to_owned(),
        routes: Vec::new(),
        steps: Vec::new(),
        mirror_policies: false,
        progress_deadline_ms: 600_000,
        drain_ms: 10_000,
        metrics: vec![metric],
        promotion: Promotion::default(),
        analyse_known_good: false,
        alpha: 0.01,
    }
}

fn metric(compare: Option<f64>, objective: Option<f64>) -> Metric {
    Metric { name: "errors".to_owned(), bad: Bad::Error, compare, objective }
}

/// The first look that fails, and the first that passes.
fn play(case: &Case, seed: u64) -> (Option<u64>, Option<u64>) {
    let plan = plan(case.metric.clone());
    let mut random = Random(seed);
    let config =
        Config { route: "web".to_owned(), generation: 1, share: Some(case.share), step: Some(0), rules: Vec::new() };
    let mut run = Run { configs: vec![config], ..Run::default() };
    let cell = |canary| Cell { route: "web".to_owned(), canary, generation: 1, ..Cell::default() };
    let mut plane = DataPlane {
        pod: "dp".to_owned(),
        connected: true,
        applied: [].into(),
        ready: Ready::default(),
        cells: vec![cell(true), cell(false)],
    };
    let mut passed = None;
    for look in 1..=case.looks {
        let (canary, stable) = (case.rates)(look);
        for _ in 0..case.rate {
            let side = usize::from(!random.is(f64::from(case.share) / 10_000.0));
            let cell = &mut plane.cells[side];
            cell.started += 1;
            cell.ended += 1;
            cell.errors += u64::from(random.is(if side == 0 { canary } else { stable }));
        }
        tally::observe(&mut run, &plan, std::slice::from_ref(&plane));
        let question = Question { step: 0, random: true, compare: true, now: i64::try_from(look).unwrap() * 1_000 };
        match judge::judge(&mut run, &plan, question).metrics[0].verdict {
            Verdict::Fail => return (Some(look), passed),
            Verdict::Pass => passed = passed.or(Some(look)),
            Verdict::Undecided | Verdict::NoData => {}
        }
    }
    (None, passed)
}

fn median(mut looks: Vec<Option<u64>>) -> String {
    looks.sort_by_key(|look| look.unwrap_or(u64::MAX));
    looks[looks.len() / 2].map_or_else(|| "never".to_owned(), |look| format!("{look} s"))
}

/// Share of runs that fail, and the median look of those that must.
fn measure(case: &Case) -> (f64, Option<u64>) {
    let outcomes: Vec<(Option<u64>, Option<u64>)> =
        (0..case.runs).map(|seed| play(case, 0x5EED + seed * 7919)).collect();
    let failed = outcomes.iter().filter(|(failed, _)| failed.is_some()).count() as f64 / case.runs as f64;
    let fails: Vec<Option<u64>> = outcomes.iter().map(|(failed, _)| *failed).collect();
    let passes: Vec<Option<u64>> = outcomes.iter().map(|(_, passed)| *passed).collect();
    println!(
        "| {} | {} | {:.2} % | {} | {} | {:.0} % |",
        case.name,
        case.runs,
        failed * 100.0,
        median(fails.clone()),
        median(passes.clone()),
        passes.iter().flatten().count() as f64 / case.runs as f64 * 100.0
    );
    let mut fails: Vec<u64> = fails.into_iter().flatten().collect();
    fails.sort_unstable();
    let middle = usize::try_from(case.runs).unwrap() / 2;
    (failed, fails.get(middle).copied())
}

fn case(name: &'static str, runs: u64, looks: u64, metric: Metric, rates: Rates) -> Case {
    Case { name, runs, looks, rate: 100, share: 1_000, metric, rates }
}

#[test]
fn good_canaries_are_kept_and_bad_ones_are_found() {
    println!("| case | runs | failed | median to Fail | median to Pass | passed before |\n|---|---|---|---|---|---|");
    let compare = || metric(Some(1.0), None);
    let objective = || metric(None, Some(0.01));
    let outage = |second| if (200..320).contains(&second) { (0.03, 0.03) } else { (0.005, 0.005) };
    let good = [
        case("compare: both 0.5 %, 10 min", 2_000, 600, compare(), |_| (0.005, 0.005)),
        case("compare: both 0.5 %, 6x outage of both for 2 min", 2_000, 600, compare(), outage),
        case("compare: both 5 %, 10 min", 2_000, 600, compare(), |_| (0.05, 0.05)),
        case("objective 1 %: canary 1 %, 10 min", 2_000, 600, objective(), |_| (0.01, 0.0)),
        case("both judges: both 0.5 %, 10 min", 2_000, 600, metric(Some(1.0), Some(0.01)), |_| (0.005, 0.005)),
        Case { rate: 1, ..case("compare: 1 request a second, both 0.5 %", 2_000, 600, compare(), |_| (0.005, 0.005)) },
        case("compare: both 0 %", 500, 60, compare(), |_| (0.0, 0.0)),
    ];
    for case in good {
        let (failed, _) = measure(&case);
        assert!(failed <= 0.01, "{}: {failed}", case.name);
    }
    let bad = [
        (case("compare: canary 5 %, stable 0 %", 1_000, 120, compare(), |_| (0.05, 0.0)), 15),
        (case("compare: canary 20 %, stable 0 %", 1_000, 120, compare(), |_| (0.2, 0.0)), 6),
        (case("compare: canary 5 %, stable 0.5 %", 1_000, 300, compare(), |_| (0.05, 0.005)), 15),
        (case("compare: canary 20 %, stable 0.5 %", 1_000, 120, compare(), |_| (0.2, 0.005)), 6),
        (case("compare: canary 2 %, stable 0.5 %", 1_000, 600, compare(), |_| (0.02, 0.005)), 90),
        (case("objective 1 %: canary 5 %", 1_000, 300, objective(), |_| (0.05, 0.0)), 20),
        (case("objective 1 %: canary 20 %", 1_000, 120, objective(), |_| (0.2, 0.0)), 6),
        (case("objective 1 %: canary 2 %", 1_000, 600, objective(), |_| (0.02, 0.0)), 180),
        (
            Case {
                share: 100,
                ..case("compare: 1 % share, canary 20 %, stable 0.5 %", 1_000, 300, compare(), |_| (0.2, 0.005))
            },
            30,
        ),
    ];
    for (case, bound) in bad {
        let (_, median) = measure(&case);
        assert!(median.is_some_and(|median| median <= bound), "{}: {median:?} of {bound}", case.name);
    }
}
