//! `sluice-figures`: measures the published figures on a cluster and prints them as a table.
//!
//! Each row says how often it was measured, and gives the smallest, middle and largest value: one good run shows nothing.
#![forbid(unsafe_code)]

mod flip;
mod memory;
mod rollback;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use sluice_e2e::{cluster::Cluster, diagnose, install::install};

use crate::table::Table;

/// Namespace of the measured app.
const NAMESPACE: &str = "sluice-figures";

/// Measures Sluice on the cluster of KUBECONFIG.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Manifest that installs Sluice
    #[arg(long, default_value = "install/install.yaml")]
    install: PathBuf,
    /// Folder of the example that is measured
    #[arg(long, default_value = "examples/01-first-light")]
    example: PathBuf,
    /// Rollbacks of each kind
    #[arg(long, default_value_t = 11)]
    runs: usize,
    /// Changes of a route's weights
    #[arg(long, default_value_t = 50)]
    flips: usize,
    /// Requests per second in the rollbacks
    #[arg(long, default_value_t = 100.0)]
    rps: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let cluster = Cluster::connect().await?;
    let mut table = Table::default();
    let measured = measure(&cluster, &args, &mut table).await;
    println!("\n{table}");
    if let Err(error) = measured {
        eprintln!("{}", diagnose::report(&cluster, NAMESPACE).await);
        return Err(error);
    }
    cluster.delete_namespace(NAMESPACE).await
}

async fn measure(cluster: &Cluster, args: &Args, table: &mut Table) -> Result<()> {
    cluster.delete_namespace(NAMESPACE).await?;
    install(cluster, &args.install).await?;
    memory::measure(cluster, "idle, no Gateway", table).await?;
    flip::measure(cluster, &args.example, args.flips, table).await?;
    cluster.delete_namespace(NAMESPACE).await?;
    for error_rate in ["0.05", "0.2"] {
        rollback::measure(cluster, &args.example, error_rate, args.runs, args.rps, table).await?;
        cluster.delete_namespace(NAMESPACE).await?;
    }
    Ok(())
}
