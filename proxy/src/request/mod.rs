//! The life of a request: checked, routed, assigned, filtered, forwarded, answered.
//!
//! ```text
//! head ─► framing ─► route ─► pick (counted from here) ─► filters ─► endpoint ─► connection ─► response head
//!                                                                      ▲   one other try         │
//!                                                                      └───────────────          ▼
//!                                                          counted to here ◄─ response body ◄─ filters
//! ```

pub(crate) mod body;
mod exchange;
mod failure;
mod tally;

use std::convert::Infallible;
use std::rc::Rc;

use http::{HeaderValue, Response, StatusCode, Version, header, request};
use hyper::body::{Body, Incoming};
use sluice_proxy_core::filter::redirect::Redirected;
use sluice_proxy_core::matching::host;
use sluice_proxy_core::table::{Action, Arm, Matched, Rule, Snapshot};
use sluice_proxy_core::{forward, framing};

use crate::serve::connection::{Connection, Open};
use crate::serve::counters::Outcome;
use crate::serve::worker::Worker;
use body::{RequestBody, ResponseBody};
use failure::Failure;
use tally::Tally;

/// Answers one request. There is always an answer.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: http::Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let open = Open::new(worker, connection);
    let (head, body) = request.into_parts();
    let version = head.version;
    let answer = answer(&open, head, body).await;
    let mut response = answer.unwrap_or_else(Failure::response);
    if version <= Version::HTTP_11 && open.connection.is_leaving(open.worker.now()) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().keep(open);
    Ok(response)
}

async fn answer(open: &Open, mut head: request::Parts, body: Incoming) -> Result<Response<ResponseBody>, Failure> {
    framing::check(&head).map_err(Failure::Rejected)?;
    framing::path::normalise_request(&mut head).map_err(Failure::Rejected)?;
    let snapshot = open.worker.snapshot();
    let host = host_of(&head);
    let matched = snapshot.route(open.connection.bind_port, &host, head.uri.path(), &head).ok_or(Failure::NoRoute)?;
    let rule = snapshot.rule(matched).ok_or(Failure::NoRoute)?;
    match &rule.action {
        Action::Forward { split, arms } => {
            drop(host);
            let arm = &arms[split.pick(open.worker.random())];
            let tally = Tally::start(&open.worker, arm.cell);
            forward_to(open, &snapshot, Assigned { matched, rule, arm, tally }, head, body).await
        }
        Action::NoBackend => Err(Failure::NoBackend),
        Action::Redirect(redirection) => {
            let request = Redirected {
                host: &host,
                listener_port: matched.listener_port,
                path: head.uri.path(),
                query: head.uri.query(),
                prefix: matched.prefix,
            };
            let location = redirection.location(&request).ok_or(Failure::Rejected(framing::Rejection::BadRequest))?;
            let mut response = Response::new(ResponseBody::empty());
            *response.status_mut() = redirection.status;
            response.headers_mut().insert(header::LOCATION, location);
            Ok(filtered(rule, None, response))
        }
    }
}

/// The host that a request is for, normalised.
fn host_of(head: &request::Parts) -> std::borrow::Cow<'_, str> {
    let of_header = || head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(http::uri::Authority::as_str).or_else(of_header);
    host::normalise(authority.unwrap_or_default())
}

/// A request that has its backend, from when it is counted.
struct Assigned<'a> {
    matched: Matched,
    rule: &'a Rule,
    arm: &'a Arm,
    tally: Tally,
}

async fn forward_to(
    open: &Open,
    snapshot: &Snapshot,
    assigned: Assigned<'_>,
    mut head: request::Parts,
    body: Incoming,
) -> Result<Response<ResponseBody>, Failure> {
    let Assigned { matched, rule, arm, mut tally } = assigned;
    let body = RequestBody::new(body);
    forward::prepare_request(&mut head, &open.connection.client, !body.is_end_stream());
    rule.filters.change_request(&mut head, matched.prefix);
    arm.filters.change_request(&mut head, matched.prefix);
    let exchanged = match snapshot.backend(arm) {
        _ if !arm.valid => Err(Failure::BackendInvalid),
        None => Err(Failure::NoEndpoint),
        Some(backend) => exchange::exchange(&open.worker, backend, head, body).await,
    };
    let exchange = exchanged.inspect_err(|failure| tally.outcome = failure.outcome())?;
    let (mut parts, incoming) = exchange.response.into_parts();
    tally.outcome = Outcome::of(parts.status);
    parts.version = Version::HTTP_11;
    forward::remove_hop_by_hop(&mut parts.headers);
    // The rest of a body that the backend did not wait for could be read as another request: both connections end.
    let early = (!exchange.progress.is_done()).then_some(exchange.progress);
    if early.is_some() {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let body = ResponseBody::upstream(incoming, exchange.lease, tally, early);
    Ok(filtered(rule, Some(arm), Response::from_parts(parts, body)))
}

fn filtered(rule: &Rule, arm: Option<&Arm>, response: Response<ResponseBody>) -> Response<ResponseBody> {
    let (mut parts, body) = response.into_parts();
    rule.filters.change_response(&mut parts);
    if let Some(arm) = arm {
        arm.filters.change_response(&mut parts);
    }
    Response::from_parts(parts, body)
}

/// A short answer of the proxy itself.
fn plain(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
