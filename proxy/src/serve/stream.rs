//! The stream to the controller: configuration down, acknowledgements and counters up. Without the controller the data
//! plane goes on with what it serves.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use sluice_proxy_core::model::Resource;
use sluice_wire::v1;
use sluice_wire::v1::configuration_client::ConfigurationClient;
use sluice_wire::v1::from_data_plane::Message as Up;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Streaming};

use super::plane::{Changed, Plane, Resources, Stage};
use super::state::StateFile;

/// Shortest and longest time between two attempts to connect.
const BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// How long one attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent controller is asked whether it is there, and how long it has to answer.
const KEEP_ALIVE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(5)];
/// Messages that wait to be sent. Counters are left out when there is no room: the next ones say the same and more.
const QUEUE: usize = 16;
/// Largest message: a full update of very many routes.
pub(super) const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// The controller, and who we are to it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) uri: http::Uri,
    pub(super) ca: Option<PathBuf>,
    pub(super) token: Option<PathBuf>,
    pub(super) pod: String,
}

/// Serves what was saved, then what the controller says, for ever.
pub(super) async fn follow(plane: &Rc<Plane>, link: &Link, state: Option<StateFile>) -> Infallible {
    if let Some(resources) = state.as_ref().and_then(StateFile::load) {
        match plane.apply(0, &resources, &Changed::All).await {
            Ok(()) => tracing::info!("Serving the saved configuration until the controller answers"),
            Err(error) => tracing::warn!(%error, "Cannot serve the saved configuration"),
        }
    }
    let epoch = fastrand::u64(..);
    let mut backoff = BACKOFF[0];
    loop {
        let mut answered = false;
        if let Err(error) = converse(plane, link, epoch, state.as_ref(), &mut answered).await {
            tracing::warn!(controller = %link.uri, "The stream to the controller ended: {error:#}");
        }
        backoff = if answered { BACKOFF[0] } else { (backoff * 2).min(BACKOFF[1]) };
        // Spread out, so that a controller that comes back is not met by all data planes at once.
        tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64())).await;
    }
}

async fn connect(link: &Link) -> anyhow::Result<ConfigurationClient<Channel>> {
    let mut endpoint = Endpoint::from(link.uri.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE[0])
        .keep_alive_timeout(KEEP_ALIVE[1])
        .keep_alive_while_idle(true);
    if let Some(path) = &link.ca {
        let ca = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)))?;
    }
    let channel = endpoint.connect().await?;
    Ok(ConfigurationClient::new(channel).max_decoding_message_size(MAX_MESSAGE))
}

/// One stream, from connecting to its end.
async fn converse(
    plane: &Rc<Plane>,
    link: &Link,
    epoch: u64,
    state: Option<&StateFile>,
    answered: &mut bool,
) -> anyhow::Result<()> {
    let (up, mut down) = open(link, epoch).await?;
    plane.accounts.borrow_mut().start_sending();
    let mut stages = plane.stage.subscribe();
    let (mut announced, mut unsaved) = (false, false);
    let mut held = Received { resources: Resources::new(), unserved: Changed::All };
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if *stages.borrow_and_update() == Stage::Draining && !std::mem::replace(&mut announced, true) {
            up.send(message(Up::Draining(v1::Draining {}))).await?;
        }
        tokio::select! {
            received = down.message() => match received?.and_then(|message| message.update) {
                Some(update) => {
                    *answered = true;
                    let ack = receive(plane, &mut held, update).await;
                    unsaved = ack.error.is_empty();
                    up.send(message(Up::Ack(ack))).await?;
                }
                None => return Ok(()),
            },
            _ = stages.changed() => {}
            _ = seconds.tick() => {
                push(plane, &up);
                // Once a second at most: saving takes longer than serving.
                if let Some(state) = state.filter(|_| std::mem::take(&mut unsaved)) {
                    state.save(&held.resources);
                }
            }
        }
    }
}

/// Connects and says who we are.
async fn open(
    link: &Link,
    epoch: u64,
) -> anyhow::Result<(mpsc::Sender<v1::FromDataPlane>, Streaming<v1::ToDataPlane>)> {
    let mut client = connect(link).await?;
    let (up, queue) = mpsc::channel(QUEUE);
    let hello = v1::Hello { pod: link.pod.clone(), version: env!("CARGO_PKG_VERSION").to_owned(), epoch };
    up.send(message(Up::Hello(hello))).await?;
    let mut request = Request::new(ReceiverStream::new(queue));
    if let Some(path) = &link.token {
        let token = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut bearer: MetadataValue<_> = format!("Bearer {}", token.trim()).parse()?;
        bearer.set_sensitive(true);
        request.metadata_mut().insert("authorization", bearer);
    }
    let down = client.connect(request).await?.into_inner();
    tracing::info!(controller = %link.uri, "Connected to the controller");
    Ok((up, down))
}

fn message(message: Up) -> v1::FromDataPlane {
    v1::FromDataPlane { message: Some(message) }
}

/// Resources as the controller believes us to have them, also when they are not served: its deltas build on that.
struct Received {
    resources: Resources,
    /// What changed since the last update that is served.
    unserved: Changed,
}

/// Serves an update, or says why not.
async fn receive(plane: &Plane, received: &mut Received, update: v1::Update) -> v1::Ack {
    let number = update.update;
    let merged = merge(received, update);
    let applied = match merged {
        Ok(()) => plane.apply(number, &received.resources, &received.unserved).await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    if applied.is_ok() {
        received.unserved = Changed::Keys(BTreeSet::new());
    }
    let error = applied.err().map(|error| format!("{error:#}")).unwrap_or_default();
    if !error.is_empty() {
        tracing::error!(update = number, error, "Refused a configuration");
    }
    v1::Ack { update: number, error }
}

fn merge(received: &mut Received, update: v1::Update) -> anyhow::Result<()> {
    if update.full {
        received.resources.clear();
        received.unserved = Changed::All;
    }
    for key in &update.remove {
        received.resources.remove(key);
    }
    if let Changed::Keys(keys) = &mut received.unserved {
        keys.extend(update.upsert.iter().map(|resource| resource.key.clone()).chain(update.remove));
    }
    let mut unreadable = Ok(());
    for v1::Resource { key, json } in update.upsert {
        match serde_json::from_slice::<Resource>(&json) {
            Ok(resource) if resource.key() == key => drop(received.resources.insert(key, resource)),
            Ok(resource) => unreadable = Err(anyhow::anyhow!("{key} holds {}", resource.key())),
            Err(error) => unreadable = Err(error).with_context(|| format!("cannot read {key}")),
        }
    }
    unreadable
}

fn push(plane: &Plane, up: &mpsc::Sender<v1::FromDataPlane>) {
    let Ok(room) = up.try_reserve() else { return };
    let cells = plane.accounts.borrow_mut().take_changes(&plane.cells.borrow());
    if !cells.is_empty() {
        room.send(message(Up::Counters(v1::Counters { cells })));
    }
}
