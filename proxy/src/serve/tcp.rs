//! A connection of a TCP or TLS listener: assigned once, then bytes both ways until both sides have ended or nothing has come
//! for long. Each side may end by itself, and a side that does not read stops the other.
//!
//! It is counted as one request, answered when the backend's first byte comes: how long people talk is not how long an
//! answer takes.

use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use sluice_proxy_core::health::Answer;
use sluice_proxy_core::model::{ListenerProtocol, Transport};
use sluice_proxy_core::table::Action;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::client::ClientStream;
use super::connection::{Connection, Open, Order, Phase, until};
use super::counters::Outcome;
use super::worker::Worker;
use crate::request::failure::Failure;
use crate::request::tally::{Passage, Tally};
use crate::upstream::{InFlight, ServerStream, Upstream, Wishes};

/// Endpoints that are asked beside the first one when they do not take the connection.
const ELSEWHERE: u32 = 2;
/// Most bytes that are read at once, and so most that wait for a side that does not read.
const CHUNK: usize = 32 * 1024;

/// A client whose bytes are to be passed on.
pub(super) struct Arrived {
    pub(super) stream: ClientStream,
    /// In lower case; empty where it names none.
    pub(super) server_name: String,
    /// What was read of it, which is for the backend too.
    pub(super) read: Vec<u8>,
}

impl Arrived {
    /// A client of which nothing is known yet.
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self { stream: ClientStream::Plain(stream), server_name: String::new(), read: Vec::new() }
    }
}

/// Passes a client's connection on to a backend.
pub(super) async fn serve(worker: &Rc<Worker>, connection: &Rc<Connection>, arrived: Arrived) -> io::Result<()> {
    let Arrived { stream: client, server_name, read } = arrived;
    // It is open as long as a request is, for whoever waits for the end.
    let _open = Open::new(Rc::clone(worker), Rc::clone(connection));
    connection.enter(Phase::Tunnel, worker.now());
    let mut reaching = pin!(reach(worker, connection, &server_name));
    let reached = until(connection, |context, order| match order {
        Some(Order::Abort) => Poll::Ready(None),
        Some(Order::Finish) | None => reaching.as_mut().poll(context),
    });
    let Some(reached) = reached.await else {
        reset(client.socket());
        return Ok(());
    };
    let mut passing = Passing::new(worker, connection, (client, read), reached);
    let ended = until(connection, |context, order| match order {
        Some(Order::Abort) => Poll::Ready(Err(Broken { by: Side::Client, error: io::ErrorKind::TimedOut.into() })),
        // While we leave it may go on as long as a request may.
        Some(Order::Finish) | None => passing.poll(context),
    })
    .await;
    passing.end(&ended);
    ended.map_err(|broken| broken.error)
}

/// A connection to a backend, and how it is counted.
struct Reached {
    stream: ServerStream,
    tally: Tally,
    passage: Passage,
    in_flight: InFlight,
}

/// Draws a backend and connects to it. None when the connection is to be refused.
async fn reach(worker: &Rc<Worker>, connection: &Connection, server_name: &str) -> Option<Reached> {
    let (snapshot, port) = (worker.snapshot(), connection.bind_port);
    let listener = snapshot.listener(Transport::Tcp, port, server_name)?;
    // While it shook hands the name may have become another listener's, whose certificates and rules it was not met with.
    if connection.listener().is_some_and(|chosen| *chosen != *listener.id) {
        return None;
    }
    let Action::Forward { split, arms } = &snapshot.passing_rule(listener, server_name)?.action else { return None };
    let arm = &arms[split.pick(worker.random())];
    let mut tally = Tally::start(worker, arm.cell);
    let upstream = if listener.protocol == ListenerProtocol::Tls && listener.termination.is_none() {
        snapshot.upstream_as_is(arm)
    } else {
        snapshot.upstream(arm, listener.identity.as_deref())
    };
    let connected = match upstream {
        Ok(upstream) => connect(worker, upstream, connection.client.as_bytes()).await,
        Err(failure) => Err(failure),
    };
    match connected {
        Ok((stream, in_flight)) => {
            Some(Reached { stream, tally, passage: Passage::start(worker, arm.cell), in_flight })
        }
        Err(failure) => {
            tracing::debug!(port, ?failure, "A connection is refused");
            tally.outcome = failure.outcome();
            None
        }
    }
}

async fn connect(worker: &Worker, upstream: Upstream<'_>, client: &[u8]) -> Result<(ServerStream, InFlight), Failure> {
    let wishes = Wishes::of_client(upstream, || client);
    let (mut failed, mut last) = (Failure::NoEndpoint, None);
    for _ in 0..=ELSEWHERE {
        let Some(endpoint) = worker.pools.choose(upstream, wishes.as_ref(), last, worker.random(), worker.now()) else {
            break;
        };
        match endpoint.connect(upstream, worker.now()).await {
            Ok(connected) => return Ok(connected),
            Err(error) => {
                endpoint.note(Answer::GatewayError, worker.now());
                (failed, last) = (Failure::to_connect(worker, &endpoint, &error), Some(endpoint.target.address));
            }
        }
    }
    Err(failed)
}

/// Has the other side see that the connection was not ended in good order.
fn reset(stream: &TcpStream) {
    // Where it does not work, the other side sees an end.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Backend,
    Client,
}

/// Why it ended otherwise than in good order.
#[derive(Debug)]
struct Broken {
    by: Side,
    error: io::Error,
}

/// Both sides of a connection.
struct Passing<'a> {
    worker: &'a Worker,
    connection: &'a Connection,
    client: ClientStream,
    backend: ServerStream,
    up: Half,
    down: Half,
    /// Until the backend has said something.
    tally: Option<Tally>,
    passage: Passage,
    in_flight: InFlight,
}

impl<'a> Passing<'a> {
    /// Between a client, of whom so much has been read, and a backend.
    fn new(
        worker: &'a Worker,
        connection: &'a Connection,
        (client, read): (ClientStream, Vec<u8>),
        to: Reached,
    ) -> Self {
        let Reached { stream: backend, tally, passage, in_flight } = to;
        let (up, down) = (Half { waiting: read, ..Half::default() }, Half::default());
        Self { worker, connection, client, backend, up, down, tally: Some(tally), passage, in_flight }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let (worker, connection) = (self.worker, self.connection);
        let up = self.up.poll(context, &mut self.client, &mut self.backend, &worker.scratch, |bytes| {
            connection.note_written(worker.now());
            self.passage.count_received(bytes);
        });
        let down = self.down.poll(context, &mut self.backend, &mut self.client, &worker.scratch, |bytes| {
            connection.note_written(worker.now());
            self.passage.count_sent(bytes);
            if let Some(mut tally) = self.tally.take() {
                tally.outcome = Outcome::of(StatusCode::OK);
            }
        });
        let broken = |end: Result<(), End>, from: Side, to: Side| {
            end.map_err(|end| match end {
                End::Reading(error) => Broken { by: from, error },
                End::Writing(error) => Broken { by: to, error },
            })
        };
        let up = up.map(|end| broken(end, Side::Client, Side::Backend))?;
        let down = down.map(|end| broken(end, Side::Backend, Side::Client))?;
        if self.down.ended && !self.up.ended {
            self.note_unanswered();
        }
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// The backend ended the connection first; if it had not said a word, that was no answer.
    fn note_unanswered(&mut self) {
        if let Some(mut tally) = self.tally.take() {
            tally.outcome = self.failure().outcome();
        }
    }

    fn failure(&self) -> Failure {
        Failure::Reset { leaving: !self.worker.is_ready(&self.in_flight.endpoint().target) }
    }

    /// Tells the other side, and whoever counts, how it ended.
    fn end(&mut self, ended: &Result<(), Broken>) {
        let outcome = match ended {
            // The client has said all that it had to say, to a backend that does not answer.
            Ok(()) => Outcome::of(StatusCode::OK),
            Err(Broken { by: Side::Client, .. }) => Outcome::Abandoned,
            Err(Broken { by: Side::Backend, .. }) => self.failure().outcome(),
        };
        if let Some(mut tally) = self.tally.take() {
            tally.outcome = outcome;
        }
        if ended.is_err() {
            reset(self.client.socket());
            reset(self.backend.socket());
        }
    }
}

/// Bytes in one direction. While the receiving side keeps up, none are held here.
#[derive(Debug, Default)]
struct Half {
    waiting: Vec<u8>,
    /// The sending side has ended.
    ended: bool,
    /// The receiving side has been told.
    told: bool,
}

/// Which side a direction broke at.
#[derive(Debug)]
enum End {
    Reading(io::Error),
    Writing(io::Error),
}

impl Half {
    /// Passes on what there is; ready when the sending side has ended and the other one was told. `note` hears how many
    /// bytes were passed on.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &RefCell<Box<[u8]>>,
        mut note: impl FnMut(usize),
    ) -> Poll<Result<(), End>> {
        while !self.told {
            while !self.waiting.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(context, &self.waiting)).map_err(End::Writing)?;
                self.waiting.drain(..written);
                note(written);
            }
            if self.ended {
                // A side that has reset the connection meanwhile does not need to be told.
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(context));
                self.told = true;
                break;
            }
            // TLS may hold what it has not been able to send yet.
            ready!(Pin::new(&mut *to).poll_flush(context)).map_err(End::Writing)?;
            // Given back, because most connections wait for nothing most of the time.
            self.waiting = Vec::new();
            let mut scratch = scratch.borrow_mut();
            let mut read = ReadBuf::new(&mut scratch[..CHUNK]);
            match ready!(Pin::new(&mut *from).poll_read(context, &mut read)) {
                // TLS that ends without saying so: so many do it that it has to pass for an end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                read => read.map_err(End::Reading)?,
            }
            let bytes = read.filled();
            if bytes.is_empty() {
                self.ended = true;
                continue;
            }
            let written = match Pin::new(&mut *to).poll_write(context, bytes) {
                Poll::Ready(written) => written.map_err(End::Writing)?,
                Poll::Pending => 0,
            };
            if written > 0 {
                note(written);
            }
            self.waiting.extend_from_slice(&bytes[written..]);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::task::{Context, Poll, Waker};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, duplex};

    use super::{CHUNK, Half};

    #[tokio::test]
    async fn nothing_stays_with_a_receiver_that_holds_what_it_is_given() {
        let (mut sender, mut from) = duplex(64);
        let (to, mut receiver) = duplex(64);
        sender.write_all(b"hello").await.expect("sent");
        let (mut half, mut passed) = (Half { waiting: b"first ".to_vec(), ..Half::default() }, 0);
        let scratch = RefCell::new(vec![0; CHUNK].into_boxed_slice());
        let mut context = Context::from_waker(Waker::noop());
        let polled = half.poll(&mut context, &mut from, &mut BufWriter::new(to), &scratch, |bytes| passed += bytes);
        assert!(matches!(polled, Poll::Pending), "the sender has not ended");
        let mut heard = [0; 11];
        receiver.read_exact(&mut heard).await.expect("heard");
        assert_eq!((&heard, passed), (b"first hello", 11));
    }
}
