//! HTTP on a connection, of either version, to its end.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use sluice_proxy_core::framing;

use super::{Connection, Order, Phase, ServeError, until};
use crate::request;
use crate::serve::client::ClientStream;
use crate::serve::limits::{
    BUFFER, CONNECTION_WINDOW, FRAME, HEADER_TABLE, LOCAL_RESETS, Limit, PENDING_RESETS, STREAM_WINDOW, STREAMS,
};
use crate::serve::wire::{Wire, sniff};
use crate::serve::worker::{LocalExecutor, Worker};
use crate::serve::{goodbye, tunnel};
use crate::upstream::Upgraded;

/// Serves HTTP of either version.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    mut stream: ClientStream,
    connection: &Rc<Connection>,
) -> Result<(), ServeError> {
    let sniffed = {
        let mut sniffing = pin!(sniff(&mut stream, || connection.note_read(worker.now())));
        // A client that has not said anything yet has nothing to lose.
        until(connection, |context, order| match order {
            Some(Order::Abort | Order::Finish) => Poll::Ready(Ok(None)),
            None => sniffing.as_mut().poll(context).map_ok(Some),
        })
        .await?
    };
    let Some(sniffed) = sniffed else {
        if connection.phase() == Phase::Head {
            worker.load.hits.count(Limit::SlowHead);
            goodbye::time_out(stream).await;
        }
        return Ok(());
    };
    let http2 = sniffed.http2;
    let wire = Wire::new(stream, sniffed, Rc::clone(connection), Rc::clone(worker));
    if http2 {
        return Ok(serve_http2(worker, wire, connection).await?);
    }
    if let Some((client, backend)) = serve_http1(worker, wire, connection).await? {
        // Apart, so that connections that never become one are no larger for it.
        Box::pin(tunnel::run(worker, connection, client, backend)).await;
    }
    Ok(())
}

/// Serves HTTP/1 to its end. Returns both sides of what the connection has become, if it has become something else.
async fn serve_http1(
    worker: &Rc<Worker>,
    wire: Wire,
    connection: &Rc<Connection>,
) -> hyper::Result<Option<(ClientStream, Upgraded)>> {
    let service = service_fn(|request| request::handle(Rc::clone(worker), Rc::clone(connection), request));
    let mut serving = http1::Builder::new()
        .max_headers(framing::MAX_FIELDS)
        .max_header_size(connection.limits.head_bytes.unwrap_or(framing::MAX_HEAD_BYTES))
        .max_buf_size(BUFFER)
        .serve_connection(wire, service);
    let mut aborted = false;
    let ended = until(connection, |context, order| {
        if order == Some(Order::Abort) {
            aborted = true;
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut serving).poll(context);
        // What has arrived by now was read by that. What has begun is answered, and says that it is the last.
        if polled.is_pending() && order == Some(Order::Finish) && connection.phase.get() == Phase::Idle {
            Pin::new(&mut serving).graceful_shutdown();
            return Pin::new(&mut serving).poll(context);
        }
        polled
    })
    .await;
    let http1::Parts { io: wire, read_buf, .. } = serving.into_parts();
    let upgraded = connection.upgraded.take();
    if aborted {
        if connection.phase() == Phase::Head && wire.is_flushed() {
            worker.load.hits.count(Limit::SlowHead);
            Box::pin(goodbye::time_out(wire.into_raw())).await;
        }
        return Ok(None);
    }
    let unread = ended.as_ref().err().filter(|error| error.is_parse());
    if let Some(error) = unread {
        let limit = if error.is_parse_too_large() { Limit::Head } else { Limit::Framing };
        worker.load.hits.count(limit);
    }
    if unread.is_some() || wire.is_refused() || connection.unread.get() {
        Box::pin(goodbye::close(wire.into_raw())).await;
        return ended.map(|()| None);
    }
    ended?;
    // A client that has said more than its request before it was agreed to is not trusted with a backend.
    let client = wire.into_stream().filter(|_| read_buf.is_empty());
    Ok(client.zip(upgraded))
}

async fn serve_http2(worker: &Rc<Worker>, wire: Wire, connection: &Rc<Connection>) -> hyper::Result<()> {
    connection.http2.set(true);
    let service = service_fn(|request| request::handle(Rc::clone(worker), Rc::clone(connection), request));
    let mut serving: Pin<_> = pin!(
        http2::Builder::new(LocalExecutor)
            .max_concurrent_streams(connection.limits.streams.unwrap_or(STREAMS))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(connection.limits.head_bytes.unwrap_or(framing::MAX_HEAD_BYTES) as u32)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_RESETS)
            .max_frame_size(FRAME)
            .header_table_size(HEADER_TABLE)
            .max_send_buf_size(BUFFER)
            .serve_connection(wire, service)
    );
    until(connection, |context, order| {
        match order {
            Some(Order::Abort) => return Poll::Ready(Ok(())),
            Some(Order::Finish) => serving.as_mut().graceful_shutdown(),
            None => {}
        }
        serving.as_mut().poll(context)
    })
    .await
}
