//! Bodies in passing: with backpressure both ways, and with an eye on how they end. None is held whole, but for those of
//! requests that may have to be sent again or elsewhere too, up to a limit.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::tally::{Ending, Tally};
use crate::serve::connection::Open;
use crate::serve::counters::Outcome;
use crate::upstream::Lease;

/// Most bytes of a body that are kept for sending it again.
const KEPT: usize = 64 * 1024;

/// How far a request's body has been passed on.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Option<Rc<Shared>>);

#[derive(Debug)]
struct Shared {
    passed: Cell<Passed>,
    /// Of the backend's connection, while it waits for more.
    waker: RefCell<Option<Waker>>,
    /// What was passed on, where it may be wanted again and is not too much.
    kept: RefCell<Option<Kept>>,
}

/// A body, or its beginning.
#[derive(Clone, Debug, Default)]
struct Kept {
    data: VecDeque<Bytes>,
    length: usize,
    trailers: Option<HeaderMap>,
}

impl Shared {
    fn new() -> Rc<Self> {
        Rc::new(Self { passed: Cell::new(Passed::Partly), waker: RefCell::default(), kept: RefCell::default() })
    }

    fn keep(&self, frame: &Frame<Bytes>) {
        let mut kept = self.kept.borrow_mut();
        let Some(body) = &mut *kept else { return };
        if let Some(data) = frame.data_ref() {
            body.length += data.len();
            body.data.push_back(data.clone());
        } else {
            body.trailers = frame.trailers_ref().cloned();
        }
        if body.length > KEPT {
            *kept = None;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    Partly,
    Wholly,
    /// The client did not send all of it.
    Broken,
    /// The backend is not to get the rest.
    Cancelled,
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The backend has answered without it.
    #[error("the rest of the body is not wanted")]
    Cancelled,
    /// The connection that it came by ended or broke its rules.
    #[error("the body broke off: {0}")]
    Connection(#[from] hyper::Error),
    /// It takes longer than the route allows.
    #[error("the body takes too long")]
    TooSlow,
}

impl Progress {
    /// Whether all of it has been passed on.
    pub(crate) fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.passed.get() == Passed::Wholly)
    }

    /// Whether the client did not send all of it.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.passed.get() == Passed::Broken)
    }

    /// The same body once more: none when it has not been passed on wholly, or was not kept.
    pub(super) fn replay(&self) -> Option<RequestBody> {
        let Some(shared) = &self.0 else { return Some(RequestBody::none()) };
        let kept = shared.kept.borrow().clone().filter(|_| shared.passed.get() == Passed::Wholly)?;
        Some(RequestBody { source: RequestSource::Kept(kept), progress: Self(Some(Shared::new())) })
    }

    /// Passes on no more of it, so that neither side waits for the other.
    fn cancel(&self) {
        if let Some(shared) = &self.0
            && shared.passed.get() == Passed::Partly
        {
            shared.passed.set(Passed::Cancelled);
            if let Some(waker) = shared.waker.take() {
                waker.wake();
            }
        }
    }
}

/// The body of a request on its way to a backend.
#[derive(Debug)]
pub(crate) struct RequestBody {
    source: RequestSource,
    progress: Progress,
}

#[derive(Debug)]
enum RequestSource {
    None,
    Incoming(Incoming),
    Kept(Kept),
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming) -> Self {
        let progress = Progress((!incoming.is_end_stream()).then(Shared::new));
        Self { source: RequestSource::Incoming(incoming), progress }
    }

    /// No body, for repeating a request that has none.
    pub(crate) fn none() -> Self {
        Self { source: RequestSource::None, progress: Progress(None) }
    }

    /// Keeps what is passed on, as long as it is not too much.
    pub(super) fn keep(&self) {
        if let Progress(Some(shared)) = &self.progress {
            *shared.kept.borrow_mut() = Some(Kept::default());
        }
    }

    /// To ask later how far it came.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { source, progress: Progress(Some(shared)) } = self.get_mut() else {
            return Poll::Ready(None);
        };
        if shared.passed.get() == Passed::Cancelled {
            return Poll::Ready(Some(Err(BodyError::Cancelled)));
        }
        let incoming = match source {
            RequestSource::None => return Poll::Ready(None),
            RequestSource::Kept(kept) => {
                let frame = kept.data.pop_front().map(Frame::data);
                let frame = frame.or_else(|| kept.trailers.take().map(Frame::trailers));
                if kept.data.is_empty() && kept.trailers.is_none() {
                    shared.passed.set(Passed::Wholly);
                }
                return Poll::Ready(frame.map(Ok));
            }
            RequestSource::Incoming(incoming) => incoming,
        };
        let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(context) else {
            *shared.waker.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        };
        if let Some(Ok(frame)) = &frame {
            shared.keep(frame);
        }
        match &frame {
            Some(Ok(_)) if !incoming.is_end_stream() => {}
            Some(Ok(_)) | None => shared.passed.set(Passed::Wholly),
            Some(Err(_)) => shared.passed.set(Passed::Broken),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            RequestSource::None => true,
            RequestSource::Incoming(incoming) => incoming.is_end_stream(),
            RequestSource::Kept(kept) => kept.data.is_empty() && kept.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            RequestSource::None => SizeHint::with_exact(0),
            RequestSource::Incoming(incoming) => incoming.size_hint(),
            RequestSource::Kept(kept) => SizeHint::with_exact(kept.data.iter().map(|data| data.len() as u64).sum()),
        }
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
    /// Of the request's body, when the backend did not wait for its end.
    early: Option<Progress>,
    /// When it must have ended.
    limit: Option<Pin<Box<Sleep>>>,
    ending: Ending,
}

impl ResponseBody {
    pub(super) fn empty() -> Self {
        Self { source: Source::Empty, open: None }
    }

    pub(super) fn text(text: &'static str) -> Self {
        Self { source: Source::Text(text), open: None }
    }

    /// A backend's. `early` is the progress of the request's body when the backend did not wait for its end; `deadline`
    /// is when the response must have ended.
    pub(super) fn upstream(
        incoming: Incoming,
        lease: Lease,
        tally: Tally,
        early: Option<Progress>,
        deadline: Option<Instant>,
    ) -> Self {
        let limit = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        let passing = Passing { incoming, lease: Some(lease), tally: Some(tally), early, limit, ending: Ending::Told };
        Self { source: Source::Upstream(Box::new(passing)), open: None }
    }

    /// Says where a backend's response tells how the request went.
    pub(super) fn ending(mut self, ending: Ending) -> Self {
        if let Source::Upstream(passing) = &mut self.source {
            passing.ending = ending;
        }
        self
    }

    /// Holds what tells the connection that a request is open.
    pub(super) fn keep(&mut self, open: Open) {
        self.open = Some(open);
    }
}

impl Passing {
    fn note(&mut self, frame: &Frame<Bytes>) {
        if let (Ending::InTrailers, Some(trailers), Some(tally)) = (self.ending, frame.trailers_ref(), &mut self.tally)
        {
            tally.outcome = Outcome::of_grpc(trailers);
            self.ending = Ending::Told;
        }
    }

    fn end(&mut self) {
        let (Some(lease), Some(mut tally)) = (self.lease.take(), self.tally.take()) else { return };
        if self.ending == Ending::InTrailers {
            // There were none.
            tally.outcome = Outcome::of_grpc(&HeaderMap::new());
        }
        match self.early.take() {
            None => lease.put_back(tally.worker().now()),
            // Two messages on one connection would now be out of step.
            Some(progress) => progress.cancel(),
        }
    }

    /// The route's time for it is over: the client sees it by how its connection ends.
    fn give_up(&mut self) {
        if let (Some(lease), Some(mut tally)) = (self.lease.take(), self.tally.take()) {
            drop(lease);
            tally.outcome = Outcome::of(StatusCode::GATEWAY_TIMEOUT);
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
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Text(text) => {
                let text = Bytes::from_static(text.as_bytes());
                self.source = Source::Empty;
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
            Source::Upstream(passing) => {
                if passing.limit.as_mut().is_some_and(|limit| limit.as_mut().poll(context).is_ready()) {
                    passing.give_up();
                    return Poll::Ready(Some(Err(BodyError::TooSlow)));
                }
                let frame = ready!(Pin::new(&mut passing.incoming).poll_frame(context));
                if let Some(Ok(frame)) = &frame {
                    passing.note(frame);
                }
                match &frame {
                    Some(Ok(_)) if !passing.incoming.is_end_stream() => {}
                    Some(Ok(_)) | None => passing.end(),
                    Some(Err(_)) => passing.break_off(),
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
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
