//! docs/scenarios/04-header-canary.md

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use sluice_crds::RolloutStatus;
use sluice_e2e::{
    follow::Follow,
    load::{Load, LoadConfig},
    scenario,
    share::{fits, measured},
};

use super::answers;

const NAMESPACE: &str = "header-canary";
const HOST: &str = "foo.example.com";
/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(3);

#[tokio::test]
async fn testers_meet_the_new_version_then_a_tenth_then_all() -> Result<()> {
    scenario::run("04-header-canary", async |scenario| {
        let address = SocketAddr::new(scenario.address(NAMESPACE, "web").await?, 80);
        answers(address, &format!("{HOST}/"), &[], (200, "v1")).await?;
        let cluster = &scenario.cluster;
        let routes = cluster.gateway_api(NAMESPACE, "HTTPRoute", "httproutes");
        let follow = Follow::start(cluster.api(NAMESPACE), routes, "foo", "foo");
        let everybody = Load::start(LoadConfig { rps: 100.0, ..LoadConfig::new(address, HOST) })?;
        let header = vec![("traffic".to_owned(), "test".to_owned())];
        let testers = Load::start(LoadConfig { rps: 50.0, headers: header, ..LoadConfig::new(address, HOST) })?;

        scenario.command("set env").await?;
        let at_approval = |status: &RolloutStatus| status.reason.as_deref() == Some("AwaitingApproval");
        follow.until("the approval awaited", DEADLINE, at_approval).await?;
        answers(address, &format!("{HOST}/"), &[("traffic", "test")], (200, "v2")).await?;
        let only_testers = everybody.snapshot().requests_of("v2") == 0;
        ensure!(only_testers, "the new version has answered somebody without the header");

        scenario.command("patch").await?;
        scenario.command("wait -n header-canary rollouts.sluice.dev/foo --for=condition=Promoted").await?;
        let tenth = measured(&follow, &everybody, 10, "v2")?;
        println!("configured 10%, measured {:.2}% ({} of {})", tenth.percent(), tenth.hits, tenth.all);
        ensure!(tenth.all >= 300 && fits(tenth.hits, tenth.all, 0.1, 0.999), "{tenth:?} is not 10%");
        answers(address, &format!("{HOST}/"), &[], (200, "v2")).await?;
        for load in [everybody, testers] {
            load.stop().await?.lost_nothing_but(None)?;
        }
        Ok(())
    })
    .await
}
