//! A request for as long as it is open, so that its connection and its worker know.

use std::cell::Cell;
use std::rc::Rc;

use sluice_proxy_core::forward::Peer;

use super::connection::Connection;
use super::limits::Limit;
use super::worker::Worker;
use crate::request::visit::Visit;

/// Tells the connection and the worker that a request is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) worker: Rc<Worker>,
    pub(crate) connection: Rc<Connection>,
    /// What there is to do for its Gateway; none where that asks for nothing beyond its listeners.
    pub(crate) visit: Option<Box<Visit>>,
    since: u32,
    answered: Cell<bool>,
}

impl Open {
    pub(crate) fn new(worker: Rc<Worker>, connection: Rc<Connection>) -> Self {
        let since = worker.now();
        connection.begin(since);
        worker.count_requests(1);
        Self { worker, connection, visit: None, since, answered: Cell::new(false) }
    }

    /// Has something noted of the request, where its Gateway asks for anything.
    pub(crate) fn note(&self, note: impl FnOnce(&Visit)) {
        if let Some(visit) = &self.visit {
            note(visit);
        }
    }

    /// Who is at the other end of its connection.
    pub(crate) fn peer(&self) -> Peer<'_> {
        let trusted = self.visit.as_ref().is_some_and(|visit| visit.is_trusted());
        Peer { address: &self.connection.client, scheme: self.connection.scheme(), trusted }
    }

    /// Notes that its response has come to its end.
    pub(crate) fn note_answered(&self) {
        self.answered.set(true);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let now = self.worker.now();
        if self.connection.end(now, !self.answered.get() && now == self.since) {
            self.worker.load.hits.count(Limit::Resets);
        }
        self.worker.count_requests(-1);
        self.note(|visit| visit.end(&self.worker, self.answered.get()));
    }
}
