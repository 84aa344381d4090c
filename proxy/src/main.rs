//! Starts the role that the command line asks for.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use sluice_proxy::cli::{Cli, Role};
use sluice_proxy::{control, serve};

/// Returns freed memory after a burst and is the fastest measured for this load.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    cli.start_logging();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.role {
        Role::Controller(args) => runtime.block_on(control::run(args))?,
        Role::Serve(args) => runtime.block_on(serve::run(args))?,
        Role::Check(args) => return Ok(args.run()),
    }
    Ok(ExitCode::SUCCESS)
}
