//! `sluice-bench`: what a proxied request costs, beside other proxies in the same run.
//!
//! ```text
//! processor 1: this program (load) ─┐             ┌─▶ backend
//! processor 0:                      └─▶ a proxy ──┘
//! ```
//!
//! One proxy after the other gets the same load for a second, turn by turn, so that a machine that grows slower does so for
//! all of them; some turns are a round. What counts is the processor time of the proxy's threads, divided by the answers; and of that only the ratio
//! to another proxy's in the same round.
#![forbid(unsafe_code)]

mod manifests;
mod process;
mod report;
mod split;
mod subject;
mod window;

use std::{collections::BTreeMap, net::TcpListener, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::{
    process::Process,
    report::{Alone, Report},
    subject::{LOAD, Place, Subject},
    window::{Window, Work},
};

/// As many times the rounds that were asked for are measured at most, in place of void and disturbed ones.
const MOST_ROUNDS: usize = 3;
/// How long a proxy has its turn.
const TURN: Duration = Duration::from_secs(1);

/// Measures processor time per proxied request.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Sluice's proxy, compiled for release
    #[arg(long)]
    proxy: PathBuf,
    /// Envoy; without it, or where there is none, the others are compared without it
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// Steady rounds
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    /// Seconds that each proxy is measured for in a round
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Requests per second
    #[arg(long, default_value_t = 6000.0)]
    rps: f64,
    /// Routes of the large table
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    routes: u32,
    /// Count disturbed rounds, too: for a machine that others use, and not for publishing
    #[arg(long, conflicts_with = "report")]
    disturbed: bool,
    /// Where to write the report: this name with .md and with .json
    #[arg(long)]
    report: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(std::thread::available_parallelism()?.get() >= 2, "two processors are needed: one for the proxy alone");
    // This thread is the only one yet; those of the load come from it.
    let pinned = Command::new("taskset").args(["-cp", &LOAD.to_string(), &std::process::id().to_string()]).output();
    ensure!(pinned.context("run taskset")?.status.success(), "this process cannot be bound to processor {LOAD}");
    let dir = std::env::temp_dir().join(format!("sluice-bench-{}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
    let measured = measure(&args, Place { dir: dir.clone(), backend: free_port()? }).await;
    std::fs::remove_dir_all(&dir)?;
    let report = measured?;
    println!("\n{report}");
    if let Some(name) = &args.report {
        report.write(name)?;
    }
    Ok(())
}

async fn measure(args: &Args, place: Place) -> Result<Report> {
    let _backend = subject::backend(&place)?;
    let idle = subject::idle_data_plane(args, &place).await?;
    let splits = split::measure(&args.proxy, &place, args.rps).await?;
    let mut subjects = subject::all(args, &place).await?;
    let window = Window { rps: args.rps, length: TURN, disturbed: args.disturbed };
    let (mut rounds, mut void) = (Vec::new(), Vec::new());
    let wanted = args.rounds as usize;
    while report::steady(&rounds, args.disturbed).len() < wanted && rounds.len() + void.len() < MOST_ROUNDS * wanted {
        match round(&mut subjects, &window, args.seconds).await {
            Ok(costs) => rounds.push(costs),
            Err(error) => {
                eprintln!("void round: {error:#}");
                void.push(format!("{error:#}"));
            }
        }
    }
    Report::new(args, &subjects, &rounds, void, Alone { idle, splits })
}

/// Microseconds per request of each subject, by name.
async fn round(subjects: &mut [Subject], window: &Window, turns: u64) -> Result<Vec<(&'static str, f64)>> {
    let mut spent: BTreeMap<&'static str, Work> = BTreeMap::new();
    for _ in 0..turns {
        // Each begins once, so that none is always measured after the same other one.
        subjects.rotate_left(1);
        for subject in &*subjects {
            let work = window.measure(subject).await.with_context(|| subject.name)?;
            spent.entry(subject.name).or_default().add(work);
        }
    }
    let costs: Vec<_> = spent.into_iter().map(|(name, work)| (name, work.per_request())).collect();
    println!("{}", costs.iter().map(|(name, cost)| format!("{name} {cost:.2} µs")).collect::<Vec<_>>().join(", "));
    Ok(costs)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
