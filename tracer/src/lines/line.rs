//! The rules of the automatic API over one line of calls. No thread, no lock, no ambient anything: what a call asks
//! for, and which steps it makes.
//!
//! A *line* is an env and its recoveries: when an error ends the env and is handled, the line goes on in a new env.

use std::sync::Arc;

use super::key::{self, Calls};
use super::trace::{ThreadLane, Trace};
use crate::flow::{FlowNode, Missing, Standing};
use crate::id::{EnvId, FrameId};
use crate::record::{Cause, ErrorKind};
use crate::recorder::{Detail, Entry, NoteEvent, NoteKind, Tail};
use crate::site::{Site, SiteId};

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
    flows: Standing,
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
        Call { parent: self.parent, key, tail: Tail::new(occurrence, self.forked) }
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
    /// The number of the site.
    number: u32,
    node: u32,
    call: Call,
    /// `open_nodes` without this frame and those in it.
    nodes_below: u64,
    calls: Calls,
    forks: u32,
}

impl Frame {
    /// Counts a call of `site` made by it.
    #[inline]
    fn call(&mut self, site: &'static Site, node: u32) -> Call {
        let occurrence = self.calls.count(node);
        let key = key::call(self.call.key, site.hash, occurrence);
        Call { parent: Some(self.id), key, tail: Tail::new(occurrence, false) }
    }
}

/// Who called, and for the how manieth time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) parent: Option<FrameId>,
    pub(crate) key: u64,
    pub(crate) tail: Tail,
}

/// Where an env leaves another.
#[derive(Debug, Clone)]
pub(crate) struct Departure {
    pub(crate) trace: Option<Arc<Trace>>,
    pub(crate) cause: Cause,
    pub(crate) env: Option<(EnvId, u64)>,
    pub(crate) seq: u64,
    pub(crate) flows: Standing,
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
            flows: Standing::default(),
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
    pub(crate) flows: Standing,
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
    /// It belongs into an env of its own. Rare, so it is not to burden the other.
    Elsewhere(Box<(Departure, Call)>),
}

/// How a frame ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) error: Option<ErrorKind>,
    pub(crate) detail: Option<Box<Detail>>,
}

impl Line {
    /// Makes it the line of a new env, and records that.
    pub(crate) fn begin(&mut self, from: Departure, out: &mut ThreadLane) {
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

    fn open_env(&mut self, cause: Cause, parent: Option<(EnvId, u64)>, fork: u32, out: &mut ThreadLane) {
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
        self.flows = env.flows;
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

    /// The innermost open frame.
    pub(crate) fn innermost(&self) -> Option<FrameId> {
        self.open().last().map(|frame| frame.id)
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
            Some(place) => self.frames[place].call(site, node),
            None => self.base.call(site, at_base()),
        }
    }

    pub(crate) fn base(&self) -> Base {
        self.base
    }

    /// The common case, all in one: the innermost frame calls, and the last row of the table holds. `None`: it is
    /// not that case, and nothing was done.
    #[inline(never)]
    pub(crate) fn enter_below(
        &mut self,
        caller: FrameId,
        site: &'static Site,
        id: SiteId,
        out: &mut ThreadLane,
    ) -> Option<FrameId> {
        let innermost = self.frames[..self.depth].last_mut()?;
        if innermost.id != caller || self.dead || self.open_nodes & bit(id.node) != 0 {
            return None;
        }
        let call = innermost.call(site, id.node);
        let frame = self.push_frame(call, site, id);
        self.emit_plain(frame, call, id.site, call.tail.enter(false), out);
        Some(frame)
    }

    /// The common case of [`end`](Self::end): the innermost frame ends well. `false`: it is not that case.
    #[inline]
    pub(crate) fn end_innermost(&mut self, frame: FrameId, out: &mut ThreadLane) -> bool {
        let Some(innermost) = self.frames[..self.depth].last() else { return false };
        if innermost.id != frame || self.dead || innermost.site.flow.is_some() {
            return false;
        }
        let (call, site) = (innermost.call, innermost.number);
        self.open_nodes = innermost.nodes_below;
        self.depth -= 1;
        self.steps += 1;
        self.emit_plain(frame, call, site, call.tail.end(None), out);
        true
    }

    /// Enters `site`, called as `call`, at the frame `at` (`None`: before any frame).
    #[inline]
    pub(crate) fn enter(
        &mut self,
        at: Option<FrameId>,
        call: Call,
        site: &'static Site,
        id: SiteId,
        detail: &mut Option<Box<Detail>>,
        out: &mut ThreadLane,
    ) -> Entered {
        let innermost = self.open().last().map(|frame| frame.id);
        if at != innermost || self.dead || self.open_nodes & bit(id.node) != 0 {
            if let Some(cause) = self.elsewhere(at, id.node, out) {
                return Entered::Elsewhere(Box::new((self.departure(cause), call)));
            }
        }
        Entered::Here(self.push(call, site, id, detail.take(), out))
    }

    /// The first rows of the table. `None`: the node is entered here.
    #[cold]
    fn elsewhere(&mut self, at: Option<FrameId>, node: u32, out: &mut ThreadLane) -> Option<Cause> {
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
        id: SiteId,
        detail: Option<Box<Detail>>,
        out: &mut ThreadLane,
    ) -> FrameId {
        self.push(call, site, id, detail, out)
    }

    #[inline]
    fn push(
        &mut self,
        call: Call,
        site: &'static Site,
        id: SiteId,
        detail: Option<Box<Detail>>,
        out: &mut ThreadLane,
    ) -> FrameId {
        let frame = self.push_frame(call, site, id);
        if let Some(flow) = site.flow {
            self.check_flow(flow, site, out);
        }
        self.emit(frame, call, id.site, call.tail.enter(false), detail, out);
        frame
    }

    /// Counts the step of an enter and opens its frame.
    #[inline]
    fn push_frame(&mut self, call: Call, site: &'static Site, id: SiteId) -> FrameId {
        self.steps += 1;
        let frame_id = FrameId::new(self.ordinal, self.steps);
        let nodes_below = self.open_nodes;
        self.open_nodes |= bit(id.node);
        if self.depth == self.frames.len() {
            self.add_frame(frame_id, site);
        }
        if let Some(frame) = self.frames.get_mut(self.depth) {
            frame.id = frame_id;
            frame.site = site;
            frame.number = id.site;
            frame.node = id.node;
            frame.call = call;
            frame.nodes_below = nodes_below;
            frame.calls.reset();
            frame.forks = 0;
        }
        self.depth += 1;
        frame_id
    }

    /// Room for one more, to be filled in.
    #[cold]
    #[inline(never)]
    fn add_frame(&mut self, id: FrameId, site: &'static Site) {
        let call = Call { parent: None, key: 0, tail: Tail::new(0, false) };
        let calls = Calls::default();
        self.frames.push(Frame { id, site, number: 0, node: 0, call, nodes_below: 0, calls, forks: 0 });
    }

    #[cold]
    fn check_flow(&mut self, node: FlowNode, site: &'static Site, out: &mut ThreadLane) {
        let missing = self.flows.enter(node);
        if let (Some(Missing { from }), Some(env)) = (missing, self.env) {
            let kind = NoteKind::FlowViolation { from };
            let step = self.steps - 1;
            self.seq = out.note(NoteEvent { ticks: 0, seq: self.seq, env, step, site: site.id().site, kind });
            out.violation(node, from);
        }
    }

    /// Ends a frame. Ending it twice does nothing.
    #[inline]
    pub(crate) fn end(&mut self, frame: FrameId, end: End, out: &mut ThreadLane) {
        let Some(place) = self.find(frame) else { return };
        if self.dead {
            if let Some(error) = end.error {
                self.unwind(place, error, out);
                return;
            }
            self.recover(out);
        }
        let open = &self.frames[place];
        let (call, site, number) = (open.call, open.site, open.number);
        self.steps += 1;
        self.remove(place);
        if let Some(node) = site.flow {
            self.flows.end(node, end.error.is_some());
        }
        self.emit(frame, call, number, call.tail.end(end.error), end.detail, out);
        self.dead = end.error.is_some();
    }

    #[cold]
    fn unwind(&mut self, place: usize, error: ErrorKind, out: &mut ThreadLane) {
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
    fn recover(&mut self, out: &mut ThreadLane) {
        let parent = self.env.map(|env| (env, self.steps));
        self.open_env(Cause::Recovery, parent, 0, out);
        for place in 0..self.depth {
            self.steps += 1;
            let frame = &self.frames[place];
            let (id, call, number) = (frame.id, frame.call, frame.number);
            self.emit(id, call, number, call.tail.enter(true), None, out);
        }
    }

    /// Records the step that was just counted. `last` is the last word of its entry.
    fn emit(
        &mut self,
        frame: FrameId,
        call: Call,
        site: u32,
        last: u64,
        detail: Option<Box<Detail>>,
        out: &mut ThreadLane,
    ) {
        let Some(detail) = detail else { return self.emit_plain(frame, call, site, last, out) };
        let Some(env) = self.env else { return };
        let entry = Entry::step(env, self.steps, site, frame, call.parent, call.key, last);
        self.seq = out.step_with(entry, self.seq, detail);
    }

    /// Likewise, of a step without a detail: most.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "hands over eight words, which then stay in registers")]
    fn emit_plain(&mut self, frame: FrameId, call: Call, site: u32, last: u64, out: &mut ThreadLane) {
        let Some(env) = self.env else { return };
        let entry = Entry::step(env, self.steps, site, frame, call.parent, call.key, last);
        self.seq = out.step(entry, self.seq);
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
