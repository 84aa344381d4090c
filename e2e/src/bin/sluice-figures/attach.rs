//! A thousand routes that are made at once and taken away at once: how long until their Gateway counts them right, and
//! how often it is written for that. Every tenth route has an entry of another controller in its status, and as many more
//! are for another controller's Gateway: neither is ours to touch.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher::watch_object},
};
use serde_json::{Value, json};
use sluice_e2e::{
    app::App,
    cluster::Cluster,
    manifest::text,
    wait::{Steadily, until, when},
};
use tokio::task::JoinHandle;

use crate::{NAMESPACE, table::Table};

/// Routes at once.
const ROUTES: usize = 1000;
/// One in so many has an entry of another controller in its status.
const FOREIGN: usize = 10;
/// Writes that the API server has in hand at once.
const PARALLEL: usize = 8;
/// How long the count may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// How often all of it is done.
const RUNS: usize = 3;
/// A controller that does not exist.
const OTHER: &str = "example.com/other";

pub(crate) async fn measure(cluster: &Cluster, example: &Path, table: &mut Table) -> Result<()> {
    let app = App::read(cluster, example, NAMESPACE)?;
    app.serve().await?;
    let routes = app.routes();
    let own = routes.list(&ListParams::default()).await?.items.len();
    let gateway = Counted::follow(cluster.gateway_api(NAMESPACE, "Gateway", "gateways"), &app.gateway);
    for _ in 0..RUNS {
        gateway.count("created", own + ROUTES, create(&routes, &app.gateway), table).await?;
        let touched = touched(&routes).await?;
        gateway.count("deleted", own, delete(&routes), table).await?;
        table.add("entries and routes of other controllers that were touched", "", touched as f64);
    }
    Ok(())
}

/// The Gateway as a watch of it shows it.
struct Counted {
    /// When each version was seen, with the routes that its listeners count.
    seen: Arc<Mutex<Vec<(Instant, u64)>>>,
    task: JoinHandle<()>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Counted {
    fn follow(gateways: Api<DynamicObject>, name: &str) -> Self {
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let (log, name) = (Arc::clone(&seen), name.to_owned());
        let task = tokio::spawn(async move {
            let mut versions = watch_object(gateways, &name).backoff(Steadily).boxed();
            while let Some(version) = versions.next().await {
                let Ok(Some(gateway)) = version else { continue };
                let listeners = gateway.data.pointer("/status/listeners").and_then(Value::as_array);
                let counts = listeners.into_iter().flatten().filter_map(|listener| listener["attachedRoutes"].as_u64());
                let now = (Instant::now(), counts.sum());
                log.lock().unwrap_or_else(PoisonError::into_inner).push(now);
            }
        });
        Self { seen, task }
    }

    fn seen(&self) -> Vec<(Instant, u64)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does something with all routes, and waits until so many are counted.
    async fn count(
        &self,
        what: &str,
        routes: usize,
        work: impl Future<Output = Result<()>>,
        table: &mut Table,
    ) -> Result<()> {
        let begun = self.seen().len();
        work.await?;
        let done = Instant::now();
        until(&format!("{routes} attached routes"), DEADLINE, async || {
            let newest = self.seen().last().map(|(_, counted)| *counted);
            Ok(when(newest == Some(routes as u64), || format!("{newest:?}")))
        })
        .await?;
        let seen = self.seen();
        let right = seen.iter().rev().take_while(|(_, counted)| *counted == routes as u64).last();
        let after = right.context("no count")?.0.saturating_duration_since(done);
        table.add(&format!("{ROUTES} routes {what}: the last until attachedRoutes is right"), "s", after.as_secs_f64());
        let writes = (seen.len() - begun) as f64;
        table.add(&format!("{ROUTES} routes {what}: writes of the Gateway"), "", writes);
        Ok(())
    }
}

fn route(number: usize, gateway: &str) -> Result<DynamicObject> {
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name(number)},
        "spec": {
            "parentRefs": [{"name": gateway}], "hostnames": [format!("{}.example", name(number))],
            "rules": [{"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 302}}]}],
        },
    });
    Ok(serde_json::from_value(route)?)
}

fn name(number: usize) -> String {
    format!("attach-{number}")
}

/// Whether a route has an entry of another controller.
fn is_shared(number: usize) -> bool {
    number.is_multiple_of(FOREIGN)
}

fn foreign_entry() -> Value {
    let condition = json!({
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "theirs",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    json!({"controllerName": OTHER, "parentRef": {"name": "elsewhere"}, "conditions": [condition]})
}

async fn create(routes: &Api<DynamicObject>, gateway: &str) -> Result<()> {
    let create = async |number| {
        let parent = if number < ROUTES { gateway } else { "elsewhere" };
        routes.create(&PostParams::default(), &route(number, parent)?).await?;
        if is_shared(number) && number < ROUTES {
            let patch = json!([{"op": "add", "path": "/status", "value": {"parents": []}},
                {"op": "add", "path": "/status/parents/-", "value": foreign_entry()}]);
            let patch: Patch<Value> = Patch::Json(serde_json::from_value(patch)?);
            routes.patch_status(&name(number), &PatchParams::default(), &patch).await?;
        }
        Ok(())
    };
    // Those of another controller first: the last one that is counted is the last of all.
    let numbers = (ROUTES..ROUTES + ROUTES / FOREIGN).chain(0..ROUTES);
    stream::iter(numbers.map(Ok)).try_for_each_concurrent(PARALLEL, create).await
}

async fn delete(routes: &Api<DynamicObject>) -> Result<()> {
    let numbers = (0..ROUTES + ROUTES / FOREIGN).map(Ok);
    stream::iter(numbers)
        .try_for_each_concurrent(PARALLEL, async |number| {
            routes.delete(&name(number), &DeleteParams::default()).await?;
            anyhow::Ok(())
        })
        .await
}

/// How many entries of another controller are not as it wrote them, and how many of its routes have a status of ours. Every
/// other route has one.
async fn touched(routes: &Api<DynamicObject>) -> Result<usize> {
    let told = || async {
        let all = routes.list(&ListParams::default()).await?.items;
        let made: Vec<_> = all.into_iter().filter(|route| text_name(route).starts_with("attach-")).collect();
        let untold = made.iter().filter(|route| text(&route.data, "/spec/parentRefs/0/name") != "elsewhere");
        let untold =
            untold.filter(|route| !parents(route).iter().any(|entry| entry["controllerName"] != OTHER)).count();
        anyhow::Ok((made, untold))
    };
    until("a status of every route", DEADLINE, async || {
        let (_, untold) = told().await?;
        Ok(when(untold == 0, || format!("{untold} have none")))
    })
    .await?;
    let (made, _) = told().await?;
    ensure!(made.len() == ROUTES + ROUTES / FOREIGN, "{} routes", made.len());
    let is_touched = |route: &&DynamicObject| {
        if text(&route.data, "/spec/parentRefs/0/name") == "elsewhere" {
            return !parents(route).is_empty();
        }
        let number = text_name(route).trim_start_matches("attach-").parse().unwrap_or(1);
        is_shared(number) && !parents(route).contains(&foreign_entry())
    };
    Ok(made.iter().filter(is_touched).count())
}

fn text_name(route: &DynamicObject) -> &str {
    route.metadata.name.as_deref().unwrap_or_default()
}

fn parents(route: &DynamicObject) -> &[Value] {
    route.data.pointer("/status/parents").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
