//! Prometheus and Grafana: every query of the dashboard has an answer in the middle of a run, and the answers are true.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use sluice_crds::Phase;
use sluice_e2e::{
    dashboard::{file, queries, read, substitute},
    prometheus::{Prometheus, promtool},
    share::fits,
    suite,
};

/// A step, a rollback, or the first requests may take this long.
const DEADLINE: Duration = Duration::from_mins(1);
/// Requests a second.
const RATE: f64 = 100.0;
/// What Grafana takes for `$__rate_interval` at a scrape a second.
const INTERVAL: &str = "10s";

#[test]
fn the_rules_hold() -> Result<()> {
    let folder = file("");
    promtool(&["check", "rules", "rules.yaml"], &folder)?;
    promtool(&["test", "rules", "rules-test.yaml"], &folder)
}

#[tokio::test]
async fn every_query_of_the_dashboard_has_a_true_answer_in_the_middle_of_a_run() -> Result<()> {
    suite::run("dashboard", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 20, "hold": {"min": "10m"}}]))?;
        let address = app.serve().await?;
        let follow = app.adopt().await?;
        let prometheus = Prometheus::start(&cluster, &file("prometheus.yaml")).await?;
        let load = app.load(address, RATE)?;

        // A run that ends gives the outcomes a value.
        app.push("v2", "0").await?;
        follow.until_phase(Phase::Stepping, DEADLINE).await?;
        operate(&app, "Abort").await?;
        follow.until_phase(Phase::RolledBack, DEADLINE).await?;

        app.push("v3", "0").await?;
        let verified = |status: &sluice_crds::RolloutStatus| status.weight.as_deref() == Some("20%");
        follow.until("20 % verified", DEADLINE, verified).await?;
        let of = format!(r#"{{namespace="{namespace}", rollout="{}"}}"#, app.name);
        // Enough to measure, and all of a rate's interval at this weight.
        prometheus.until(&format!("sum(sluice_rollout_observed_requests{of}) > bool 1200"), DEADLINE).await?;

        answered(&prometheus, &namespace, &app.name).await?;
        split(&prometheus, &of).await?;
        operate(&app, "Abort").await?;
        follow.until_phase(Phase::RolledBack, DEADLINE).await?;
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}

/// Every query of the dashboard has a value that is a number.
async fn answered(prometheus: &Prometheus, namespace: &str, rollout: &str) -> Result<()> {
    let dashboard = read("rollout.json")?;
    let variables =
        [("namespace", namespace), ("rollout", rollout), ("service", rollout), ("__rate_interval", INTERVAL)];
    let mut wrong = Vec::new();
    for (title, expression) in queries(&dashboard) {
        let expression = substitute(expression, &variables);
        let values = prometheus.query(&expression).await.with_context(|| title.to_owned())?;
        if values.is_empty() || values.iter().any(|one| !one.value.is_finite()) {
            wrong.push(format!("{title}: {expression}: {values:?}"));
        }
    }
    ensure!(wrong.is_empty(), "queries without an answer:\n{}", wrong.join("\n"));
    // The rates are those of the load.
    let query = queries(&dashboard).into_iter().filter(|(title, _)| *title == "Requests");
    let mut rates = Vec::new();
    for (_, expression) in query {
        rates.push(prometheus.number(&substitute(expression, &variables)).await?);
    }
    println!("requests a second of stable and canary: {rates:.1?}");
    ensure!((rates.iter().sum::<f64>() - RATE).abs() < 0.15 * RATE, "{rates:?} is not the load of {RATE}");
    // Of a thousand requests 20 %, within what chance allows, and more.
    ensure!(rates.len() == 2 && (0.74..=0.86).contains(&(rates[0] / rates.iter().sum::<f64>())), "{rates:?}");
    Ok(())
}

/// The observed share is that of its requests, and fits the weight.
async fn split(prometheus: &Prometheus, of: &str) -> Result<()> {
    let weight = |kind: &str| {
        format!(r#"sluice_rollout_weight_ratio{}, arm="canary", kind="{kind}"}}"#, of.trim_end_matches('}'))
    };
    // One query, so that both numbers are of one scrape.
    let values = prometheus.query(&format!("sluice_rollout_observed_requests{of}")).await?;
    let count = |arm: &str| {
        let one = values.iter().find(|one| one.labels["arm"] == arm).map(|one| one.value as u64);
        one.with_context(|| format!("no requests of {arm}: {values:?}"))
    };
    let (stable, canary) = (count("stable")?, count("canary")?);
    println!("observed {canary} of {} requests", stable + canary);
    ensure!(fits(canary, stable + canary, 0.2, 0.9999), "{canary} of {} is not 20 %", stable + canary);
    for kind in ["wanted", "verified"] {
        let ratio = prometheus.number(&weight(kind)).await?;
        ensure!((ratio - 0.2).abs() < 1e-9, "{kind}: {ratio}");
    }
    let observed = prometheus.number(&weight("observed")).await?;
    ensure!((0.13..=0.27).contains(&observed), "observed: {observed}");
    Ok(())
}

async fn operate(app: &sluice_e2e::app::App, operation: &str) -> Result<()> {
    let patch = json!({"operation": {"type": operation}});
    app.rollouts().patch(&app.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}
