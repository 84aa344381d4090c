//! Leaving without losing a request.
//!
//! 1. Not ready any more, and everything goes on for `delay`: until then others may still send clients here.
//! 2. Over `spread`, each connection at a moment of its own: `Connection: close` with the next HTTP/1 response, GOAWAY on
//!    HTTP/2. The ports stay open, so that whoever still comes is served.
//! 3. The ports close; open requests have until `timeout`; idle connections are closed.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::plane::{Plane, Stage};
use super::worker::Message;

/// How often to look whether something is left.
const LOOK: Duration = Duration::from_millis(50);

/// How long the parts of a drain take at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) delay: Duration,
    pub(super) spread: Duration,
    pub(super) timeout: Duration,
}

/// Drains. Returns as soon as nothing is left after the delay, and in the end in any case.
pub(super) async fn drain(plane: &Rc<Plane>, times: Times) {
    tracing::info!(?times, "Draining");
    plane.stage.send_replace(Stage::Draining);
    sleep(times.delay).await;
    plane.tell(|| Message::Drain { spread: times.spread });
    // The last connections are told at the end of the spread, and need a request more to leave by themselves.
    let left = wait(plane, times.spread, Plane::connections).await;
    plane.stop_accepting();
    if left > 0 {
        plane.tell(|| Message::CloseIdle);
        let left = wait(plane, times.timeout, Plane::connections).await;
        if left > 0 {
            tracing::warn!(connections = left, requests = plane.requests(), "Stopping with connections open");
        }
    }
    tracing::info!("Drained");
}

/// Waits until nothing is left, or for `limit`. Returns what is left.
async fn wait(plane: &Plane, limit: Duration, left: impl Fn(&Plane) -> usize) -> usize {
    let end = Instant::now() + limit;
    while left(plane) > 0 && Instant::now() < end {
        sleep(LOOK.min(end - Instant::now())).await;
    }
    left(plane)
}
