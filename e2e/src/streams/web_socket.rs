//! Clients of WebSockets: one connection for each.

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::{ECHO_TIMEOUT, Shared};

/// Opens one after the other until it is stopped, or one of them breaks.
pub(super) async fn client(shared: &Shared) {
    while !*shared.stopped.borrow() {
        match stream(shared).await {
            Ok(()) => shared.count(|tally| tally.ended += 1),
            Err(error) => shared.count(|tally| tally.failures.push(format!("WebSocket: {error:#}"))),
        }
    }
}

async fn stream(shared: &Shared) -> Result<()> {
    shared.count(|tally| tally.opened += 1);
    let connection = TcpStream::connect(shared.config.address).await.context("connect")?;
    connection.set_nodelay(true)?;
    shared.count(|tally| tally.connections += 1);
    let url = format!("ws://{}/echo", shared.config.host);
    let (mut socket, _) = client_async(url, connection).await.context("handshake")?;
    shared.talk(async |message| echoed(&mut socket, message).await).await?;
    socket.close(None).await.context("close")?;
    let closed = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::time::timeout(ECHO_TIMEOUT, closed).await.context("the end was not answered")
}

async fn echoed(socket: &mut WebSocketStream<TcpStream>, message: String) -> Result<()> {
    socket.send(Message::text(message.clone())).await.context("send")?;
    match socket.next().await {
        Some(Ok(Message::Text(text))) => ensure!(text.as_str() == message, "{text:?} came back of {message:?}"),
        Some(Ok(other)) => bail!("instead of {message:?} came {other:?}"),
        Some(Err(error)) => return Err(error).context("receive"),
        None => bail!("it ended instead of {message:?}"),
    }
    Ok(())
}
