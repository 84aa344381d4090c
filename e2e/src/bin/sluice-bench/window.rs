//! One proxy under load for a while.

use std::time::Duration;

use anyhow::{Result, ensure};
use http::Method;
use sluice_e2e::{
    load::{Load, LoadConfig},
    procfs::{self, Ticks},
};

use crate::subject::{LOAD, Subject};

/// Connections of the load.
pub(crate) const CONNECTIONS: usize = 64;
/// Load before the measurement begins: connections are open on both sides by then.
const WARM_UP: Duration = Duration::from_millis(500);
/// Less of the load's processor idle than this, and the load itself may be what is slow.
const LEAST_IDLE: f64 = 0.1;

/// What a proxy has done, and what it took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    spent: Duration,
    answers: usize,
}

impl Work {
    pub(crate) fn add(&mut self, other: Self) {
        self.spent += other.spent;
        self.answers += other.answers;
    }

    /// Processor time per request in microseconds.
    pub(crate) fn per_request(self) -> f64 {
        self.spent.as_secs_f64() * 1e6 / self.answers as f64
    }
}

/// How every proxy is measured.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) rps: f64,
    pub(crate) length: Duration,
    /// Whether a machine with too little time for all this is taken as it is.
    pub(crate) disturbed: bool,
}

impl Window {
    /// What the proxy does in this time. An error where the figure would be worth nothing.
    pub(crate) async fn measure(&self, subject: &Subject) -> Result<Work> {
        let load = Load::start(LoadConfig {
            rps: self.rps,
            connections: CONNECTIONS,
            targets: subject.targets.clone(),
            method: Method::GET,
            ..LoadConfig::new(subject.address, "")
        })?;
        tokio::time::sleep(WARM_UP).await;
        let (before, answered, ticks) = (spent(subject)?, ended(&load), Ticks::of(LOAD)?);
        tokio::time::sleep(self.length).await;
        let (spent, answers) = (spent(subject)?.saturating_sub(before), ended(&load) - answered);
        let idle = Ticks::of(LOAD)?.idle_since(ticks);
        load.stop().await?.lost_nothing_but(None)?;
        let wanted = self.rps * self.length.as_secs_f64();
        if !self.disturbed {
            ensure!(idle >= LEAST_IDLE, "the load's processor was idle {:.0} % of the time only", idle * 100.0);
            ensure!(answers as f64 > wanted * 0.95, "{answers} answers instead of {wanted}");
        }
        Ok(Work { spent, answers })
    }
}

fn ended(load: &Load) -> usize {
    load.record().samples().len()
}

fn spent(subject: &Subject) -> Result<Duration> {
    subject.process.pids().into_iter().map(procfs::processor_time).sum()
}
