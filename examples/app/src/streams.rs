//! `/echo`: what is sent comes back while it is sent. A stream of gRPC has its trailers, a WebSocket its messages.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use crate::reply::Body;

/// Whether the request asks for an echo.
pub(crate) fn is_asked(request: &Request<Incoming>) -> bool {
    request.uri().path() == "/echo"
}

/// The answer, which begins before the request has ended.
pub(crate) fn reply(request: Request<Incoming>) -> Response<Body> {
    match request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() {
        Some(key) => web_socket(request, &key),
        None => stream(request),
    }
}

fn stream(request: Request<Incoming>) -> Response<Body> {
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let is_grpc = content_type.as_ref().is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    // A client that breaks off hears nothing more.
    let data = BodyStream::new(request.into_body())
        .filter_map(|frame| async { frame.ok()?.into_data().ok().map(|data| Ok::<_, Infallible>(Frame::data(data))) });
    let trailers = is_grpc.then(|| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Ok(Frame::trailers(trailers))
    });
    let mut response = Response::new(StreamBody::new(data.chain(futures::stream::iter(trailers))).boxed_unsync());
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}

fn web_socket(request: Request<Incoming>, key: &HeaderValue) -> Response<Body> {
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok();
    tokio::task::spawn_local(async move {
        // The client is gone before it was one.
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        let (mut back, mut messages) = socket.split();
        // The library answers pings and the end; an error ends it too.
        while let Some(Ok(message)) = messages.next().await {
            if (message.is_text() || message.is_binary()) && back.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.extend(accept.map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
    response
}
