//! From a client's TLS to its bytes: its server name chooses the listener, and the listener how TLS is ended.
//!
//! Where no listener wants the server name the connection ends without a word: whatever was said would be said in the name
//! of some listener.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::client::{ClientStream, Replayed};
use super::connection::{Connection, Order, Phase, until};
use super::hello;
use super::worker::Worker;

/// How long a client may take from its connection to the end of the handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Shakes hands with a client. None when nothing comes of it.
pub(super) async fn accept(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    stream: TcpStream,
) -> io::Result<Option<ClientStream>> {
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
) -> io::Result<Option<ClientStream>> {
    let Some(hello) = hello::peek(&mut stream, || connection.note_read(worker.now())).await? else { return Ok(None) };
    let served = worker.snapshot();
    let Some(listener) = served.listener(connection.bind_port, &hello.server_name) else {
        tracing::debug!(port = connection.bind_port, "No listener wants the server name of a client");
        return Ok(None);
    };
    let Some(config) = served.acceptors.get(&listener.id) else { return Ok(None) };
    let acceptor = TlsAcceptor::from(std::sync::Arc::clone(config));
    connection.belongs_to(std::sync::Arc::clone(&listener.id));
    drop(served);
    let stream = acceptor.accept(Replayed::new(hello.bytes, stream)).await?;
    Ok(Some(ClientStream::Tls(Box::new(stream))))
}
