//! How often and how long a request is tried at its backend, as its rule says.
//!
//! A rule that says nothing costs nothing here: no timer, and no copy of the request.

use std::rc::Rc;
use std::time::Duration;

use http::Request;
use sluice_proxy_core::health::Answer;
use sluice_proxy_core::table::Rule;
use tokio::time::{Instant, timeout_at};

use super::body::RequestBody;
use super::exchange::{self, Exchange, Sending};
use super::failure::Failure;
use crate::serve::worker::Worker;
use crate::upstream::{Upstream, Wishes};

/// A backend, and how long each try at it may take.
#[derive(Clone, Copy)]
struct Place<'a> {
    worker: &'a Rc<Worker>,
    upstream: Upstream<'a>,
    limit: Option<Duration>,
    /// Of all tries.
    deadline: Option<Instant>,
}

/// Sends a request to an endpoint of `upstream`, as often and as long as the rule allows.
pub(super) async fn exchange(
    worker: &Rc<Worker>,
    upstream: Upstream<'_>,
    rule: &Rule,
    websocket: bool,
    wishes: Option<&Wishes>,
    request: &mut Option<Request<RequestBody>>,
) -> Result<Exchange, Failure> {
    let Rule { retry, request_timeout, backend_timeout, .. } = rule;
    let mut sending = Sending::new(websocket, wishes, retry.as_deref());
    if retry.is_none() && request_timeout.is_none() && backend_timeout.is_none() {
        return exchange::exchange(worker, upstream, &mut sending, request).await;
    }
    let deadline = request_timeout.map(|limit| Instant::now() + limit);
    let place = Place { worker, upstream, limit: *backend_timeout, deadline };
    // Apart, so that requests of rules that say nothing are no larger for it.
    Box::pin(within(deadline, repeated(place, sending, request))).await
}

async fn repeated(
    place: Place<'_>,
    mut sending: Sending<'_>,
    request: &mut Option<Request<RequestBody>>,
) -> Result<Exchange, Failure> {
    while let Some(retry) = sending.retry.filter(|_| sending.left > 0) {
        let Some(first) = request.take() else { break };
        let (head, body) = first.into_parts();
        body.keep();
        let progress = body.progress();
        *request = Some(Request::from_parts(head.clone(), body));
        let outcome = once(place, &mut sending, request).await;
        let again = match &outcome {
            Ok(exchange) => retry.takes(exchange.response.status()),
            // A connection that ended meanwhile may have had its effect; what could not connect was tried again there.
            Err(failure) => *failure == Failure::TooSlow,
        };
        // What was not passed on wholly, or is too much to keep, cannot be sent again.
        let next = if again && sending.left > 0 { progress.replay() } else { None };
        let Some(next) = next else { return outcome };
        drop(outcome);
        sending.wait(place.worker).await;
        *request = Some(Request::from_parts(head, next));
    }
    once(place, &mut sending, request).await
}

/// One try, which has a time of its own.
async fn once(
    place: Place<'_>,
    sending: &mut Sending<'_>,
    request: &mut Option<Request<RequestBody>>,
) -> Result<Exchange, Failure> {
    let own = place.limit.map(|limit| Instant::now() + limit);
    let outcome = within(own, exchange::exchange(place.worker, place.upstream, sending, request)).await;
    if let (Err(Failure::TooSlow), Some(address)) = (&outcome, sending.last)
        && let Some(endpoint) = place.worker.pools.known(place.upstream, address)
    {
        endpoint.note(Answer::GatewayError, place.worker.now());
    }
    let mut exchange = outcome?;
    exchange.deadline = own.into_iter().chain(place.deadline).min();
    Ok(exchange)
}

async fn within(
    deadline: Option<Instant>,
    exchanged: impl Future<Output = Result<Exchange, Failure>>,
) -> Result<Exchange, Failure> {
    match deadline {
        Some(deadline) => timeout_at(deadline, exchanged).await.unwrap_or(Err(Failure::TooSlow)),
        None => exchanged.await,
    }
}
