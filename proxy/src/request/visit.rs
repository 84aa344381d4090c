//! A request whose Gateway asks for something beyond its listeners: whether its peer is believed, its id, and what is logged
//! of it. Other requests have none of this.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Response, StatusCode, Uri, Version, header, request};
use sluice_proxy_core::access_log::{Entry, Text};
use sluice_proxy_core::filter::redirect::Scheme;
use sluice_proxy_core::table::{Arm, Rule};
use sluice_proxy_core::{forward, request_id};

use super::body::Progress;
use super::failure::Failure;
use super::response::ResponseBody;
use crate::serve::connection::Connection;
use crate::serve::edges::Edge;
use crate::serve::worker::Worker;

/// One request.
#[derive(Debug)]
pub(crate) struct Visit {
    trusted: bool,
    /// Its id, where the client is told.
    echoed: Option<HeaderValue>,
    record: Option<Box<Record>>,
}

/// What is known of a request that is logged.
#[derive(Debug)]
struct Record {
    began: Instant,
    at: jiff::Timestamp,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    scheme: Scheme,
    version: Version,
    client: IpAddr,
    peer: IpAddr,
    user_agent: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    rule: OnceCell<(Arc<str>, Arc<str>)>,
    backend: OnceCell<Arc<str>>,
    endpoint: Cell<Option<SocketAddr>>,
    upload: RefCell<Option<Progress>>,
    status: Cell<Option<StatusCode>>,
    failure: Cell<Option<Failure>>,
    sent: Cell<u64>,
}

impl Visit {
    /// A request begins. It gets its id here, so that everything that is made of it has the same.
    pub(super) fn begin(edge: &Edge, worker: &Worker, connection: &Connection, head: &mut request::Parts) -> Self {
        let settings = &edge.settings;
        let trusted = edge.trusts(connection.peer);
        let random = || u128::from(worker.random()) << 64 | u128::from(worker.random());
        let id = settings.request_id.as_ref().map(|asked| {
            let id = request_id::ensure(&mut head.headers, trusted, random);
            (asked.echo, id)
        });
        let is_logged = settings.access_log.as_ref().is_some_and(|asked| asked.share.takes(worker.random()));
        let record = is_logged.then(|| {
            let hops = settings.client_address.as_ref().map_or(0, |asked| if trusted { asked.hops } else { 0 });
            Box::new(Record::begin(connection, head, hops))
        });
        Self { trusted, echoed: id.and_then(|(echo, id)| echo.then_some(id)), record }
    }

    /// Whether its peer is believed what it says about the client.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// It matched a rule.
    pub(super) fn note_rule(&self, rule: &Rule) {
        if let Some(record) = &self.record {
            let _ = record.rule.set((Arc::clone(&rule.route), Arc::clone(&rule.name)));
        }
    }

    /// It was assigned to a backend, which gets this body.
    pub(super) fn note_backend(&self, arm: &Arm, upload: &Progress) {
        if let Some(record) = &self.record {
            let _ = record.backend.set(Arc::clone(&arm.backend));
            record.upload.replace(Some(upload.clone()));
        }
    }

    /// An endpoint has answered.
    pub(super) fn note_endpoint(&self, endpoint: SocketAddr) {
        if let Some(record) = &self.record {
            record.endpoint.set(Some(endpoint));
        }
    }

    /// The proxy answers itself.
    pub(super) fn note_failure(&self, failure: Failure) {
        if let Some(record) = &self.record {
            record.failure.set(Some(failure));
        }
    }

    /// So much of the answer's body was handed on.
    pub(super) fn count_sent(&self, bytes: usize) {
        if let Some(record) = &self.record {
            record.sent.set(record.sent.get() + bytes as u64);
        }
    }

    /// Its answer is about to go.
    pub(super) fn answer(&self, response: &mut Response<ResponseBody>) {
        if let Some(id) = &self.echoed {
            response.headers_mut().insert(request_id::X_REQUEST_ID, id.clone());
        }
        if let Some(record) = &self.record {
            record.status.set(Some(response.status()));
        }
    }

    /// It is over, and `whole` if all of its answer was handed on.
    pub(crate) fn end(&self, worker: &Worker, whole: bool) {
        if let Some(record) = &self.record {
            worker.log.write(record.line(whole));
        }
    }
}

impl Record {
    fn begin(connection: &Connection, head: &request::Parts, hops: usize) -> Self {
        let authority = || HeaderValue::from_str(head.uri.authority()?.as_str()).ok();
        Self {
            began: Instant::now(),
            at: jiff::Timestamp::now(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(header::HOST).cloned().or_else(authority),
            scheme: connection.scheme(),
            version: head.version,
            client: forward::client_address(&head.headers, connection.peer, hops),
            peer: connection.peer,
            user_agent: head.headers.get(header::USER_AGENT).cloned(),
            request_id: head.headers.get(request_id::X_REQUEST_ID).cloned(),
            rule: OnceCell::new(),
            backend: OnceCell::new(),
            endpoint: Cell::new(None),
            upload: RefCell::new(None),
            status: Cell::new(None),
            failure: Cell::new(None),
            sent: Cell::new(0),
        }
    }

    fn line(&self, whole: bool) -> Vec<u8> {
        let status = self.status.get();
        let error = match self.failure.get() {
            Some(failure) => Some(failure.name()),
            None if status.is_none() => Some("client_left"),
            None if !whole => Some("incomplete_response"),
            None => None,
        };
        let timestamp = format!("{:.6}", self.at);
        Entry {
            timestamp: &timestamp,
            method: Text(self.method.as_str().as_bytes()),
            scheme: self.scheme.as_str(),
            path: Text(self.uri.path().as_bytes()),
            host: text(self.host.as_ref()),
            version: version(self.version),
            client: self.client,
            peer: self.peer,
            user_agent: text(self.user_agent.as_ref()),
            request_id: text(self.request_id.as_ref()),
            received: self.upload.borrow().as_ref().map_or(0, Progress::received),
            status: status.map(|status| status.as_u16()),
            sent: self.sent.get(),
            seconds: self.began.elapsed().as_secs_f64(),
            error,
            route: self.rule.get().map(|(route, _)| &**route),
            rule: self.rule.get().map(|(_, rule)| &**rule),
            backend: self.backend.get().map(|backend| &**backend),
            endpoint: self.endpoint.get(),
        }
        .line()
    }
}

fn text(value: Option<&HeaderValue>) -> Option<Text<'_>> {
    value.map(|value| Text(value.as_bytes()))
}

/// As OpenTelemetry writes it.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
