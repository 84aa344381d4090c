//! One request, one answer: request → (wait, draw) → version and pod, in JSON or as gRPC has it.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

use crate::{config::Config, grpc, streams};

/// The body of an answer: those of gRPC have trailers.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers any path but `/echo` alike; `/healthz` is the readiness probe and is never slow or broken on purpose.
///
/// While `draining`, HTTP/1 answers ask the client to close the connection: the server never closes one on which a
/// request may be on its way.
pub(crate) async fn reply(
    config: &Config,
    draining: bool,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if streams::is_asked(&request) {
        return Ok(streams::reply(request));
    }
    // An unread body would make the connection unusable for the next request.
    while let Some(Ok(_)) = request.body_mut().frame().await {}
    let status = if request.uri().path() == "/healthz" {
        if config.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    } else {
        work(config).await
    };
    if grpc::is_call(&request) {
        return Ok(grpc::response(config, status));
    }
    Ok(response(config, status, draining && request.version() < Version::HTTP_2))
}

async fn work(config: &Config) -> StatusCode {
    if !config.latency.is_zero() && fastrand::f64() < config.latency_tail {
        tokio::time::sleep(config.latency).await;
    }
    if fastrand::f64() < config.error_rate { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
}

fn response(config: &Config, status: StatusCode, close: bool) -> Response<Body> {
    let body = format!("{{\"version\":{:?},\"pod\":{:?}}}\n", config.version, config.pod);
    let mut response = Response::new(Full::from(body).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(version) = HeaderValue::from_str(&config.version) {
        headers.insert("x-version", version);
    }
    if close {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
