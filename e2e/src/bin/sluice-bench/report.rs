//! What was measured, as Markdown for people and as JSON with every value.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use sluice_e2e::stats::Spread;

use crate::{
    Args,
    split::Split,
    subject::{ENVOY, HAPROXY, MANY, NGINX, SLUICE, Subject},
    window::CONNECTIONS,
};

/// A round in which nginx is further from its median than this was disturbed.
const STEADY: f64 = 0.05;
/// Fewer rounds than this show nothing.
const FEWEST: usize = 3;
/// Our own goals: what, beside what, at most.
const GOALS: [(&str, &str, Option<f64>); 4] =
    [(SLUICE, NGINX, Some(1.6)), (SLUICE, HAPROXY, None), (SLUICE, ENVOY, Some(0.55)), (MANY, SLUICE, Some(1.1))];
const IDLE_GOAL: f64 = 15.0;

/// What was measured of Sluice by itself.
#[derive(Debug)]
pub(crate) struct Alone {
    /// Megabytes of an idle data plane.
    pub(crate) idle: f64,
    pub(crate) splits: Vec<Split>,
}

/// Microseconds per request of each subject in one round.
pub(crate) type Round = Vec<(&'static str, f64)>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    commit: String,
    time: jiff::Timestamp,
    machine: String,
    requests_per_second: f64,
    seconds: u64,
    routes: u32,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
    idle_resident_mb: f64,
    splits: Vec<Split>,
    rounds: usize,
    disturbed: usize,
    void: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: &'static str,
    version: String,
    resident_mb: f64,
    microseconds: Spread,
    values: Vec<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ratio {
    what: &'static str,
    beside: &'static str,
    spread: Spread,
    at_most: Option<f64>,
}

impl Report {
    pub(crate) fn new(
        args: &Args,
        subjects: &[Subject],
        rounds: &[Round],
        void: Vec<String>,
        alone: Alone,
    ) -> Result<Self> {
        let all = rounds.len();
        let rounds = steady(rounds, args.disturbed);
        ensure!(rounds.len() >= FEWEST, "only {} of {all} rounds were undisturbed; void: {void:?}", rounds.len());
        let row = |name: &'static str| {
            let subject = subjects.iter().find(|subject| subject.name == name)?;
            let values: Vec<_> = rounds.iter().filter_map(|round| cost(round, name)).collect();
            let microseconds = Spread::of(values.iter().copied());
            Some(Row { name, version: subject.version.clone(), resident_mb: subject.resident, microseconds, values })
        };
        Ok(Self {
            commit: commit()?,
            time: jiff::Timestamp::now(),
            machine: machine()?,
            requests_per_second: args.rps,
            seconds: args.seconds,
            routes: args.routes,
            rows: [SLUICE, MANY, NGINX, HAPROXY, ENVOY].into_iter().filter_map(row).collect(),
            ratios: GOALS.into_iter().filter_map(|goal| ratio(&rounds, goal)).collect(),
            idle_resident_mb: alone.idle,
            splits: alone.splits,
            rounds: rounds.len(),
            disturbed: all - rounds.len(),
            void,
        })
    }

    /// Writes both forms; `name` is without an ending.
    pub(crate) fn write(&self, name: &Path) -> Result<()> {
        let write = |ending: &str, text: String| {
            let path = PathBuf::from(format!("{}.{ending}", name.display()));
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        write("md", self.to_string())?;
        write("json", serde_json::to_string_pretty(self)? + "\n")
    }
}

/// nginx is the same program in every round: where it was not as fast as else, the machine was not.
pub(crate) fn steady(rounds: &[Round], even_disturbed: bool) -> Vec<&Round> {
    let median = Spread::of(rounds.iter().filter_map(|round| cost(round, NGINX))).median;
    let is_steady = |round: &&Round| cost(round, NGINX).is_some_and(|cost| (cost / median - 1.0).abs() <= STEADY);
    rounds.iter().filter(|round| even_disturbed || is_steady(round)).collect()
}

fn cost(round: &Round, name: &str) -> Option<f64> {
    round.iter().find(|(known, _)| *known == name).map(|(_, cost)| *cost)
}

/// None when one of the two was not measured.
fn ratio(rounds: &[&Round], goal: (&'static str, &'static str, Option<f64>)) -> Option<Ratio> {
    let (what, beside, at_most) = goal;
    let ratios: Option<Vec<_>> = rounds.iter().map(|round| Some(cost(round, what)? / cost(round, beside)?)).collect();
    Some(Ratio { what, beside, spread: Spread::of(ratios?), at_most })
}

fn commit() -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git").args(arguments).output().context("run git")?;
        ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let changed = if git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() { "" } else { ", changed" };
    Ok(git(&["rev-parse", "--short=12", "HEAD"])? + changed)
}

fn machine() -> Result<String> {
    let (cpus, kernel) = (fs::read_to_string("/proc/cpuinfo")?, fs::read_to_string("/proc/sys/kernel/osrelease")?);
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    Ok(format!("{count} × {}, Linux {}", model.trim_start_matches([' ', '\t', ':']), kernel.trim()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Speed: processor time per request\n")?;
        writeln!(
            f,
            "Written by `make bench REPORT=docs/reports/bench`; every value is in the JSON file beside this.\n"
        )?;
        writeln!(f, "- Commit {}, {:.0}; {}", self.commit, self.time, self.machine)?;
        writeln!(
            f,
            "- HTTP/1.1 on loopback, {CONNECTIONS} kept connections, {} requests/s, answers of 100 bytes. Each proxy has \
             processor 0 and one worker;\n  load and backend have processor 1. Connections to the backend are kept, access \
             logs are off, Sluice's metrics are on.",
            self.requests_per_second
        )?;
        writeln!(
            f,
            "- {} rounds, in each of them every proxy for {} s, a second at a time. Not counted: {} rounds in which nginx was more than {:.0} % \
             off its median,\n  and {} with a failed request or too much load.\n",
            self.rounds,
            self.seconds,
            self.disturbed,
            STEADY * 100.0,
            self.void.len()
        )?;
        self.write_ratios(f)?;
        self.write_rows(f)?;
        self.write_splits(f)
    }
}

impl Report {
    fn write_ratios(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Times differ from machine to machine; what can be compared are ratios of the same round:\n")?;
        writeln!(f, "| | median | quartiles | goal | reached |\n|---|--:|--:|--:|---|")?;
        for Ratio { what, beside, spread, at_most } in &self.ratios {
            let (goal, reached) = at_most.map_or_else(Default::default, |most| goal(spread.median, most));
            let Spread { lower, median, upper } = spread;
            writeln!(f, "| {what} ÷ {beside} | {median:.2} | {lower:.2} to {upper:.2} | {goal} | {reached} |")?;
        }
        let (goal, reached) = goal(self.idle_resident_mb, IDLE_GOAL);
        let idle = self.idle_resident_mb;
        writeln!(f, "| resident memory of an idle data plane, MB | {idle:.1} | | {goal} | {reached} |\n")
    }

    fn write_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | version | µs per request, median | quartiles | resident before the load, MB |")?;
        writeln!(f, "|---|---|--:|--:|--:|")?;
        for Row { name, version, resident_mb, microseconds: Spread { lower, median, upper }, .. } in &self.rows {
            let name = if *name == MANY { format!("Sluice, {} routes", self.routes) } else { (*name).to_owned() };
            writeln!(f, "| {name} | {version} | {median:.1} | {lower:.1} to {upper:.1} | {resident_mb:.1} |")?;
        }
        Ok(())
    }

    fn write_splits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nWeights, each request drawn by itself, by a data plane as it is started by default:\n")?;
        writeln!(f, "| weights | requests | share wanted, % | share measured, % | in its 99.9 % binomial interval |")?;
        writeln!(f, "|---|--:|--:|--:|---|")?;
        for split in &self.splits {
            let Split { weights: [first, second], requests, hits, fits } = split;
            let (wanted, measured) = (split.wanted() * 100.0, *hits as f64 / *requests as f64 * 100.0);
            let fits = yes(*fits);
            writeln!(f, "| {first}:{second} | {requests} | {wanted:.3} | {measured:.3} | {fits} |")?;
        }
        Ok(())
    }
}

fn yes(reached: bool) -> &'static str {
    if reached { "yes" } else { "no" }
}

fn goal(value: f64, most: f64) -> (String, &'static str) {
    (format!("≤ {most}"), yes(value <= most))
}

#[cfg(test)]
mod tests {
    use super::{ENVOY, NGINX, Round, SLUICE, ratio, steady};

    fn round(sluice: f64, nginx: f64) -> Round {
        vec![(SLUICE, sluice), (NGINX, nginx)]
    }

    #[test]
    fn a_round_in_which_nginx_was_slow_is_not_counted() {
        let rounds = [round(30.0, 20.0), round(60.0, 40.0), round(31.0, 20.5), round(29.0, 19.5)];
        assert_eq!(steady(&rounds, false), [&rounds[0], &rounds[2], &rounds[3]]);
        assert_eq!(steady(&rounds, true).len(), 4);
    }

    #[test]
    fn a_ratio_is_of_two_figures_of_the_same_round() {
        let rounds = [round(30.0, 20.0), round(30.0, 10.0), round(60.0, 40.0)];
        let measured = ratio(&rounds.each_ref(), (SLUICE, NGINX, None)).expect("both were measured");
        assert!((measured.spread.median - 1.5).abs() < f64::EPSILON);
        assert!(ratio(&rounds.each_ref(), (SLUICE, ENVOY, None)).is_none());
    }
}
