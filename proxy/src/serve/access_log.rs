//! Where lines of the access log go: through a bounded queue to a thread of its own. A worker never waits for whoever reads
//! them; what there is no room for is dropped and counted.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Lines that wait to be written. A line has a few kilobytes at most.
pub(super) const QUEUE: usize = 4096;
/// How long the end of the process waits for lines to be written.
const LAST: Duration = Duration::from_secs(1);

/// The worker's end of the queue.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Say when everything before has been written.
    Flush(oneshot::Sender<()>),
}

impl AccessLog {
    /// Starts the thread that writes to `sink`. It ends with the last of these.
    pub(crate) fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        let lost = Arc::clone(&dropped);
        let run = move || write_all(&waiting, &mut BufWriter::with_capacity(64 * 1024, sink), &lost);
        std::thread::Builder::new().name("access-log".into()).spawn(run)?;
        Ok(Self { queue, dropped })
    }

    /// Has a line written, if there is room.
    pub(crate) fn write(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines that were not written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until what has been said by now is written, or nobody can be waited for any more.
    pub(super) async fn flush(&self) {
        let (written, when) = oneshot::channel();
        if self.queue.try_send(Message::Flush(written)).is_ok() && timeout(LAST, when).await.is_err() {
            tracing::warn!("The access log is not written to its end");
        }
    }
}

/// Writes what comes, and flushes when nothing more is waiting.
fn write_all(waiting: &Receiver<Message>, sink: &mut impl Write, lost: &AtomicU64) {
    while let Ok(first) = waiting.recv() {
        let mut next = Some(first);
        let (mut lines, mut told) = (0, Vec::new());
        let mut written = Ok(());
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    lines += 1;
                    written = written.and_then(|()| sink.write_all(&line));
                }
                Message::Flush(reply) => told.push(reply),
            }
            next = waiting.try_recv().ok();
        }
        if let Err(error) = written.and_then(|()| sink.flush()) {
            lost.fetch_add(lines, Relaxed);
            tracing::debug!(%error, "Cannot write the access log");
        }
        for reply in told {
            // Who asked may have given up.
            let _ = reply.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::{AccessLog, QUEUE};

    /// A reader that reads only when it is told to, and passes on what it has read.
    struct Stuck {
        go: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.go.recv().map_err(io::Error::other)?;
            self.read.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_is_stuck_and_what_is_dropped_is_counted() {
        let ((going, go), (read, reading)) = (channel(), channel());
        let log = AccessLog::start(Stuck { go, read }).expect("a thread");
        // As much as nobody buffers, so that the writer stands still with it.
        log.write(vec![b'a'; 1024 * 1024]);
        for _ in 0..2 * QUEUE {
            log.write(b"b\n".to_vec());
        }
        let dropped = log.dropped();
        assert!((QUEUE as u64..=QUEUE as u64 + 1).contains(&dropped), "{dropped}");
        for _ in 0..2 {
            going.send(()).expect("it goes on");
        }
        assert_eq!(reading.recv().expect("read").len(), 1024 * 1024);
        let lines = reading.recv().expect("read").len() as u64 / 2;
        assert_eq!(lines + dropped, 2 * QUEUE as u64);
    }
}
