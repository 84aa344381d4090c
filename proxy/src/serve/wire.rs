//! The bytes of a client's connection: which protocol they begin, when they come, and whether they may be parsed.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use sluice_proxy_core::framing::scanner::{Scanner, Violation};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::client::ClientStream;
use super::connection::Connection;
use super::worker::Worker;

/// Bytes read at once: what hyper's buffer takes when a body is large.
pub(super) const SCRATCH: usize = 64 * 1024;

/// Given to the parser in place of what was refused: it answers 400 to this in any part of a head, after what it has
/// still to answer, and closes the connection.
const POISON: &[u8] = b"\0\r\n\r\n";

/// What an HTTP/2 client with prior knowledge sends first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection.
#[derive(Debug)]
pub(super) struct Sniffed {
    pub(super) http2: bool,
    pub(super) bytes: Head,
}

/// Bytes that were read to find out, and how many of them are still to be given on.
#[derive(Debug)]
pub(super) struct Head {
    bytes: [u8; PREFACE.len()],
    from: u8,
    to: u8,
}

/// Reads until it is clear which HTTP the client speaks.
pub(super) async fn sniff(stream: &mut ClientStream, note_read: impl Fn()) -> io::Result<Sniffed> {
    let mut bytes = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() && bytes[..length] == PREFACE[..length] {
        let read = stream.read(&mut bytes[length..]).await?;
        if read == 0 {
            break;
        }
        note_read();
        length += read;
    }
    let bytes = Head { bytes, from: 0, to: length as u8 };
    Ok(Sniffed { http2: bytes.bytes == *PREFACE, bytes })
}

/// A client's connection for hyper.
#[derive(Debug)]
pub(super) struct Wire {
    stream: ClientStream,
    head: Head,
    /// None where the protocol has frames of its own.
    scanner: Option<Scanner>,
    refused: bool,
    /// Whether everything that was written is on its way.
    flushed: bool,
    connection: Rc<Connection>,
    worker: Rc<Worker>,
}

impl Wire {
    pub(super) fn new(stream: ClientStream, sniffed: Sniffed, connection: Rc<Connection>, worker: Rc<Worker>) -> Self {
        let scanner = (!sniffed.http2).then(Scanner::default);
        Self { stream, head: sniffed.bytes, scanner, refused: false, flushed: true, connection, worker }
    }

    /// The connection, for what it has become; none when something on it was refused or is still to be read.
    pub(super) fn into_stream(self) -> Option<ClientStream> {
        (!self.refused && self.head.from == self.head.to).then_some(self.stream)
    }

    /// The connection, for a last word on it.
    pub(super) fn into_raw(self) -> ClientStream {
        self.stream
    }

    /// Whether something on it was refused.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether nothing is waiting to be sent, so that what is sent next is not in the middle of something.
    pub(super) fn is_flushed(&self) -> bool {
        self.flushed
    }

    fn note_written(&mut self, written: &Poll<io::Result<usize>>) {
        self.flushed = false;
        if written.is_ready() {
            self.connection.note_written(self.worker.now());
        }
    }

    /// Passes bytes on as far as they are acceptable.
    fn pass(&mut self, bytes: &[u8], buffer: &mut ReadBufCursor<'_>) -> io::Result<()> {
        let looked = self.scanner.as_mut().map_or(Ok(()), |scanner| scanner.look(bytes));
        match looked {
            Ok(()) => buffer.put_slice(bytes),
            Err(Violation::Body) => return Err(io::ErrorKind::InvalidData.into()),
            Err(Violation::Head(from)) => {
                self.refused = true;
                // In front of it may be whole requests, which are answered.
                let room = buffer.remaining().saturating_sub(POISON.len());
                buffer.put_slice(&bytes[..from.min(room)]);
                buffer.put_slice(&POISON[..POISON.len().min(buffer.remaining())]);
            }
        }
        Ok(())
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        if wire.refused {
            // The parser has not come to its end yet. Nothing more is read, and nothing is to wake it.
            return Poll::Pending;
        }
        if wire.head.from < wire.head.to {
            let bytes = wire.head.bytes;
            let waiting = &bytes[usize::from(wire.head.from)..usize::from(wire.head.to)];
            let length = waiting.len().min(buffer.remaining());
            wire.head.from += length as u8;
            return Poll::Ready(wire.pass(&waiting[..length], &mut buffer));
        }
        let worker = Rc::clone(&wire.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let length = scratch.len().min(buffer.remaining());
        let mut read = ReadBuf::new(&mut scratch[..length]);
        ready!(Pin::new(&mut wire.stream).poll_read(context, &mut read))?;
        wire.connection.note_read(worker.now());
        Poll::Ready(wire.pass(read.filled(), &mut buffer))
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_written(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.flushed |= matches!(flushed, Poll::Ready(Ok(())));
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.note_written(&written);
        written
    }
}
