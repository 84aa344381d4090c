//! The operator of Sluice: watches Rollouts, steps the weights of routes and judges each step.
//!
//! ```text
//! watch -> reconcile: observe -> model -> (answer) -> decide -> publish -> act
//! ```
//!
//! All that is decided is decided by `sluice-operator-core`; this is the shell around it.
#![forbid(unsafe_code)]

mod act;
mod admin;
mod answers;
mod cli;
mod cluster;
#[cfg(test)]
mod fixtures;
mod leader;
mod metrics;
mod model;
mod objects;
mod observe;
mod pace;
mod publish;
mod reconcile;
mod watch;

use std::{io::IsTerminal, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use futures::{
    FutureExt, StreamExt,
    stream::{select, select_all},
};
use kube::{
    Client, Config,
    runtime::{applier, controller, events::Recorder},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{
    admin::Admin,
    answers::builtin::Builtin,
    cli::{Cli, LogFormat, Run},
    cluster::Cluster,
    leader::{Candidate, Leadership},
    metrics::Metrics,
    reconcile::{Context, Shared, reconcile},
    watch::Synced,
};

/// Looks at the same time: each is a dozen reads.
const CONCURRENCY: u16 = 8;
/// A connection on which nothing came for this long is dead: the API server ends a watch before.
const READ_TIMEOUT: Duration = Duration::from_secs(40);
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One thread: the operator waits for the network nearly all of the time, and each thread would take memory.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let run = Cli::parse().into_run();
    log_to_stderr(run.log_format);
    // Fails only when there is one already, which then is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // First of all: the first process of a container does not end by a signal that it does not handle.
    let stop = stop()?.shared();
    let mut config = Config::infer().await.context("no API server is configured")?;
    config.read_timeout = Some(READ_TIMEOUT);
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Or the time for which a connection lay idle would count.
    config.reset_reader_on_write = true;
    let client = Client::try_from(config).context("the API server's configuration is not usable")?;
    serve(run, client, stop).await
}

async fn serve(
    run: Run,
    client: Client,
    stop: impl Future<Output = ()> + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::default());
    let synced = Synced::default();
    let (candidate, leadership) = match run.election(client.default_namespace())? {
        Some(settings) => {
            let (candidate, leadership) = Candidate::new(client.clone(), settings, Arc::clone(&metrics));
            (Some(candidate), leadership)
        }
        None => (None, Leadership::always()),
    };
    metrics.leads(candidate.is_none());
    let shared = Arc::new(Shared {
        cluster: Cluster::new(client.clone(), Arc::clone(&metrics), leadership.clone()),
        leadership: leadership.clone(),
        builtin: Builtin::new(&run, Arc::clone(&metrics)),
        recorder: Recorder::new(client.clone(), "sluice-operator".into()),
        metrics: Arc::clone(&metrics),
        proxy_controller_name: run.proxy_controller_name.clone(),
        memory: std::sync::Mutex::default(),
    });
    let scopes: Vec<Option<&str>> = match run.namespaces.as_slice() {
        [] => vec![None],
        namespaces => namespaces.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    let controllers = scopes.into_iter().map(|namespace| {
        let forget = Arc::clone(&shared);
        let gone = move |namespace: &str, name: &str| forget.forget(namespace, name);
        let (store, wakes) = watch::wakes(&client, namespace, &synced, gone);
        let context = Arc::new(Context { shared: Arc::clone(&shared), store: store.clone() });
        applier(
            |rollout, context| reconcile(rollout, context).boxed(),
            |_, never, _| match *never {},
            context,
            store.clone(),
            // No new work once we are to stop; looks in hand are carried to their end. Who begins to lead looks at all.
            select(wakes, watch::all_at(leadership.terms(), store)).take_until(stop.clone()),
            controller::Config::default().concurrency(CONCURRENCY),
        )
        .boxed_local()
    });
    let looks = select_all(controllers).for_each(|result| {
        // A Rollout that was deleted while its wake was under way.
        let _ = result.inspect_err(|error| tracing::debug!(%error, "nothing to look at"));
        std::future::ready(())
    });
    let admin = admin::serve(run.admin, Admin { metrics, synced }, stop.clone());
    tracing::info!(admin = %run.admin, version = env!("CARGO_PKG_VERSION"), "started");
    // The Lease is released when the last look has ended, so that the next leader meets nobody.
    let (ended, all_ended) = tokio::sync::oneshot::channel::<()>();
    let looks = looks.map(|()| drop(ended));
    let election = async {
        if let Some(candidate) = candidate {
            candidate.run(all_ended.map(drop)).await;
        }
    };
    let (served, (), ()) = futures::join!(admin, looks, election);
    tracing::info!("stopped");
    served.with_context(|| format!("--admin {} cannot be served", run.admin))
}

/// Resolves when we are told to stop.
fn stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => logs.json().with_span_list(false).init(),
        LogFormat::Text => logs.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}
