//! `sluice-proxy`: a Gateway API proxy in two roles. `controller` watches the cluster and publishes configuration;
//! `serve` is the data plane and knows no cluster.
#![forbid(unsafe_code)]

mod cli;
mod control;
mod serve;

use clap::Parser;

use crate::cli::{Cli, Role};

/// Returns freed memory after a burst and is the fastest measured for this load.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    cli.start_logging();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.role {
        Role::Controller(args) => runtime.block_on(control::run(args)),
        Role::Serve(args) => runtime.block_on(serve::run(args)),
    }
}
