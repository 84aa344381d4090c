//! `sluice-figures`: measures the published figures on a cluster and prints them as a table.
//!
//! Each row says how often it was measured, and gives the smallest, middle and largest value: one good run shows nothing.
#![forbid(unsafe_code)]

mod attach;
mod backends;
mod churn;
mod flip;
mod memory;
mod planes;
mod replicas;
mod rollback;
mod scale;
mod start;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};
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
    /// What to measure; without it all
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Rollbacks of each kind
    #[arg(long, default_value_t = 11)]
    runs: usize,
    /// Changes of a route's weights
    #[arg(long, default_value_t = 100)]
    flips: usize,
    /// Requests per second in the rollbacks
    #[arg(long, default_value_t = 100.0)]
    rps: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Changes of weights, and memory
    Flip,
    /// Changes of weights at two data planes
    Replicas,
    /// New routes, up to thousands of them, and a data plane that starts beside them
    Scale,
    /// A thousand routes at once, as their Gateway counts them
    Attach,
    /// Changes of everything under load
    Churn,
    /// Bad versions
    Rollback,
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
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
    if args.wants(Part::Flip) {
        memory::measure(cluster, "idle, no Gateway", table).await?;
        flip::measure(cluster, &args.example, args.flips, table).await?;
        cluster.delete_namespace(NAMESPACE).await?;
    }
    if args.wants(Part::Scale) {
        scale::measure(cluster, &args.example, table).await?;
        cluster.delete_namespace(NAMESPACE).await?;
    }
    if args.wants(Part::Replicas) {
        replicas::measure(cluster, &args.example, args.flips, table).await?;
        cluster.delete_namespace(NAMESPACE).await?;
    }
    if args.wants(Part::Attach) {
        attach::measure(cluster, &args.example, table).await?;
        cluster.delete_namespace(NAMESPACE).await?;
    }
    if args.wants(Part::Churn) {
        churn::measure(cluster, &args.example, table).await?;
        cluster.delete_namespace(NAMESPACE).await?;
    }
    for error_rate in ["0.05", "0.2"].into_iter().filter(|_| args.wants(Part::Rollback)) {
        rollback::measure(cluster, &args.example, error_rate, args.runs, args.rps, table).await?;
        cluster.delete_namespace(NAMESPACE).await?;
    }
    Ok(())
}
