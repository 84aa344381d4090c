//! A request for as long as it is open, so that its connection and its worker know.

use std::cell::Cell;
use std::rc::Rc;

use super::connection::Connection;
use super::limits::Limit;
use super::worker::Worker;

/// Tells the connection and the worker that a request is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) worker: Rc<Worker>,
    pub(crate) connection: Rc<Connection>,
    since: u32,
    answered: Cell<bool>,
}

impl Open {
    pub(crate) fn new(worker: Rc<Worker>, connection: Rc<Connection>) -> Self {
        let since = worker.now();
        connection.begin(since);
        worker.count_requests(1);
        Self { worker, connection, since, answered: Cell::new(false) }
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
    }
}
