//! Listening: one socket for each port, and each connection that it accepts to the less loaded of two workers.
//!
//! The kernel's own ways to spread connections are blind: by hash (one socket a worker) or last come first served (one
//! socket for all). Both leave some workers with much more to do than others.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sluice_proxy_core::pick;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::worker::{Message, WorkerHandle};

/// Connections that the kernel holds until we accept them; it takes less where its own limit is lower.
const BACKLOG: i32 = 4096;
/// How long to wait when no connection can be accepted for want of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(20);

/// Share of the file descriptors that clients may have: each request may need another one for its backend.
const CLIENTS_SHARE: f64 = 0.45;
/// Taken for the limit where the kernel does not tell.
const DESCRIPTORS: usize = 1024;

/// Most connections of clients at once.
fn most_connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let descriptors = match files {
        Some("unlimited") => usize::MAX,
        Some(number) => number.parse().unwrap_or(DESCRIPTORS),
        None => DESCRIPTORS,
    };
    (descriptors as f64 * CLIENTS_SHARE) as usize
}

/// A port that accepts connections until this is dropped.
#[derive(Debug)]
pub(super) struct Accepting(AbortHandle);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Binds a port on one address, or on all of both families.
pub(super) fn bind(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match address {
        Some(address) => listen(SocketAddr::new(address, port)),
        None => match listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            // Not every kernel has IPv6.
            Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
                listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            bound => bound,
        },
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted process binds while connections of the last one are still in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections for the workers.
pub(super) fn accept(listener: TcpListener, port: u16, workers: Rc<[WorkerHandle]>) -> Accepting {
    let accepting = tokio::task::spawn_local(async move {
        let most = most_connections();
        let mut is_full = false;
        loop {
            let connections = || workers.iter().map(|worker| worker.load.connections.load(Relaxed)).sum::<usize>();
            match listener.accept().await {
                // Closed again at once: a client that waited in the backlog instead would not know why.
                Ok(_) if connections() >= most => {
                    // Said once, not for each of what may be very many.
                    if !std::mem::replace(&mut is_full, true) {
                        tracing::warn!(port, most, "Refusing connections: there are as many as there may be");
                    }
                }
                Ok((stream, peer)) => {
                    is_full = false;
                    hand_out(stream, peer.ip(), port, &workers);
                }
                // The client went away before we came to it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(port, %error, "Cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    });
    Accepting(accepting.abort_handle())
}

fn hand_out(stream: TcpStream, peer: IpAddr, port: u16, workers: &[WorkerHandle]) {
    // Only a hint: a connection without it still works.
    let _ = stream.set_nodelay(true);
    let Ok(stream) = stream.into_std() else { return };
    let (one, other) = pick::two_of(workers.len(), fastrand::u64(..));
    let load = |worker: usize| workers[worker].load.connections.load(Relaxed);
    let worker = &workers[if load(other) < load(one) { other } else { one }];
    worker.load.connections.fetch_add(1, Relaxed);
    if worker.messages.send(Message::Accepted { stream, peer, port }).is_err() {
        worker.load.connections.fetch_sub(1, Relaxed);
    }
}
