//! The leader dies by SIGKILL at each transition of a promotion and of a rollback, and is stopped for three lease times;
//! under load, with no failed request and the same history as if nothing had been.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use sluice_e2e::{
    cluster::Cluster,
    follow::Follow,
    suite, victim,
    wait::{until, when},
};

use crate::course::{Canaries, stand};

/// How long a run may take, with all its deaths.
const RUN_DEADLINE: Duration = Duration::from_mins(4);
/// In which time a dead leader is replaced.
const REPLACED: Duration = Duration::from_secs(10);
/// Three times the lease.
const STOPPED: Duration = Duration::from_secs(21);

/// Kills the leader at each transition until the newest run is in the history. How long each replacement took.
async fn killed_at_each_transition(cluster: &Cluster, follow: &Follow, runs: usize) -> Result<Vec<Duration>> {
    let mut replaced = Vec::new();
    let mut last = stand(&follow.status());
    loop {
        let status = follow
            .until("a transition", RUN_DEADLINE, |status| status.history.len() >= runs || stand(status) != last)
            .await?;
        if status.history.len() >= runs {
            return Ok(replaced);
        }
        last = stand(&status);
        let leader = victim::leader(cluster).await?;
        let pod = victim::pod_of(&leader);
        victim::signal(victim::NAME, pod, "KILL").with_context(|| format!("at {last:?}"))?;
        let at = Instant::now();
        victim::another_leads(cluster, &leader, RUN_DEADLINE).await?;
        println!("killed at {last:?}, replaced after {:.1} s", at.elapsed().as_secs_f64());
        replaced.push(at.elapsed());
        victim::replace(cluster, pod).await?;
    }
}

#[tokio::test]
async fn killed_at_each_transition_it_goes_on_as_if_nothing_had_been() -> Result<()> {
    suite::run("crash", async |cluster, namespace| {
        let app = suite::first_light(&cluster, &namespace)?;
        let address = app.serve().await?;
        let route = app.route_spec().await?;
        let canaries = Canaries::watch(&app);
        let follow = app.adopt().await?;
        let load = app.load(address, 200.0)?;

        app.push("v2", "0").await?;
        let mut replaced = killed_at_each_transition(&cluster, &follow, 1).await?;
        app.restored(&route, RUN_DEADLINE).await?;
        ensure!(app.pods_of("v1").await?.is_empty(), "pods of v1 are left");
        let promoted = load.stop().await?;
        promoted.lost_nothing_but(None)?;

        let load = app.load(address, 200.0)?;
        app.push("v3", "1").await?;
        replaced.extend(killed_at_each_transition(&cluster, &follow, 2).await?);
        app.restored(&route, RUN_DEADLINE).await?;
        // The bad version's own errors are what it is rolled back for.
        load.stop().await?.lost_nothing_but(Some("v3"))?;

        let history: Vec<_> = follow.status().history.iter().map(|run| run.outcome.clone()).collect();
        ensure!(history == ["RolledBack", "Promoted"], "{history:?}: one entry a run");
        let made = canaries.made();
        ensure!(made == 2, "{made} canaries were made in two runs");
        let longest = replaced.iter().max().copied().unwrap_or_default();
        println!("{} deaths, the longest replacement {:.1} s", replaced.len(), longest.as_secs_f64());
        ensure!(replaced.len() >= 6, "only {} deaths", replaced.len());
        ensure!(longest < REPLACED, "a leader was replaced after {longest:?} only");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn stopped_for_three_lease_times_it_writes_nothing_when_it_goes_on() -> Result<()> {
    suite::run("stopped", async |cluster, namespace| {
        let app = suite::first_light(&cluster, &namespace)?;
        let address = app.serve().await?;
        let route = app.route_spec().await?;
        let follow = app.adopt().await?;
        let load = app.load(address, 200.0)?;
        app.push("v2", "0").await?;
        follow.until("a run", RUN_DEADLINE, |status| status.step.is_some()).await?;

        let old = victim::leader(&cluster).await?;
        let pod = victim::pod_of(&old).to_owned();
        victim::signal(victim::NAME, &pod, "STOP")?;
        let at = Instant::now();
        let new = victim::another_leads(&cluster, &old, RUN_DEADLINE).await;
        let taken = at.elapsed();
        // However the takeover went, no process of the cluster stays stopped.
        tokio::time::sleep_until((at + STOPPED).into()).await;
        let goes_on = Timestamp::now();
        victim::signal(victim::NAME, &pod, "CONT")?;
        let new = new?;
        println!("taken over after {:.1} s", taken.as_secs_f64());
        ensure!(taken < REPLACED, "it was taken over after {taken:?} only");

        until("the old leader stands by", REPLACED, async || {
            let log = cluster.kubectl(&["-n", victim::NAMESPACE, "logs", &pod]).await?.stdout;
            Ok(when(log.contains("does not lead any more"), || log.lines().last().unwrap_or_default().to_owned()))
        })
        .await?;
        follow.until("a promotion", RUN_DEADLINE, |status| !status.history.is_empty()).await?;
        app.restored(&route, RUN_DEADLINE).await?;
        ensure!(victim::leader(&cluster).await? == new, "the leader changed once more");
        let writes = victim::accepted_writes(&pod, goes_on)?;
        ensure!(writes.is_empty(), "the old leader wrote when it went on: {writes:?}");
        let path = format!("/api/v1/namespaces/{}/pods/{pod}:9092/proxy/metrics", victim::NAMESPACE);
        let metrics = cluster.kubectl(&["get", "--raw", &path]).await?.stdout;
        ensure!(metrics.contains("sluice_operator_leader 0"), "the old leader believes to lead: {metrics}");
        let history: Vec<_> = follow.status().history.iter().map(|run| run.outcome.clone()).collect();
        ensure!(history == ["Promoted"], "{history:?}");
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}
