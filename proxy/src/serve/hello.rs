//! The first message of a client's TLS: which server it wants, found out before anything is answered.

use std::io;

use rustls::server::Acceptor;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Most bytes that it may take. One of today has two kilobytes at most, with a post-quantum key.
pub(super) const MOST: usize = 64 * 1024;
/// Bytes read at once.
const CHUNK: usize = 4 * 1024;

/// What a client began with.
#[derive(Debug)]
pub(super) struct Hello {
    /// In lower case; empty where it names none.
    pub(super) server_name: String,
    /// Everything that was read, for whoever talks to the client from here on.
    pub(super) bytes: Vec<u8>,
}

/// Reads until the message is whole. None when there is none: the client ended, or does not speak TLS.
pub(super) async fn peek(stream: &mut TcpStream, note_read: impl Fn()) -> io::Result<Option<Hello>> {
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::with_capacity(CHUNK);
    while bytes.len() < MOST {
        let before = bytes.len();
        bytes.reserve(CHUNK);
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        note_read();
        let mut new = &bytes[before..];
        while !new.is_empty() {
            acceptor.read_tls(&mut new)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let server_name = accepted.client_hello().server_name().unwrap_or_default().to_ascii_lowercase();
                    return Ok(Some(Hello { server_name, bytes }));
                }
                Err((error, _)) => {
                    tracing::debug!(%error, "A client does not begin with TLS");
                    return Ok(None);
                }
            }
        }
    }
    Ok(None)
}
