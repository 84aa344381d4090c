//! A request whose Gateway asks for something beyond its listeners: whether its peer is believed, its id, its trace, and what
//! is told of it. Other requests have none of this.

use std::net::SocketAddr;
use std::rc::Rc;

use http::{HeaderValue, Response, request};
use sluice_proxy_core::model::Gateway;
use sluice_proxy_core::table::{Arm, Rule};
use sluice_proxy_core::{forward, request_id, trace_context};

use super::body::Progress;
use super::failure::Failure;
use super::record::Record;
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
    told: Option<Told>,
}

/// What is told of a request, and to whom.
#[derive(Debug)]
struct Told {
    record: Box<Record>,
    logged: bool,
    /// Id of the backend that gets its span.
    collector: Option<String>,
}

impl Visit {
    /// A request begins. It gets its id and its place in a trace here, so that everything that is made of it has the same.
    pub(super) fn begin(edge: &Edge, worker: &Worker, connection: &Connection, head: &mut request::Parts) -> Self {
        let settings = &*edge.settings;
        let trusted = edge.trusts(connection.peer);
        // Before the request says anything else about its client.
        let hops = settings.client_address.as_ref().filter(|_| trusted).map_or(0, |asked| asked.hops);
        let client = || forward::client_address(&head.headers, connection.peer, hops);
        let client = is_told_of(settings).then(client);
        let id = settings.request_id.as_ref().map(|asked| {
            let random = || u128::from(worker.random()) << 64 | u128::from(worker.random());
            (asked.echo, request_id::ensure(&mut head.headers, trusted, random))
        });
        let trace = settings.tracing.as_ref().map(|asked| {
            (trace_context::join(&mut head.headers, asked.share, trusted, || worker.random()), &asked.collector)
        });
        let collector = trace.filter(|(trace, _)| trace.sampled).map(|(_, collector)| collector.clone());
        let logged = settings.access_log.as_ref().is_some_and(|asked| asked.share.takes(worker.random()));
        let told = client.filter(|_| logged || collector.is_some()).map(|client| {
            let record = Box::new(Record::begin(connection, head, client, trace.map(|(trace, _)| trace)));
            Told { record, logged, collector }
        });
        Self { trusted, echoed: id.and_then(|(echo, id)| echo.then_some(id)), told }
    }

    /// Whether its peer is believed what it says about the client.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }

    fn record(&self) -> Option<&Record> {
        self.told.as_ref().map(|told| &*told.record)
    }

    /// It matched a rule.
    pub(super) fn note_rule(&self, rule: &Rule) {
        if let Some(record) = self.record() {
            record.note_rule(rule);
        }
    }

    /// It was assigned to a backend, which gets this body.
    pub(super) fn note_backend(&self, arm: &Arm, upload: &Progress) {
        if let Some(record) = self.record() {
            record.note_backend(arm, upload);
        }
    }

    /// An endpoint has answered.
    pub(super) fn note_endpoint(&self, endpoint: SocketAddr) {
        if let Some(record) = self.record() {
            record.endpoint.set(Some(endpoint));
        }
    }

    /// The proxy answers itself.
    pub(super) fn note_failure(&self, failure: Failure) {
        if let Some(record) = self.record() {
            record.failure.set(Some(failure));
        }
    }

    /// So much of the answer's body was handed on.
    pub(super) fn count_sent(&self, bytes: usize) {
        if let Some(record) = self.record() {
            record.sent.set(record.sent.get() + bytes as u64);
        }
    }

    /// Its answer is about to go.
    pub(super) fn answer(&self, response: &mut Response<ResponseBody>) {
        if let Some(id) = &self.echoed {
            response.headers_mut().insert(request_id::X_REQUEST_ID, id.clone());
        }
        if let Some(record) = self.record() {
            record.status.set(Some(response.status()));
        }
    }

    /// It is over, and `whole` if all of its answer was handed on.
    pub(crate) fn end(&self, worker: &Rc<Worker>, whole: bool) {
        let Some(Told { record, logged, collector }) = &self.told else { return };
        if *logged {
            worker.log.write(record.line(whole));
        }
        if let (Some(collector), Some(span)) = (collector, record.span(whole)) {
            worker.spans.push(worker, collector, span);
        }
    }
}

/// Whether something is told of any request.
fn is_told_of(settings: &Gateway) -> bool {
    settings.access_log.is_some() || settings.tracing.is_some()
}
