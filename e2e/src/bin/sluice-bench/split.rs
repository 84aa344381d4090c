//! Whether the weights of a route are what clients get: draws of each data plane's own, judged by the binomial
//! distribution.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use serde::Serialize;
use sluice_e2e::{
    load::{Load, LoadConfig, Tally},
    share,
    wait::{until, when},
};

use crate::{
    manifests,
    subject::{self, Place},
    window::CONNECTIONS,
};

/// Weights of the two backends of each route.
pub(crate) const WEIGHTS: [[u32; 2]; 4] = [[1, 99], [5, 95], [1, 2], [99, 1]];
/// Requests to each route, on average.
const REQUESTS: u64 = 100_000;
/// Of the interval: a right split falls outside of it once in a thousand runs.
const CONFIDENCE: f64 = 0.999;

/// What came of the weights of one route.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Split {
    pub(crate) weights: [u32; 2],
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) fits: bool,
}

impl Split {
    /// The share that the first backend is to have.
    pub(crate) fn wanted(&self) -> f64 {
        f64::from(self.weights[0]) / f64::from(self.weights[0] + self.weights[1])
    }

    fn of(route: usize, weights: [u32; 2], tally: &Tally) -> Self {
        let [hits, others] = [0, 1].map(|arm| tally.requests_of(&manifests::version(route, arm)));
        let mut split = Self { weights, requests: hits + others, hits, fits: false };
        split.fits = share::fits(hits, split.requests, split.wanted(), CONFIDENCE);
        split
    }
}

/// Sends requests to a data plane as it is started by default until each route has had enough.
pub(crate) async fn measure(program: &std::path::Path, place: &Place, rps: f64) -> Result<Vec<Split>> {
    let port = crate::free_port()?;
    let objects = manifests::splits(&WEIGHTS, port, place.backend);
    let (_process, address) = subject::sluice(program, place, "split", port, &objects, &[])?;
    let targets = manifests::targets(WEIGHTS.len() as u32);
    subject::serves(address, &targets[0]).await?;
    let load = Load::start(LoadConfig {
        rps,
        connections: CONNECTIONS,
        targets,
        method: Method::GET,
        ..LoadConfig::new(address, "")
    })?;
    let wanted = REQUESTS * WEIGHTS.len() as u64;
    let deadline = Duration::from_secs_f64(wanted as f64 / rps * 2.0 + 10.0);
    until("enough requests", deadline, async || {
        let sent = load.record().samples().len() as u64;
        Ok(when(sent >= wanted, || format!("{sent} of {wanted}")))
    })
    .await?;
    let finished = load.stop().await?;
    finished.lost_nothing_but(None)?;
    Ok(WEIGHTS.into_iter().enumerate().map(|(route, weights)| Split::of(route, weights, &finished.summary)).collect())
}
