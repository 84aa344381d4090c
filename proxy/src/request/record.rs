//! What is known of a request that is logged or traced, from its head to the end of its answer.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, StatusCode, Uri, Version, header, request};
use sluice_proxy_core::access_log::{Entry, Text};
use sluice_proxy_core::filter::redirect::Scheme;
use sluice_proxy_core::request_id::X_REQUEST_ID;
use sluice_proxy_core::table::{Arm, Rule};
use sluice_proxy_core::trace_context::Context;
use sluice_wire::otlp::{KeyValue, Span, SpanKind, Status, StatusCode as SpanStatus};

use super::body::Progress;
use super::failure::Failure;
use crate::serve::connection::Connection;
use crate::serve::spans::{number, text};

/// One request.
#[derive(Debug)]
pub(super) struct Record {
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
    trace: Option<Context>,
    rule: OnceCell<(Arc<str>, Arc<str>)>,
    backend: OnceCell<Arc<str>>,
    upload: RefCell<Option<Progress>>,
    pub(super) endpoint: Cell<Option<SocketAddr>>,
    pub(super) status: Cell<Option<StatusCode>>,
    pub(super) failure: Cell<Option<Failure>>,
    /// Bytes of the answer's body that were handed on.
    pub(super) sent: Cell<u64>,
}

impl Record {
    /// A request with this head begins.
    pub(super) fn begin(
        connection: &Connection,
        head: &request::Parts,
        client: IpAddr,
        trace: Option<Context>,
    ) -> Self {
        let authority = || HeaderValue::from_str(head.uri.authority()?.as_str()).ok();
        Self {
            began: Instant::now(),
            at: jiff::Timestamp::now(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(header::HOST).cloned().or_else(authority),
            scheme: connection.scheme(),
            version: head.version,
            client,
            peer: connection.peer,
            user_agent: head.headers.get(header::USER_AGENT).cloned(),
            request_id: head.headers.get(X_REQUEST_ID).cloned(),
            trace,
            rule: OnceCell::new(),
            backend: OnceCell::new(),
            upload: RefCell::new(None),
            endpoint: Cell::new(None),
            status: Cell::new(None),
            failure: Cell::new(None),
            sent: Cell::new(0),
        }
    }

    /// It matched a rule.
    pub(super) fn note_rule(&self, rule: &Rule) {
        // A request matches once.
        let _ = self.rule.set((Arc::clone(&rule.route), Arc::clone(&rule.name)));
    }

    /// It was assigned to a backend, which gets this body.
    pub(super) fn note_backend(&self, arm: &Arm, upload: &Progress) {
        // And is assigned once.
        let _ = self.backend.set(Arc::clone(&arm.backend));
        self.upload.replace(Some(upload.clone()));
    }

    /// Its line in the access log; `whole` says that all of its answer was handed on.
    pub(super) fn line(&self, whole: bool) -> Vec<u8> {
        let timestamp = format!("{:.6}", self.at);
        let (trace_id, span_id) = self.trace.map(|trace| (hex(trace.trace, 32), hex(trace.span, 16))).unzip();
        Entry {
            timestamp: &timestamp,
            method: Text(self.method.as_str().as_bytes()),
            scheme: self.scheme.as_str(),
            path: Text(self.uri.path().as_bytes()),
            host: value(self.host.as_ref()),
            version: version(self.version),
            client: self.client,
            peer: self.peer,
            user_agent: value(self.user_agent.as_ref()),
            request_id: value(self.request_id.as_ref()),
            received: self.upload.borrow().as_ref().map_or(0, Progress::received),
            status: self.status.get().map(|status| status.as_u16()),
            sent: self.sent.get(),
            seconds: self.began.elapsed().as_secs_f64(),
            error: self.error(whole),
            trace_id: trace_id.as_deref(),
            span_id: span_id.as_deref(),
            route: self.rule.get().map(|(route, _)| &**route),
            rule: self.rule.get().map(|(_, rule)| &**rule),
            backend: self.backend.get().map(|backend| &**backend),
            endpoint: self.endpoint.get(),
        }
        .line()
    }

    /// Its span, if it is part of a trace.
    pub(super) fn span(&self, whole: bool) -> Option<Span> {
        let trace = self.trace?;
        let began = u64::try_from(self.at.as_nanosecond()).unwrap_or_default();
        let lasted = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or_default();
        let error = self.error(whole);
        // Of a server, 4xx is the client's error and not the server's.
        let is_error = error.is_some() || self.status.get().is_some_and(|status| status.is_server_error());
        Some(Span {
            trace_id: trace.trace.to_be_bytes().to_vec(),
            span_id: trace.span.to_be_bytes().to_vec(),
            parent_span_id: trace.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
            name: match self.rule.get() {
                Some((route, _)) => format!("{} {route}", self.method),
                None => self.method.to_string(),
            },
            kind: SpanKind::Server.into(),
            start_time_unix_nano: began,
            end_time_unix_nano: began.saturating_add(lasted),
            attributes: self.attributes(error),
            status: is_error.then(|| Status { code: SpanStatus::Error.into() }),
        })
    }

    fn attributes(&self, error: Option<&str>) -> Vec<KeyValue> {
        let mut attributes = vec![
            text("http.request.method", self.method.to_string()),
            text("url.scheme", self.scheme.as_str().to_owned()),
            text("url.path", cut(self.uri.path().as_bytes())),
            text("network.protocol.version", version(self.version).to_owned()),
            text("client.address", self.client.to_string()),
            text("network.peer.address", self.peer.to_string()),
            number("http.response.body.size", self.sent.get()),
        ];
        let texts = [
            ("server.address", self.host.as_ref().map(|host| cut(host.as_bytes()))),
            ("user_agent.original", self.user_agent.as_ref().map(|agent| cut(agent.as_bytes()))),
            ("error.type", error.map(str::to_owned)),
            ("sluice.route", self.rule.get().map(|(route, _)| route.to_string())),
            ("sluice.rule", self.rule.get().map(|(_, rule)| rule.to_string())),
            ("sluice.backend", self.backend.get().map(ToString::to_string)),
            ("sluice.endpoint", self.endpoint.get().map(|endpoint| endpoint.to_string())),
        ];
        attributes.extend(texts.into_iter().filter_map(|(name, value)| Some(text(name, value?))));
        let status = self.status.get().map(|status| number("http.response.status_code", status.as_u16().into()));
        attributes.extend(status);
        attributes
    }

    /// Why there is no whole answer of a backend.
    fn error(&self, whole: bool) -> Option<&'static str> {
        match self.failure.get() {
            Some(failure) => Some(failure.name()),
            None if self.status.get().is_none() => Some("client_left"),
            None if !whole => Some("incomplete_response"),
            None => None,
        }
    }
}

fn value(value: Option<&HeaderValue>) -> Option<Text<'_>> {
    value.map(|value| Text(value.as_bytes()))
}

/// A text of a client as the access log has it.
fn cut(bytes: &[u8]) -> String {
    Text(bytes).to_string()
}

fn hex(number: impl std::fmt::LowerHex, digits: usize) -> String {
    format!("{number:0digits$x}")
}

/// As OpenTelemetry writes it.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
