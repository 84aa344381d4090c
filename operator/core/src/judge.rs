//! Judging a canary: cumulative counters in, verdicts out.
//!
//! The data planes draw each request's side independently and with the exact weights, and count by the generation of the
//! route, whose share is known exactly. So the counters of each (route, generation) are a sufficient statistic: nothing
//! depends on when they were read, and a restart loses nothing.
//!
//! - Evidence for `Fail` runs through the whole run: [`f1`] for `compare`, [`f3`] for `objective`. Both are e-processes,
//!   so that looking often costs nothing (Ville): with k tests each has the bound k / alpha.
//! - Evidence for `Pass` starts anew with each step: [`certify`], sequential probability ratio tests (Wald 1945).
//! - A [`Verdict::Fail`] needs two looks, [`CONFIRM_MS`] apart, and at least [`MIN_BAD`] bad requests.

pub mod certify;
pub mod disruptions;
pub mod f1;
pub mod f3;
pub mod tally;
#[cfg(test)]
mod tests;

use crate::{
    Millis, Reason,
    decision::{MetricReport, Verdict},
    plan::{Metric, Plan},
    state::Run,
};
use tally::Counts;

/// Time between the two looks that a `Fail` needs: one reading that is wrong must not roll back. Data planes report each
/// second, so two reports at least are in it.
pub const CONFIRM_MS: Millis = 900;

/// Fewer bad requests than this never fail a canary, however good stable is.
pub const MIN_BAD: u64 = 3;

/// Above this share of bad requests on both sides together `compare` alone never passes.
pub const CEILING: f64 = 0.5;

/// Fewer requests than this say nothing about both sides together.
const MIN_POOLED: u64 = 20;

/// What is judged now.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The step whose evidence passes.
    pub step: usize,
    /// The step's split is random, so that the sides can be compared.
    pub random: bool,
    /// `compare` takes part; not while the canary has all the traffic.
    pub compare: bool,
    /// When.
    pub now: Millis,
}

/// Verdicts on a look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Each metric.
    pub metrics: Vec<MetricReport>,
    /// Why the canary failed, if it did.
    pub failed: Option<(Reason, String)>,
    /// Both sides fail; the sentence says how.
    pub both_fail: Option<String>,
    /// A person said that the run goes without analysis: metrics are told and decide nothing.
    pub is_skipped: bool,
}

impl Judgement {
    /// Every metric passes, and the sides do not fail together; or nobody asks.
    pub fn passes(&self) -> bool {
        let all_pass = || self.metrics.iter().all(|metric| metric.verdict == Verdict::Pass);
        self.is_skipped || (self.both_fail.is_none() && all_pass())
    }

    /// Metrics without a verdict, in a sentence.
    pub fn undecided(&self) -> String {
        let open = self.metrics.iter().filter(|metric| metric.verdict != Verdict::Pass);
        open.map(|metric| metric.message.as_str()).collect::<Vec<_>>().join("; ")
    }
}

/// Judges every metric. The run's tallies must have been brought up to date with this look's telemetry.
pub fn judge(run: &mut Run, plan: &Plan, question: Question) -> Judgement {
    let ln_bound = ln_bound(plan);
    let mut judgement = Judgement { is_skipped: run.skips_analysis, ..Judgement::default() };
    for (index, metric) in plan.metrics.iter().enumerate() {
        let numbers = Numbers::new(run, plan, index, question.step);
        let report = judge_metric(run, metric, &numbers, question, ln_bound);
        if report.verdict == Verdict::Fail && judgement.failed.is_none() && !judgement.is_skipped {
            judgement.failed = Some((Reason::MetricFailed, report.message.clone()));
        }
        if question.compare && judgement.both_fail.is_none() {
            judgement.both_fail = both_fail(metric, &numbers);
        }
        judgement.metrics.push(report);
    }
    if let Some(message) = disruptions::refuses(run, question.now)
        && judgement.failed.is_none()
    {
        judgement.failed = Some((Reason::CanaryRefuses, message));
    }
    judgement
}

/// Every metric without numbers: what is said while the data planes cannot be asked.
pub fn no_data(plan: &Plan, why: &str) -> Vec<MetricReport> {
    let report = |metric: &Metric| MetricReport {
        name: metric.name.clone(),
        verdict: Verdict::NoData,
        message: format!("{}: no numbers: {why}", metric.name),
        canary: (0, 0),
        stable: (0, 0),
        evidence: (0.0, ln_bound(plan)),
    };
    plan.metrics.iter().map(report).collect()
}

/// ln of the e-value that fails a canary: every test of the plan has its share of alpha over the whole run, whether it takes
/// part in a look or not, so P(any false Fail) <= sum of alpha / k.
fn ln_bound(plan: &Plan) -> f64 {
    let count = |metric: &Metric| usize::from(metric.compare.is_some()) + usize::from(metric.objective.is_some());
    let tests: usize = plan.metrics.iter().map(count).sum();
    (tests.max(1) as f64 / plan.alpha.max(f64::MIN_POSITIVE)).ln()
}

/// The tests that can fail a metric.
#[derive(Clone, Copy)]
enum Test {
    Compare(f64),
    Objective(f64),
}

fn tests_of(metric: &Metric, question: Question) -> Vec<Test> {
    let compare = metric.compare.filter(|_| question.compare).map(Test::Compare);
    compare.into_iter().chain(metric.objective.map(Test::Objective)).collect()
}

/// The counts that one metric is judged on.
struct Numbers {
    /// Of each config with a random split: share and counts of both sides, over the run.
    shared: Vec<(u16, Counts, Counts)>,
    /// The canary over the run.
    canary: Counts,
    /// The step's: canary and stable.
    step: (Counts, Counts),
    /// The step's configs with a random split.
    step_shared: Vec<(u16, Counts, Counts)>,
    /// Requests in flight on the canary, assigned but not ended.
    unended: u64,
}

impl Numbers {
    fn new(run: &Run, plan: &Plan, metric: usize, step: usize) -> Self {
        let mut numbers = Self {
            shared: Vec::new(),
            canary: Counts::default(),
            step: <(Counts, Counts)>::default(),
            step_shared: Vec::new(),
            unended: 0,
        };
        for config in &run.configs {
            let canary = tally::counts(run, plan, metric, config, true);
            let stable = tally::counts(run, plan, metric, config, false);
            let of_step = config.step == Some(step);
            let of_step_counts = [true, false].map(|canary| tally::counts_of_step(run, plan, metric, config, canary));
            numbers.canary.add(canary);
            if let Some(share) = config.share.filter(|share| *share > 0 && *share < crate::routes::WHOLE) {
                numbers.shared.push((share, canary, stable));
                if of_step {
                    numbers.step_shared.push((share, of_step_counts[0], of_step_counts[1]));
                }
            }
            if of_step {
                numbers.step.0.add(of_step_counts[0]);
                numbers.step.1.add(of_step_counts[1]);
                numbers.unended += tally::unended(run, config);
            }
        }
        numbers
    }

    fn sides(configs: &[(u16, Counts, Counts)]) -> (Counts, Counts) {
        let mut sides = <(Counts, Counts)>::default();
        for (_, canary, stable) in configs {
            sides.0.add(*canary);
            sides.1.add(*stable);
        }
        sides
    }
}

fn judge_metric(run: &mut Run, metric: &Metric, numbers: &Numbers, question: Question, ln_bound: f64) -> MetricReport {
    let mut evidence = 0.0_f64;
    let mut failed = None;
    let mut passes = true;
    for test in tests_of(metric, question) {
        let (name, ln_e, sides, bad_enough) = run_test(test, numbers);
        let is_over = ln_e >= ln_bound && bad_enough;
        if confirmed(run, format!("{}/{name}", metric.name), is_over, question.now) && failed.is_none() {
            let sentence = sentence(&sides.0, Some(&sides.1).filter(|stable| stable.all > 0));
            failed = Some(format!(
                "{}: {sentence}; evidence {} : 1 against a bound of {} : 1",
                metric.name,
                odds(ln_e),
                odds(ln_bound)
            ));
        }
        evidence = evidence.max(ln_e);
        passes &= test_passes(test, metric, numbers, question);
    }
    let (canary, stable) = numbers.step;
    let verdict = match (&failed, canary.all) {
        (Some(_), _) => Verdict::Fail,
        (None, 0) => Verdict::NoData,
        (None, _) if passes => Verdict::Pass,
        (None, _) => Verdict::Undecided,
    };
    let message = failed.unwrap_or_else(|| said(metric, verdict, numbers));
    MetricReport {
        name: metric.name.clone(),
        verdict,
        message,
        canary: (canary.bad, canary.all),
        stable: (stable.bad, stable.all),
        evidence: (evidence, ln_bound),
    }
}

/// Name, ln of the e-value, the counts it speaks of, and whether enough requests are bad to speak of failure at all.
fn run_test(test: Test, numbers: &Numbers) -> (&'static str, f64, (Counts, Counts), bool) {
    match test {
        Test::Compare(tolerance) => {
            let sides = Numbers::sides(&numbers.shared);
            let worse = sides.0.rate() > tolerance * sides.1.rate();
            ("compare", f1::ln_e(&numbers.shared, tolerance), sides, sides.0.bad >= MIN_BAD && worse)
        }
        Test::Objective(p0) => {
            let canary = numbers.canary;
            let worse = canary.rate() > p0;
            ("objective", f3::ln_e(canary, p0), (canary, Counts::default()), canary.bad >= MIN_BAD && worse)
        }
    }
}

/// A test over its bound in two looks.
fn confirmed(run: &mut Run, key: String, is_over: bool, now: Millis) -> bool {
    if !is_over {
        run.over_since.remove(&key);
        return false;
    }
    now - *run.over_since.entry(key).or_insert(now) >= CONFIRM_MS
}

fn test_passes(test: Test, metric: &Metric, numbers: &Numbers, question: Question) -> bool {
    let (canary, _) = numbers.step;
    match test {
        Test::Objective(p0) => certify::objective(canary, p0),
        // Without random assignment there is nothing to compare: the objective decides, or the absolute form.
        Test::Compare(_) if !question.random => metric.objective.is_some() || certify::absolute(canary),
        Test::Compare(tolerance) => certify::compare(&numbers.step_shared, tolerance),
    }
}

/// Both sides together are above the ceiling: the canary may have broken what both of them use.
fn both_fail(metric: &Metric, numbers: &Numbers) -> Option<String> {
    metric.compare?;
    let (mut pooled, stable) = numbers.step;
    pooled.add(stable);
    let ceiling = metric.objective.unwrap_or(CEILING);
    let is_above = stable.all > 0 && stable.rate() > ceiling && pooled.all >= MIN_POOLED && pooled.rate() > ceiling;
    is_above.then(|| {
        format!(
            "{}: {} of {} requests of both sides are bad, above the ceiling of {}: whatever the canary does, more weight \
             is no remedy",
            metric.name,
            pooled.bad,
            pooled.all,
            percent(ceiling)
        )
    })
}

fn said(metric: &Metric, verdict: Verdict, numbers: &Numbers) -> String {
    let (canary, stable) = numbers.step;
    let numbers_said = match (verdict, numbers.unended) {
        (Verdict::NoData, 0) => "no request reached the canary in this step".to_owned(),
        (Verdict::NoData, unended) => format!("none of the canary's {unended} requests in this step has ended"),
        _ => sentence(&canary, Some(&stable).filter(|_| metric.compare.is_some() && stable.all > 0)),
    };
    format!("{}: {numbers_said}", metric.name)
}

fn sentence(canary: &Counts, stable: Option<&Counts>) -> String {
    let side = |counts: &Counts| format!("{} of {} requests bad ({})", counts.bad, counts.all, percent(counts.rate()));
    match stable {
        Some(stable) => format!("canary {}, stable {}", side(canary), side(stable)),
        None => format!("canary {}", side(canary)),
    }
}

fn percent(rate: f64) -> String {
    format!("{:.1} %", rate * 100.0)
}

/// Odds of which ln is given, short enough to read.
fn odds(ln: f64) -> String {
    let log10 = ln / std::f64::consts::LN_10;
    if log10 < 6.0 { format!("{:.0}", ln.exp()) } else { format!("1e{log10:.0}") }
}
