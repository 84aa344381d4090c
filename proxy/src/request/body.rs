//! Bodies of requests in passing: with backpressure, with an eye on how they end and on the pace at which they come. None
//! is held whole, but for those that may have to be sent again or elsewhere too, up to a limit.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::serve::connection::Connection;
use crate::serve::patience;

/// Most bytes of a body that are kept for sending it again.
pub(crate) const KEPT: usize = 64 * 1024;

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
    pace: Pace,
}

/// How a body comes in.
#[derive(Debug, Default)]
struct Pace {
    /// Bytes so far.
    received: Cell<u64>,
    /// Seconds in which its client was waited for.
    waited: Cell<u32>,
    watched: Cell<bool>,
    /// Whether it may take any time.
    unhurried: Cell<bool>,
}

/// A body that was waited for, as its connection watches over it.
#[derive(Debug)]
pub(crate) struct Upload(Weak<Shared>);

impl Upload {
    /// Called once a second; whether to go on doing so. A body that comes too slowly is given up.
    pub(crate) fn waits(&self) -> bool {
        let Some(shared) = self.0.upgrade().filter(|shared| shared.is_hurried()) else { return false };
        // Without a waker it is the backend that is waited for.
        let Some(waker) = shared.waker.take() else { return true };
        shared.pace.waited.set(shared.pace.waited.get() + 1);
        let slow = patience::is_too_slow(shared.pace.waited.get(), shared.pace.received.get());
        if slow {
            shared.passed.set(Passed::TooSlow);
            waker.wake();
        } else {
            *shared.waker.borrow_mut() = Some(waker);
        }
        !slow
    }
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
        Rc::new(Self {
            passed: Cell::new(Passed::Partly),
            waker: RefCell::default(),
            kept: RefCell::default(),
            pace: Pace::default(),
        })
    }

    /// Whether it has a pace to keep.
    fn is_hurried(&self) -> bool {
        self.passed.get() == Passed::Partly && !self.pace.unhurried.get()
    }

    /// Waits for the client, which is watched from the first time on.
    fn wait(self: &Rc<Self>, client: Option<&Connection>, waker: Waker) {
        *self.waker.borrow_mut() = Some(waker);
        if let Some(client) = client.filter(|_| self.is_hurried() && !self.pace.watched.replace(true)) {
            client.watch(Upload(Rc::downgrade(self)));
        }
    }

    fn keep(&self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.pace.received.set(self.pace.received.get() + data.len() as u64);
        }
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
    /// The client takes too long to send it.
    TooSlow,
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
    /// The client takes too long to send it.
    #[error("the body comes too slowly")]
    SlowClient,
    /// It takes longer than the route allows.
    #[error("the body takes too long")]
    TooSlow,
}

impl Progress {
    /// Whether all of it has been passed on.
    pub(crate) fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.passed.get() == Passed::Wholly)
    }

    /// Bytes of it that have come.
    pub(super) fn received(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.pace.received.get())
    }

    /// Whether the client did not send all of it.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.passed.get() == Passed::Broken)
    }

    /// Whether the client took too long to send it.
    pub(crate) fn is_too_slow(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.passed.get() == Passed::TooSlow)
    }

    /// From here on its client may take its time: the backend has begun to answer, or they take turns.
    pub(super) fn take_time(&self) {
        if let Some(shared) = &self.0 {
            shared.pace.unhurried.set(true);
        }
    }

    /// The same body once more: none when it has not been passed on wholly, or was not kept.
    pub(super) fn replay(&self) -> Option<RequestBody> {
        let Some(shared) = &self.0 else { return Some(RequestBody::none()) };
        let kept = shared.kept.borrow().clone().filter(|_| shared.passed.get() == Passed::Wholly)?;
        Some(RequestBody { source: RequestSource::Kept(kept), progress: Self(Some(Shared::new())), client: None })
    }

    /// Passes on no more of it, so that neither side waits for the other.
    pub(super) fn cancel(&self) {
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
    /// Whose it is, where it has a pace to keep.
    client: Option<Rc<Connection>>,
}

#[derive(Debug)]
enum RequestSource {
    None,
    Incoming(Incoming),
    Kept(Kept),
}

impl RequestBody {
    /// What `client` sends.
    pub(crate) fn new(incoming: Incoming, client: &Rc<Connection>) -> Self {
        let progress = Progress((!incoming.is_end_stream()).then(Shared::new));
        let client = progress.0.is_some().then(|| Rc::clone(client));
        Self { source: RequestSource::Incoming(incoming), progress, client }
    }

    /// These bytes.
    pub(crate) fn of(bytes: Bytes) -> Self {
        let kept = Kept { length: bytes.len(), data: [bytes].into(), trailers: None };
        Self { source: RequestSource::Kept(kept), progress: Progress(Some(Shared::new())), client: None }
    }

    /// No body, for repeating a request that has none.
    pub(crate) fn none() -> Self {
        Self { source: RequestSource::None, progress: Progress(None), client: None }
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
        let Self { source, progress: Progress(Some(shared)), client } = self.get_mut() else {
            return Poll::Ready(None);
        };
        match shared.passed.get() {
            Passed::Cancelled => return Poll::Ready(Some(Err(BodyError::Cancelled))),
            Passed::TooSlow => return Poll::Ready(Some(Err(BodyError::SlowClient))),
            Passed::Partly | Passed::Wholly | Passed::Broken => {}
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
            shared.wait(client.as_deref(), context.waker().clone());
            return Poll::Pending;
        };
        shared.waker.take();
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
