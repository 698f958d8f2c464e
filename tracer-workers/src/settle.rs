//! Ends attempts in the store: many in one call, until it is known what has become of each.
//!
//! What the store does not take holds up nothing else: it is tried again by a task of its own, in halves, so that in the end
//! each has failed alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracer::execution::{Command, ExecutionError, ExecutionManager, ExecutionStore, Lease, Write};

use crate::held::{Again, Held};
use crate::patient::back_off;
use crate::run::fail;
use crate::worker::OnError;

/// How many ends one call takes. While it is under way, the next ones gather.
const BATCH_MAX: usize = 250;
/// For how long they do.
const GATHER_MAX: Duration = Duration::from_secs(1);
/// How many calls at once try what comes for the first time, and how many try again what was not taken: a store in trouble,
/// and heartbeats on the same connections, are to have room.
const FIRST_MAX: usize = 4;
const AGAIN_MAX: usize = 4;
/// So often a batch is tried whole, for trouble that goes by.
pub(crate) const WHOLE_MAX: u32 = 3;
/// How much is left of the message of a failure that the store does not take, in bytes.
const MESSAGE_LEN_MAX: usize = 4096;

/// An attempt that has ended, and how; `None` if it is another's by now.
pub(crate) struct Ended {
    pub(crate) lease: Lease,
    pub(crate) command: Option<Command>,
}

/// Ends that are written in one call.
struct Part {
    writes: Vec<Write>,
    /// How often they were not taken, though they may be later.
    failed: u32,
    /// Since when.
    since: Option<Instant>,
    /// They say that the store would not take what they stand for.
    is_last: bool,
}

pub(crate) struct Settler<S> {
    pub(crate) manager: ExecutionManager<S>,
    pub(crate) held: Arc<Held>,
    /// How long what may be taken later is tried again.
    pub(crate) lease: Duration,
    pub(crate) on_error: OnError,
}

impl<S: ExecutionStore + Clone + 'static> Settler<S> {
    /// Until nobody can hand anything over any more.
    pub(crate) async fn run(self, mut ended: mpsc::UnboundedReceiver<Ended>) {
        let settler = Arc::new(self);
        let (first, turns) = (Arc::new(Semaphore::new(FIRST_MAX)), Arc::new(Semaphore::new(AGAIN_MAX)));
        let again = |tries: &mut JoinSet<Vec<Part>>, left: Vec<Part>| {
            for part in left {
                let (settler, turns, again) = (settler.clone(), turns.clone(), Again::new(&settler.held));
                tries.spawn(async move {
                    let _again = again;
                    tokio::time::sleep(back_off(part.failed)).await;
                    let _turn = turns.acquire().await;
                    settler.settle_held(part).await
                });
            }
        };
        let mut tries = JoinSet::new();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let (received, turn) = tokio::select! {
                biased;
                Some(left) = tries.join_next() => {
                    again(&mut tries, left.unwrap_or_default());
                    continue;
                }
                received = async {
                    let turn = first.clone().acquire_owned().await;
                    (ended.recv_many(&mut batch, BATCH_MAX).await, turn)
                } => received,
            };
            if received == 0 {
                break;
            }
            gather(&mut ended, &mut batch).await;
            let writes = settler.writes(&mut batch);
            if !writes.is_empty() {
                let settling = settler.clone().settle(Part::new(writes));
                tries.spawn(async move {
                    let _turn = turn;
                    settling.await
                });
                if let Ok(Some(left)) = tokio::time::timeout(GATHER_MAX, tries.join_next()).await {
                    again(&mut tries, left.unwrap_or_default());
                }
            }
        }
        while let Some(left) = tries.join_next().await {
            again(&mut tries, left.unwrap_or_default());
        }
    }

    fn writes(&self, batch: &mut Vec<Ended>) -> Vec<Write> {
        let mut writes = Vec::with_capacity(batch.len());
        for Ended { lease, command } in batch.drain(..) {
            match command {
                Some(command) => writes.push(Write::under(lease, command)),
                None => self.held.remove([lease]),
            }
        }
        writes
    }

    /// Without those that are another's by now.
    async fn settle_held(self: Arc<Self>, mut part: Part) -> Vec<Part> {
        let (held, lost): (Vec<_>, Vec<_>) = part.writes.into_iter().partition(|write| self.held.has(lease(write)));
        self.forget(&lost);
        part.writes = held;
        if part.writes.is_empty() { Vec::new() } else { self.settle(part).await }
    }

    /// Writes them, and says what is to be tried again.
    async fn settle(self: Arc<Self>, part: Part) -> Vec<Part> {
        let _leases = Unwinding { held: &self.held, leases: part.writes.iter().map(lease).collect() };
        let Err(error) = self.manager.settle(part.writes.clone()).await else {
            // One that was refused is another's by now: there is nothing more to do about it.
            self.forget(&part.writes);
            return Vec::new();
        };
        (self.on_error)(&error);
        self.not_taken(part, &error)
    }

    fn not_taken(&self, mut part: Part, error: &ExecutionError) -> Vec<Part> {
        let mut will_never_be = !error.is_retryable();
        if error.is_retryable() {
            part.failed += 1;
            let now = Instant::now();
            let is_there = part.writes.iter().all(|write| self.held.is_sure_of(lease(write), now));
            // Where the store answers heartbeats all the while. Else it is tried for as long as nobody else has it.
            part.since = is_there.then(|| part.since.unwrap_or(now));
            will_never_be = part.since.is_some_and(|since| now - since >= self.lease);
        }
        if part.writes.len() > 1 {
            let is_tried_whole = error.is_retryable() && part.failed < WHOLE_MAX;
            return if is_tried_whole { vec![part] } else { part.halves() };
        }
        if !will_never_be {
            return vec![part];
        }
        if part.is_last || part.writes.iter().all(|write| matches!(write.command, Command::Release { .. })) {
            // Nothing helps: the lease will end. What is given back may never have begun, and has not failed.
            self.forget(&part.writes);
            return Vec::new();
        }
        let is_last = part.writes.iter_mut().all(|write| replace(&mut write.command, error));
        vec![Part { is_last, ..Part::new(part.writes) }]
    }

    fn forget(&self, writes: &[Write]) {
        self.held.remove(writes.iter().map(lease));
    }
}

impl Part {
    fn new(writes: Vec<Write>) -> Self {
        Self { writes, failed: 0, since: None, is_last: false }
    }

    fn halves(mut self) -> Vec<Self> {
        let writes = self.writes.split_off(self.writes.len() / 2);
        // Of each nothing is known yet; those that may have nothing wrong do not wait ever longer for the one that has.
        self.since = None;
        self.failed = self.failed.min(WHOLE_MAX - 1);
        let other = Self { writes, ..self };
        vec![self, other]
    }
}

/// Makes of an end that the store will never take, as this error says, one that it may; whether that is the last that can be
/// tried. A failure stays what it is, with a shorter message; anything else has failed because of the error.
pub(crate) fn replace(end: &mut Command, error: &ExecutionError) -> bool {
    if let Command::Fail { failure, .. } = end {
        if failure.message.len() > MESSAGE_LEN_MAX {
            cut(&mut failure.message);
            return false;
        }
    }
    *end = fail(error.failure());
    true
}

fn cut(message: &mut String) {
    const END: &str = "…";
    let fits = (0..=MESSAGE_LEN_MAX - END.len()).rev().find(|at| message.is_char_boundary(*at));
    message.truncate(fits.unwrap_or(0));
    message.push_str(END);
}

/// Attempts whose beginnings or ends are being written. A store that panics writes none: their leases end.
pub(crate) struct Unwinding<'a> {
    pub(crate) held: &'a Held,
    pub(crate) leases: Vec<Lease>,
}

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.held.remove(std::mem::take(&mut self.leases));
        }
    }
}

fn lease(write: &Write) -> Lease {
    Lease { id: write.id, epoch: write.expected.epoch.unwrap_or_default() }
}

/// Takes what others are about to hand over as well, for as long as something comes whenever they get their turn.
async fn gather(ended: &mut mpsc::UnboundedReceiver<Ended>, batch: &mut Vec<Ended>) {
    loop {
        let before = batch.len();
        tokio::task::yield_now().await;
        let room = BATCH_MAX.saturating_sub(before);
        batch.extend(std::iter::from_fn(|| ended.try_recv().ok()).take(room));
        if batch.len() == before {
            return;
        }
    }
}
