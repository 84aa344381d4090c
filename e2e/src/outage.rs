//! Takes a component of the embedded cluster away, and gives it back however the test ends.

use std::{
    process,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// The component that everything is asked of.
pub const API_SERVER: &str = "kube-apiserver";

/// A component that is away, or that is not as it is to be.
#[derive(Debug)]
pub struct Outage {
    component: &'static str,
    ended: bool,
}

impl Outage {
    /// Kills it: connections break, and new ones are refused.
    pub async fn stop(component: &'static str) -> Result<Self> {
        let outage = Self { component, ended: false };
        sluice_cluster(&["stop", component]).await?;
        Ok(outage)
    }

    /// Halts it: connections stay open, and nothing answers.
    pub async fn freeze(component: &'static str) -> Result<Self> {
        let outage = Self { component, ended: false };
        sluice_cluster(&["freeze", component]).await?;
        Ok(outage)
    }

    /// Starts it anew with more flags than its own, and waits until it is healthy.
    pub async fn of_flags(component: &'static str, flags: &[&str]) -> Result<Self> {
        let outage = Self { component, ended: false };
        sluice_cluster(&[&["start", component], flags].concat()).await?;
        Ok(outage)
    }

    /// Gives it back after so long, which is what is tested here and not a wait for anything. The result is when it was
    /// healthy again.
    pub async fn end_after(self, length: Duration) -> Result<Instant> {
        tokio::time::sleep(length).await;
        self.end().await
    }

    /// Gives it back now.
    pub async fn end(mut self) -> Result<Instant> {
        sluice_cluster(&["start", self.component]).await?;
        self.ended = true;
        Ok(Instant::now())
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        if !self.ended {
            // Nothing can be told from here; what comes next would tell.
            let _ = process::Command::new("sluice-cluster").args(["start", self.component]).status();
        }
    }
}

async fn sluice_cluster(arguments: &[&str]) -> Result<()> {
    let output = tokio::process::Command::new("sluice-cluster").args(arguments).output().await;
    let output = output.context("the embedded cluster is needed")?;
    ensure!(output.status.success(), "sluice-cluster {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
