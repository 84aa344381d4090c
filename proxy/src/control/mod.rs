//! The `controller` role: watch, translate, publish, status.

pub mod files;
pub mod objects;
pub mod ports;
pub mod translate;

/// Arguments of `sluice-proxy controller`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the controller until it is told to stop.
pub async fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("not part of this build")
}
