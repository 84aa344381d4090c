//! Waiting for a state, never for an edge or a time, and always with a deadline that says what was seen last.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a state is looked at. Short, because many waits are parts of published figures.
const PAUSE: Duration = Duration::from_millis(100);

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
    loop {
        let remaining = deadline.saturating_sub(started.elapsed());
        let seen = match tokio::time::timeout(remaining.max(PAUSE), look()).await {
            Ok(Ok(Look::Done(value))) => return Ok(value),
            Ok(Ok(Look::NotYet(seen))) => seen,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "a look that did not end".to_owned(),
        };
        if started.elapsed() >= deadline {
            bail!("{what}: not within {} s; last seen: {seen}", deadline.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
