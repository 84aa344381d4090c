//! `sluice-demo`: installs Sluice, promotes a good version and rolls a bad one back under traffic, and counts every
//! request meanwhile.
//!
//! What it promises it checks: it exits with 1 when a request other than the bad version's own errors failed, when the
//! good version was not promoted, the bad one not rolled back, or a pod of the stable version was replaced.
#![forbid(unsafe_code)]

mod screen;
mod story;
mod summary;
mod view;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use sluice_e2e::{cluster::Cluster, diagnose};

use crate::{screen::Screen, story::Story};

/// Shows a promotion and a rollback on the cluster of KUBECONFIG.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Manifest that installs Sluice
    #[arg(long, default_value = "install/install.yaml")]
    install: PathBuf,
    /// Folder of the example
    #[arg(long, default_value = "examples/00-first-light")]
    example: PathBuf,
    /// Requests per second
    #[arg(long, default_value_t = 100.0)]
    rps: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let cluster = Cluster::connect().await?;
    let mut story = Story::new(cluster.clone(), Screen::new(), &args.example, args.install, args.rps)?;
    let told = story.tell().await;
    let namespace = story.namespace().to_owned();
    let broken = story.end().await?;
    if let Err(error) = &told {
        eprintln!("\nFAILED: {error:#}\n\n{}", diagnose::report(&cluster, &namespace).await);
    }
    Ok(if told.is_ok() && broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
