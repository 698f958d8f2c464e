//! One JSON object a line, to a file or any writer, from a thread of its own.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use super::{Assembler, Detail, Entry, Lane, Recorder, Times};
use crate::clock::AnyClock;
use crate::id::TraceId;
use crate::record::Record;

/// Entries that may wait for the writer. When it is that far behind, what comes is dropped and counted.
const QUEUE_LEN: usize = 64 * 1024;

/// How long [`Recorder::flush`] waits for a writer that does not move.
const FLUSH_MAX: Duration = Duration::from_secs(10);

/// Writes records as JSON lines.
///
/// The traced program only puts 64 bytes into a queue; one thread turns them into lines and writes them. A writer
/// that is slow or fails costs records, counted in [`Stats::dropped`](crate::Stats::dropped), never time. Lines reach
/// the writer whenever the queue is empty; what is in the queue when the process is killed is lost.
pub struct JsonLines {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Entry(Entry, Option<Box<Detail>>),
    Clock(AnyClock),
    Flush(SyncSender<()>),
}

impl std::fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonLines").field("dropped", &self.dropped).finish_non_exhaustive()
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
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = dropped.clone();
        thread::Builder::new()
            .name("tracer-json-lines".to_owned())
            .spawn(move || crate::lines::untraced(|| write_all(&messages, BufWriter::new(writer), &counter)))?;
        Ok(Self { queue, dropped })
    }
}

/// Runs until every sender is gone.
fn write_all(messages: &Receiver<Message>, mut writer: impl Write, dropped: &AtomicU64) {
    let mut assembler = Assembler::default();
    let mut times = Times(AnyClock::System);
    let mut unflushed = 0;
    loop {
        let message = match messages.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Empty) => {
                flush(&mut writer, &mut unflushed, dropped);
                let Ok(message) = messages.recv() else { return };
                message
            }
            Err(TryRecvError::Disconnected) => break,
        };
        match message {
            Message::Entry(entry, detail) => {
                let Some(record) = assembler.push(&entry, detail.as_deref(), &times) else { continue };
                if write_line(&mut writer, &record).is_ok() {
                    unflushed += 1;
                } else {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Message::Clock(clock) => times = Times(clock),
            Message::Flush(done) => {
                flush(&mut writer, &mut unflushed, dropped);
                // Whoever asked may have given up waiting.
                done.send(()).ok();
            }
        }
    }
    flush(&mut writer, &mut unflushed, dropped);
}

fn write_line(writer: &mut impl Write, record: &Record) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, record)?;
    writer.write_all(b"\n")
}

fn flush(writer: &mut impl Write, unflushed: &mut u64, dropped: &AtomicU64) {
    if writer.flush().is_err() {
        dropped.fetch_add(*unflushed, Ordering::Relaxed);
    }
    *unflushed = 0;
}

impl Recorder for JsonLines {
    fn lane(&self) -> Box<dyn Lane> {
        Box::new(Queue { queue: self.queue.clone(), dropped: self.dropped.clone() })
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
        self.dropped.load(Ordering::Relaxed)
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
    dropped: Arc<AtomicU64>,
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
        if self.queue.try_send(Message::Entry(entry, detail)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
