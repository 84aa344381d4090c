//! `make fuzz`: runs targets, each for a time, from the committed inputs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use sluice_fuzz::targets::{TARGETS, Target};
use sluice_fuzz::{corpus, engine};

/// Fuzzes everything of ours that reads bytes of others.
#[derive(Debug, Parser)]
struct Cli {
    /// Targets to run; without one all of them.
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the random changes begin; without it another place each time, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for inputs that reached something new.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Folder for inputs that broke a promise.
    #[arg(long, default_value = "findings")]
    findings: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    for name in &cli.targets {
        ensure!(TARGETS.iter().any(|target| target.name == name), "there is no target {name}");
    }
    let wanted = |target: &&Target| cli.targets.is_empty() || cli.targets.iter().any(|name| name == target.name);
    let mut broken = Vec::new();
    for target in TARGETS.iter().filter(wanted) {
        if !run(target, &cli)? {
            broken.push(target.name);
        }
    }
    if broken.is_empty() { Ok(()) } else { bail!("broken promises: {}", broken.join(", ")) }
}

/// Whether the target kept its promises.
fn run(target: &Target, cli: &Cli) -> anyhow::Result<bool> {
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..));
    let folder = corpus::folder(target.name);
    let inputs = corpus::load(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let inputs = inputs.into_iter().map(|(_, bytes)| bytes).collect();
    let outcome = engine::fuzz(target, inputs, Duration::from_secs(cli.seconds), seed);
    let (runs, reached, fresh) = (outcome.runs, outcome.reached, outcome.fresh.len());
    println!("{:<10} seed {seed}: {runs} runs, {reached} counters reached, {fresh} new inputs", target.name);
    if let Some(folder) = &cli.keep {
        for input in &outcome.fresh {
            corpus::save(&folder.join(target.name), "reached", input)?;
        }
    }
    let Some(finding) = outcome.finding else { return Ok(true) };
    let path = corpus::save(&cli.findings, target.name, &finding.input)?;
    println!("  {}\n  {:?}\n  {}", finding.message, String::from_utf8_lossy(&finding.input), path.display());
    Ok(false)
}
