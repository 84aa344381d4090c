//! The command line: which role, and how it logs.

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::{check, control, serve};

/// Arguments of the program.
#[derive(Debug, Parser)]
#[command(name = "sluice-proxy", version, about = "Gateway API proxy: controller and data plane")]
pub struct Cli {
    /// What to log, as a `tracing` filter such as `info,sluice_proxy=debug`.
    #[arg(long, env = "SLUICE_LOG", default_value = "info", global = true)]
    log: String,
    /// How log lines look.
    #[arg(long, env = "SLUICE_LOG_FORMAT", default_value = "text", global = true)]
    log_format: LogFormat,
    /// The role of this process.
    #[command(subcommand)]
    pub role: Role,
}

/// The roles of the program.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Watches Gateway API objects, publishes configuration to data planes and writes status.
    Controller(control::Args),
    /// Serves traffic: the data plane.
    Serve(serve::Args),
    /// Says what would come of a folder of manifests: every condition of every object, without a cluster.
    Check(check::Args),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Json,
    Text,
}

impl Cli {
    /// Installs the logger of the process. An invalid filter falls back to `info`, so that a typo never stops traffic.
    pub fn start_logging(&self) {
        let filter = EnvFilter::try_new(&self.log).unwrap_or_else(|_| EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Json => logs.json().init(),
            LogFormat::Text => logs.init(),
        }
    }
}
