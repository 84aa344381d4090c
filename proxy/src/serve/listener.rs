//! Listening: one socket for each TCP port, and each connection that it accepts to the less loaded of two workers. Of a UDP
//! port each worker has a socket of its own.
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

use super::limits::Limit;
use super::worker::{Message, WorkerHandle};

/// Connections that the kernel holds until we accept them; it takes less where its own limit is lower.
pub(super) const BACKLOG: i32 = 4096;
/// Bytes of datagrams that the kernel holds for a worker that is busy.
const RECEIVE_BUFFER: usize = 1024 * 1024;
/// How long to wait when no connection can be accepted for want of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(20);

/// Share of the file descriptors that clients may have: each request may need another one for its backend.
pub(super) const CLIENTS_SHARE: f64 = 0.45;
/// Taken for the limit where the kernel does not tell.
const DESCRIPTORS: usize = 1024;

/// Share of the file descriptors that UDP flows may have.
pub(super) const FLOWS_SHARE: f64 = 0.05;
/// UDP flows beyond which more descriptors give no more room.
pub(super) const MOST_FLOWS: usize = 65_536;

/// Most connections of clients at once.
pub(super) fn most_connections() -> usize {
    (descriptors() as f64 * CLIENTS_SHARE) as usize
}

/// Most UDP flows at once, of all workers.
pub(super) fn most_flows() -> usize {
    ((descriptors() as f64 * FLOWS_SHARE) as usize).clamp(64, MOST_FLOWS)
}

fn descriptors() -> usize {
    open_files(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default())
}

/// The limit on open files in the kernel's table of limits.
fn open_files(limits: &str) -> usize {
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    match files {
        Some("unlimited") => usize::MAX,
        Some(number) => number.parse().unwrap_or(DESCRIPTORS),
        None => DESCRIPTORS,
    }
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
    on(address, port, listen)
}

/// Binds a UDP port so often, each time with a socket of its own.
pub(super) fn bind_datagrams(address: Option<IpAddr>, port: u16, times: usize) -> io::Result<Vec<std::net::UdpSocket>> {
    (0..times).map(|_| on(address, port, receive)).collect()
}

fn on<T>(address: Option<IpAddr>, port: u16, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    match address {
        Some(address) => bind(SocketAddr::new(address, port)),
        None => match bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            // Not every kernel has IPv6.
            Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
                bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            bound => bound,
        },
    }
}

fn receive(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The kernel spreads clients over the sockets of one port, and keeps each with one of them.
    socket.set_reuse_port(true)?;
    // Only a wish: a kernel that allows less gives less.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
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

/// Accepts connections for the workers, at most so many of all ports at once.
pub(super) fn accept(listener: TcpListener, port: u16, workers: Rc<[WorkerHandle]>, most: usize) -> Accepting {
    let accepting = tokio::task::spawn_local(async move {
        let mut is_full = false;
        loop {
            let connections = || workers.iter().map(|worker| worker.load.connections.load(Relaxed)).sum::<usize>();
            match listener.accept().await {
                // Closed again at once: a client that waited in the backlog instead would not know why.
                Ok(_) if connections() >= most => {
                    // Nobody's in particular; what is exported is the sum.
                    workers.first().inspect(|worker| worker.load.hits.count(Limit::Connections));
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

#[cfg(test)]
mod tests {
    use super::{DESCRIPTORS, open_files};

    #[test]
    fn the_limit_on_open_files_is_read_or_assumed() {
        let table = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units\n\
                     Max core file size        0                    unlimited            bytes\n\
                     Max open files            {soft:<21}1048576              files\n"
            )
        };
        let cases = [
            (table("65536"), 65_536),
            (table("unlimited"), usize::MAX),
            (table("many"), DESCRIPTORS),
            (String::new(), DESCRIPTORS),
        ];
        for (limits, expected) in cases {
            assert_eq!(open_files(&limits), expected, "{limits}");
        }
    }
}
