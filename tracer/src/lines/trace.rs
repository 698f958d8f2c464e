//! What the envs of a trace share, and the way out for what they record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::hot::Out;
use super::line::Line;
use super::run::Run;
use crate::clock::Ticks;
use crate::execution::Attempt;
use crate::flow::{FlowNode, Missing};
use crate::id::{EnvId, TraceId};
use crate::ordinal;
use crate::record::Cause;
use crate::recorder::block::Block;
use crate::recorder::page::{DATA, Page};
use crate::recorder::{Detail, Entry, EnvEvent, Lane, NoteEvent};
use crate::site::Site;
use crate::tracer::Tracer;

/// One trace while something of it can still happen.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    pub(crate) tracer: Tracer,
    pub(crate) source: Source,
    /// The attempt at an execution that it is the trace of.
    pub(crate) attempt: Option<Arc<Attempt>>,
    /// Envs so far. Shared with whoever may make the trace anew.
    envs: Arc<AtomicU32>,
    /// Lines, contexts and branches from which a step may still come.
    holds: AtomicU32,
    /// A step was taken, or a traced function was entered.
    stepped: AtomicBool,
}

/// Who started the trace.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Site(&'static Site),
    Text(Arc<str>),
}

impl Trace {
    pub(crate) fn new(tracer: Tracer, source: Source) -> Self {
        Self::with_id(TraceId::random(tracer.random()), tracer, source)
    }

    fn with_id(id: TraceId, tracer: Tracer, source: Source) -> Self {
        let (holds, stepped) = (AtomicU32::new(0), AtomicBool::new(false));
        Self { id, tracer, source, attempt: None, envs: Arc::default(), holds, stepped }
    }

    /// The trace of an attempt, whose id was known before.
    pub(crate) fn of_attempt(attempt: Arc<Attempt>, id: TraceId, tracer: Tracer, source: &str) -> Self {
        Self { attempt: Some(attempt), ..Self::with_id(id, tracer, Source::Text(source.into())) }
    }

    /// The trace again, after nobody was left who held it.
    pub(crate) fn again(id: TraceId, tracer: Tracer, source: Arc<str>, envs: Arc<AtomicU32>) -> Self {
        let stepped = AtomicBool::new(true);
        let source = Source::Text(source);
        Self { id, tracer, source, attempt: None, envs, holds: AtomicU32::new(0), stepped }
    }

    /// The count of its envs, to make it anew with.
    pub(crate) fn envs(&self) -> Arc<AtomicU32> {
        self.envs.clone()
    }

    /// Makes it a new trace of the same tracer.
    pub(crate) fn renew(&mut self, source: Source) {
        self.source = source;
        self.renew_as(TraceId::random(self.tracer.random()));
    }

    /// Likewise, [of an attempt](Self::of_attempt).
    pub(crate) fn renew_for(&mut self, attempt: Arc<Attempt>, id: TraceId, source: &str) {
        // As that of the one before, most often.
        if !matches!(&self.source, Source::Text(text) if **text == *source) {
            self.source = Source::Text(source.into());
        }
        self.attempt = Some(attempt);
        self.renew_as(id);
    }

    fn renew_as(&mut self, id: TraceId) {
        self.id = id;
        self.envs.store(0, Ordering::Relaxed);
        *self.holds.get_mut() = 0;
        *self.stepped.get_mut() = false;
    }

    pub(crate) fn next_env(&self) -> (EnvId, u32) {
        (EnvId::random(self.tracer.random()), self.next_ordinal())
    }

    pub(crate) fn next_ordinal(&self) -> u32 {
        ordinal::here(self.envs.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn source(&self) -> &str {
        match &self.source {
            Source::Site(site) => site.source.unwrap_or(site.node),
            Source::Text(text) => text,
        }
    }

    /// Likewise, to keep.
    pub(crate) fn source_text(&self) -> Arc<str> {
        match &self.source {
            Source::Site(_) => self.source().into(),
            Source::Text(text) => text.clone(),
        }
    }

    /// Names it and its source, where no site does.
    fn source_detail(&self) -> Option<Box<Detail>> {
        match &self.source {
            Source::Site(_) => None,
            Source::Text(source) => {
                Some(Box::new(Detail { trace: Some((self.id, source.clone())), ..Detail::default() }))
            }
        }
    }

    pub(crate) fn hold(&self) {
        self.holds.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets go; `true` for the last one.
    pub(crate) fn release(&self) -> bool {
        // Release and acquire: what the others did comes before the end.
        self.holds.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(crate) fn is_stepped(&self) -> bool {
        self.stepped.load(Ordering::Relaxed)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.holds.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn set_stepped(&self) {
        self.stepped.store(true, Ordering::Relaxed);
    }
}

/// A step as it was recorded.
pub(crate) struct Written {
    pub(crate) seq: u64,
    pub(crate) ticks: u64,
}

/// With fewer free slots, a run is begun in the next page.
const RUN_SLOTS_MIN: usize = 4;

fn same_page(one: Option<&'static Page>, other: Option<&'static Page>) -> bool {
    one.map(std::ptr::from_ref) == other.map(std::ptr::from_ref)
}

/// How many numbers a thread takes at a time: more than a page has words.
const SEQ_BLOCK: u64 = 2 * DATA as u64;

/// The calling thread's way into one tracer.
pub(crate) struct ThreadLane {
    pub(crate) tracer: Tracer,
    lane: Box<dyn Lane>,
    /// The page of the lane, if it has any.
    page: Option<&'static Page>,
    /// Where the last entry went, see [`Lane::piece`].
    piece: u64,
    /// What the events in it rest on.
    run: Option<Run>,
    /// Numbers `next..end` are this thread's own.
    next: u64,
    end: u64,
    ticks: Ticks,
    /// For the bytes of the next detail.
    detail: Vec<u8>,
    /// A flow violation that the tracer wants as a panic.
    violation: Option<String>,
    said: SaidAgain,
}

/// Envs that were said once more in a piece; the last of them, if there are more than this has room for.
#[derive(Debug)]
struct SaidAgain {
    piece: u64,
    envs: [Option<EnvId>; SaidAgain::LEN],
    next: usize,
}

impl SaidAgain {
    /// More than take turns in one thread before a page is full, most often.
    const LEN: usize = 64;

    const fn new(piece: u64) -> Self {
        Self { piece, envs: [None; Self::LEN], next: 0 }
    }

    fn has(&self, piece: u64, env: EnvId) -> bool {
        self.piece == piece && self.envs.contains(&Some(env))
    }

    fn add(&mut self, piece: u64, env: EnvId) {
        if self.piece != piece {
            *self = Self::new(piece);
        }
        self.envs[self.next % Self::LEN] = Some(env);
        self.next += 1;
    }
}

impl std::fmt::Debug for ThreadLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadLane").field("next", &self.next).finish_non_exhaustive()
    }
}

impl ThreadLane {
    pub(crate) fn new(tracer: Tracer) -> Self {
        let (lane, ticks) = (tracer.lane(), tracer.clock().ticker());
        let (page, piece) = (lane.page(), lane.piece());
        let (run, detail, violation, said) = (None, Vec::new(), None, SaidAgain::new(piece));
        Self { page, piece, run, lane, ticks, tracer, next: 0, end: 0, detail, violation, said }
    }

    /// A number above `after`, which came from the same counter: a block taken now lies above all that were given
    /// out before.
    #[inline]
    fn seq(&mut self, after: u64) -> u64 {
        if self.next <= after || self.next >= self.end {
            self.take_block();
        }
        self.next += 1;
        self.next - 1
    }

    #[cold]
    fn take_block(&mut self) {
        self.next = self.tracer.seq_counter().fetch_add(SEQ_BLOCK, Ordering::Relaxed) + 1;
        self.end = self.next + SEQ_BLOCK;
    }

    /// A number for the beginning of something new, or the end of it all: above all that other threads have taken
    /// blocks for.
    fn seq_now(&mut self) -> u64 {
        let taken = self.tracer.seq_counter().load(Ordering::Relaxed) + 1;
        if taken != self.end {
            self.take_block();
        }
        self.seq(0)
    }

    #[inline]
    fn ticks(&self) -> u64 {
        self.ticks.now()
    }

    /// What the last enter is to panic with, now that no lock is held.
    pub(crate) fn take_violation(&mut self) -> Option<String> {
        self.violation.take()
    }

    /// Records a step, with the tick and a number after `after`.
    pub(crate) fn step(&mut self, mut step: Entry, after: u64, detail: Option<Box<Detail>>) -> Written {
        let seq = self.seq(after);
        let ticks = self.ticks();
        step.number(ticks, seq);
        self.write(step, detail);
        Written { seq, ticks }
    }

    fn write(&mut self, entry: Entry, detail: Option<Box<Detail>>) {
        let entry = self.put(entry, detail);
        self.follow(&entry);
    }

    /// Gives it as it was written.
    fn put(&mut self, mut entry: Entry, detail: Option<Box<Detail>>) -> Entry {
        if let Some(detail) = detail {
            entry.set_detailed();
            self.lane.write_with(&entry, detail);
            let page = self.lane.page();
            if !same_page(page, self.page) {
                (self.page, self.run) = (page, None);
            }
            self.piece = self.lane.piece();
        } else if let Some(page) = self.page {
            if !page.put(entry.words()) {
                self.turn();
                return self.put(entry, None);
            }
        } else {
            self.lane.write(&entry);
            self.piece = self.lane.piece();
        }
        entry
    }

    /// Where the last entry went, by a number; zero where nothing is lost.
    #[inline]
    pub(crate) fn piece(&self) -> u64 {
        self.piece
    }

    /// Writes it with its detail as bytes: in the page, if there is room, so that nothing is allocated for them.
    fn write_bytes(&mut self, mut entry: Entry, detail: &[u8]) {
        entry.set_detailed();
        if self.page.is_some_and(|page| page.put_with(entry.words(), detail)) {
            self.follow(&entry);
        } else {
            self.write(entry, Detail::read(detail).map(Box::new));
        }
    }

    /// What was written is part of the run, or ends it.
    fn follow(&mut self, entry: &Entry) {
        if let Some(run) = &mut self.run {
            if !run.follow(entry) {
                self.run = None;
            }
        }
    }

    /// Goes on to another page.
    #[cold]
    fn turn(&mut self) {
        self.lane.turn();
        (self.page, self.piece, self.run) = (self.lane.page(), self.lane.piece(), None);
    }

    /// What the common calls of this thread need to write without this, in the line of `block`; begins a run there if
    /// asked to. `None`: they cannot.
    pub(crate) fn lend(&mut self, line: &mut Line, block: &'static Block, run: bool) -> Option<Out> {
        let counter = match self.ticks {
            Ticks::Counter => true,
            Ticks::System => false,
            Ticks::Other(_) => return None,
        };
        let mut page = self.page?;
        if run && page.free_slots() < RUN_SLOTS_MIN {
            self.turn();
        }
        if run {
            line.say(self);
            page = self.page?;
        }
        // Events take numbers without asking.
        let words = (DATA - page.len()) as u64;
        if self.next <= line.seq() || self.end - self.next < words {
            self.take_block();
        }
        self.run = self.run.filter(|run| run.goes_on(block, self.next));
        if self.run.is_none() && run {
            self.run = Run::begin(block, page, line.innermost_key(), self.next, self.ticks.now());
        }
        Some(Out { run: self.run.map(|run| (page, run)), next: self.next, counter })
    }

    /// A reader could not follow what comes next.
    pub(crate) fn end_run(&mut self) {
        self.run = None;
    }

    /// Takes back what was lent: the next number. Gives the number of the last step, if there was any.
    pub(crate) fn take_back(&mut self, next: u64) -> Option<u64> {
        // A page that somebody has emptied meanwhile takes more than there are numbers for, and nothing of that can be read.
        let next = next.min(self.end);
        let steps = next.checked_sub(self.next).filter(|steps| *steps > 0)?;
        self.run.as_mut()?.pass(steps);
        self.next = next;
        Some(next - 1)
    }

    /// [`env_with`](Self::env_with), of an env that has no payload; the site is filled in, too.
    pub(crate) fn env(&mut self, trace: &Trace, env: &mut EnvEvent) {
        env.site = if let Source::Site(site) = &trace.source { site.id().site } else { 0 };
        trace.set_stepped();
        self.env_with(env, trace.source_detail());
    }

    /// Records an env, with the tick and a number after `env.seq`, which are filled in.
    pub(crate) fn env_with(&mut self, env: &mut EnvEvent, detail: Option<Box<Detail>>) {
        self.number(env);
        self.write(Entry::env(env), detail);
    }

    /// Says an env once more, where a reader finds it beside its steps, unless that was done there.
    #[cold]
    pub(crate) fn again(&mut self, trace: &Trace, env: &EnvEvent) {
        if !self.said.has(self.piece, env.env) {
            self.put(Entry::again(env), trace.source_detail());
            self.said.add(self.piece, env.env);
        }
    }

    /// Likewise, with the detail [as bytes](Detail::write_to), which `put` appends.
    pub(crate) fn env_with_bytes(&mut self, env: &mut EnvEvent, put: impl FnOnce(&mut Vec<u8>)) {
        let mut detail = std::mem::take(&mut self.detail);
        put(&mut detail);
        self.number(env);
        self.write_bytes(Entry::env(env), &detail);
        detail.clear();
        self.detail = detail;
    }

    fn number(&mut self, env: &mut EnvEvent) {
        env.seq = if env.cause == Cause::Root { self.seq_now() } else { self.seq(env.seq) };
        env.ticks = self.ticks();
    }

    pub(crate) fn note(&mut self, mut note: NoteEvent) -> u64 {
        note.seq = self.seq(note.seq);
        note.ticks = self.ticks();
        self.write(Entry::note(&note), None);
        note.seq
    }

    pub(crate) fn over(&mut self, trace: TraceId, stepped: bool, after: u64) {
        // After every record of the trace, also those that other threads made.
        let seq = self.seq_now();
        debug_assert!(seq > after, "a number taken now is above all that were given out");
        self.write(Entry::over(trace, stepped, seq), None);
    }

    pub(crate) fn resumed(&mut self, trace: TraceId, env: EnvId, after: u64) {
        // After the entry that says the trace is over, whichever thread made it.
        let seq = self.seq_now();
        debug_assert!(seq > after, "a number taken now is above all that were given out");
        self.write(Entry::resumed(trace, env, seq), None);
    }

    #[cold]
    pub(crate) fn violation(&mut self, node: FlowNode, missing: Missing) {
        if self.tracer.count_violation() {
            self.violation = Some(node.violation(missing));
        }
    }
}

/// A counter on a cache line of its own: threads that take blocks do not slow those that read what is beside it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct SeqCounter(pub(crate) AtomicU64);
