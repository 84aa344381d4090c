//! Waiting for a state, never for an edge or a time, and always with a deadline that says what was seen last.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kube::runtime::utils::Backoff;

/// How often a state is looked at. Short, because many waits are parts of published figures.
const PAUSE: Duration = Duration::from_millis(100);

/// How a watch of a test goes on when it fails: soon and steadily, so that it does not add to what is measured.
#[derive(Debug)]
pub struct Steadily;

impl Iterator for Steadily {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(PAUSE)
    }
}

impl Backoff for Steadily {
    fn reset(&mut self) {}
}

/// One look at a state.
#[derive(Debug)]
pub enum Look<T> {
    /// It is there.
    Done(T),
    /// It is not; what was seen instead.
    NotYet(String),
}

/// `Done(())` when `done`, or else what was seen.
pub fn when(done: bool, seen: impl FnOnce() -> String) -> Look<()> {
    if done { Look::Done(()) } else { Look::NotYet(seen()) }
}

/// Looks until the state is there. A look that fails is one that has not seen it: the API server may be restarting.
pub async fn until<T>(what: &str, deadline: Duration, mut look: impl AsyncFnMut() -> Result<Look<T>>) -> Result<T> {
    let started = Instant::now();
    let mut seen = "nothing".to_owned();
    loop {
        let remaining = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(remaining.max(PAUSE), look()).await {
            Ok(Ok(Look::Done(value))) => return Ok(value),
            Ok(Ok(Look::NotYet(instead))) => seen = instead,
            Ok(Err(error)) => seen = format!("{error:#}"),
            Err(_) => seen.push_str(", then a look that did not end"),
        }
        if started.elapsed() >= deadline {
            bail!("{what}: not within {} s; last seen: {seen}", deadline.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
