//! Whether the API server has just been away.
//!
//! While it is, no node renews its lease. So when it is back, Kubernetes' node controller may find all of them silent and
//! take every pod of the cluster for not ready, some ten seconds long, though nothing has happened to them. The data planes
//! would have no endpoint left for any backend. For a while after an outage an endpoint that is not ready is therefore
//! used where no ready one is (`translate/backend.rs`).

use std::time::Duration;

use kube::runtime::watcher;
use tokio::time::Instant;

/// A shorter outage silences no node: its lease is good for 40 s or more. A frozen API server is noticed only when a
/// watch of it times out, so what is seen of an outage may be much shorter than it was.
const NOTICEABLE: Duration = Duration::from_secs(5);
/// How long what comes after an outage may take: the controllers of endpoints return after up to a minute, and so do the
/// kubelets that put their pods right.
const AFTERMATH: Duration = Duration::from_mins(2);

/// What is known of the API server from the watches of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outage {
    /// Since when there is no answer.
    since: Option<Instant>,
    /// When the last one that was long enough was over.
    over: Option<Instant>,
}

impl Outage {
    /// Takes an event of any watch.
    pub fn see<T>(&mut self, event: &watcher::Result<T>, now: Instant) {
        match event {
            Err(error) if !is_answer(error) => {
                self.since.get_or_insert(now);
            }
            _ => {
                let since = self.since.take();
                if since.is_some_and(|since| now - since >= NOTICEABLE) {
                    self.over = Some(now);
                }
            }
        }
    }

    /// Until when readiness is not to be relied on, if it is not now.
    pub fn aftermath(&self, now: Instant) -> Option<Instant> {
        self.over.map(|over| over + AFTERMATH).filter(|end| *end > now)
    }
}

/// Whether the API server has spoken, be it to refuse.
fn is_answer(error: &watcher::Error) -> bool {
    use kube::Error::Api;
    use watcher::Error;
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            matches!(error, Api(_))
        }
        Error::WatchError(_) | Error::NoResourceVersion => true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::{core::Status, runtime::watcher::Error};
    use tokio::time::Instant;

    use super::{AFTERMATH, Outage};

    /// What comes at which second: an answer, a refusal, or none.
    fn after(events: &[(u64, char)], at: u64) -> Option<u64> {
        let start = Instant::now();
        let time = |second| start + Duration::from_secs(second);
        let mut outage = Outage::default();
        for (second, kind) in events {
            let event = match kind {
                'a' => Ok(()),
                'r' => Err(Error::WatchStartFailed(kube::Error::Api(Status::failure("no", "Forbidden").boxed()))),
                _ => Err(Error::WatchFailed(kube::Error::LinesCodecMaxLineLengthExceeded)),
            };
            outage.see(&event, time(*second));
        }
        outage.aftermath(time(at)).map(|end| (end - start).as_secs())
    }

    #[test]
    fn only_an_outage_of_some_length_has_an_aftermath() {
        let end = |over: u64| Some(over + AFTERMATH.as_secs());
        for (events, at, expected) in [
            (&[(0, 'a'), (9, 'a')][..], 10, None),
            // A watch that ended, and was taken up again.
            (&[(0, 'a'), (1, '-'), (2, 'a')], 3, None),
            (&[(0, '-'), (3, '-'), (60, 'a')], 61, end(60)),
            // A refusal is an answer: a kind that the cluster does not have is no outage.
            (&[(0, 'r'), (60, 'r'), (61, 'a')], 62, None),
            (&[(0, '-'), (60, 'r')], 61, end(60)),
            // It lasts still: nothing has changed that an answer would have told.
            (&[(0, '-'), (60, '-')], 61, None),
            (&[(0, '-'), (60, 'a'), (100, 'a')], 60 + AFTERMATH.as_secs(), None),
            (&[(0, '-'), (60, 'a'), (70, '-'), (90, 'a')], 91, end(90)),
        ] {
            assert_eq!(after(events, at), expected, "{events:?}");
        }
    }
}
