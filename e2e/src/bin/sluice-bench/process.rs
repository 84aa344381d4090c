//! A program that runs on one processor, or on all, until it is dropped.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use sluice_e2e::procfs;

/// A running program.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts it, bound to `processor` if there is one.
    pub(crate) fn start(processor: Option<usize>, program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = if let Some(processor) = processor {
            // It becomes the program, so that its process is the program's.
            let mut command = Command::new("taskset");
            command.arg("-c").arg(processor.to_string()).arg(program);
            command
        } else {
            Command::new(program)
        };
        let child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("start {}", program.display()))?))
    }

    /// It and its children.
    pub(crate) fn pids(&self) -> Vec<u32> {
        procfs::family(self.0.id())
    }

    /// Resident memory in megabytes; what processes share is counted in each.
    pub(crate) fn resident(&self) -> f64 {
        self.pids().into_iter().filter_map(procfs::resident).sum::<f64>() / 1e6
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that ends in good order takes its children along.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}
