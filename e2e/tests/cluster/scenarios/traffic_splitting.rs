//! docs/scenarios/03-traffic-splitting.md

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use sluice_e2e::{
    app::SETUP_DEADLINE,
    load::{Load, LoadConfig, Target},
    probe::Probe,
    scenario,
    share::fits,
    wait::{Look, until, when},
};

/// Of each split. At 10% the interval of this many is about 6.6% to 14%.
const REQUESTS: usize = 1000;
/// There are seven such intervals, and a right share should fall out of one in less than one of a thousand runs.
const CONFIDENCE: f64 = 0.9999;

#[tokio::test]
async fn the_sum_of_the_weights_is_the_denominator() -> Result<()> {
    scenario::run("03-traffic-splitting", async |scenario| {
        let address = SocketAddr::new(scenario.address("traffic-splitting", "web").await?, 80);
        for (host, shares) in [
            ("percent.example.com", [0.9, 0.1, 0.0]),
            ("tenths.example.com", [0.9, 0.1, 0.0]),
            ("quarters.example.com", [0.25, 0.25, 0.5]),
        ] {
            split(address, host, shares).await?;
        }
        scenario.command("patch -n traffic-splitting httproute tenths").await?;
        everything_at_v2(address, "tenths.example.com").await
    })
    .await
}

/// Waits until a row of requests meets nothing but `v2`, which with a tenth of them could not be chance.
async fn everything_at_v2(address: SocketAddr, host: &str) -> Result<()> {
    let target = Target { host: host.to_owned(), path: "/".to_owned() };
    until("everything at v2", SETUP_DEADLINE, async || {
        let mut probe = Probe::connect(address).await?;
        for _ in 0..50 {
            let (status, headers) = probe.get(&target).await?;
            if headers.get("x-version").is_none_or(|version| version != "v2") {
                return Ok(Look::NotYet(format!("{status} {headers:?}")));
            }
        }
        Ok(Look::Done(()))
    })
    .await
}

/// The share of each version fits its weight, and every request is answered.
async fn split(address: SocketAddr, host: &str, shares: [f64; 3]) -> Result<()> {
    let load = Load::start(LoadConfig { rps: 250.0, ..LoadConfig::new(address, host) })?;
    until("enough requests", Duration::from_mins(1), async || {
        let sent = load.record().samples().len();
        Ok(when(sent >= REQUESTS, || format!("{sent} requests")))
    })
    .await?;
    let finished = load.stop().await?;
    finished.lost_nothing_but(None)?;
    let tally = &finished.summary;
    for (version, share) in ["v1", "v2", "v3"].into_iter().zip(shares) {
        let hits = tally.requests_of(version);
        println!("{host}: {version} configured {share}, measured {hits} of {}", tally.sent);
        ensure!(fits(hits, tally.sent, share, CONFIDENCE), "{host}: {hits} of {} are not {share}", tally.sent);
    }
    Ok(())
}
