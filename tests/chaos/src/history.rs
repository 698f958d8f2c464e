//! What has happened, as lines of JSON in one file a process: appended by one system call each, so that a process that is
//! killed leaves whole lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tracer::execution::{ExecutionId, ExecutionStatus};

/// A moment, in nanoseconds of the clock that all processes of the machine share, and nobody sets.
pub type Moment = u64;

/// Now.
pub fn now() -> Moment {
    time_of(ClockId::Monotonic)
}

/// How far the time of day is ahead of that. Another time somebody may have set it.
pub fn day_ahead() -> Moment {
    time_of(ClockId::Realtime).saturating_sub(now())
}

fn time_of(clock: ClockId) -> Moment {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// How much that is of moments.
pub(crate) fn nanos(duration: Duration) -> Moment {
    Moment::try_from(duration.as_nanos()).unwrap_or(Moment::MAX)
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Which process: a worker by the name that the store knows.
    pub by: String,
    /// When it began: for a call of the store, when it was sent.
    pub from: Moment,
    /// When it was over: for a call of the store, when it was answered.
    pub to: Moment,
    /// What.
    pub fact: Fact,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are what executions have")]
pub enum Fact {
    /// The store has taken an execution in.
    Created { id: ExecutionId, kind: String },
    /// The store has given an attempt to a worker, or only reserved it for that.
    Claimed { id: ExecutionId, epoch: u64, attempts: u32, version: u64 },
    /// A worker was about to begin what was reserved for it, to end an attempt or to give it back, whether or not the store
    /// got to know. What the store answers has the same `from`.
    Writing { id: ExecutionId, epoch: u64, command: String },
    /// A worker was about to have its lease extended, likewise.
    Extending { id: ExecutionId, epoch: u64 },
    /// The store has extended the lease, or said that there is none any more.
    Extended { id: ExecutionId, epoch: u64, is_held: bool },
    /// The store has accepted a write. `kept` is the node whose result it keeps, if it does that.
    Accepted { id: ExecutionId, epoch: Option<u64>, command: String, version: Option<u64>, kept: Option<String> },
    /// The store has refused a write.
    Refused { id: ExecutionId, epoch: Option<u64>, command: String, why: String },
    /// A handler has had an effect, on the world so to speak.
    Effect { id: ExecutionId, epoch: u64, effect: String, at_most_once: bool },
    /// A handler has run, one of those with this key.
    Ran { id: ExecutionId, key: String },
    /// Somebody is about to ask for an execution to be called off.
    Cancelling { id: ExecutionId },
    /// Somebody has read it.
    Seen { id: ExecutionId, status: ExecutionStatus, version: u64, epoch: u64 },
    /// A worker has begun, with its clock wrong by so much.
    Began { skew_s: i64 },
    /// The worker was killed.
    Killed { worker: String },
    /// The worker was stopped, and went on when it was over.
    Stopped { worker: String },
    /// The worker was asked to end, and has.
    Restarted { worker: String },
    /// The server was ended without a warning, and started again.
    ServerDied,
    /// All connections were cut before their answers.
    Cut,
}

/// Where a process writes. Clones write to the same file.
#[derive(Debug, Clone)]
pub struct Log {
    by: Arc<str>,
    file: Arc<File>,
}

impl Log {
    /// A file of its own in this directory.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn new(directory: &Path, by: &str) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(directory.join(format!("{by}.history")))?;
        Ok(Self { by: by.into(), file: Arc::new(file) })
    }

    /// Writes what has happened since `from`.
    ///
    /// # Panics
    ///
    /// If that fails: then nothing can be judged.
    pub fn write(&self, from: Moment, facts: impl IntoIterator<Item = Fact>) {
        let (to, mut lines) = (now(), Vec::new());
        for fact in facts {
            let entry = Entry { by: self.by.to_string(), from, to, fact };
            serde_json::to_writer(&mut lines, &entry).expect("it holds texts and numbers");
            lines.push(b'\n');
        }
        (&*self.file).write_all(&lines).expect("there is room");
    }
}

/// All that was written in this directory, in the order in which it was over.
///
/// # Errors
///
/// If a file cannot be read, or a line is none.
pub fn read(directory: &Path) -> io::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "history") {
            for line in std::fs::read_to_string(path)?.lines() {
                entries.push(serde_json::from_str(line)?);
            }
        }
    }
    entries.sort_by_key(|entry| entry.to);
    Ok(entries)
}
