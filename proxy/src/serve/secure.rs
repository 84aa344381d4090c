//! From a client's TLS to its bytes: its server name chooses the listener, and the listener how TLS is ended, or that it is
//! passed on.
//!
//! Where no listener wants the server name the connection ends without a word: whatever was said would be said in the name
//! of some listener. A listener that ends TLS and has no route for the name says so.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use sluice_proxy_core::model::{ListenerProtocol, Transport};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::client::{ClientStream, Replayed};
use super::connection::{Connection, Order, Phase, until};
use super::hello::{self, Hello};
use super::tcp::Arrived;
use super::worker::Worker;

/// How long a client may take from its connection to the end of the handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// A fatal alert as TLS 1.2 and 1.3 have it before there is any key: `unrecognized_name`.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What is spoken with a client whose listener is known.
pub(super) enum Secured {
    /// HTTP.
    Http(ClientStream),
    /// What a backend speaks.
    Passing(Arrived),
}

/// Shakes hands with a client. None when nothing comes of it.
pub(super) async fn accept(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    stream: TcpStream,
) -> io::Result<Option<Secured>> {
    let mut shaking = pin!(timeout(HANDSHAKE, shake_hands(worker, connection, stream)));
    let accepted = until(connection, |context, order| match order {
        Some(Order::Abort) => Poll::Ready(Ok(Ok(None))),
        // A client that has not said anything yet has nothing to lose.
        Some(Order::Finish) if connection.phase() == Phase::Idle => Poll::Ready(Ok(Ok(None))),
        Some(Order::Finish) | None => shaking.as_mut().poll(context),
    });
    let accepted = accepted.await.unwrap_or(Ok(None))?;
    // What follows is as if the client had just connected.
    connection.enter(Phase::Idle, worker.now());
    Ok(accepted)
}

async fn shake_hands(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    mut stream: TcpStream,
) -> io::Result<Option<Secured>> {
    let Some(hello) = hello::peek(&mut stream, || connection.note_read(worker.now())).await? else { return Ok(None) };
    let Hello { server_name, bytes: read } = hello;
    let served = worker.snapshot();
    let Some(listener) = served.listener(Transport::Tcp, connection.bind_port, &server_name) else {
        tracing::debug!(port = connection.bind_port, "No listener wants the server name of a client");
        return Ok(None);
    };
    connection.belongs_to(Arc::clone(&listener.id));
    let is_passing = listener.protocol == ListenerProtocol::Tls;
    if is_passing && listener.termination.is_none() {
        return Ok(Some(Secured::Passing(Arrived { stream: ClientStream::Plain(stream), server_name, read })));
    }
    if is_passing && served.passing_rule(listener, &server_name).is_none() {
        drop(served);
        stream.write_all(&UNRECOGNIZED_NAME).await?;
        return Ok(None);
    }
    let Some(config) = served.acceptors.get(&listener.id) else { return Ok(None) };
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    drop(served);
    let stream = ClientStream::Tls(Box::new(acceptor.accept(Replayed::new(read, stream)).await?));
    if is_passing {
        return Ok(Some(Secured::Passing(Arrived { stream, server_name, read: Vec::new() })));
    }
    Ok(Some(Secured::Http(stream)))
}
