//! Bodies in passing: never held whole, with backpressure both ways, and with an eye on how they end.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::tally::Tally;
use crate::serve::connection::Open;
use crate::serve::counters::Outcome;
use crate::upstream::Lease;

/// How far a request's body has been passed on.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Option<Rc<Cell<Passed>>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    Partly,
    Wholly,
    /// The client did not send all of it.
    Broken,
}

impl Progress {
    /// Whether all of it has been passed on.
    pub(crate) fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(|passed| passed.get() == Passed::Wholly)
    }

    /// Whether the client did not send all of it.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.as_ref().is_some_and(|passed| passed.get() == Passed::Broken)
    }
}

/// The body of a request on its way to a backend.
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Option<Incoming>,
    progress: Progress,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming) -> Self {
        let progress = (!incoming.is_end_stream()).then(|| Rc::new(Cell::new(Passed::Partly)));
        Self { incoming: Some(incoming), progress: Progress(progress) }
    }

    /// No body, for repeating a request that has none.
    pub(crate) fn none() -> Self {
        Self { incoming: None, progress: Progress(None) }
    }

    /// To ask later how far it came.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn note(&self, passed: Passed) {
        if let Some(progress) = &self.progress.0 {
            progress.set(passed);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(context));
        let ended = incoming.is_end_stream();
        match &frame {
            Some(Ok(_)) if !ended => {}
            Some(Ok(_)) | None => self.note(Passed::Wholly),
            Some(Err(_)) => self.note(Passed::Broken),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of a response on its way to a client. The request is in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    open: Option<Open>,
}

#[derive(Debug)]
enum Source {
    Empty,
    Text(&'static str),
    Upstream(Box<Passing>),
}

/// A response that is being passed on.
#[derive(Debug)]
struct Passing {
    incoming: Incoming,
    /// Until the body has ended.
    lease: Option<Lease>,
    tally: Option<Tally>,
    /// Whether the connection can serve another request after the body.
    reusable: bool,
}

impl ResponseBody {
    pub(super) fn empty() -> Self {
        Self { source: Source::Empty, open: None }
    }

    pub(super) fn text(text: &'static str) -> Self {
        Self { source: Source::Text(text), open: None }
    }

    pub(super) fn upstream(incoming: Incoming, lease: Lease, tally: Tally, reusable: bool) -> Self {
        let passing = Passing { incoming, lease: Some(lease), tally: Some(tally), reusable };
        Self { source: Source::Upstream(Box::new(passing)), open: None }
    }

    /// Holds what tells the connection that a request is open.
    pub(super) fn keep(&mut self, open: Open) {
        self.open = Some(open);
    }
}

impl Passing {
    fn end(&mut self) {
        if let (Some(lease), Some(tally)) = (self.lease.take(), self.tally.take())
            && self.reusable
        {
            lease.put_back(tally.worker().now());
        }
    }

    /// The backend broke off in the middle: the client sees it by how its connection ends, and it is no response.
    fn break_off(&mut self) {
        if let (Some(lease), Some(mut tally)) = (self.lease.take(), self.tally.take()) {
            let leaving = tally.worker().is_leaving(&lease);
            tally.outcome = if leaving { Outcome::Disruption } else { Outcome::ConnectionFailure };
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // A body that was empty from the start, or whose length was known, is not polled to its end.
        if self.incoming.is_end_stream() {
            self.end();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Text(text) => {
                let text = Bytes::from_static(text.as_bytes());
                self.source = Source::Empty;
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
            Source::Upstream(passing) => {
                let frame = ready!(Pin::new(&mut passing.incoming).poll_frame(context));
                match &frame {
                    Some(Ok(_)) if !passing.incoming.is_end_stream() => {}
                    Some(Ok(_)) | None => passing.end(),
                    Some(Err(_)) => passing.break_off(),
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Text(_) => false,
            Source::Upstream(passing) => passing.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Upstream(passing) => passing.incoming.size_hint(),
        }
    }
}
