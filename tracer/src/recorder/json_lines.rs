//! One JSON object a line, to a file or any writer, from a thread of its own.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use super::{Assembler, Detail, Entry, Lane, Recorder, Times};
use crate::clock::AnyClock;
use crate::id::TraceId;
use crate::record::Record;

/// Entries that may wait for the writer. When it is that far behind, what comes is dropped and counted.
const QUEUE_LEN: usize = 64 * 1024;

/// Bytes of values and texts that may wait with them.
const QUEUE_BYTES: usize = 16 << 20;

/// How long [`Recorder::flush`] waits for a writer that does not move.
const FLUSH_MAX: Duration = Duration::from_secs(10);

/// Writes records as JSON lines.
///
/// The traced program only puts 64 bytes into a queue; one thread turns them into lines and writes them. A writer
/// that is slow or fails costs records, counted in [`Stats::dropped`](crate::Stats::dropped), never time. Lines reach
/// the writer whenever the queue is empty. What is still in the queue when the process ends is lost, also at the end of
/// `main`: call [`Tracer::flush`](crate::Tracer::flush) there.
///
/// The queue takes 6 MB from the beginning, and at most 16 MiB more of values and texts.
pub struct JsonLines {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
}

enum Message {
    Entry(Entry, Option<Box<Detail>>),
    Clock(AnyClock),
    Flush(SyncSender<()>),
}

impl std::fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonLines").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl JsonLines {
    /// Appends to the file at `path`; creates it, for the owner alone where the system has such a mode.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened or the thread cannot be started.
    pub fn to_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Self::to_writer(options.open(path)?)
    }

    /// Writes to `writer`, which needs no buffer of its own.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started (there is none on `wasm32-unknown-unknown`).
    pub fn to_writer(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE_LEN);
        let counts = Arc::<Counts>::default();
        let mut lines = Lines { writer, buffer: Vec::new(), torn: false, unflushed: 0, counts: counts.clone() };
        thread::Builder::new()
            .name("tracer-json-lines".to_owned())
            .spawn(move || crate::lines::untraced(|| lines.write_all(&messages)))?;
        Ok(Self { queue, counts })
    }
}

/// Bytes that are written at once, or more for one long line.
const BUFFER_LEN: usize = 64 * 1024;

/// The lines on their way out.
struct Lines<W> {
    writer: W,
    /// Whole lines.
    buffer: Vec<u8>,
    /// The writer took only the beginning of the line before those, whose rest is gone.
    torn: bool,
    /// Records in the buffer, or taken by the writer since it was last flushed.
    unflushed: u64,
    counts: Arc<Counts>,
}

impl<W: Write> Lines<W> {
    /// Runs until every sender is gone.
    fn write_all(&mut self, messages: &Receiver<Message>) {
        let mut assembler = <Assembler>::default();
        let mut times = Times(AnyClock::System);
        loop {
            let message = match messages.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Empty) => {
                    self.flush();
                    let Ok(message) = messages.recv() else { return };
                    message
                }
                Err(TryRecvError::Disconnected) => break,
            };
            match message {
                Message::Entry(entry, detail) => {
                    match assembler.push(&entry, detail.as_deref(), &times) {
                        Some(record) => self.write(&record),
                        // Its env was dropped before it came here.
                        None if entry.is_record() => self.counts.drop_records(1),
                        None => {}
                    }
                    self.counts.leave(detail.as_deref());
                }
                Message::Clock(clock) => times = Times(clock),
                Message::Flush(done) => {
                    self.flush();
                    // Whoever asked may have given up waiting.
                    done.send(()).ok();
                }
            }
        }
        self.flush();
    }

    fn write(&mut self, record: &Record) {
        let len = self.buffer.len();
        if len == 0 && self.torn {
            self.buffer.push(b'\n');
        }
        if serde_json::to_writer(&mut self.buffer, record).is_err() {
            self.buffer.truncate(len);
            self.counts.drop_records(1);
            return;
        }
        self.buffer.push(b'\n');
        self.unflushed += 1;
        if self.buffer.len() >= BUFFER_LEN {
            self.flush();
        }
    }

    /// Writes what is there, or gives it up: what is counted as dropped does not come out later.
    fn flush(&mut self) {
        let mut sent = 0;
        while let Some(rest) = self.buffer.get(sent..).filter(|rest| !rest.is_empty()) {
            match unpanicked(|| self.writer.write(rest)) {
                Ok(0) => break,
                Ok(some) => sent += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if sent < self.buffer.len() {
            // The first byte ends no line that is lost: it begins one, or ends the one before.
            let lost = self.buffer[sent..].iter().skip(1).filter(|byte| **byte == b'\n').count();
            self.counts.drop_records(lost as u64);
        } else if unpanicked(|| self.writer.flush()).is_err() {
            self.counts.drop_records(self.unflushed);
        }
        if let Some(last) = sent.checked_sub(1) {
            self.torn = self.buffer[last] != b'\n';
        }
        self.buffer.clear();
        self.unflushed = 0;
    }
}

/// A writer that panics has failed, as one that says so.
fn unpanicked<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
}

/// What the threads that record and the one that writes share.
#[derive(Debug, Default)]
struct Counts {
    dropped: AtomicU64,
    /// Bytes of the details in the queue.
    bytes: AtomicUsize,
}

impl Counts {
    fn drop_records(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Whether there is room for it in the queue; it has to [`leave`](Self::leave) if there is.
    fn arrive(&self, detail: Option<&Detail>) -> bool {
        let Some(size) = detail.map(Detail::size) else { return true };
        let room = self.bytes.fetch_add(size, Ordering::Relaxed) < QUEUE_BYTES;
        if !room {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        room
    }

    fn leave(&self, detail: Option<&Detail>) {
        self.bytes.fetch_sub(detail.map_or(0, Detail::size), Ordering::Relaxed);
    }
}

impl Recorder for JsonLines {
    fn lane(&self) -> Box<dyn Lane> {
        Box::new(Queue { queue: self.queue.clone(), counts: self.counts.clone() })
    }

    fn records(&self, _of: Option<TraceId>, _times: &Times) -> Vec<Record> {
        Vec::new()
    }

    fn holds(&self, _trace: TraceId) -> bool {
        true
    }

    fn running(&self) -> Vec<TraceId> {
        Vec::new()
    }

    fn clear(&self) {}

    fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    fn flush(&self) {
        let (done, wait) = sync_channel(1);
        let mut message = Message::Flush(done);
        for _ in 0..FLUSH_MAX.as_millis() {
            match self.queue.try_send(message) {
                Ok(()) => {
                    wait.recv_timeout(FLUSH_MAX).ok();
                    return;
                }
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return,
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn start(&self, times: &Times) {
        self.queue.send(Message::Clock(times.0.clone())).ok();
    }
}

struct Queue {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
}

impl Lane for Queue {
    fn write(&mut self, entry: &Entry) {
        self.send(*entry, None);
    }

    fn write_with(&mut self, entry: &Entry, detail: Box<Detail>) {
        self.send(*entry, Some(detail));
    }
}

impl Queue {
    fn send(&self, entry: Entry, detail: Option<Box<Detail>>) {
        if !self.counts.arrive(detail.as_deref()) {
            return self.counts.drop_records(1);
        }
        if let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) =
            self.queue.try_send(Message::Entry(entry, detail))
        {
            self.counts.drop_records(1);
            if let Message::Entry(_, detail) = message {
                self.counts.leave(detail.as_deref());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails so often, then takes all.
    struct Stumbles {
        takes: usize,
        fails: u32,
        written: Vec<u8>,
    }

    impl Write for Stumbles {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.fails > 0 && self.takes == 0 {
                self.fails -= 1;
                return Err(io::Error::other("no space left"));
            }
            let some = if self.fails > 0 { bytes.len().min(self.takes) } else { bytes.len() };
            self.takes -= if self.fails > 0 { some } else { 0 };
            self.written.extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_whole_or_counted() {
        let seen = crate::test::record(|| drop(crate::create_env((), "test")));
        let record = &seen.records()[0];
        let len = serde_json::to_string(record).unwrap().len() + 1;
        for (takes, fails) in (0..=3 * len).flat_map(|takes| [(takes, 1), (takes, 2)]) {
            let writer = Stumbles { takes, fails, written: Vec::new() };
            let counts = Arc::<Counts>::default();
            let mut lines = Lines { writer, buffer: Vec::new(), torn: false, unflushed: 0, counts };
            for _ in 0..3 {
                (0..3).for_each(|_| lines.write(record));
                lines.flush();
            }
            let written = String::from_utf8(lines.writer.written).unwrap();
            let whole = written.lines().filter(|line| serde_json::from_str::<Record>(line).is_ok()).count();
            let lost = lines.counts.dropped.load(Ordering::Relaxed);
            assert_eq!(whole as u64 + lost, 9, "{takes} bytes taken: {written}");
        }
    }
}
