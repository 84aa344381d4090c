//! The sending side: a clock that says when requests are due, and workers with one connection each.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Mutex as AsyncMutex, mpsc},
    task::JoinSet,
};

use super::{
    LoadConfig, lock,
    record::{Cause, Record, Sample},
    report::Failure,
    requests::Requests,
};

/// Requests that may wait for a connection, in seconds of the rate; beyond it they fail as `Backlog`.
const MAX_BACKLOG_SECONDS: f64 = 10.0;
/// Longest answer that is read.
const MAX_ANSWER: usize = 1 << 20;

/// Requests that are due, for whichever worker is free.
type Queue = AsyncMutex<mpsc::UnboundedReceiver<Duration>>;

/// What all workers share.
struct Shared {
    config: LoadConfig,
    requests: Requests,
    started: Instant,
    record: Arc<Mutex<Record>>,
    waiting: Cell<u64>,
}

/// Sends until `stopped`, then ends what is in flight.
pub(super) async fn run(
    (config, requests): (LoadConfig, Requests),
    started: Instant,
    record: Arc<Mutex<Record>>,
    mut stopped: mpsc::Receiver<()>,
) {
    let shared = Rc::new(Shared { config, requests, started, record, waiting: Cell::new(0) });
    let (due, queue) = mpsc::unbounded_channel();
    let queue = Rc::new(AsyncMutex::new(queue));
    let mut workers = JoinSet::new();
    for _ in 0..shared.config.connections {
        workers.spawn_local(worker(Rc::clone(&shared), Rc::clone(&queue)));
    }
    tokio::select! {
        // The handle is gone or asks to stop: the same.
        _ = stopped.recv() => {}
        () = schedule(&shared, &due) => {}
    }
    drop(due);
    while workers.join_next().await.is_some() {}
}

/// Puts requests into the queue at their times; never ends by itself.
async fn schedule(shared: &Shared, queue: &mpsc::UnboundedSender<Duration>) {
    let max_waiting = (shared.config.rps * MAX_BACKLOG_SECONDS).max(100.0) as u64;
    for number in 0_u64.. {
        let due = Duration::from_secs_f64(number as f64 / shared.config.rps);
        tokio::time::sleep_until((shared.started + due).into()).await;
        if shared.waiting.get() < max_waiting {
            shared.waiting.set(shared.waiting.get() + 1);
            // Workers end after the queue, so there is one to receive.
            let _ = queue.send(due);
        } else {
            let sample = Sample { due, sent: due, done: due, version: 0, cause: Cause::Backlog };
            lock(&shared.record).push(sample, None, || Failure::new(&sample, None, None, None, "never sent"));
        }
    }
}

/// Takes requests from the queue until it is closed and empty.
async fn worker(shared: Rc<Shared>, queue: Rc<Queue>) {
    let mut connection = None;
    loop {
        let due = queue.lock().await.recv().await;
        let Some(due) = due else { return };
        shared.waiting.set(shared.waiting.get().saturating_sub(1));
        let sent = shared.started.elapsed();
        let exchanged = tokio::time::timeout(shared.config.timeout, exchange(&shared, &mut connection)).await;
        let answer = exchanged.unwrap_or_else(|_| {
            // The late answer must not be taken for the next request's.
            connection = None;
            Answer::failed(Cause::Timeout, &anyhow!("no answer in {:?}", shared.config.timeout))
        });
        let sample = Sample { due, sent, done: shared.started.elapsed(), version: 0, cause: answer.cause };
        let version = answer.version.clone();
        let failure = || Failure::new(&sample, answer.status, answer.version.as_deref(), answer.pod, &answer.detail);
        lock(&shared.record).push(sample, version.as_deref(), failure);
    }
}

/// How one request ended.
struct Answer {
    cause: Cause,
    status: Option<u16>,
    version: Option<String>,
    pod: Option<String>,
    detail: String,
}

impl Answer {
    fn failed(cause: Cause, error: &anyhow::Error) -> Self {
        Self { cause, status: None, version: None, pod: None, detail: format!("{error:#}") }
    }
}

type Connection = SendRequest<Full<Bytes>>;

/// Sends one request and reads its whole answer. The connection stays for the next one if both sides want it to.
async fn exchange(shared: &Shared, connection: &mut Option<Connection>) -> Answer {
    let response = loop {
        let (mut sender, fresh) = match reusable(connection.take()).await {
            Some(sender) => (sender, false),
            None => match connect(shared).await {
                Ok(sender) => (sender, true),
                Err(error) => return Answer::failed(Cause::Connect, &error),
            },
        };
        match sender.try_send_request(shared.requests.draw()).await {
            Ok(response) => {
                if !closes(&response) {
                    *connection = Some(sender);
                }
                break response;
            }
            Err(mut error) => {
                // Handed back unwritten, because the connection had been closed in good order: not a retry.
                if fresh || error.take_message().is_none() {
                    return Answer::failed(Cause::Reset, &anyhow::Error::new(error.into_error()));
                }
            }
        }
    };
    let answer = read(response).await;
    if answer.cause == Cause::Reset {
        *connection = None;
    }
    answer
}

async fn reusable(connection: Option<Connection>) -> Option<Connection> {
    let mut connection = connection?;
    connection.ready().await.ok().map(|()| connection)
}

async fn connect(shared: &Shared) -> Result<Connection> {
    if let Some(tls) = &shared.config.tls {
        return handshake(tls.connect(shared.config.address).await?).await;
    }
    let stream = TcpStream::connect(shared.config.address).await.context("connect")?;
    stream.set_nodelay(true)?;
    handshake(stream).await
}

async fn handshake<S>(stream: S) -> Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("handshake")?;
    // Its errors come back through the request that they break.
    tokio::task::spawn_local(driver);
    Ok(sender)
}

fn closes(response: &Response<Incoming>) -> bool {
    let connection = response.headers().get(header::CONNECTION).and_then(|value| value.to_str().ok());
    connection.is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

async fn read(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let version = head.headers.get("x-version").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let status = Some(head.status.as_u16());
    match Limited::new(body, MAX_ANSWER).collect().await {
        Err(error) => {
            Answer { cause: Cause::Reset, status, version, pod: None, detail: format!("answer cut off: {error}") }
        }
        Ok(body) => {
            let body = body.to_bytes();
            let cause = if head.status.is_success() { Cause::Ok } else { Cause::Status };
            let failed = cause != Cause::Ok;
            let detail = if failed { String::from_utf8_lossy(&body).into_owned() } else { String::new() };
            let pod = failed.then(|| pod(&body)).flatten();
            Answer { cause, status, version, pod, detail }
        }
    }
}

/// The sample app's answer names its pod.
fn pod(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(json.get("pod")?.as_str()?.to_owned())
}
