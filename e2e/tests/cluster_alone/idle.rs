//! A hundred Rollouts with nothing to do cost nothing: no write, and hardly any time of a CPU.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use serde_json::json;
use sluice_crds::{Phase, Rollout, names};
use sluice_e2e::{
    app::App,
    cluster::Cluster,
    follow::{has_condition, say},
    suite, victim,
    wait::{until, when},
};

/// How many there are.
const ROLLOUTS: usize = 100;
/// How long they are looked at.
const IDLE: Duration = Duration::from_mins(10);
/// The part of a core that the operator's pods may use together.
const SHARE: f64 = 0.01;
/// How long a hundred Deployments may take to be ready and adopted.
const DEADLINE: Duration = Duration::from_mins(10);

#[tokio::test]
#[ignore = "ten minutes: make idle"]
async fn a_hundred_idle_rollouts_cost_nothing() -> Result<()> {
    suite::run("idle", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        let template = &mut app.object_mut("Deployment")?["spec"];
        template["replicas"] = json!(1);
        // The node has other things to do than to ask a hundred pods every second.
        template["template"]["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] = json!(10);
        app.apply(|kind| kind == "Gateway").await?;
        for number in 0..ROLLOUTS {
            numbered(&app, number)?.apply(|kind| kind != "Gateway").await?;
        }
        all_are_settled(&app).await?;

        let pods = operators(&cluster).await?;
        let (since, before) = (Timestamp::now(), cpu_seconds(&cluster, &pods).await?);
        // The time is what is tested, not a wait for anything.
        tokio::time::sleep(IDLE).await;
        let after = cpu_seconds(&cluster, &pods).await?;

        let mut used = 0.0;
        for pod in &pods {
            let (from, to) = (before.get(pod).context("no pod")?, after.get(pod).context("the pod is gone")?);
            let share = (to.seconds - from.seconds) / (to.at - from.at);
            println!("{pod}: {:.2} % of a core in {:.0} s", share * 100.0, to.at - from.at);
            used += share;
            let mut writes = victim::accepted_writes(pod, since)?;
            let of_all = writes.len();
            writes.retain(|write| !write.contains("/leases/"));
            println!("{pod}: {} renewals of the Lease, {} other writes", of_all - writes.len(), writes.len());
            ensure!(writes.is_empty(), "{pod} wrote: {writes:#?}");
        }
        ensure!(used < SHARE, "{:.2} % of a core for {ROLLOUTS} idle Rollouts", used * 100.0);
        all_are_settled(&app).await
    })
    .await
}

/// The example under a name of its own, at the same Gateway.
fn numbered(app: &App, number: usize) -> Result<App> {
    let text = serde_json::to_string(&app.objects)?.replace(&app.name, &format!("{}-{number}", app.name));
    // The image keeps its name, which contains none of the application.
    Ok(App { name: format!("{}-{number}", app.name), objects: serde_json::from_str(&text)?, ..app.clone() })
}

async fn all_are_settled(app: &App) -> Result<()> {
    until("a hundred settled Rollouts", DEADLINE, async || {
        let rollouts = app.rollouts().list(&ListParams::default()).await?;
        let open: Vec<_> = rollouts.iter().filter(|rollout| !is_settled(rollout)).collect();
        let first = open.first().map(|rollout| say(&rollout.status.clone().unwrap_or_default()));
        let seen = || format!("{} of {}, the first is {first:?}", open.len(), rollouts.items.len());
        Ok(when(rollouts.items.len() == ROLLOUTS && open.is_empty(), seen))
    })
    .await
}

fn is_settled(rollout: &Rollout) -> bool {
    rollout.status.as_ref().is_some_and(|status| {
        status.phase == Some(Phase::Stable) && has_condition(status, names::CONDITION_READY, "True")
    })
}

/// Names of the operator's pods.
async fn operators(cluster: &Cluster) -> Result<Vec<String>> {
    let params = ListParams::default().labels(&format!("app.kubernetes.io/name={}", victim::NAME));
    let pods = cluster.api::<Pod>(victim::NAMESPACE).list(&params).await?;
    ensure!(!pods.items.is_empty(), "no operator runs");
    Ok(pods.iter().map(ResourceExt::name_any).collect())
}

/// What a pod has used when.
#[derive(Clone, Copy, Debug)]
struct Used {
    /// CPU time since its start, in seconds.
    seconds: f64,
    /// When the kubelet read it, in seconds of its clock.
    at: f64,
}

/// What these pods have used, as the kubelet of each node says.
async fn cpu_seconds(cluster: &Cluster, pods: &[String]) -> Result<BTreeMap<String, Used>> {
    let mut used = BTreeMap::new();
    for pod in pods {
        let node = cluster.api::<Pod>(victim::NAMESPACE).get(pod).await?.spec.and_then(|spec| spec.node_name);
        let path = format!("/api/v1/nodes/{}/proxy/metrics/resource", node.context("a pod without a node")?);
        let metrics = cluster.kubectl(&["get", "--raw", &path]).await?.stdout;
        let label = format!("pod=\"{pod}\"");
        let line =
            metrics.lines().find(|line| line.starts_with("pod_cpu_usage_seconds_total{") && line.contains(&label));
        let line = line.with_context(|| format!("the kubelet knows no CPU time of pod {pod}"))?;
        let mut words = line.split_whitespace().rev();
        let mut number = || words.next().and_then(|word| word.parse::<f64>().ok()).context(line.to_owned());
        let at = number()? / 1000.0;
        used.insert(pod.clone(), Used { seconds: number()?, at });
    }
    Ok(used)
}
