//! One request at one backend: endpoint, connection, response head; and the one other try where nothing can be done
//! twice by it.

use std::net::SocketAddr;
use std::rc::Rc;

use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::{Body, Incoming};
use sluice_proxy_core::framing;
use sluice_proxy_core::model::Protocol;
use sluice_proxy_core::table::Backend;

use super::body::{Progress, RequestBody};
use super::failure::Failure;
use crate::serve::worker::Worker;
use crate::upstream::connect::ConnectError;
use crate::upstream::{Lease, SendError};

/// A response whose body is still to come, and the connection that it comes by.
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    pub(super) progress: Progress,
}

/// Tries at most: each further one needs that the one before did nothing at the backend.
const TRIES: usize = 3;

/// Sends a request to an endpoint of `backend`.
///
/// It is sent once more, always to the same backend, when the connection was refused, when nothing of it was sent, or
/// when a reused connection ended before the response and doing it twice is allowed: a method that is idempotent,
/// without a body. Such a second try is no failure and is not counted.
pub(super) async fn exchange(
    worker: &Rc<Worker>,
    backend: &Backend,
    head: Parts,
    body: RequestBody,
) -> Result<Exchange, Failure> {
    let progress = body.progress();
    let repeatable = body.is_end_stream() && head.method.is_idempotent();
    let mut copy = None;
    let mut next = Request::from_parts(head, body);
    let (mut excluded, mut fresh, mut last) = (None, false, Failure::NoEndpoint);
    for _ in 0..TRIES {
        let chosen = worker.pools.choose(backend, excluded, worker.random(), worker.now());
        let Some(endpoint) = chosen else { return Err(last) };
        let mut lease = match endpoint.lease(fresh, worker.now()).await {
            Ok(lease) => lease,
            Err(error) => {
                (excluded, last) = (Some(endpoint.address), refused(worker, backend, endpoint.address, &error));
                continue;
            }
        };
        let mut request = next;
        address_to(&mut request, &lease);
        if repeatable && lease.reused {
            copy = Some(copy_of(&request));
        }
        match lease.send(request).await {
            Ok(response) if !is_acceptable(&response) => return Err(Failure::BadResponse),
            Ok(response) => return Ok(Exchange { response, lease, progress }),
            Err(SendError { unsent: Some(request), error }) => {
                tracing::debug!(%error, "The connection closed before the request was sent");
                next = *request;
            }
            Err(SendError { unsent: None, error }) => {
                let failure = broken(worker, &lease, &progress, &error);
                match copy.take().filter(|_| lease.reused) {
                    Some(request) => next = request,
                    None => return Err(failure),
                }
            }
        }
        // What closed one idle connection has most likely closed the others.
        (fresh, last) = (true, Failure::Reset { leaving: worker.is_leaving(&lease) });
    }
    Err(last)
}

/// A change of protocol was not asked for, and a body whose length is in doubt could hide another response.
fn is_acceptable(response: &Response<Incoming>) -> bool {
    response.status() != StatusCode::SWITCHING_PROTOCOLS && framing::is_framed(response.headers())
}

fn refused(worker: &Worker, backend: &Backend, address: SocketAddr, error: &ConnectError) -> Failure {
    tracing::debug!(%address, %error, "Cannot connect to an endpoint");
    let leaving = !worker.is_ready(address, backend.protocol);
    match error {
        ConnectError::Refused(_) => Failure::Refused,
        ConnectError::Handshake(_) => Failure::Reset { leaving },
        ConnectError::TimedOut => Failure::ConnectTimeout { leaving },
    }
}

fn broken(worker: &Worker, lease: &Lease, progress: &Progress, error: &hyper::Error) -> Failure {
    tracing::debug!(address = %lease.address(), %error, "The connection broke before the response");
    if progress.is_broken() {
        Failure::ClientBody
    } else if error.is_parse() {
        Failure::BadResponse
    } else {
        Failure::Reset { leaving: worker.is_leaving(lease) }
    }
}

/// Gives a request the form that the connection's protocol needs: HTTP/1.1 wants origin form and `Host`, HTTP/2 wants
/// scheme and authority instead.
fn address_to(request: &mut Request<RequestBody>, lease: &Lease) {
    let host = request.headers().get(header::HOST);
    if lease.protocol() == Protocol::H2c {
        if request.uri().authority().is_some() {
            return;
        }
        let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let authority = authority.or_else(|| Authority::try_from(lease.address().to_string()).ok());
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = authority;
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        request.headers_mut().remove(header::HOST);
        request.headers_mut().remove(header::TRANSFER_ENCODING);
        *request.version_mut() = http::Version::HTTP_2;
    } else if host.is_none()
        && let Ok(host) = HeaderValue::from_str(&lease.address().to_string())
    {
        // Only HTTP/1.0 clients may leave it out.
        request.headers_mut().insert(header::HOST, host);
    }
}

fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::none());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy
}
