//! The `check` role: what would come of a folder of manifests, for a person or a pipeline.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;

use crate::control::{files::Folder, findings::Finding};

/// Something is rejected.
const REJECTED: u8 = 1;
/// There is nothing to judge.
const UNREADABLE: u8 = 2;

/// Arguments of `sluice-proxy check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of manifests, as `sluice-proxy serve --config` takes it.
    dir: PathBuf,
    /// How the conditions are written.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    /// A line for each.
    Text,
    /// One JSON array.
    Json,
}

impl Args {
    /// Writes the conditions of all objects. The exit code says whether something is rejected (1) or cannot be read (2).
    pub fn run(&self) -> ExitCode {
        match self.findings().and_then(|findings| self.write(&findings).map(|()| findings)) {
            Ok(findings) if findings.iter().any(Finding::is_rejection) => ExitCode::from(REJECTED),
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::from(UNREADABLE)
            }
        }
    }

    fn findings(&self) -> anyhow::Result<Vec<Finding>> {
        let findings = Folder::read(&self.dir)?.findings;
        // Whoever checks the wrong folder is not to be told that all is well.
        anyhow::ensure!(!findings.is_empty(), "{}: no GatewayClass, Gateway, ListenerSet or route", self.dir.display());
        Ok(findings)
    }

    fn write(&self, findings: &[Finding]) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        let written = match self.output {
            Output::Text => findings.iter().try_for_each(|finding| writeln!(out, "{finding}")),
            Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(findings)?),
        };
        written.context("cannot write the conditions")
    }
}
