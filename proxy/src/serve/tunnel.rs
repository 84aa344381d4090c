//! A connection after it has become a WebSocket: bytes both ways, until both sides have ended or nothing has come for
//! long.

use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};

use super::client::ClientStream;
use super::connection::{Connection, Open, Order, Phase, until};
use super::worker::Worker;
use crate::upstream::Upgraded;

/// Passes bytes between a client and its backend.
pub(super) async fn run(worker: &Rc<Worker>, connection: &Rc<Connection>, client: ClientStream, backend: Upgraded) {
    // It is open as long as a request is, for whoever waits for the end.
    let open = Open::new(Rc::clone(worker), Rc::clone(connection));
    connection.enter(Phase::Tunnel, worker.now());
    let mut client = Noted { stream: client, open };
    let mut passing = pin!(async {
        let Upgraded { mut socket, rest, in_flight: _in_flight } = backend;
        // What the backend has said since it agreed; none when its connection broke.
        let Ok(rest) = rest.await else { return Ok(()) };
        client.write_all(&rest).await?;
        copy_bidirectional(&mut client, &mut socket).await.map(drop)
    });
    let ended = until(connection, |context, order| match order {
        Some(Order::Abort) => Poll::Ready(Ok(())),
        // While we leave it may go on as long as a request may.
        Some(Order::Finish) | None => passing.as_mut().poll(context),
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "A WebSocket ended");
    }
}

/// The client's side, of which the connection hears when bytes come or go.
struct Noted {
    stream: ClientStream,
    open: Open,
}

impl Noted {
    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() {
            self.open.connection.note_written(self.open.worker.now());
        }
        polled
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.note(polled)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
