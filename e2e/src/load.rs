//! A load generator that hides nothing: open loop, never retrying, every request accounted for.
//!
//! ```text
//! schedule (n / rps) ──queue──▶ workers, one kept-alive connection each ──▶ Record ──▶ Tally, Summary
//! ```
//!
//! - **Open loop**: requests are due at fixed times; latency counts from the due time, so a stall shows in every request
//!   that it delayed.
//! - **No retry**: each request is written once. What breaks after the first byte may have been written is
//!   a failure. (A connection that is known to be closed before anything is written is replaced, as any client would.)
//! - It runs on a thread of its own, so that the caller's work does not delay it.

mod connection;
mod record;
mod report;
mod requests;
mod worker;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use http::Method;
use tokio::sync::{mpsc, oneshot};

use self::requests::Requests;
pub use self::{
    record::{Cause, Record, Sample},
    report::{Failure, Interval, Summary, Tally, VersionTally},
};
use crate::tls::TlsClient;

/// What is sent where and how often.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Where connections go.
    pub address: SocketAddr,
    /// How it is asked for.
    pub protocol: Protocol,
    /// What is asked for: each request takes one of these at random.
    pub targets: Vec<Target>,
    /// POST comes with a small body, any other method without one.
    pub method: Method,
    /// Requests per second.
    pub rps: f64,
    /// Connections, each with at most one request at a time.
    pub connections: usize,
    /// How long one request may take.
    pub timeout: Duration,
    /// Name and value of further headers.
    pub headers: Vec<(String, String)>,
    /// In TLS, as this client; None is in the clear.
    pub tls: Option<TlsClient>,
}

/// Which HTTP the load speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113, section 3.3).
    Http2,
}

/// Where a request goes at that address.
#[derive(Clone, Debug)]
pub struct Target {
    /// The `Host` header.
    pub host: String,
    /// Path and query.
    pub path: String,
}

impl LoadConfig {
    /// 100 requests per second over 16 connections.
    pub fn new(address: SocketAddr, host: &str) -> Self {
        Self {
            address,
            protocol: Protocol::Http1,
            targets: vec![Target { host: host.to_owned(), path: "/work".to_owned() }],
            method: Method::POST,
            rps: 100.0,
            connections: 16,
            timeout: Duration::from_secs(10),
            headers: Vec::new(),
            tls: None,
        }
    }
}

/// Load that is running. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Load {
    started: Instant,
    record: Arc<Mutex<Record>>,
    stop: mpsc::Sender<()>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Load {
    /// Starts to send.
    pub fn start(config: LoadConfig) -> Result<Self> {
        let requests = Requests::new(&config)?;
        let started = Instant::now();
        let record = Arc::new(Mutex::new(Record::default()));
        let (stop, stopped) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime of the load")?;
        let thread = thread::Builder::new().name("load".to_owned()).spawn({
            let record = Arc::clone(&record);
            move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, worker::run((config, requests), started, record, stopped));
                let _ = end.send(());
            }
        })?;
        Ok(Self { started, record, stop, ended, thread })
    }

    /// Time since the start; the clock of every [`Sample`].
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Another clock's moment on the clock of every [`Sample`].
    pub fn at(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.started)
    }

    /// A look at what has been recorded so far. The load waits meanwhile: be brief.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    /// The totals so far.
    pub fn snapshot(&self) -> Summary {
        let elapsed = self.elapsed();
        Summary::of(&self.record(), elapsed)
    }

    /// Stops sending, waits for the requests in flight and returns the whole record.
    pub async fn stop(self) -> Result<Finished> {
        let seconds = self.started.elapsed();
        // The receiver is gone only when the thread has ended, which the next line notices.
        let _ = self.stop.send(()).await;
        self.ended.await.context("the load's thread ended early")?;
        self.thread.join().map_err(|_| anyhow!("the load's thread panicked"))?;
        let record = std::mem::take(&mut *lock(&self.record));
        let summary = Summary::of(&record, seconds);
        Ok(Finished { record, summary })
    }
}

/// Load that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Every request.
    pub record: Record,
    /// The totals.
    pub summary: Summary,
}

impl Finished {
    /// An error that lists the failures that are not `allowed_version`'s own answers; also when nothing was sent at all,
    /// because then nothing was shown.
    pub fn lost_nothing_but(&self, allowed_version: Option<&str>) -> Result<()> {
        let unexpected = self.record.failures_beside(allowed_version);
        anyhow::ensure!(self.summary.sent > 0, "no request was sent");
        anyhow::ensure!(
            unexpected == 0,
            "{unexpected} of {} requests failed: {}",
            self.summary.sent,
            serde_json::to_string_pretty(&self.summary)?
        );
        Ok(())
    }
}

/// A panic elsewhere leaves the record whole: it only grows.
fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
