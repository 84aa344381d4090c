//! The sample app: a server that says which version and pod answered, and that fails or is slow as it is told. It speaks
//! HTTP and gRPC, in the clear or in TLS, or says again what it hears over TCP or UDP.
//!
//! It leaves as a Kubernetes app should. After SIGTERM it goes on accepting and answering for `DRAIN`, because proxies
//! learn of its leaving a moment later, and asks clients to close their connections; then it stops accepting, finishes
//! what is in flight and exits.
#![forbid(unsafe_code)]

mod config;
mod connection;
mod echo;
mod grpc;
mod reply;
mod streams;
mod tls;

use std::{error::Error, pin::pin, rc::Rc, time::Duration};

use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinSet, LocalSet},
};

use crate::config::{Config, Protocol};

/// Longest time for requests in flight to end after `DRAIN`; with the default `DRAIN` well within the 30 s of a pod.
const FINISH: Duration = Duration::from_secs(15);

/// How far the app is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    Draining,
    Closing,
}

fn main() -> Result<(), Box<dyn Error>> {
    let config = Rc::new(Config::from_env()?);
    // One thread: the app stands for a service in a cluster that may run dozens of its pods on two cores.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(config))?;
    Ok(())
}

async fn serve(config: Rc<Config>) -> Result<(), Box<dyn Error>> {
    let (stage, watcher) = watch::channel(Stage::Serving);
    let mut stop =
        pin!(drained(config.drain, &stage, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?));
    if config.protocol == Protocol::Udp {
        return Ok(echo::datagrams(&config, stop).await?);
    }
    let tls = config.tls_dir.as_deref().map(tls::acceptor).transpose()?;
    let listener = TcpListener::bind(("0.0.0.0", config.port)).await?;
    println!("version {} listens on {}", config.version, listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(connection::serve(
                        Rc::clone(&config),
                        watcher.clone(),
                        stream,
                        tls.clone(),
                    ));
                }
                // Out of descriptors, for instance: the next connection may be served again.
                Err(error) => eprintln!("accept: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    stage.send_replace(Stage::Closing);
    let finished = tokio::time::timeout(FINISH, async { while connections.join_next().await.is_some() {} }).await;
    println!("{}", if finished.is_ok() { "stopped" } else { "stopped with requests in flight" });
    Ok(())
}

/// Ends when the app has been asked to stop and `drain` is over.
async fn drained(drain: Duration, stage: &watch::Sender<Stage>, mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    println!("draining for {drain:?}");
    stage.send_replace(Stage::Draining);
    tokio::time::sleep(drain).await;
}
