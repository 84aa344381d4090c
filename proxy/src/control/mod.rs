//! The `controller` role.
//!
//! ```text
//! watch ──► translate ──► publish ──► server ══► data planes
//!               │             │          ▲           │
//!               │             ▼          └─ acks, counters ─► fleet ──► server ══► operator
//!               └────────► effects: services, status ◄────────┘
//! ```
//! What data planes serve goes out first; Services and status follow when it has been acknowledged.

pub mod admin;
pub mod args;
pub mod auth;
pub mod changes;
pub mod counters;
pub mod effects;
pub mod files;
pub mod findings;
pub mod fleet;
#[cfg(test)]
mod golden;
mod guard;
pub mod lookups;
pub mod metrics;
pub mod objects;
pub mod outage;
pub mod pace;
pub mod ports;
pub mod protect;
pub mod publish;
pub mod server;
pub mod services;
pub mod shared_map;
pub mod status;
pub mod tls;
pub mod translate;
pub mod translating;
pub mod watch;
pub mod writer;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context as _;
use kube::{Client, Config};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch as channel,
    time::{Instant, sleep, sleep_until},
};
use tonic::transport::{Server, ServerTlsConfig};

pub use args::Args;

use crate::control::{
    auth::{Accounts, TokenReviewer},
    changes::Changes,
    effects::Effects,
    fleet::Fleet,
    lookups::Lookups,
    metrics::Metrics,
    publish::Publisher,
    server::Control,
    translate::Translation,
    translating::Translating,
    watch::Caches,
};

/// Changes that come within this time of each other are translated at once.
const COALESCE: Duration = Duration::from_millis(2);
/// A data plane that does not answer for twice this time is taken for dead.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// An API server that answers nothing for this long is lost: a watch of it ends by itself before.
const READ_TIMEOUT: Duration = Duration::from_secs(40);
/// How long a connection to the API server may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the controller until it is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = client().await.context("cannot reach the Kubernetes API")?;
    let metrics = Metrics::default();
    let (ready, is_ready) = channel::channel(false);
    let (serving, serving_pods) = channel::channel(BTreeSet::new());
    let control = Arc::new(Control {
        authenticator: Box::new(TokenReviewer::new(client.clone())),
        accounts: Accounts { data_plane: args.data_plane_account(), observer: args.observer_account.clone() },
        publisher: Arc::new(Publisher::default()),
        fleet: Fleet::new(fastrand::u64(1..)),
        serving: serving_pods,
        metrics: metrics.clone(),
    });
    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = admin::serve(args.admin, metrics, is_ready) => ended,
        ended = serve(&args, &client, &control) => ended,
        ended = work(&args, &client, &control, serving, ready) => ended,
        _ = stop.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // Or the time for which a connection lay idle would count.
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}

/// Serves data planes and the operator. A renewed certificate is for new connections; those that are open stay open.
async fn serve(args: &Args, client: &Client, control: &Arc<Control>) -> anyhow::Result<()> {
    let names = tls::server_names(&args.namespace, &args.server_name);
    loop {
        let serving = tls::prepare(client, &args.namespace, &names).await?;
        let server = Server::builder()
            .tls_config(ServerTlsConfig::new().identity(serving.identity))?
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_routes(server::routes(control))
            .serve(args.listen);
        tracing::info!(address = %args.listen, "Control stream is served");
        tokio::select! {
            ended = server => return ended.context("the gRPC server ended"),
            () = sleep(serving.renew_in) => tracing::info!("Serving certificate is renewed"),
        }
    }
}

/// Watches, translates and publishes, and has the effects follow.
async fn work(
    args: &Args,
    client: &Client,
    control: &Control,
    serving: channel::Sender<BTreeSet<String>>,
    ready: channel::Sender<bool>,
) -> anyhow::Result<()> {
    let caches = Caches::start(client, &args.namespace).await?;
    let (translated, translation) = channel::channel(Translation::default());
    let effects = Effects::new(args, client, control);
    let translating = async {
        let mut translating = Translating::new(args, client, control, &caches);
        let mut changes = Changes::everything();
        loop {
            serving.send_replace(caches.pods().serving);
            let aftermath = caches.aftermath();
            let translation = translating.step(changes, aftermath.is_some()).await?;
            translated.send_replace(translation);
            ready.send_replace(true);
            changes = wait(&caches, &mut translating.lookups, aftermath).await;
        }
    };
    tokio::select! {
        ended = translating => ended,
        never = effects.run(&caches, translation) => match never {},
    }
}

/// Waits for a change of anything that was translated, and returns what the caches do not tell of it.
async fn wait(caches: &Caches, lookups: &mut Lookups, aftermath: Option<Instant>) -> Changes {
    loop {
        tokio::select! {
            () = caches.changed() => {
                sleep(COALESCE).await;
                return Changes::default();
            }
            () = sleep_until(lookups.due()) => {
                if lookups.refresh().await {
                    return Changes::everything();
                }
                // Nothing tells of the time.
                if aftermath.is_some_and(|end| end <= Instant::now()) {
                    return Changes::default();
                }
            }
        }
    }
}
