//! The PROXY header in front of a connection: read to its last byte and not one further, so that what follows is met as on
//! any other connection.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use sluice_proxy_core::proxy_protocol::{Found, MOST_BINARY, Malformed, parse};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{error::Elapsed, timeout};

/// Why a connection without a good header is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    /// It ended or broke.
    #[error(transparent)]
    Connection(#[from] io::Error),
    /// There is no good one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It takes too long.
    #[error("the PROXY header did not arrive in time")]
    TooSlow(#[from] Elapsed),
}

/// Takes the header off. Returns who connected to the load balancer; none where that is itself the client.
pub(super) async fn take_header(stream: &mut TcpStream, most: Duration) -> Result<Option<IpAddr>, HeaderError> {
    timeout(most, read_header(stream)).await?
}

async fn read_header(stream: &mut TcpStream) -> Result<Option<IpAddr>, HeaderError> {
    let mut bytes = vec![0; MOST_BINARY];
    let mut taken = 0;
    loop {
        let seen = taken + stream.peek(&mut bytes[taken..]).await?;
        if seen == taken {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match parse(&bytes[..seen])? {
            // All of it is the header's, so it can be taken; what comes next wakes us again.
            Found::Part => taken += stream.read_exact(&mut bytes[taken..seen]).await?,
            Found::Header { length, source } => {
                // A part that was taken is never longer than the whole.
                stream.read_exact(&mut bytes[taken..length]).await?;
                return Ok(source.map(|source| source.ip()));
            }
        }
    }
}
