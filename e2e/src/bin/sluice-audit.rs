//! `sluice-audit`: judges the API server's audit log, and fails when a promise was broken.
//!
//! `make e2e` runs it over the whole run of the tests. By hand, over one namespace:
//! `sluice-audit --log "$(sluice-cluster audit)" --namespace NAME`
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use jiff::Timestamp;
use sluice_e2e::audit::{Scope, audit, events, rights::Rights};

/// Judges the API server's audit log.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The log; files that were rotated away are found beside it
    #[arg(long)]
    log: Option<PathBuf>,
    /// Judge what came from this time on
    #[arg(long)]
    since: Option<Timestamp>,
    /// Judge one namespace
    #[arg(long, conflicts_with = "whole")]
    namespace: Option<String>,
    /// It is a run of all tests: also compare rights with their use, and fail for a promise that nothing was about
    #[arg(long)]
    whole: bool,
    /// Manifest that grants the rights
    #[arg(long, default_value = "install/install.yaml")]
    install: PathBuf,
    /// Rights that need not be used
    #[arg(long, default_value = "e2e/audit-exceptions.yaml")]
    exceptions: PathBuf,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let Some(log) = &args.log else {
        println!("SKIPPED: there is no audit log to judge (only the embedded cluster's can be read)");
        return Ok(ExitCode::SUCCESS);
    };
    let mut rights = args.whole.then(|| Rights::read(&args.install, &args.exceptions)).transpose()?;
    let events = events(log, args.since).with_context(|| format!("read {}", log.display()))?;
    let scope = Scope { since: args.since, namespace: args.namespace };
    let mut report = audit(events, &scope, rights.as_mut());
    report.outcomes.extend(rights.map(|rights| rights.outcome()));
    print!("{report}");
    let unproven = if args.whole { report.unproven() } else { Vec::new() };
    for promise in &unproven {
        println!("nothing was seen of this, so nothing is shown: {promise}");
    }
    Ok(if report.is_sound() && unproven.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
