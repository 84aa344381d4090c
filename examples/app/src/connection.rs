//! One connection, from its first byte to its end, whatever is spoken on it.

use std::{cell::Cell, pin::pin, rc::Rc};

use hyper::service::service_fn;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Stage,
    config::{Config, Protocol},
    echo, reply,
};

/// Serves one connection to its end.
pub(crate) async fn serve(
    config: Rc<Config>,
    stage: watch::Receiver<Stage>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
) {
    // Small answers go out at once; failing to set it costs time only.
    let _ = stream.set_nodelay(true);
    match tls {
        None if config.protocol == Protocol::Tcp => echo::lines(config, stage, stream).await,
        None => http(config, stage, stream).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => http(config, stage, stream).await,
            Err(error) => eprintln!("handshake: {error}"),
        },
    }
}

async fn http<S>(config: Rc<Config>, mut stage: watch::Receiver<Stage>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
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
