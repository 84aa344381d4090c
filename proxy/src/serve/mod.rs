//! The `serve` role: the data plane.

/// Arguments of `sluice-proxy serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Serves until it is told to stop.
pub(crate) async fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("not part of this build")
}
