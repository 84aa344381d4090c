//! One request at one backend: endpoint, connection, response head; and another try where nothing can be done twice by
//! it.

use std::net::SocketAddr;
use std::rc::Rc;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::{Body, Incoming};
use sluice_proxy_core::health::Answer;
use sluice_proxy_core::model::Protocol;
use sluice_proxy_core::retry::Retry;
use sluice_proxy_core::{forward, framing};
use tokio::time::Instant;

use super::body::{Progress, RequestBody};
use super::failure::Failure;
use crate::serve::worker::Worker;
use crate::upstream::{Endpoint, Lease, SendError, Upstream, Wishes};

/// A response whose body is still to come, and the connection that it comes by.
pub(super) struct Exchange {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    pub(super) progress: Progress,
    /// When the response must have ended.
    pub(super) deadline: Option<Instant>,
}

/// Endpoints that are asked beside the first one when connections are refused and the rule says nothing.
const ELSEWHERE: u32 = 2;
/// How often a connection may turn out to have been closed: each time nothing was done at the backend.
const STALE: u32 = 3;

/// How a request is to be sent. It changes from one try to the next.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    /// Whether the connection is to become a WebSocket.
    pub(super) websocket: bool,
    /// Where it is to go, if it can.
    wishes: Option<&'a Wishes>,
    /// What the rule says about repetitions.
    pub(super) retry: Option<&'a Retry>,
    /// Repetitions that are left.
    pub(super) left: u32,
    /// Where it was sent last; left out where there are others.
    pub(super) last: Option<SocketAddr>,
}

impl<'a> Sending<'a> {
    pub(super) fn new(websocket: bool, wishes: Option<&'a Wishes>, retry: Option<&'a Retry>) -> Self {
        Self { websocket, wishes, retry, left: retry.map_or(ELSEWHERE, |retry| retry.attempts), last: None }
    }

    /// Takes one of the repetitions that are left, and waits as long as the rule says.
    pub(super) async fn wait(&mut self, worker: &Worker) {
        if let Some(retry) = self.retry {
            tokio::time::sleep(retry.wait(retry.attempts.saturating_sub(self.left), worker.random())).await;
        }
        self.left = self.left.saturating_sub(1);
    }

    /// The next endpoint: another one than the last, or that one when there is no other and it is to be asked again.
    async fn choose(&mut self, worker: &Worker, upstream: Upstream<'_>, refused: bool) -> Option<Rc<Endpoint>> {
        let wishes = self.wishes;
        let choose = |excluded| worker.pools.choose(upstream, wishes, excluded, worker.random(), worker.now());
        let other = choose(self.last);
        if refused && self.left == 0 {
            return None;
        }
        match (other, refused) {
            (Some(other), true) => {
                self.left -= 1;
                Some(other)
            }
            // Without a rule nobody waits for an endpoint that has just refused.
            (None, true) if self.retry.is_some() && choose(None).is_some() => {
                Box::pin(self.wait(worker)).await;
                choose(None)
            }
            (None, true) => None,
            (other, false) => other.or_else(|| choose(None)),
        }
    }
}

/// Sends a request to an endpoint of `upstream`. It is taken when it is sent.
///
/// It is sent once more, always to the same backend, when the connection was refused, when nothing of it was sent, or
/// when a reused connection ended before the response and doing it twice is allowed: a method that is idempotent,
/// without a body. Such a second try is no failure and is not counted.
pub(super) async fn exchange(
    worker: &Rc<Worker>,
    upstream: Upstream<'_>,
    sending: &mut Sending<'_>,
    request: &mut Option<Request<RequestBody>>,
) -> Result<Exchange, Failure> {
    let (mut failed, mut stale, mut refusal) = (Failure::NoEndpoint, 0, false);
    while stale < STALE {
        let Some(endpoint) = sending.choose(worker, upstream, refusal).await else { break };
        sending.last = Some(endpoint.target.address);
        let leased = if sending.websocket {
            endpoint.lease_for_upgrade(upstream, worker.now()).await
        } else {
            // What closed one idle connection has most likely closed the others.
            endpoint.lease(upstream, stale > 0, worker.now()).await
        };
        let mut lease = match leased {
            Ok(lease) => lease,
            Err(error) => {
                endpoint.note(Answer::GatewayError, worker.now());
                (failed, refusal) = (Failure::to_connect(worker, &endpoint, &error), true);
                continue;
            }
        };
        let Some(mut message) = request.take() else { break };
        address_to(&mut message, &lease);
        let progress = message.body().progress();
        let repeatable = lease.reused && message.body().is_end_stream() && message.method().is_idempotent();
        *request = repeatable.then(|| copy_of(&message));
        match lease.send(message).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                lease.endpoint().note_head(&head, worker.now());
                if !is_acceptable(&head, sending.websocket) {
                    return Err(Failure::BadResponse);
                }
                return Ok(Exchange { response: Response::from_parts(head, body), lease, progress, deadline: None });
            }
            Err(SendError { unsent: Some(message), error }) => {
                tracing::debug!(%error, "The connection closed before the request was sent");
                *request = Some(*message);
            }
            Err(SendError { unsent: None, error }) => {
                let failure = broken(worker, &lease, &progress, &error);
                if !matches!(failure, Failure::ClientBody | Failure::ClientTooSlow) && request.is_none() {
                    lease.endpoint().note(Answer::GatewayError, worker.now());
                }
                // Only what may be done twice has left a copy.
                if request.is_none() {
                    return Err(failure);
                }
            }
        }
        (failed, refusal) = (Failure::Reset { leaving: worker.is_leaving(&lease) }, false);
        // It has not been asked yet, so to speak.
        (stale, sending.last) = (stale + 1, None);
    }
    Err(failed)
}

/// A change of protocol must have been asked for, and a body whose length is in doubt could hide another response.
fn is_acceptable(head: &http::response::Parts, websocket: bool) -> bool {
    let unasked = head.status == StatusCode::SWITCHING_PROTOCOLS;
    (!unasked || (websocket && forward::agrees_to_websocket(head))) && framing::is_framed(&head.headers)
}

fn broken(worker: &Worker, lease: &Lease, progress: &Progress, error: &hyper::Error) -> Failure {
    tracing::debug!(address = %lease.target().address, %error, "The connection broke before the response");
    if progress.is_broken() {
        Failure::ClientBody
    } else if progress.is_too_slow() {
        Failure::ClientTooSlow
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
    let address = lease.target().address;
    if lease.protocol() == Protocol::H2c {
        let of_host = || host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let of_address = || Authority::try_from(address.to_string()).ok();
        let mut parts = request.uri().clone().into_parts();
        let is_complete = parts.authority.is_some();
        parts.authority = parts.authority.or_else(of_host).or_else(of_address);
        parts.scheme = Some(if lease.is_secure() { Scheme::HTTPS } else { Scheme::HTTP });
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        if is_complete {
            return;
        }
        request.headers_mut().remove(header::HOST);
        request.headers_mut().remove(header::TRANSFER_ENCODING);
        *request.version_mut() = http::Version::HTTP_2;
    } else if host.is_none()
        && let Ok(host) = HeaderValue::from_str(&address.to_string())
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
