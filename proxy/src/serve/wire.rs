//! The bytes of a client's connection: which protocol they begin, and when they come.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::connection::Connection;
use super::worker::Worker;

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
pub(super) async fn sniff(stream: &mut TcpStream, note_read: impl Fn()) -> io::Result<Sniffed> {
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
    stream: TokioIo<TcpStream>,
    head: Head,
    connection: Rc<Connection>,
    worker: Rc<Worker>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, head: Head, connection: Rc<Connection>, worker: Rc<Worker>) -> Self {
        Self { stream: TokioIo::new(stream), head, connection, worker }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let head = &mut self.head;
        if head.from < head.to {
            let waiting = &head.bytes[usize::from(head.from)..usize::from(head.to)];
            let length = waiting.len().min(buffer.remaining());
            buffer.put_slice(&waiting[..length]);
            head.from += length as u8;
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            self.connection.note_read(self.worker.now());
        }
        read
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
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
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}
