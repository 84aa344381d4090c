//! The `controller` role: watch, translate, publish, status.

/// Arguments of `sluice-proxy controller`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the controller until it is told to stop.
pub(crate) async fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("not part of this build")
}
