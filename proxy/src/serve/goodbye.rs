//! The end of an HTTP/1 connection whose client was refused or took too long, so that the client hears why.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::client::ClientStream;

/// How long, and for how many bytes, the rest of what a client says is read and dropped: a connection that is closed with
/// bytes unread is reset, and a reset overtakes the answer (RFC 9112, 9.6).
pub(super) const LINGER: Duration = Duration::from_secs(1);
pub(super) const LINGER_BYTES: usize = 256 * 1024;

/// The answer to a client that takes too long to say what it wants.
const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\ncontent-length: 36\r\n\
    connection: close\r\n\r\nthe request did not arrive in time.\n";

/// The answer to a client that there is no room for.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 29\r\n\
    connection: close\r\n\r\nthere are enough connections\n";

/// Answers a client that there is no room for.
pub(super) async fn turn_away(mut stream: ClientStream) {
    // One that does not even read is not waited for.
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(FULL)).await {
        close(stream).await;
    }
}

/// Answers a request whose head does not come to an end.
pub(super) async fn time_out(mut stream: ClientStream) {
    // A client that does not even read has had its time.
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(TIMED_OUT)).await {
        close(stream).await;
    }
}

/// Ends what we say, and waits a little until the client has ended too.
pub(super) async fn close(mut stream: ClientStream) {
    let closing = async {
        stream.shutdown().await?;
        let (mut bytes, mut left) = ([0; 4096], LINGER_BYTES);
        while left > 0 {
            match stream.read(&mut bytes).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    if !matches!(timeout(LINGER, closing).await, Ok(Ok(()))) {
        tracing::debug!("A client that was refused did not end its connection");
    }
}
