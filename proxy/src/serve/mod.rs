//! The `serve` role: the data plane. It receives configuration, serves it, and says what it serves and has counted.
//!
//! The control thread (this module, [`plane`], [`listener`], [`stream`]) accepts connections and hands them out; each
//! [`worker`] has a thread of its own. They share nothing but counters, the snapshot and messages.

mod access_log;
mod accounts;
mod admin;
mod client;
pub(crate) mod connection;
pub(crate) mod counters;
mod drain;
pub(crate) mod edges;
mod exporter;
mod folder;
mod goodbye;
mod hello;
pub(crate) mod limits;
mod listener;
mod open;
pub(crate) mod patience;
mod plane;
mod proxied;
mod secure;
pub(crate) mod spans;
mod state;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
mod tunnel;
mod udp;
mod wire;
pub(crate) mod worker;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use sluice_proxy_core::table::Whereabouts;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;

use access_log::AccessLog;
use plane::Plane;
use state::StateFile;

/// Arguments of `sluice-proxy serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// CA certificate (PEM) that the controller's certificate must come from; read again at each connection.
    #[arg(long, env = "SLUICE_CONTROLLER_CA", requires = "controller")]
    controller_ca: Option<PathBuf>,
    /// Bearer token for the controller; read again at each connection.
    #[arg(long, env = "SLUICE_TOKEN_FILE", requires = "controller")]
    token_file: Option<PathBuf>,
    /// Name under which the controller knows this data plane.
    #[arg(long, env = "POD_NAME", default_value = "local")]
    pod_name: String,
    /// The node that it runs on, for Services that prefer endpoints near by.
    #[arg(long, env = "NODE_NAME")]
    node: Option<String>,
    /// The zone of that.
    #[arg(long, env = "NODE_ZONE")]
    zone: Option<String>,
    /// Folder for the last configuration, from which a restarted container serves when the controller is away.
    #[arg(long, env = "SLUICE_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Address of `/livez`, `/readyz` and `/metrics`.
    #[arg(long, default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Address that listeners bind; without it every address of both families.
    #[arg(long)]
    bind: Option<IpAddr>,
    /// Threads that serve; without it one for each processor.
    #[arg(long)]
    workers: Option<usize>,
    /// Seconds to go on as before after being told to stop, until no new clients are sent here.
    #[arg(long, default_value_t = 5)]
    drain_delay: u64,
    /// Seconds over which clients are then asked to leave.
    #[arg(long, default_value_t = 20)]
    drain_spread: u64,
    /// Seconds that open requests have after that.
    #[arg(long, default_value_t = 30)]
    drain_timeout: u64,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct SourceArgs {
    /// The controller, as `https://host:port`.
    #[arg(long, env = "SLUICE_CONTROLLER")]
    controller: Option<http::Uri>,
    /// Folder of Gateway API manifests to serve without a cluster; read again when it changes.
    #[arg(long)]
    config: Option<PathBuf>,
    /// File with a JSON list of compiled resources to serve without a cluster; read again when it changes.
    #[arg(long)]
    resources: Option<PathBuf>,
}

/// Serves until it is told to stop and has drained.
pub async fn run(args: Args) -> anyhow::Result<()> {
    LocalSet::new().run_until(serve(args)).await
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let workers = args.workers.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let log = AccessLog::start(std::io::stdout()).context("cannot start the access log")?;
    let plane = Plane::start(workers.max(1), args.bind, log).context("cannot start the workers")?;
    // A label that a pod does not have is an empty variable.
    let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    plane.stand(Whereabouts { node: given(&args.node), zone: given(&args.zone) });
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    admin::start(args.admin, &plane).await.with_context(|| format!("cannot listen on {}", args.admin))?;
    tokio::task::spawn_local(keep_accounts(Rc::clone(&plane)));
    let mut source = pin!(source(&args, &plane));
    tokio::select! {
        ended = &mut source => return ended,
        lost = plane.lost_worker() => return Err(lost.into()),
        _ = stop.recv() => {}
        _ = interrupt.recv() => {}
    }
    let times = drain::Times {
        delay: Duration::from_secs(args.drain_delay),
        spread: Duration::from_secs(args.drain_spread),
        timeout: Duration::from_secs(args.drain_timeout),
    };
    tokio::select! {
        () = drain::drain(&plane, times) => {
            plane.log.flush().await;
            Ok(())
        }
        // Configuration still arrives while we drain: a rollback must reach us as long as we serve.
        ended = source => ended,
        _ = stop.recv() => anyhow::bail!("told to stop a second time"),
    }
}

/// Follows the source of configuration. Returns only when that is not possible at all.
async fn source(args: &Args, plane: &Rc<Plane>) -> anyhow::Result<()> {
    let SourceArgs { controller, config, resources } = &args.source;
    if let Some(path) = config {
        return folder::follow(plane, folder::Source::Manifests(path.clone())).await;
    }
    if let Some(path) = resources {
        return folder::follow(plane, folder::Source::Resources(path.clone())).await;
    }
    let uri = controller.clone().context("there is no source of configuration")?;
    let link = stream::Link {
        uri,
        ca: args.controller_ca.clone(),
        token: args.token_file.clone(),
        pod: args.pod_name.clone(),
    };
    let state = args.state_dir.as_deref().map(StateFile::new);
    match stream::follow(plane, &link, state).await {}
}

/// Collects the workers' counters once a second.
async fn keep_accounts(plane: Rc<Plane>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        plane.collect().await;
    }
}
