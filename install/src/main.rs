//! Prints the manifest; `make generate` writes it to `install/install.yaml`.
#![forbid(unsafe_code)]

use clap::Parser;

/// Prints the manifest that installs Sluice.
#[derive(Debug, Parser)]
#[command(name = "sluice-install", version, about)]
struct Cli {
    /// Tag of the images.
    #[arg(long, default_value = sluice_install::DEFAULT_TAG)]
    tag: String,
}

fn main() -> Result<(), sluice_crds::YamlError> {
    print!("{}", sluice_install::manifest(&Cli::parse().tag)?);
    Ok(())
}
