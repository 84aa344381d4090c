//! How long a bad version gets requests, from its first error on, and how many.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use sluice_crds::{Phase, RolloutStatus};
use sluice_e2e::{
    app::App,
    cluster::Cluster,
    follow::Moment,
    load::{Cause, Load},
    wait::{until, when},
};

use crate::{NAMESPACE, table::Table};

/// How long a run may take.
const DEADLINE: Duration = Duration::from_mins(4);
/// So long without a request of the bad version, and it is gone.
const QUIET: Duration = Duration::from_secs(3);

pub(crate) async fn measure(
    cluster: &Cluster,
    example: &Path,
    error_rate: &str,
    runs: usize,
    rps: f64,
    table: &mut Table,
) -> Result<()> {
    let app = App::read(cluster, example, NAMESPACE)?;
    let address = app.serve().await?;
    let follow = app.adopt().await?;
    let name = format!("{:.0}% errors at {rps} requests/s", error_rate.parse::<f64>()? * 100.0);
    for run in 1..=runs {
        let load = app.load(address, rps)?;
        let known = follow.moments().len();
        let pushed = load.elapsed();
        // Each run has a version of its own, so that no revision is known from an earlier one.
        let version = format!("v3-{run}");
        app.push(&version, error_rate).await?;
        let status = follow.until_phase(Phase::RolledBack, DEADLINE).await?;
        let newest = status.history.first().context("no history")?;
        ensure!(newest.outcome == "RolledBack", "{newest:?}");
        quiet(&load, &version).await?;
        let recorded = record(&name, &version, &follow.moments()[known..], &load, pushed, table);
        // Lost requests first: they explain what could not be recorded.
        load.stop().await?.lost_nothing_but(Some(&version))?;
        recorded?;
        app.push("v1", "0").await?;
        follow.until_phase(Phase::Stable, DEADLINE).await?;
        println!("{name}: run {run} of {runs}: {}", newest.message);
    }
    Ok(())
}

async fn quiet(load: &Load, version: &str) -> Result<()> {
    until("no request to the bad version any more", DEADLINE, async || {
        let quiet = load.elapsed().saturating_sub(load.record().last_sent_to(version).unwrap_or_default());
        Ok(when(quiet >= QUIET, || format!("the last one {quiet:?} ago")))
    })
    .await
}

fn record(
    name: &str,
    version: &str,
    moments: &[Moment],
    load: &Load,
    pushed: Duration,
    table: &mut Table,
) -> Result<()> {
    let rolling_back = |status: &RolloutStatus| matches!(status.phase, Some(Phase::RollingBack | Phase::RolledBack));
    let decided = moments.iter().find(|moment| moment.status.as_ref().is_some_and(rolling_back));
    let decided = load.at(decided.context("no decision was seen")?.at);
    let record = load.record();
    let first = record.first_answer_of(version).context("the bad version got no request")?;
    let error = record.first_error_of(version).context("the bad version never failed")?;
    let last = record.last_sent_to(version).context("the bad version got no request")?;
    let own = record.samples().iter().filter(|sample| record.version(sample) == version);
    let (all, failed) = own.fold((0.0, 0.0), |(all, failed), sample| {
        (all + 1.0, failed + if sample.cause == Cause::Status { 1.0 } else { 0.0 })
    });
    let seconds = |to: Duration, from: Duration| to.saturating_sub(from).as_secs_f64();
    table.add(&format!("{name}: push until the first request on it"), "s", seconds(first, pushed));
    table.add(&format!("{name}: first error until all new requests on stable"), "s", seconds(last, error));
    table.add(&format!("{name}: decision until all new requests on stable"), "s", seconds(last, decided));
    table.add(&format!("{name}: requests that it answered"), "", all);
    table.add(&format!("{name}: errors that users saw"), "", failed);
    Ok(())
}
