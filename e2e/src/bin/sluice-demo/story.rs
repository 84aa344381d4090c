//! The story: install, adopt, promote v2, roll v3 back, take v3 back; each phase with its promises.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use sluice_crds::{HistoryEntry, Phase, RolloutStatus, names};
use sluice_e2e::{
    app::{App, PodIdentity},
    cluster::Cluster,
    follow::{Follow, Moment, has_condition, say},
    install::install,
    load::Load,
    share::{fits, measured},
    wait::{until, when},
};

use crate::{
    screen::Screen,
    summary::{self, Promise, time_to_safety},
    view,
};

/// The version that the example starts with.
const FIRST: &str = "v1";
/// The version that is promoted.
pub(crate) const GOOD: &str = "v2";
/// The version that is rolled back.
pub(crate) const BAD: &str = "v3";
/// Weights of the example's steps, in percent.
const STEPS: [u32; 2] = [10, 50];
/// A share that would be measured less often than in one of ten thousand runs breaks the promise.
const CONFIDENCE: f64 = 0.9999;
/// Share of the bad version's requests that fail.
const BAD_ERROR_RATE: &str = "0.05";
/// How long a whole run may take.
const RUN_DEADLINE: Duration = Duration::from_mins(5);
/// How long taking a version back may take.
const REVERT_DEADLINE: Duration = Duration::from_mins(1);
/// All new requests go to stable so long after the decision to roll back.
const SAFE_WITHIN: Duration = Duration::from_secs(2);
/// So long without an answer of the bad version, and it counts as gone; at 10% of 100 requests a second it would have
/// had 20.
const QUIET: Duration = Duration::from_secs(2);

/// Everything that the story needs and has learned.
#[derive(Debug)]
pub(crate) struct Story {
    cluster: Cluster,
    screen: Screen,
    app: App,
    install: PathBuf,
    rps: f64,
    address: Option<String>,
    load: Option<Load>,
    promises: Vec<Promise>,
}

impl Story {
    pub(crate) fn new(cluster: Cluster, screen: Screen, example: &Path, install: PathBuf, rps: f64) -> Result<Self> {
        let app = App::read_in_place(&cluster, example)?;
        Ok(Self { cluster, screen, app, install, rps, address: None, load: None, promises: Vec::new() })
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.app.namespace
    }

    /// Tells it to the end, or to the first thing that does not come in time.
    pub(crate) async fn tell(&mut self) -> Result<()> {
        self.install().await?;
        let follow = self.adopt().await?;
        self.promote(&follow).await?;
        self.roll_back(&follow).await?;
        Ok(())
    }

    async fn install(&mut self) -> Result<()> {
        self.screen.phase("install Sluice: operator and proxy");
        self.cluster.delete_namespace(&self.app.namespace).await?;
        let installed = install(&self.cluster, &self.install).await?;
        for (namespace, name) in &installed.deployments {
            self.screen.say(&format!("{namespace}/{name} is ready"));
        }
        Ok(())
    }

    async fn adopt(&mut self) -> Result<Follow> {
        self.screen.phase("the app: four pods of v1, a Gateway, a route; and then a Rollout");
        let address = self.app.serve().await?;
        self.address = Some(address.to_string());
        self.screen.say(&format!("requests to {address} are answered; sending {} a second from now on", self.rps));
        let load = self.load.insert(self.app.load(address, self.rps)?);
        let before = self.app.pods_of(FIRST).await?;
        let follow = self.app.adopt().await?;
        let after = self.app.pods_of(FIRST).await?;
        let (sent, failed) = (load.snapshot().sent, load.snapshot().failures());
        self.screen.say(&format!("adopted: {}; {sent} requests meanwhile, {failed} failed", say(&follow.status())));
        self.pods_stayed("adoption", &before, &after);
        Ok(follow)
    }

    async fn promote(&mut self, follow: &Follow) -> Result<()> {
        self.screen.phase("push v2, a good version");
        let before = follow.status();
        self.app.push(GOOD, "0").await?;
        let ended = self.watch_run(follow, &before, [FIRST, GOOD]).await?;
        let promoted = ended.outcome == "Promoted";
        self.promise(promoted, format!("{GOOD} was promoted: {}", ended.message));
        if !promoted {
            bail!("{GOOD} was not promoted but {}: {}", ended.outcome, ended.message);
        }
        follow
            .until("condition Ready after the promotion", RUN_DEADLINE, |status| {
                has_condition(status, names::CONDITION_READY, "True")
            })
            .await?;
        let left = self.app.pods_of(FIRST).await?;
        let new = self.app.pods_of(GOOD).await?;
        self.screen.say(&format!("promoted: {} pods of {GOOD}, {} of {FIRST}", new.len(), left.len()));
        for percent in STEPS {
            self.measured(follow, percent)?;
        }
        let canary = self.app.canary_objects().await?;
        self.promise(canary.is_empty(), format!("nothing of the run is left {canary:?}"));
        Ok(())
    }

    /// The measured share of a step lies where chance alone explains its distance from the weight.
    fn measured(&mut self, follow: &Follow, percent: u32) -> Result<()> {
        let Some(load) = &self.load else { bail!("there is no load") };
        let step = measured(follow, load, percent, GOOD)?;
        let held = fits(step.hits, step.all, f64::from(percent) / 100.0, CONFIDENCE);
        let (share, hits, all) = (step.percent(), step.hits, step.all);
        self.promise(
            held,
            format!("share of {GOOD} at weight {percent}%: {share:.1}% measured ({hits} of {all} requests)"),
        );
        Ok(())
    }

    async fn roll_back(&mut self, follow: &Follow) -> Result<()> {
        self.screen.phase("push v3, which fails 5% of its requests");
        let before = follow.status();
        let pods = self.app.pods_of(GOOD).await?;
        self.app.push(BAD, BAD_ERROR_RATE).await?;
        let ended = self.watch_run(follow, &before, [GOOD, BAD]).await?;
        let rolled_back = ended.outcome == "RolledBack";
        self.promise(rolled_back, format!("{BAD} was rolled back: {}: {}", ended.reason, ended.message));
        if !rolled_back {
            bail!("{BAD} was not rolled back but {}: {}", ended.outcome, ended.message);
        }
        follow.until_phase(Phase::RolledBack, RUN_DEADLINE).await?;
        self.quiet().await?;
        self.in_time(follow);
        self.screen.say(&format!("rolled back: {}", view::why(&follow.status())));
        self.screen.phase("take v3 back: the template of v2 again");
        self.app.push(GOOD, "0").await?;
        follow
            .until("Stalled ends", REVERT_DEADLINE, |status| {
                status.phase == Some(Phase::Stable) && !has_condition(status, names::CONDITION_STALLED, "True")
            })
            .await?;
        self.screen.say(&format!("stable: {}", view::why(&follow.status())));
        let after = self.app.pods_of(GOOD).await?;
        self.pods_stayed("rollback and revert", &pods, &after);
        Ok(())
    }

    /// Draws the run each second until it has ended.
    async fn watch_run(
        &mut self,
        follow: &Follow,
        before: &RolloutStatus,
        versions: [&str; 2],
    ) -> Result<HistoryEntry> {
        let canary = format!("{}{}", self.app.name, names::CANARY_SUFFIX);
        let started = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            let Some(load) = &self.load else { bail!("there is no load") };
            self.screen.live(&view::lines(follow, load, &canary, versions));
            let status = follow.status();
            let newest = status.history.first();
            if let Some(ended) = newest.filter(|_| newest != before.history.first()) {
                return Ok(ended.clone());
            }
            if started.elapsed() > RUN_DEADLINE {
                bail!("the run has not ended within {} s: {}", RUN_DEADLINE.as_secs(), say(&status));
            }
        }
    }

    /// Waits until the bad version has got no request for a while.
    async fn quiet(&mut self) -> Result<()> {
        let Some(load) = &self.load else { bail!("there is no load") };
        until(&format!("no request to {BAD} any more"), REVERT_DEADLINE, async || {
            let quiet = load.elapsed().saturating_sub(load.record().last_sent_to(BAD).unwrap_or_default());
            Ok(when(quiet >= QUIET, || format!("last sent {quiet:?} ago")))
        })
        .await
    }

    /// New requests must leave the bad version within two seconds of the decision, which the status shows first.
    fn in_time(&mut self, follow: &Follow) {
        let rolling_back = |moment: &Moment| {
            let phase = moment.status.as_ref().and_then(|status| status.phase);
            matches!(phase, Some(Phase::RollingBack | Phase::RolledBack))
        };
        let decided = follow.moments().iter().find(|moment| rolling_back(moment)).map(|moment| moment.at);
        let times = self.load.as_ref().and_then(|load| Some((load.at(decided?), load.record().last_sent_to(BAD)?)));
        let Some((decided, last)) = times else { return };
        let took = last.saturating_sub(decided);
        let text = format!("all new requests on {GOOD} {:.2} s after the decision to roll back", took.as_secs_f64());
        self.promise(took <= SAFE_WITHIN, text);
    }

    fn promise(&mut self, held: bool, text: String) {
        self.promises.push(Promise { text, held });
    }

    fn pods_stayed(&mut self, when: &str, before: &[PodIdentity], after: &[PodIdentity]) {
        let same = before == after && !before.is_empty();
        let text = format!(
            "pods of the stable version replaced or restarted at {when}: {}",
            if same { "none" } else { "some" }
        );
        self.screen.say(&text);
        self.promise(same, text);
    }

    /// Stops the load, prints the summary and returns how many promises were broken.
    pub(crate) async fn end(mut self) -> Result<usize> {
        let finished = match self.load.take() {
            Some(load) => Some(load.stop().await?),
            None => None,
        };
        if let Some(finished) = &finished {
            let lost = finished.record.failures_beside(Some(BAD));
            self.promise(
                lost == 0,
                format!("requests lost, {BAD}'s own errors apart: {lost} of {}", finished.summary.sent),
            );
            if let Some(safe) = time_to_safety(finished) {
                let text =
                    format!("all new requests on {GOOD} {:.2} s after the first error of {BAD}", safe.as_secs_f64());
                self.promise(true, text);
            }
        }
        let broken = summary::print(finished.as_ref(), &self.screen.phases(), &self.promises);
        if let Some(address) = &self.address {
            summary::print_next(&self.app.namespace, &self.app.name, &self.app.host, address);
        }
        Ok(broken)
    }
}
