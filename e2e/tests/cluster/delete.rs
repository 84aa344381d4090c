//! A Rollout is deleted in the middle of a run: everything is put back and traffic does not stop.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::{ResourceExt, api::DeleteParams};
use serde_json::json;
use sluice_crds::names;
use sluice_e2e::{
    suite,
    wait::{until, when},
};

/// How long each part may take.
const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn deleting_a_rollout_in_the_middle_of_a_run_puts_everything_back() -> Result<()> {
    suite::run("delete", async |cluster, namespace| {
        let mut app = suite::first_light(&cluster, &namespace)?;
        app.set_steps(json!([{"weight": 30, "hold": {"min": "10m"}}]))?;
        let address = app.serve().await?;
        let (route, pods) = (app.route_spec().await?, app.pods_of("v1").await?);
        let load = app.load(address, 100.0)?;
        let follow = app.adopt().await?;

        app.push("v2", "0").await?;
        follow.until_live("30%", DEADLINE).await?;
        until("answers of v2", DEADLINE, async || {
            let seen = load.record().first_answer_of("v2");
            Ok(when(seen.is_some(), || "none".to_owned()))
        })
        .await?;
        app.rollouts().delete(&app.name, &DeleteParams::default()).await?;
        until("the Rollout gone", DEADLINE, async || {
            let left = app.rollouts().get_opt(&app.name).await?;
            Ok(when(left.is_none(), || format!("{:?}", left.and_then(|rollout| rollout.status?.message))))
        })
        .await?;

        // Gone means that it is done already: nothing more is waited for.
        ensure!(app.route_spec().await? == route, "the route is not the user's: {}", app.route_spec().await?);
        ensure!(app.canary_objects().await?.is_empty(), "left: {:?}", app.canary_objects().await?);
        let deployment = app.deployment().await?;
        ensure!(!deployment.labels().contains_key(names::LABEL_ROLLOUT), "the label is left");
        ensure!(deployment.spec.paused == Some(true), "v2 was let go, unjudged");
        ensure!(pods == app.pods_of("v1").await?, "pods of the stable version were touched");
        load.stop().await?.lost_nothing_but(None)
    })
    .await
}
