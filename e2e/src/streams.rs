//! Long-lived streams through the proxy, gRPC and WebSocket, of which every message is answered or accounted for.
//!
//! A client opens a stream, says something every 100 ms and waits for the echo, ends it in good order after its life, and
//! opens the next. As clients of gRPC do, it opens streams on the connection that it has, until the server says GOAWAY.

mod grpc;
mod web_socket;

use std::{net::SocketAddr, rc::Rc, sync::Arc, sync::Mutex, thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::{sync::watch, task::LocalSet};

/// Between a message's echo and the next message.
const PAUSE: Duration = Duration::from_millis(100);
/// How long an echo may take.
const ECHO_TIMEOUT: Duration = Duration::from_secs(10);

/// What streams are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bidirectional stream of messages in HTTP/2 (prior knowledge), which ends with `grpc-status: 0`.
    Grpc,
    /// A WebSocket (RFC 6455), which ends with the closing handshake.
    WebSocket,
}

/// Which streams there are to be.
#[derive(Clone, Debug)]
pub struct StreamsConfig {
    /// Where connections go.
    pub address: SocketAddr,
    /// The authority that is asked for; the path is `/echo` of the sample app.
    pub host: String,
    /// Of what.
    pub kind: Kind,
    /// How many clients, each with one stream at a time.
    pub clients: usize,
    /// How long a stream lives.
    pub life: Duration,
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that were made.
    pub connections: u64,
    /// Streams that were opened.
    pub opened: u64,
    /// Streams that ended as the client wanted.
    pub ended: u64,
    /// Messages that came back.
    pub echoes: u64,
    /// What went wrong, in words.
    pub failures: Vec<String>,
}

/// Streams that are running. Dropping it ends them without waiting.
#[derive(Debug)]
pub struct Streams {
    tally: Arc<Mutex<Tally>>,
    stop: watch::Sender<bool>,
    thread: thread::JoinHandle<()>,
}

/// What the clients share.
struct Shared {
    config: StreamsConfig,
    tally: Arc<Mutex<Tally>>,
    stopped: watch::Receiver<bool>,
}

impl Shared {
    fn count(&self, what: impl FnOnce(&mut Tally)) {
        what(&mut self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// The exchange of a stream's messages, as long as it lives.
    async fn talk(&self, mut echo: impl AsyncFnMut(String) -> Result<()>) -> Result<()> {
        let ends = tokio::time::Instant::now() + self.config.life;
        for number in 0.. {
            let message = format!("message {number}");
            let echoed = tokio::time::timeout(ECHO_TIMEOUT, echo(message.clone())).await;
            echoed.with_context(|| format!("no echo of {message:?} in {ECHO_TIMEOUT:?}"))??;
            self.count(|tally| tally.echoes += 1);
            if *self.stopped.borrow() || tokio::time::Instant::now() >= ends {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

impl Streams {
    /// Opens the first of them, on a thread of their own.
    pub fn start(config: StreamsConfig) -> Result<Self> {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("streams".to_owned()).spawn({
            let tally = Arc::clone(&tally);
            move || {
                let shared = Rc::new(Shared { config, tally, stopped });
                LocalSet::new().block_on(&runtime, run(shared));
            }
        })?;
        Ok(Self { tally, stop, thread })
    }

    /// What became of them so far.
    pub fn snapshot(&self) -> Tally {
        self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Lets every stream say its last message and end, and tells what became of all.
    pub async fn stop(self) -> Result<Tally> {
        self.stop.send_replace(true);
        let Self { tally, stop: _stop, thread } = self;
        tokio::task::spawn_blocking(move || thread.join().map_err(|_| anyhow!("the streams' thread panicked")))
            .await??;
        let tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Ok(tally)
    }
}

impl Tally {
    /// An error that tells what broke; also when nothing was shown.
    pub fn lost_nothing(&self) -> Result<()> {
        ensure!(self.echoes > 0, "no message came back");
        ensure!(
            self.failures.is_empty(),
            "{} of {} streams broke: {:#?}",
            self.failures.len(),
            self.opened,
            self.failures
        );
        ensure!(self.opened == self.ended, "{} streams were opened and {} ended", self.opened, self.ended);
        Ok(())
    }
}

async fn run(shared: Rc<Shared>) {
    let clients = (0..shared.config.clients).map(|_| {
        let shared = Rc::clone(&shared);
        tokio::task::spawn_local(async move {
            match shared.config.kind {
                Kind::Grpc => grpc::client(&shared).await,
                Kind::WebSocket => web_socket::client(&shared).await,
            }
        })
    });
    futures::future::join_all(clients.collect::<Vec<_>>()).await;
}
