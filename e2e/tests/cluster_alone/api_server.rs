//! The API server goes away in the middle of a run, for seconds and for minutes, by a crash and by silence. The data
//! planes go on serving, and the run goes on where it was.
//!
//! What is timed is our recovery: the operator answers an operation, and the proxy's controller accepts a route that was
//! edited. New pods also wait for Kubernetes' own programs, which may stand back for a minute after an outage.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use sluice_crds::{Phase, RolloutStatus};
use sluice_e2e::{
    app::App,
    cluster::{Cluster, look_at},
    follow::Follow,
    load::Load,
    manifest::{self, text},
    outage::{API_SERVER, Outage},
    suite, victim,
    wait::{Look, until, when},
};

use crate::course::{Canaries, stand};

/// How long a run may take, beside the outages.
const RUN_DEADLINE: Duration = Duration::from_mins(4);
/// In which time the operator and the controller are back when the API server is.
const RECOVERED: Duration = Duration::from_secs(30);
/// A route that no Rollout has to do with.
const BYSTANDER: &str = "bystander";

/// A run, and what was before it.
struct Scene {
    app: App,
    follow: Follow,
    canaries: Canaries,
    route: Value,
}

impl Scene {
    async fn set(cluster: &Cluster, namespace: &str) -> Result<(Self, Load)> {
        let mut app = suite::first_light(cluster, namespace)?;
        app.set_steps(json!([{"weight": 10, "hold": {"min": "5s"}}, {"weight": 50, "hold": {"min": "3s"}}]))?;
        let mut bystander = app.object_mut("HTTPRoute")?.clone();
        bystander["metadata"]["name"] = json!(BYSTANDER);
        bystander["spec"]["hostnames"] = json!(["bystander.example.com"]);
        let address = app.serve().await?;
        manifest::apply(&cluster.client, &[bystander]).await?;
        let route = app.route_spec().await?;
        let canaries = Canaries::watch(&app);
        let follow = app.adopt().await?;
        let load = app.load(address, 200.0)?;
        Ok((Self { app, follow, canaries, route }, load))
    }

    /// Sits an outage out, and sees the operator and the controller come back.
    async fn sit_out(&self, what: &str, outage: Outage, length: Duration) -> Result<()> {
        let began = Instant::now();
        let back = outage.end_after(length).await?;
        println!("{what}: away for {:.1} s", (back - began).as_secs_f64());
        let (operator, controller) = tokio::try_join!(self.operator_answers(back), self.controller_accepts(back))?;
        println!("{what}: operator back after {operator:.1} s, controller after {controller:.1} s");
        ensure!(operator.max(controller) < RECOVERED.as_secs_f64(), "{what}: not back within {RECOVERED:?}");
        one_leads(&self.app.cluster).await
    }

    /// A good version is promoted though the API server is killed in its first step.
    async fn promoted_past_an_outage(&self, length: Duration) -> Result<()> {
        self.app.push("v2", "0").await?;
        self.follow.until_live("10%", RUN_DEADLINE).await?;
        self.sit_out("killed at 10%", Outage::stop(API_SERVER).await?, length).await?;
        self.promoted().await
    }

    /// Asks for what is refused and changes nothing: a promotion of a revision that is not there.
    async fn operator_answers(&self, back: Instant) -> Result<f64> {
        let ids = |status: &RolloutStatus| status.last_operation.as_ref().map(|operation| operation.id.clone());
        let before = ids(&self.follow.status());
        let asked = Patch::Merge(json!({"operation": {"type": "Promote", "revision": "gone"}}));
        self.app.rollouts().patch(&self.app.name, &PatchParams::default(), &asked).await?;
        self.follow.until("an answer", RUN_DEADLINE, |status| ids(status) != before).await?;
        Ok(back.elapsed().as_secs_f64())
    }

    async fn controller_accepts(&self, back: Instant) -> Result<f64> {
        let host = format!("{}.example.com", fastrand::u32(..));
        let edit = Patch::Merge(json!({"spec": {"hostnames": [host]}}));
        let generation = self.app.routes().patch(BYSTANDER, &PatchParams::default(), &edit).await?.metadata.generation;
        until("the edited route accepted", RUN_DEADLINE, async || {
            look_at(&self.app.routes(), BYSTANDER, |route| {
                let conditions = route.data.pointer("/status/parents/0/conditions").and_then(Value::as_array);
                let is_accepted = |condition: &Value| {
                    text(condition, "/type") == "Accepted"
                        && text(condition, "/status") == "True"
                        && condition.get("observedGeneration").and_then(Value::as_i64) == generation
                };
                when(conditions.is_some_and(|all| all.iter().any(is_accepted)), || format!("{conditions:?}"))
            })
            .await
        })
        .await?;
        Ok(back.elapsed().as_secs_f64())
    }

    /// One run, one canary, and no part of it twice.
    async fn promoted(&self) -> Result<()> {
        self.follow.until("a promotion", RUN_DEADLINE, |status| !status.history.is_empty()).await?;
        self.app.restored(&self.route, RUN_DEADLINE).await?;
        let history: Vec<_> = self.follow.status().history.iter().map(|run| run.outcome.clone()).collect();
        ensure!(history == ["Promoted"], "{history:?}");
        ensure!(self.canaries.made() == 1, "{} canaries were made in one run", self.canaries.made());
        ensure!(self.app.pods_of("v1").await?.is_empty(), "pods of v1 are left");
        let statuses = self.follow.moments().into_iter().filter_map(|moment| moment.status);
        let mut course: Vec<_> = statuses.filter(|status| status.run.is_some()).map(|status| stand(&status)).collect();
        course.dedup();
        println!("{course:?}");
        let repeated = course.iter().enumerate().find(|(at, stand)| course[..*at].contains(stand));
        ensure!(repeated.is_none(), "{repeated:?} came twice: {course:?}");
        Ok(())
    }
}

/// Of the operator's processes exactly one believes to lead.
async fn one_leads(cluster: &Cluster) -> Result<()> {
    until("one leader", RECOVERED, async || {
        let params = ListParams::default().labels(&format!("app.kubernetes.io/name={}", victim::NAME));
        let pods = cluster.api::<Pod>(victim::NAMESPACE).list(&params).await?;
        let mut leaders = Vec::new();
        for pod in &pods {
            let name = pod.metadata.name.as_deref().context("a pod without a name")?;
            let path = format!("/api/v1/namespaces/{}/pods/{name}:9092/proxy/metrics", victim::NAMESPACE);
            let metrics = cluster.kubectl(&["get", "--raw", &path]).await?.stdout;
            if metrics.lines().any(|line| line.starts_with("sluice_operator_leader 1")) {
                leaders.push(name.to_owned());
            }
        }
        let holder = victim::leader(cluster).await?;
        let is_one = leaders.len() == 1 && victim::pod_of(&holder) == leaders[0];
        Ok(if is_one {
            Look::Done(())
        } else {
            Look::NotYet(format!("{leaders:?} of {} lead, {holder} holds", pods.items.len()))
        })
    })
    .await
}

#[tokio::test]
async fn away_for_five_seconds_it_changes_nothing() -> Result<()> {
    const LENGTH: Duration = Duration::from_secs(5);
    suite::run("away", async |cluster, namespace| {
        let (scene, load) = Scene::set(&cluster, &namespace).await?;
        scene.app.push("v2", "0").await?;
        scene.follow.until_live("10%", RUN_DEADLINE).await?;
        scene.sit_out("silent at 10%", Outage::freeze(API_SERVER).await?, LENGTH).await?;
        scene.follow.until_phase(Phase::Promoting, RUN_DEADLINE).await?;
        scene.sit_out("killed in the promotion", Outage::stop(API_SERVER).await?, LENGTH).await?;
        scene.promoted().await?;
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}

#[tokio::test]
#[ignore = "takes 4 minutes: make outages"]
async fn away_for_a_minute_it_delays_a_promotion_and_a_rollback_and_no_more() -> Result<()> {
    const LENGTH: Duration = Duration::from_mins(1);
    suite::run("away", async |cluster, namespace| {
        let (scene, load) = Scene::set(&cluster, &namespace).await?;
        scene.promoted_past_an_outage(LENGTH).await?;
        load.stop().await?.lost_nothing_but(None)?;

        let load = scene.app.load(scene.app.address().await?, 200.0)?;
        scene.app.push("v3", "0.5").await?;
        scene.follow.until_live("10%", RUN_DEADLINE).await?;
        scene.sit_out("killed with a bad version", Outage::stop(API_SERVER).await?, LENGTH).await?;
        let goes_back = |status: &RolloutStatus| matches!(status.phase, Some(Phase::RollingBack | Phase::RolledBack));
        scene.follow.until("the decision", RECOVERED, goes_back).await?;
        // The canary's pods go when Kubernetes' own controllers are back.
        scene.follow.until_phase(Phase::RolledBack, RUN_DEADLINE).await?;
        scene.app.restored(&scene.route, RUN_DEADLINE).await?;
        // The bad version's own errors are what it is rolled back for.
        load.stop().await?.lost_nothing_but(Some("v3"))
    })
    .await
}

#[tokio::test]
#[ignore = "takes 8 minutes: make outages"]
async fn away_for_five_minutes_it_changes_nothing() -> Result<()> {
    const LENGTH: Duration = Duration::from_mins(5);
    suite::run("away", async |cluster, namespace| {
        let (scene, load) = Scene::set(&cluster, &namespace).await?;
        scene.promoted_past_an_outage(LENGTH).await?;
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}
