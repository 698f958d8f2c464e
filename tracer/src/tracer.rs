//! A tracer: recorders, a clock, and what is known of running traces.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use serde::Serialize;

use crate::clock::{AnyClock, Clock};
use crate::context::{Context, ContextToken, OwnRegistry, Registry};
use crate::guard::GuardError;
use crate::id::TraceId;
use crate::lines::SeqCounter;
use crate::lines::scope::unreachable_calls;
use crate::random::{AnyRandom, Random};
use crate::record::Record;
use crate::recorder::block::Block;
use crate::recorder::{Detail, Entry, Lane, Memory, Recorder, Times};
use crate::stats::Stats;
use crate::tree::Tree;

/// Where traces go. Cheap to clone; clones are the same tracer.
///
/// Most programs only use the [global](Self::global) one. A tracer of one's own is for tests and for programs that
/// keep traces apart.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    recorders: Vec<Box<dyn Recorder>>,
    times: Times,
    random: AnyRandom,
    seq: SeqCounter,
    violations: AtomicU64,
    /// [`unreachable_calls`] of the process before this tracer was made.
    unreachable_before: u64,
    on_violation: Violation,
    registry: OwnRegistry,
}

// A panic leaves behind what was recorded before it: what is behind our locks is changed between users' code, never
// around it, and the locks are taken over as they are.
impl UnwindSafe for Tracer {}
impl RefUnwindSafe for Tracer {}

/// What a missing edge of a declared flow does, besides being noted and counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Violation {
    /// Nothing more.
    #[default]
    Note,
    /// A panic in the function that was entered: for tests.
    Panic,
}

/// The global tracer and how often it was replaced.
static GLOBAL: RwLock<Option<Tracer>> = RwLock::new(None);
static GLOBAL_VERSION: AtomicU64 = AtomicU64::new(0);

impl Tracer {
    /// A tracer that differs from the default one.
    pub fn builder() -> TracerBuilder {
        TracerBuilder::default()
    }

    /// The tracer of everything that has no other: bounded memory, the machine's clock, unless one was
    /// [installed](TracerBuilder::install).
    pub fn global() -> Self {
        if let Some(tracer) = &*GLOBAL.read().unwrap_or_else(PoisonError::into_inner) {
            return tracer.clone();
        }
        // Made and, if another was faster, dropped outside of the lock: both take others.
        let made = Self::builder().build();
        GLOBAL.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| made.clone()).clone()
    }

    #[inline]
    pub(crate) fn global_version() -> u64 {
        GLOBAL_VERSION.load(Ordering::Acquire)
    }

    /// Starts a trace; gives the position before its first step. `payload` says what it was started with (`()` for
    /// nothing), `source` what started it: its first 256 bytes.
    pub fn create_env(&self, payload: impl Serialize, source: &str) -> Context {
        Context::create(self, payload, source)
    }

    /// The records of a trace, by [`Record::seq`]: each env's steps in order. Empty if it is not known.
    pub fn replay(&self, trace: TraceId) -> Vec<Record> {
        self.read(Some(trace))
    }

    /// The records of every trace that is still held, by [`Record::seq`].
    pub fn all_traces(&self) -> Vec<Record> {
        self.read(None)
    }

    /// From the first recorder that can read back.
    fn read(&self, of: Option<TraceId>) -> Vec<Record> {
        let read = self.0.recorders.iter().map(|recorder| recorder.records(of, &self.0.times));
        read.into_iter().find(|records| !records.is_empty()).unwrap_or_default()
    }

    /// A trace as a tree of calls; `None` if it is not known.
    pub fn tree(&self, trace: TraceId) -> Option<Tree> {
        let active = self.active_traces();
        Tree::of(&self.replay(trace), &active).pop()
    }

    /// Every trace that is still held as a tree of calls, in the order of their first records.
    pub fn trees(&self) -> Vec<Tree> {
        let active = self.active_traces();
        Tree::of(&self.all_traces(), &active)
    }

    /// The traces of which a step may still come, oldest first: with an open node or a living context, or without
    /// any step yet.
    pub fn active_traces(&self) -> Vec<TraceId> {
        let running = self.0.recorders.iter().map(|recorder| recorder.running());
        running.into_iter().find(|traces| !traces.is_empty()).unwrap_or_default()
    }

    /// Counts, per trace and in all.
    pub fn stats(&self) -> Stats {
        let dropped = self.0.recorders.iter().map(|recorder| recorder.dropped()).sum::<u64>();
        // First: what is over by then is complete in the records.
        let active = self.active_traces();
        Stats::of(
            &self.all_traces(),
            &active,
            dropped + (unreachable_calls() - self.0.unreachable_before),
            self.0.violations.load(Ordering::Relaxed),
        )
    }

    /// Forgets every trace, running ones included: a context of one is then refused with `UNKNOWN_TRACE`.
    pub fn clear(&self) {
        self.registry().clear(self);
        for recorder in &self.0.recorders {
            recorder.clear();
        }
    }

    /// Goes on from a token.
    ///
    /// # Errors
    ///
    /// `INVALID_CONTEXT`, `UNKNOWN_TRACE`, `ENV_MISMATCH` or `STEP_OUT_OF_ORDER`; nothing was recorded.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "as `Context::resume` and `Context::step`: what was gone on from is given away"
    )]
    pub fn resume(&self, token: ContextToken) -> Result<Context, GuardError> {
        Context::resume_in(self, &token)
    }

    /// Brings out what recorders still buffer; waits for it.
    pub fn flush(&self) {
        for recorder in &self.0.recorders {
            recorder.flush();
        }
    }

    pub(crate) fn holds(&self, trace: TraceId) -> bool {
        self.0.recorders.iter().any(|recorder| recorder.holds(trace))
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock()
    }

    #[inline]
    pub(crate) fn seq_counter(&self) -> &AtomicU64 {
        &self.0.seq.0
    }

    #[inline]
    pub(crate) fn clock(&self) -> &AnyClock {
        &self.0.times.0
    }

    pub(crate) fn random(&self) -> &AnyRandom {
        &self.0.random
    }

    /// Counts a flow violation; `true` if it is to panic.
    pub(crate) fn count_violation(&self) -> bool {
        self.0.violations.fetch_add(1, Ordering::Relaxed);
        self.0.on_violation == Violation::Panic
    }

    /// Whether nobody but the caller's clone is left.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// A lane into every recorder.
    pub(crate) fn lane(&self) -> Box<dyn Lane> {
        match &self.0.recorders[..] {
            [recorder] => recorder.lane(),
            recorders => Box::new(EachLane(recorders.iter().map(|recorder| recorder.lane()).collect())),
        }
    }

    /// A block of a recorder that has any to lend; the first that has, has.
    pub(crate) fn block(&self) -> Option<&'static Block> {
        self.0.recorders.iter().find_map(|recorder| recorder.block())
    }

    /// Likewise, for a line that has one of it already.
    pub(crate) fn further_block(&self) -> Option<&'static Block> {
        self.0.recorders.iter().find_map(|recorder| recorder.further_block())
    }

    /// A line begins for which there is none.
    pub(crate) fn begin_outside(&self) {
        self.0.recorders.iter().for_each(|recorder| recorder.begin_outside());
    }

    /// It is over.
    pub(crate) fn end_outside(&self) {
        self.0.recorders.iter().for_each(|recorder| recorder.end_outside());
    }

    /// Gives back what [`block`](Self::block) or [`further_block`](Self::further_block) gave.
    pub(crate) fn free(&self, block: &'static Block) {
        for recorder in &self.0.recorders {
            recorder.free(block);
        }
    }
}

impl PartialEq for Tracer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tracer {}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("recorders", &self.0.recorders.len()).finish_non_exhaustive()
    }
}

/// Every recorder gets everything.
struct EachLane(Vec<Box<dyn Lane>>);

impl Lane for EachLane {
    fn piece(&self) -> u64 {
        self.0.iter().fold(0, |all, lane| all ^ lane.piece())
    }

    fn write(&mut self, entry: &Entry) {
        for lane in &mut self.0 {
            lane.write(entry);
        }
    }

    fn write_with(&mut self, entry: &Entry, detail: Box<Detail>) {
        for lane in &mut self.0 {
            lane.write_with(entry, detail.clone());
        }
    }
}

/// Makes a [`Tracer`].
#[derive(Default)]
#[must_use = "nothing happens before `build` or `install`"]
pub struct TracerBuilder {
    recorders: Vec<Box<dyn Recorder>>,
    bytes_max: Option<usize>,
    clock: Option<AnyClock>,
    random: AnyRandom,
    on_violation: Violation,
}

impl fmt::Debug for TracerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracerBuilder").field("recorders", &self.recorders.len()).finish_non_exhaustive()
    }
}

impl TracerBuilder {
    /// Records into `recorder`, instead of memory. Given several times: into each of them; reading back asks them in
    /// this order.
    pub fn recorder(mut self, recorder: impl Recorder) -> Self {
        self.recorders.push(Box::new(recorder));
        self
    }

    /// Bounds the memory of the default recorder; see [`Memory`].
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.bytes_max = Some(bytes);
        self
    }

    /// Takes the time from `clock`, not from the machine.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(AnyClock::Other(Arc::new(clock)));
        self
    }

    /// Takes ids from `random`.
    pub fn random(mut self, random: impl Random) -> Self {
        self.random = AnyRandom::other(random);
        self
    }

    /// Says what a missing edge of a declared flow does.
    pub fn on_violation(mut self, violation: Violation) -> Self {
        self.on_violation = violation;
        self
    }

    /// Makes the tracer.
    pub fn build(mut self) -> Tracer {
        if self.recorders.is_empty() {
            self.recorders.push(Box::new(Memory::new(self.bytes_max.unwrap_or(Memory::BYTES_DEFAULT))));
        }
        let times = Times(self.clock.unwrap_or(AnyClock::System));
        for recorder in &self.recorders {
            recorder.start(&times);
        }
        Tracer(Arc::new(Inner {
            recorders: self.recorders,
            times,
            random: self.random,
            seq: SeqCounter::default(),
            violations: AtomicU64::new(0),
            unreachable_before: unreachable_calls(),
            on_violation: self.on_violation,
            registry: OwnRegistry::new(),
        }))
    }

    /// Makes the tracer, and makes it the global one. Traces that run go on where they began.
    pub fn install(self) -> Tracer {
        let tracer = self.build();
        let before = GLOBAL.write().unwrap_or_else(PoisonError::into_inner).replace(tracer.clone());
        GLOBAL_VERSION.fetch_add(1, Ordering::Release);
        // Its recorders may be dropped with it, and ask for the global tracer as they go.
        drop(before);
        tracer
    }
}

/// While it lives, nobody asks for the global tracer.
pub(crate) fn hold_global() -> RwLockWriteGuard<'static, Option<Tracer>> {
    GLOBAL.write().unwrap_or_else(PoisonError::into_inner)
}

/// [`Tracer::create_env`] of the global tracer.
pub fn create_env(payload: impl Serialize, source: &str) -> Context {
    current().create_env(payload, source)
}

/// [`Tracer::replay`] of the global tracer.
pub fn replay(trace: TraceId) -> Vec<Record> {
    current().replay(trace)
}

/// [`Tracer::all_traces`] of the global tracer.
pub fn all_traces() -> Vec<Record> {
    current().all_traces()
}

/// [`Tracer::active_traces`] of the global tracer.
pub fn active_traces() -> Vec<TraceId> {
    current().active_traces()
}

/// [`Tracer::stats`] of the global tracer.
pub fn stats() -> Stats {
    current().stats()
}

/// [`Tracer::clear`] of the global tracer.
pub fn clear_traces() {
    current().clear();
}

/// The tracer of this thread: the global one, except inside [`test::record`](crate::test::record).
pub(crate) fn current() -> Tracer {
    crate::lines::scope::with(crate::lines::scope::Scope::tracer).unwrap_or_else(Tracer::global)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for the global tracer as it goes, and says so.
    struct Asks(Arc<AtomicU64>);

    impl Recorder for Asks {
        fn lane(&self) -> Box<dyn Lane> {
            Box::new(EachLane(Vec::new()))
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
            0
        }
    }

    impl Drop for Asks {
        fn drop(&mut self) {
            drop(Tracer::global());
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where it is dropped under the lock of the global tracer, this never ends.
    #[test]
    fn a_replaced_tracer_is_dropped_outside_of_the_lock() {
        drop(Tracer::builder().recorder(Asks(Arc::default())).install());
        Tracer::builder().install();
    }

    /// What is known of the traces of a tracer must not keep it.
    #[test]
    fn a_tracer_that_nobody_has_is_dropped() {
        let dropped = Arc::<AtomicU64>::default();
        let tracer = Tracer::builder().recorder(Asks(dropped.clone())).build();
        // On a thread of its own, which leaves nothing behind.
        let work = move || {
            let ctx = tracer.create_env((), "test").step("a", crate::Status::Enter, ()).unwrap();
            tracer.resume(ctx.token()).unwrap();
        };
        std::thread::spawn(work).join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}
