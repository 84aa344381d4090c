//! One request or connection in the counters, from its assignment to its end, whichever way it ends.

use std::rc::Rc;
use std::time::Instant;

use http::{StatusCode, response};
use sluice_proxy_core::cells::CellId;
use sluice_proxy_core::grpc;

use crate::serve::counters::Outcome;
use crate::serve::worker::Worker;

/// Counts a request as started when it is made and as ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Tally {
    worker: Rc<Worker>,
    cell: CellId,
    started: Instant,
    /// Its place among the requests in flight.
    place: usize,
    /// How it will be counted if it ends now.
    pub(crate) outcome: Outcome,
}

impl Tally {
    /// A request is assigned to the backend of a cell.
    pub(crate) fn start(worker: &Rc<Worker>, cell: CellId) -> Self {
        worker.cells.cell(cell).start();
        let started = Instant::now();
        let place = worker.in_flight.borrow_mut().insert((cell, started));
        Self { worker: Rc::clone(worker), cell, started, place, outcome: Outcome::Abandoned }
    }

    /// The worker that counts it.
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.worker.in_flight.borrow_mut().remove(self.place);
        self.worker.cells.cell(self.cell).end(self.outcome, self.started.elapsed());
    }
}

/// A connection whose bytes are passed on as they are, in the counters for as long as it is open.
#[derive(Debug)]
pub(crate) struct Passage {
    worker: Rc<Worker>,
    cell: CellId,
}

impl Passage {
    /// One is open.
    pub(crate) fn start(worker: &Rc<Worker>, cell: CellId) -> Self {
        worker.cells.cell(cell).open();
        Self { worker: Rc::clone(worker), cell }
    }

    /// Bytes were passed on to the backend.
    pub(crate) fn count_received(&self, bytes: usize) {
        self.worker.cells.cell(self.cell).count_received(bytes as u64);
    }

    /// Bytes were passed on to the client.
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.worker.cells.cell(self.cell).count_sent(bytes as u64);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.worker.cells.cell(self.cell).close();
    }
}

/// Where it is said how a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In the head of the response.
    Told,
    /// In the trailers, as gRPC does.
    InTrailers,
}

impl Ending {
    /// Judges a request by the head of its response, as far as that says how it went.
    pub(super) fn of(head: &response::Parts, grpc: bool, tally: &mut Tally) -> Self {
        let grpc = grpc && head.status == StatusCode::OK;
        if grpc && !head.headers.contains_key(grpc::STATUS) {
            // Who goes away from now on has not heard how it went.
            tally.outcome = Outcome::Abandoned;
            return Self::InTrailers;
        }
        tally.outcome = if grpc { Outcome::of_grpc(&head.headers) } else { Outcome::of(head.status) };
        Self::Told
    }
}
