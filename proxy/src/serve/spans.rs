//! Spans on their way to collectors: gathered by each worker, sent in batches as OTLP over HTTP, through the same pools as
//! requests. Nobody waits for one; what there is no room for, or is not taken, is dropped and counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use sluice_wire::Message as _;
use sluice_wire::otlp::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, Span,
    any_value,
};
use tokio::time::timeout;

use super::worker::Worker;
use crate::request::{body::RequestBody, mirror};

/// Spans that one worker has waiting for a collector at most.
pub(super) const MOST: usize = 2048;
/// Spans of a batch that does not wait for the next second.
const BATCH: usize = 512;
/// Batches that one worker has on their way at once.
const AT_ONCE: u32 = 4;
/// How long one may take.
const TIME: Duration = Duration::from_secs(10);
/// Where collectors take spans.
const PATH: &str = "/v1/traces";

/// The spans of one worker that have not been sent, by the id of the collector's backend.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    waiting: RefCell<BTreeMap<String, Vec<Span>>>,
    sending: Cell<u32>,
}

impl Spans {
    /// Has a span sent, if there is room.
    pub(crate) fn push(&self, worker: &Rc<Worker>, collector: &str, span: Span) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.contains_key(collector) {
            waiting.insert(collector.to_owned(), Vec::new());
        }
        let Some(spans) = waiting.get_mut(collector) else { return };
        if spans.len() >= MOST {
            worker.load.lost_spans.fetch_add(1, Relaxed);
            return;
        }
        spans.push(span);
        let is_full = spans.len().is_multiple_of(BATCH);
        drop(waiting);
        if is_full {
            self.send(worker);
        }
    }

    /// Sends what is waiting, as far as not too much is on its way.
    pub(super) fn send(&self, worker: &Rc<Worker>) {
        if self.waiting.borrow().is_empty() || self.sending.get() >= AT_ONCE {
            return;
        }
        for (collector, spans) in self.waiting.take() {
            let worker = Rc::clone(worker);
            self.sending.set(self.sending.get() + 1);
            tokio::task::spawn_local(async move {
                let number = spans.len() as u64;
                let sent = timeout(TIME, export(&worker, &collector, spans)).await;
                worker.spans.sending.set(worker.spans.sending.get() - 1);
                if !matches!(sent, Ok(true)) {
                    worker.load.lost_spans.fetch_add(number, Relaxed);
                    tracing::debug!(collector, number, "Spans came to nothing");
                }
            });
        }
    }
}

/// Sends a batch to a collector. Returns whether that took it.
async fn export(worker: &Rc<Worker>, collector: &str, spans: Vec<Span>) -> bool {
    let snapshot = worker.snapshot();
    let Some(Ok(upstream)) = snapshot.backend_of(collector).map(|backend| snapshot.upstream_of(backend, None)) else {
        return false;
    };
    let body = RequestBody::of(Bytes::from(batch(spans).encode_to_vec()));
    let mut request = Request::post(PATH).body(body).unwrap_or_else(|_| Request::new(RequestBody::none()));
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    let status = mirror::deliver(worker, upstream, request).await;
    status.is_ok_and(|status| status.is_success())
}

fn batch(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: vec![text("service.name", "sluice-proxy".to_owned())] };
    let scope = InstrumentationScope { name: "sluice-proxy".into(), version: env!("CARGO_PKG_VERSION").into() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] }
}

/// An attribute that is a text.
pub(crate) fn text(key: &str, value: String) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value))
}

/// An attribute that is a number.
pub(crate) fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}
