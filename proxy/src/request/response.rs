//! Bodies of responses in passing: with backpressure, and with an eye on how they end. None is held whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use sluice_proxy_core::grpc;
use sluice_proxy_core::health::Answer;
use tokio::time::{Instant, Sleep};

use super::body::{BodyError, Progress};
use super::tally::{Ending, Tally};
use crate::serve::connection::Open;
use crate::serve::counters::Outcome;
use crate::upstream::Lease;

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
            if let Some(lease) = &self.lease {
                lease.endpoint().note(grpc::answer(trailers), tally.worker().now());
            }
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
            lease.endpoint().note(Answer::GatewayError, tally.worker().now());
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

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(open) = self.open.as_ref().filter(|_| self.is_end_stream()) {
            open.note_answered();
        }
    }
}

impl Source {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Text(text) => {
                let text = Bytes::from_static(text.as_bytes());
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
            Self::Upstream(passing) => {
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
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.source.poll_frame(context));
        if let (Some(Ok(frame)), Some(open)) = (&frame, &self.open) {
            open.note(|visit| visit.count_sent(frame.data_ref().map_or(0, Bytes::len)));
        }
        Poll::Ready(frame)
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
