//! The sample app: an HTTP server that says which version and pod answered, and that fails or is slow as it is told.
//!
//! It leaves as a Kubernetes app should. After SIGTERM it goes on accepting and answering for `DRAIN`, because proxies
//! learn of its leaving a moment later, and asks clients to close their connections; then it stops accepting, finishes
//! what is in flight and exits.
#![forbid(unsafe_code)]

mod config;
mod streams;
mod reply;

use std::{cell::Cell, error::Error, io, pin::pin, rc::Rc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinSet, LocalSet},
};

use crate::config::Config;

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

async fn serve(config: Rc<Config>) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", config.port)).await?;
    println!("version {} listens on {}", config.version, listener.local_addr()?);
    let (stage, watcher) = watch::channel(Stage::Serving);
    let mut stop =
        pin!(drained(config.drain, &stage, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(connection(Rc::clone(&config), watcher.clone(), stream));
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

/// Serves one connection to its end.
async fn connection(config: Rc<Config>, mut stage: watch::Receiver<Stage>, stream: TcpStream) {
    // Small answers go out at once; failing to set it costs time only.
    let _ = stream.set_nodelay(true);
    let http2 = Rc::new(Cell::new(false));
    let service = service_fn({
        let (http2, stage) = (Rc::clone(&http2), stage.clone());
        move |request| {
            http2.set(request.version() == http::Version::HTTP_2);
            let (config, draining) = (Rc::clone(&config), *stage.borrow() > Stage::Serving);
            async move { reply::reply(&config, draining, request).await }
        }
    });
    let builder = auto::Builder::new(LocalExecutor);
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            // The client left in the middle of something: its own business.
            _ = &mut serving => return,
            changed = stage.changed() => {
                let closing = changed.is_err() || *stage.borrow() == Stage::Closing;
                // HTTP/2 tells the client before it closes, so nothing is lost; an idle HTTP/1 connection would be cut
                // with a request on its way, so it waits for `Connection: close` or the end of the drain.
                if closing || http2.get() {
                    serving.as_mut().graceful_shutdown();
                }
                if closing {
                    let _ = serving.await;
                    return;
                }
            }
        }
    }
}

/// Runs HTTP/2 streams on the thread of their connection: their futures are not `Send`.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
