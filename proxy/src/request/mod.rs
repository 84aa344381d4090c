//! The life of a request: checked, routed, assigned, filtered, forwarded, answered.
//!
//! ```text
//! head ─► framing ─► route ─► pick (counted from here) ─► filters ─► endpoint ─► connection ─► response head
//!                                                            │         ▲   other tries           │
//!                                                          copies      └───────────────          ▼
//!                                                          counted to here ◄─ response body ◄─ filters
//! ```

pub(crate) mod body;
mod exchange;
pub(crate) mod failure;
pub(crate) mod mirror;
mod record;
mod response;
mod session;
pub(crate) mod tally;
mod tries;
pub(crate) mod visit;

use std::convert::Infallible;
use std::rc::Rc;

use http::{HeaderValue, Response, StatusCode, Version, header, request};
use hyper::body::{Body, Incoming};
use sluice_proxy_core::filter::cors::Verdict;
use sluice_proxy_core::filter::redirect::Redirected;
use sluice_proxy_core::matching::host;
use sluice_proxy_core::model::Protocol;
use sluice_proxy_core::table::{Action, Arm, Matched, Rule};
use sluice_proxy_core::{forward, framing, grpc};

use crate::serve::connection::{Connection, Open};
use crate::serve::worker::{Served, Worker};
use body::RequestBody;
use exchange::Exchange;
use failure::Failure;
use mirror::Copies;
use response::ResponseBody;
use session::Visiting;
use tally::{Ending, Tally};
use visit::Visit;

/// Answers one request. There is always an answer.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: http::Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut open = Open::new(worker, connection);
    let (mut head, body) = request.into_parts();
    let (version, grpc) = (head.version, grpc::is_grpc(&head.headers));
    let checked = framing::check(&head).and_then(|()| framing::path::normalise_request(&mut head));
    let snapshot = open.worker.snapshot();
    if let Some(edge) = snapshot.edges.of(open.connection.bind_port) {
        open.visit = Some(Box::new(Visit::begin(edge, &open.worker, &open.connection, &mut head)));
    }
    let answer = match checked {
        Ok(()) => answer(&open, &snapshot, &mut head, &mut Some(body)).await,
        Err(rejection) => Err(Failure::Rejected(rejection)),
    };
    let mut response = answer.unwrap_or_else(|failure| failed(&open, failure, grpc));
    open.note(|visit| visit.answer(&mut response));
    let stays = version <= Version::HTTP_11 && response.status() != StatusCode::SWITCHING_PROTOCOLS;
    if stays && (open.connection.is_unread() || open.connection.is_leaving(open.worker.now())) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.body_mut().keep(open);
    Ok(response)
}

/// The request is handed down by reference, and taken where it is sent: a function that waits for another one would keep
/// a place for each of its arguments, and the future is moved for every request.
async fn answer(
    open: &Open,
    snapshot: &Rc<Served>,
    head: &mut request::Parts,
    body: &mut Option<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    let host = host_of(head);
    let (port, listener) = (open.connection.bind_port, open.connection.listener());
    let matched = snapshot.route(port, listener, &host, head.uri.path(), head)?;
    drop(host);
    let rule = snapshot.rule(matched).ok_or(Failure::NoRoute)?;
    open.note(|visit| visit.note_rule(rule));
    let Some(cors) = &rule.cors else { return act(open, snapshot, matched, rule, head, body).await };
    match cors.judge(&head.method, &head.headers) {
        Verdict::Preflight(headers) => {
            let mut response = Response::new(ResponseBody::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.headers_mut() = headers;
            Ok(response)
        }
        Verdict::Forward(allowed) => {
            // A page may read why there is no response, too.
            let acted = act(open, snapshot, matched, rule, head, body).await;
            let mut response = acted.unwrap_or_else(|failure| failed(open, failure, grpc::is_grpc(&head.headers)));
            cors.mark(allowed.as_ref(), response.headers_mut());
            Ok(response)
        }
    }
}

/// Does what the rule says.
async fn act(
    open: &Open,
    snapshot: &Rc<Served>,
    matched: Matched<'_>,
    rule: &Rule,
    head: &mut request::Parts,
    body: &mut Option<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    match &rule.action {
        Action::Forward { split, arms } => {
            let arm = &arms[split.pick(open.worker.random())];
            let tally = Tally::start(&open.worker, arm.cell);
            forward_to(open, snapshot, Assigned { matched: &matched, rule, arm, tally }, head, body).await
        }
        Action::NoBackend => Err(Failure::NoBackend),
        Action::Redirect(redirection) => {
            let request = Redirected {
                scheme: open.connection.scheme(),
                host: &host_of(head),
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
    matched: &'a Matched<'a>,
    rule: &'a Rule,
    arm: &'a Arm,
    tally: Tally,
}

async fn forward_to(
    open: &Open,
    snapshot: &Rc<Served>,
    mut assigned: Assigned<'_>,
    head: &mut request::Parts,
    body: &mut Option<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    let (rule, arm) = (assigned.rule, assigned.arm);
    let body = body.take().map_or_else(RequestBody::none, |body| RequestBody::new(body, &open.connection));
    let grpc = grpc::is_grpc(&head.headers);
    if grpc {
        // The sides of a stream speak when they have something to say.
        body.progress().take_time();
    }
    let upstream = snapshot.upstream(arm, assigned.matched.identity.map(|id| &**id));
    let visiting = rule.session.as_deref().map(|session| Visiting::begin(session, &head.headers));
    let wishes = session::wishes(visiting.as_ref(), arm, upstream.ok(), &head.headers, &open.connection.client);
    let websocket = upstream.is_ok_and(|upstream| upstream.backend.protocol == Protocol::Http1)
        && forward::asks_for_websocket(head);
    open.note(|visit| visit.note_backend(arm, &body.progress()));
    forward::prepare_request(head, open.peer(), !body.is_end_stream());
    if websocket {
        forward::upgrade_to_websocket(&mut head.headers);
    }
    rule.filters.change_request(head, assigned.matched.prefix);
    let drawn = !rule.mirrors.is_empty() && !websocket;
    let mut copies = if drawn { Copies::draw(&open.worker, (*assigned.matched, rule), head, &body) } else { None };
    if body.is_end_stream()
        && let Some(copies) = copies.take()
    {
        copies.send(&open.worker, snapshot);
    }
    arm.filters.change_request(head, assigned.matched.prefix);
    let (empty, ()) = http::Request::new(()).into_parts();
    let mut request = Some(http::Request::from_parts(std::mem::replace(head, empty), body));
    let exchanged = match upstream {
        Ok(upstream) => tries::exchange(&open.worker, upstream, rule, websocket, wishes.as_deref(), &mut request).await,
        Err(failure) => Err(failure),
    };
    if let Some(copies) = copies {
        copies.send(&open.worker, snapshot);
    }
    let exchange = exchanged.inspect_err(|failure| assigned.tally.outcome = failure.outcome())?;
    pass_back(open, assigned, grpc, visiting, exchange)
}

/// What the client is given of the backend's answer.
fn pass_back(
    open: &Open,
    assigned: Assigned<'_>,
    grpc: bool,
    visiting: Option<Visiting<'_>>,
    exchange: Exchange,
) -> Result<Response<ResponseBody>, Failure> {
    let Assigned { rule, arm, mut tally, .. } = assigned;
    exchange.progress.take_time();
    open.note(|visit| visit.note_endpoint(exchange.lease.target().address));
    let (mut parts, incoming) = exchange.response.into_parts();
    let ending = Ending::of(&parts, grpc, &mut tally);
    if grpc && ending == Ending::Told && parts.status == StatusCode::OK {
        exchange.lease.endpoint().note(grpc::answer(&parts.headers), open.worker.now());
    }
    parts.version = Version::HTTP_11;
    forward::remove_hop_by_hop(&mut parts.headers);
    let told = visiting.and_then(|visiting| visiting.end(open, arm, exchange.lease.target().address));
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        // The request is done, for whoever counts it: how long people talk is not how long an answer takes.
        drop(tally);
        forward::upgrade_to_websocket(&mut parts.headers);
        open.connection.becomes(exchange.lease.upgrade().ok_or(Failure::BadResponse)?);
        return Ok(marked(filtered(rule, Some(arm), Response::from_parts(parts, ResponseBody::empty())), told));
    }
    // The rest of a body that the backend did not wait for could be read as another request: both connections end.
    // (HTTP/2 keeps messages apart, and gRPC begins many an answer before the request has ended.)
    let early = (!exchange.progress.is_done()).then_some(exchange.progress);
    if early.is_some() && !open.connection.is_http2() {
        open.connection.leave_unread();
    }
    let body = ResponseBody::upstream(incoming, exchange.lease, tally, early, exchange.deadline).ending(ending);
    Ok(marked(filtered(rule, Some(arm), Response::from_parts(parts, body)), told))
}

fn filtered(rule: &Rule, arm: Option<&Arm>, response: Response<ResponseBody>) -> Response<ResponseBody> {
    let (mut parts, body) = response.into_parts();
    rule.filters.change_response(&mut parts);
    if let Some(arm) = arm {
        arm.filters.change_response(&mut parts);
    }
    Response::from_parts(parts, body)
}

/// A response that has its client come back.
fn marked(
    mut response: Response<ResponseBody>,
    told: Option<(http::HeaderName, HeaderValue)>,
) -> Response<ResponseBody> {
    if let Some((name, value)) = told {
        // Of cookies there may be others.
        response.headers_mut().append(name, value);
    }
    response
}

/// The answer to a request without a response.
fn failed(open: &Open, failure: Failure, grpc: bool) -> Response<ResponseBody> {
    if failure.ends_connection() {
        open.connection.leave_unread();
    }
    open.note(|visit| visit.note_failure(failure));
    if let Some(limit) = failure.limit() {
        open.worker.load.hits.count(limit);
    }
    failure.response(grpc)
}

/// A short answer of the proxy itself.
fn plain(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    /// It is moved into place for every request.
    #[test]
    fn the_future_of_a_request_is_small() {
        fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(super::handle);
        assert!(size <= 3_500, "{size}");
    }
}
