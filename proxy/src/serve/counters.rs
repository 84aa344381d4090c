//! The counters of one worker. Only the worker writes them, and the control thread reads them without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sluice_proxy_core::cells::CellId;
use sluice_proxy_core::grpc;
use sluice_signals::{DURATION_BOUNDS_MS, duration_bucket};

/// Buckets of a histogram: one for each bound and one above the last.
pub(crate) const BUCKETS: usize = DURATION_BOUNDS_MS.len() + 1;

/// How a request ended, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client went away before there was a response: neither success nor failure.
    Abandoned,
    /// No complete response from an endpoint that was ready. Counted among 5xx too.
    ConnectionFailure,
    /// Failed at an endpoint that was leaving, restarting or refusing. Counted nowhere else.
    Disruption,
    /// A response, by the class of its status code (0 is 1xx).
    Response(u8),
}

impl Outcome {
    /// The outcome of a response with this status.
    pub(crate) fn of(status: http::StatusCode) -> Self {
        Self::Response((status.as_u16() / 100).clamp(1, 5) as u8 - 1)
    }

    /// The outcome of a gRPC response with these trailers, or with this head where it has none.
    pub(crate) fn of_grpc(trailers: &http::HeaderMap) -> Self {
        Self::Response(grpc::counted_class(trailers) - 1)
    }
}

/// What is counted in one cell by one worker. What nearly every request changes is in the first cache line: a request to
/// one of many routes finds none of it in the cache.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct CellCounters {
    started: AtomicU64,
    ended: AtomicU64,
    responses: [AtomicU64; 5],
    duration_micros: AtomicU64,
    duration_buckets: [AtomicU64; BUCKETS],
    connection_failures: AtomicU64,
    disruptions: AtomicU64,
    /// Connections passed on as they are: opened, closed, and their bytes from and to clients.
    opened: AtomicU64,
    closed: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

/// Adds without a locked instruction: there is one writer.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed) + amount, Relaxed);
}

impl CellCounters {
    /// A request was assigned.
    pub(crate) fn start(&self) {
        add(&self.started, 1);
    }

    /// A request ended.
    pub(crate) fn end(&self, outcome: Outcome, duration: Duration) {
        let class = match outcome {
            Outcome::Abandoned => None,
            Outcome::ConnectionFailure => {
                add(&self.connection_failures, 1);
                Some(4)
            }
            Outcome::Disruption => {
                add(&self.disruptions, 1);
                None
            }
            Outcome::Response(class) => Some(usize::from(class)),
        };
        if let Some(class) = class {
            let micros = duration.as_micros() as u64;
            add(&self.responses[class], 1);
            add(&self.duration_buckets[duration_bucket(micros)], 1);
            add(&self.duration_micros, micros);
        }
        // Last, so that whoever reads in between sees a request in flight rather than one that never ended.
        add(&self.ended, 1);
    }

    /// A connection is passed on.
    pub(crate) fn open(&self) {
        add(&self.opened, 1);
    }

    /// It has ended.
    pub(crate) fn close(&self) {
        add(&self.closed, 1);
    }

    /// Bytes of clients were passed on.
    pub(crate) fn count_received(&self, bytes: u64) {
        add(&self.received_bytes, bytes);
    }

    /// Bytes were passed on to clients.
    pub(crate) fn count_sent(&self, bytes: u64) {
        add(&self.sent_bytes, bytes);
    }

    /// Starts again at 0, for another key. The caller guarantees that no worker counts here.
    fn reset(&self) {
        let requests =
            [&self.started, &self.ended, &self.connection_failures, &self.disruptions, &self.duration_micros];
        let connections = [&self.opened, &self.closed, &self.received_bytes, &self.sent_bytes];
        for counter in requests.into_iter().chain(connections).chain(&self.responses).chain(&self.duration_buckets) {
            counter.store(0, Relaxed);
        }
    }
}

/// Size of the first chunk of cells; each further one is twice as large.
const FIRST_CHUNK: usize = 64;

/// All cells of one worker, in chunks that never move once they are there.
#[derive(Debug, Default)]
pub(crate) struct WorkerCells {
    chunks: [OnceLock<Box<[CellCounters]>>; 26],
}

impl WorkerCells {
    /// The chunk of a cell, its place there and the chunk's size.
    fn place(id: CellId) -> (usize, usize, usize) {
        let shifted = id.index() + FIRST_CHUNK;
        let chunk = (shifted.ilog2() - FIRST_CHUNK.ilog2()) as usize;
        let size = FIRST_CHUNK << chunk;
        (chunk, shifted - size, size)
    }

    /// The counters of a cell, for the worker that owns them.
    pub(crate) fn cell(&self, id: CellId) -> &CellCounters {
        let (chunk, place, size) = Self::place(id);
        let cells =
            self.chunks[chunk].get_or_init(|| std::iter::repeat_with(CellCounters::default).take(size).collect());
        &cells[place]
    }

    /// Whether the worker has ever counted a request in a cell.
    pub(crate) fn is_used(&self, id: CellId) -> bool {
        let (chunk, place, _) = Self::place(id);
        self.chunks[chunk].get().is_some_and(|cells| cells[place].started.load(Relaxed) > 0)
    }

    /// Adds what the worker has counted in a cell to `totals`.
    pub(crate) fn read(&self, id: CellId, totals: &mut CellTotals) {
        let (chunk, place, _) = Self::place(id);
        if let Some(cells) = self.chunks[chunk].get() {
            totals.add_counters(&cells[place]);
        }
    }

    /// Starts a cell again at 0. The caller guarantees that no worker counts there.
    pub(crate) fn reset(&self, id: CellId) {
        let (chunk, place, _) = Self::place(id);
        if let Some(cells) = self.chunks[chunk].get() {
            cells[place].reset();
        }
    }
}

/// What all workers have counted in one cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CellTotals {
    pub(crate) started: u64,
    pub(crate) ended: u64,
    pub(crate) responses: [u64; 5],
    pub(crate) connection_failures: u64,
    pub(crate) disruptions: u64,
    pub(crate) duration_buckets: [u64; BUCKETS],
    pub(crate) duration_micros: u64,
    /// Requests in flight by age, in the same buckets.
    pub(crate) ages: [u64; BUCKETS],
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

impl CellTotals {
    /// Requests that have not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.started.saturating_sub(self.ended)
    }

    /// Connections passed on as they are that are open.
    pub(crate) fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    fn add_counters(&mut self, counters: &CellCounters) {
        // What ended is read before what started: a request that does both in between looks as if it were in flight.
        self.ended += counters.ended.load(Relaxed);
        self.closed += counters.closed.load(Relaxed);
        self.opened += counters.opened.load(Relaxed);
        self.received_bytes += counters.received_bytes.load(Relaxed);
        self.sent_bytes += counters.sent_bytes.load(Relaxed);
        self.connection_failures += counters.connection_failures.load(Relaxed);
        self.disruptions += counters.disruptions.load(Relaxed);
        self.duration_micros += counters.duration_micros.load(Relaxed);
        for (total, counter) in self.responses.iter_mut().zip(&counters.responses) {
            *total += counter.load(Relaxed);
        }
        for (total, counter) in self.duration_buckets.iter_mut().zip(&counters.duration_buckets) {
            *total += counter.load(Relaxed);
        }
        self.started += counters.started.load(Relaxed);
    }

    /// Adds the totals of another cell.
    pub(crate) fn add(&mut self, other: &Self) {
        self.started += other.started;
        self.ended += other.ended;
        self.closed += other.closed;
        self.opened += other.opened;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.connection_failures += other.connection_failures;
        self.disruptions += other.disruptions;
        self.duration_micros += other.duration_micros;
        for (total, counter) in self.responses.iter_mut().zip(&other.responses) {
            *total += counter;
        }
        for (total, counter) in self.duration_buckets.iter_mut().zip(&other.duration_buckets) {
            *total += counter;
        }
        for (total, count) in self.ages.iter_mut().zip(&other.ages) {
            *total += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluice_proxy_core::cells::CellId;

    use super::{CellTotals, Outcome, WorkerCells};

    #[test]
    fn every_cell_has_a_place_of_its_own() {
        let cells = WorkerCells::default();
        for id in 0..1_000 {
            for _ in 0..id {
                cells.cell(CellId(id)).start();
            }
        }
        for id in 0..1_000 {
            let mut totals = CellTotals::default();
            cells.read(CellId(id), &mut totals);
            assert_eq!(totals.started, u64::from(id));
        }
    }

    #[test]
    fn outcomes_are_counted_where_the_stream_says() {
        let cells = WorkerCells::default();
        let cell = cells.cell(CellId(0));
        let outcomes = [Outcome::Abandoned, Outcome::ConnectionFailure, Outcome::Disruption, Outcome::Response(1)];
        for outcome in outcomes {
            cell.start();
            cell.end(outcome, Duration::from_millis(3));
        }
        cell.start();
        let mut totals = CellTotals::default();
        cells.read(CellId(0), &mut totals);
        assert_eq!((totals.started, totals.in_flight()), (5, 1));
        assert_eq!(totals.responses, [0, 1, 0, 0, 1]);
        assert_eq!((totals.connection_failures, totals.disruptions), (1, 1));
        assert_eq!(totals.duration_buckets[2], 2);
        cells.reset(CellId(0));
        let mut totals = CellTotals::default();
        cells.read(CellId(0), &mut totals);
        assert_eq!(totals, CellTotals::default());
    }
}
