//! The rules of the automatic API over one line of calls. No thread, no lock, no ambient anything: what a call asks
//! for, and which steps it makes.
//!
//! A *line* is an env and its recoveries: when an error ends the env and is handled, the line goes on in a new env.

use std::sync::Arc;

use super::key::{self, Calls};
use super::trace::{Output, Trace};
use crate::flow::{self, Pred};
use crate::id::{EnvId, FrameId};
use crate::record::{Cause, ErrorKind};
use crate::recorder::{Detail, NoteEvent, NoteKind, StepEvent};
use crate::site::Site;
use crate::status::Status;

/// One line of calls.
#[derive(Debug, Default)]
pub(crate) struct Line {
    trace: Option<Arc<Trace>>,
    env: Option<EnvId>,
    ordinal: u32,
    /// The number of the last step.
    steps: u64,
    /// The number of the last record.
    seq: u64,
    /// The last step was an error and nothing has gone on since.
    dead: bool,
    /// Open frames are `frames[..depth]`, outermost first. Those past it wait to be used again.
    frames: Vec<Frame>,
    depth: usize,
    /// Bit `node % 64` of every open node: one test says that a node is not open.
    open_nodes: u64,
    base: Base,
    /// Contexts, pending calls and branches that may still come back to it.
    pins: u32,
    /// Where each declared flow stands.
    flows: Vec<Pred>,
    ancestry: Option<Arc<Ancestry>>,
}

/// The line before its first frame.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Base {
    /// What the keys of its calls begin with.
    key: u64,
    /// The frame that forked it.
    parent: Option<FrameId>,
    forked: bool,
}

impl Base {
    pub(crate) fn of(fork: Option<Fork>) -> Self {
        fork.map_or_else(Self::default, |fork| Self { key: fork.key, parent: fork.parent, forked: true })
    }

    /// The call made by no frame of the line.
    pub(crate) fn call(self, site: &'static Site, occurrence: u32) -> Call {
        let key = key::call(self.key, site.hash, occurrence);
        Call { parent: self.parent, key, occurrence, through_fork: self.forked }
    }

    pub(crate) fn fork(self, number: u32) -> Fork {
        Fork::new(self.parent, self.key, number)
    }
}

impl Fork {
    fn new(parent: Option<FrameId>, key: u64, number: u32) -> Self {
        Self { parent, key: key::call(key, key::FORK, number), number }
    }

    /// The fork `number` of this one.
    pub(crate) fn again(self, number: u32) -> Self {
        Self { number, key: key::call(self.key, key::FORK, number), ..self }
    }
}

/// An open frame.
#[derive(Debug)]
struct Frame {
    id: FrameId,
    site: &'static Site,
    node: u32,
    call: Call,
    /// `open_nodes` without this frame and those in it.
    nodes_below: u64,
    calls: Calls,
    forks: u32,
}

/// Who called, and for the how manieth time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) parent: Option<FrameId>,
    pub(crate) key: u64,
    pub(crate) occurrence: u32,
    pub(crate) through_fork: bool,
}

/// Where an env leaves another.
#[derive(Debug, Clone)]
pub(crate) struct Departure {
    pub(crate) trace: Option<Arc<Trace>>,
    pub(crate) cause: Cause,
    pub(crate) env: Option<(EnvId, u64)>,
    pub(crate) seq: u64,
    pub(crate) flows: Vec<Pred>,
    /// For a fork: the frame it leaves, the key of the fork and its number.
    pub(crate) fork: Option<Fork>,
    pub(crate) ancestry: Option<Arc<Ancestry>>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fork {
    pub(crate) parent: Option<FrameId>,
    pub(crate) key: u64,
    pub(crate) number: u32,
}

impl Departure {
    /// The first env of a trace leaves none.
    pub(crate) fn root(trace: Arc<Trace>) -> Self {
        Self {
            trace: Some(trace),
            cause: Cause::Root,
            env: None,
            seq: 0,
            flows: Vec::new(),
            fork: None,
            ancestry: None,
        }
    }
}

/// An env that was recorded and has no step yet.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) id: EnvId,
    pub(crate) ordinal: u32,
    pub(crate) seq: u64,
    pub(crate) fork: Option<Fork>,
    pub(crate) ancestry: Option<Arc<Ancestry>>,
}

impl Opened {
    /// The fork `number` of it, made by no frame.
    pub(crate) fn fork_again(&self, number: u32) -> Fork {
        Base::of(self.fork).fork(number)
    }
}

/// The forked contexts that a line lies below, nearest first.
#[derive(Debug)]
pub(crate) struct Ancestry {
    pub(crate) env: EnvId,
    pub(crate) parent: Option<Arc<Ancestry>>,
}

/// What became of an enter.
#[derive(Debug)]
pub(crate) enum Entered {
    Here(FrameId),
    /// It belongs into an env of its own.
    Elsewhere(Departure),
}

/// How a frame ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) error: Option<ErrorKind>,
    pub(crate) detail: Option<Box<Detail>>,
}

impl Line {
    /// Makes it the line of a new env, and records that.
    pub(crate) fn begin(&mut self, from: Departure, out: &mut Output<'_>) {
        debug_assert!(self.depth == 0 && self.pins == 0, "a line in use is not begun again");
        self.steps = 0;
        self.seq = from.seq;
        self.dead = false;
        self.open_nodes = 0;
        self.flows = from.flows;
        self.base = Base::of(from.fork);
        self.ancestry = from.ancestry;
        let number = from.fork.map_or(0, |fork| fork.number);
        self.trace = from.trace;
        self.open_env(from.cause, from.env, number, out);
    }

    fn open_env(&mut self, cause: Cause, parent: Option<(EnvId, u64)>, fork: u32, out: &mut Output<'_>) {
        let Some(trace) = &self.trace else { return };
        let (env, ordinal) = trace.next_env();
        self.env = Some(env);
        self.ordinal = ordinal;
        self.steps = 0;
        self.dead = false;
        self.seq = out.env(trace, env, cause, parent, fork, self.seq);
    }

    /// Takes over an env that was recorded already and has no step yet.
    pub(crate) fn adopt(&mut self, trace: Arc<Trace>, env: Opened) {
        self.steps = 0;
        self.seq = env.seq;
        self.dead = false;
        self.open_nodes = 0;
        self.flows.clear();
        self.base = Base::of(env.fork);
        self.ancestry = env.ancestry;
        self.ordinal = env.ordinal;
        self.trace = Some(trace);
        self.env = Some(env.id);
    }

    pub(crate) fn trace(&self) -> Option<&Arc<Trace>> {
        self.trace.as_ref()
    }

    pub(crate) fn take_trace(&mut self) -> Option<Arc<Trace>> {
        self.trace.take()
    }

    pub(crate) fn env(&self) -> Option<EnvId> {
        self.env
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn pin(&mut self) {
        self.pins += 1;
    }

    pub(crate) fn unpin(&mut self) {
        self.pins -= 1;
    }

    /// Whether it lies below the forked context whose env this is.
    pub(crate) fn is_below(&self, env: EnvId) -> bool {
        std::iter::successors(self.ancestry.as_deref(), |fork| fork.parent.as_deref()).any(|fork| fork.env == env)
    }

    /// Whether nothing can come any more.
    pub(crate) fn is_over(&self) -> bool {
        self.depth == 0 && self.pins == 0
    }

    fn open(&self) -> &[Frame] {
        &self.frames[..self.depth]
    }

    /// The place of an open frame; the innermost is looked at first.
    #[inline]
    fn find(&self, frame: FrameId) -> Option<usize> {
        self.open().iter().rposition(|open| open.id == frame)
    }

    /// Counts a call of `site` made by `caller` (`None`: by no frame).
    #[inline]
    pub(crate) fn call(
        &mut self,
        caller: Option<FrameId>,
        site: &'static Site,
        node: u32,
        at_base: impl FnOnce() -> u32,
    ) -> Call {
        match caller.and_then(|caller| self.find(caller)) {
            Some(place) => {
                let frame = &mut self.frames[place];
                let occurrence = frame.calls.count(node);
                let key = key::call(frame.call.key, site.hash, occurrence);
                Call { parent: caller, key, occurrence, through_fork: false }
            }
            None => self.base.call(site, at_base()),
        }
    }

    pub(crate) fn base(&self) -> Base {
        self.base
    }

    /// Enters `site`, called as `call`, at the frame `at` (`None`: before any frame).
    #[inline]
    pub(crate) fn enter(
        &mut self,
        at: Option<FrameId>,
        call: Call,
        site: &'static Site,
        node: u32,
        detail: &mut Option<Box<Detail>>,
        out: &mut Output<'_>,
    ) -> Entered {
        let innermost = self.open().last().map(|frame| frame.id);
        if at != innermost || self.dead || self.open_nodes & bit(node) != 0 {
            if let Some(cause) = self.elsewhere(at, node, out) {
                return Entered::Elsewhere(self.departure(cause));
            }
        }
        Entered::Here(self.push(call, site, node, detail.take(), out))
    }

    /// The first rows of the table. `None`: the node is entered here.
    #[cold]
    fn elsewhere(&mut self, at: Option<FrameId>, node: u32, out: &mut Output<'_>) -> Option<Cause> {
        if at.is_some_and(|at| self.find(at).is_none()) {
            return Some(Cause::Detached);
        }
        if self.dead {
            self.recover(out);
        }
        if at != self.open().last().map(|frame| frame.id) {
            return Some(Cause::Overlap);
        }
        self.open().iter().any(|frame| frame.node == node).then_some(Cause::Reentry)
    }

    /// The first frame of a line that was just begun.
    pub(crate) fn enter_first(
        &mut self,
        call: Call,
        site: &'static Site,
        node: u32,
        detail: Option<Box<Detail>>,
        out: &mut Output<'_>,
    ) -> FrameId {
        self.push(call, site, node, detail, out)
    }

    #[inline]
    fn push(
        &mut self,
        call: Call,
        site: &'static Site,
        node: u32,
        detail: Option<Box<Detail>>,
        out: &mut Output<'_>,
    ) -> FrameId {
        self.steps += 1;
        let id = FrameId::new(self.ordinal, self.steps);
        let nodes_below = self.open_nodes;
        self.open_nodes |= bit(node);
        if let Some(frame) = self.frames.get_mut(self.depth) {
            frame.id = id;
            frame.site = site;
            frame.node = node;
            frame.call = call;
            frame.nodes_below = nodes_below;
            frame.calls.reset();
            frame.forks = 0;
        } else {
            self.frames.push(Frame { id, site, node, call, nodes_below, calls: Calls::default(), forks: 0 });
        }
        self.depth += 1;
        if let Some(flow) = site.flow {
            self.check_flow(flow, site, out);
        }
        self.emit(Status::Enter, false, None, id, call, site, detail, out);
        id
    }

    #[cold]
    fn check_flow(&mut self, node: crate::flow::FlowNode, site: &'static Site, out: &mut Output<'_>) {
        let broken = flow::enter(&mut self.flows, node);
        if let (Some(from), Some(env)) = (broken, self.env) {
            let kind = NoteKind::FlowViolation { from };
            let step = self.steps - 1;
            self.seq = out.note(NoteEvent { ticks: 0, seq: self.seq, env, step, site: site.id().site, kind });
            out.violation(node, from);
        }
    }

    /// Ends a frame. Ending it twice does nothing.
    #[inline]
    pub(crate) fn end(&mut self, frame: FrameId, end: End, out: &mut Output<'_>) {
        let Some(place) = self.find(frame) else { return };
        if self.dead {
            if let Some(error) = end.error {
                self.unwind(place, error, out);
                return;
            }
            self.recover(out);
        }
        let status = if end.error.is_some() { Status::Error } else { Status::Exit };
        let open = &self.frames[place];
        let (call, site) = (open.call, open.site);
        self.steps += 1;
        self.remove(place);
        if let Some(node) = site.flow {
            flow::end(&mut self.flows, node, status);
        }
        self.emit(status, false, end.error, frame, call, site, end.detail, out);
        self.dead = status == Status::Error;
    }

    #[cold]
    fn unwind(&mut self, place: usize, error: ErrorKind, out: &mut Output<'_>) {
        let (frame, site) = (self.frames[place].id, self.frames[place].site);
        self.remove(place);
        if let Some(env) = self.env {
            let kind = NoteKind::Unwound { frame, error };
            let note = NoteEvent { ticks: 0, seq: self.seq, env, step: self.steps, site: site.id().site, kind };
            self.seq = out.note(note);
        }
    }

    #[inline]
    fn remove(&mut self, place: usize) {
        self.depth -= 1;
        if place == self.depth {
            self.open_nodes = self.frames[place].nodes_below;
        } else {
            self.remove_inside(place);
        }
    }

    #[cold]
    fn remove_inside(&mut self, place: usize) {
        self.frames[place..=self.depth].rotate_left(1);
        self.open_nodes = 0;
        for frame in &mut self.frames[..self.depth] {
            frame.nodes_below = self.open_nodes;
            self.open_nodes |= bit(frame.node);
        }
    }

    /// Goes on in a new env after an error was handled: enters every frame that is still open again.
    #[cold]
    fn recover(&mut self, out: &mut Output<'_>) {
        let parent = self.env.map(|env| (env, self.steps));
        self.open_env(Cause::Recovery, parent, 0, out);
        for place in 0..self.depth {
            self.steps += 1;
            let frame = &self.frames[place];
            let (id, call, site) = (frame.id, frame.call, frame.site);
            self.emit(Status::Enter, true, None, id, call, site, None, out);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a step")]
    #[inline]
    fn emit(
        &mut self,
        status: Status,
        resumed: bool,
        error: Option<ErrorKind>,
        frame: FrameId,
        call: Call,
        site: &'static Site,
        detail: Option<Box<Detail>>,
        out: &mut Output<'_>,
    ) {
        let Some(env) = self.env else { return };
        let step = StepEvent {
            ticks: 0,
            seq: self.seq,
            env,
            step: self.steps,
            site: site.id().site,
            frame: Some(frame),
            parent: call.parent,
            key: call.key,
            occurrence: call.occurrence,
            status,
            resumed,
            through_fork: call.through_fork,
            error,
        };
        self.seq = out.step(step, detail);
    }

    /// Leaves for an env of its own.
    pub(crate) fn departure(&self, cause: Cause) -> Departure {
        Departure {
            trace: self.trace.clone(),
            cause,
            env: self.env.map(|env| (env, self.steps)),
            seq: self.seq,
            flows: self.flows.clone(),
            fork: None,
            ancestry: self.ancestry.clone(),
        }
    }

    /// Leaves for a fork, at the frame `at`.
    pub(crate) fn fork(&mut self, at: Option<FrameId>, number: impl FnOnce() -> u32) -> Departure {
        let fork = match at.and_then(|at| self.find(at)) {
            Some(place) => {
                let frame = &mut self.frames[place];
                frame.forks += 1;
                Fork::new(at, frame.call.key, frame.forks - 1)
            }
            None => self.base.fork(number()),
        };
        Departure { fork: Some(fork), ..self.departure(Cause::Fork) }
    }
}

#[inline]
const fn bit(node: u32) -> u64 {
    1 << (node % 64)
}
