//! The rules of the automatic API over one line of calls. No thread, no lock, no ambient anything: what a call asks
//! for, and which steps it makes.
//!
//! A *line* is an env and its recoveries: when an error ends the env and is handled, the line goes on in a new env.

use std::collections::HashMap;
use std::sync::Arc;

use super::blocks::Blocks;
use super::key;
use super::trace::{Source, ThreadLane, Trace};
use crate::flow::{FlowNode, Standing};
use crate::id::{EnvId, FrameId};
use crate::ordinal;
use crate::record::{Cause, ErrorKind};
use crate::recorder::block::{self, Block, FRAMES, Frame};
use crate::recorder::page::OCCURRENCES;
use crate::recorder::{Detail, Entry, EnvEvent, NoteEvent, NoteKind, Tag};
use crate::site::{Site, SiteId};

/// One line of calls.
#[derive(Debug, Default)]
pub(crate) struct Line {
    trace: Option<Arc<Trace>>,
    /// What the next call works on, and what can be read when the process has died.
    blocks: Blocks,
    /// The number of the last record, or a higher one.
    seq: u64,
    said: Said,
    base: Base,
    /// Where each declared flow stands.
    flows: Standing,
    ancestry: Option<Arc<Ancestry>>,
    /// The thread that held it last, by a number.
    holder: u64,
    /// [Where the ordinals began](ordinal::from) when the last was given.
    ordinals_from: u32,
    /// Calls by frames that call more nodes than fit into a block, by frame and node.
    calls: HashMap<(FrameId, u32), u32>,
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
        Call { parent: self.parent, key, occurrence, tag: Tag::enter(self.forked) }
    }

    pub(crate) fn fork(self, number: u64) -> Fork {
        Fork::new(self.parent, self.key, number)
    }
}

impl Fork {
    fn new(parent: Option<FrameId>, key: u64, number: u64) -> Self {
        Self { parent, key: key::fork(key, number), number }
    }

    /// The fork `number` of this one.
    pub(crate) fn again(self, number: u64) -> Self {
        Self { number, key: key::fork(self.key, number), ..self }
    }
}

/// Who called, and for the how manieth time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) parent: Option<FrameId>,
    pub(crate) key: u64,
    pub(crate) occurrence: u32,
    /// Of its enter.
    pub(crate) tag: Tag,
}

impl Call {
    /// By the frame `parent`.
    #[inline]
    pub(crate) fn by(parent: Option<FrameId>, key: u64, site: &Site, occurrence: u32) -> Self {
        Self { parent, key: key::call(key, site.hash, occurrence), occurrence, tag: Tag::enter(false) }
    }
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
    pub(crate) number: u64,
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

/// Where an env was said last, so that it is said once more where a reader finds steps of it and may not find it itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Said {
    /// As it is said once more.
    env: Option<EnvEvent>,
    /// See [`ThreadLane::piece`].
    piece: u64,
}

impl Said {
    /// As the record `env` says it, which had a payload or not; nothing where none is lost.
    pub(crate) fn of(env: EnvEvent, has_payload: bool, piece: u64) -> Self {
        Self { env: (piece != 0).then_some(EnvEvent { lacks_payload: has_payload, ..env }), piece }
    }

    fn is_main(&self) -> bool {
        self.env.is_some_and(|env| env.is_main)
    }

    /// Says it, unless that was done where `out` writes.
    #[inline]
    pub(crate) fn again(&mut self, trace: &Trace, out: &mut ThreadLane) {
        if self.piece != out.piece() {
            if let Some(env) = &self.env {
                out.again(trace, env);
            }
            self.piece = out.piece();
        }
    }
}

/// An env that was recorded and has no step yet.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) id: EnvId,
    pub(crate) ordinal: u32,
    /// Where ordinals began in the process that gave it.
    pub(crate) ordinals_from: u32,
    pub(crate) said: Said,
    pub(crate) seq: u64,
    pub(crate) fork: Option<Fork>,
    pub(crate) flows: Standing,
    pub(crate) ancestry: Option<Arc<Ancestry>>,
}

impl Opened {
    /// The fork `number` of it, made by no frame.
    pub(crate) fn fork_again(&self, number: u64) -> Fork {
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
    /// The line is out of use.
    Nowhere,
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
        let Some(trace) = from.trace else { return };
        self.start(trace, from.fork, from.flows, from.ancestry);
        self.seq = from.seq;
        let number = from.fork.map_or(0, |fork| fork.number);
        self.open_env(from.cause, from.env, number, out);
    }

    fn start(&mut self, trace: Arc<Trace>, fork: Option<Fork>, flows: Standing, ancestry: Option<Arc<Ancestry>>) {
        let block = self.blocks.begin(&trace);
        debug_assert!(self.is_over(), "a line in use is not begun again");
        for word in [block::DEPTH, block::NODES, block::PINS] {
            block.set(word, 0);
        }
        block.is_held_by(self.holder);
        block.set_trace(trace.id);
        let site = if let Source::Site(site) = &trace.source { site.id().site } else { 0 };
        block.set(block::SOURCE, u64::from(site));
        self.base = Base::of(fork);
        self.flows = flows;
        self.ancestry = ancestry;
        self.trace = Some(trace);
    }

    fn open_env(&mut self, cause: Cause, parent: Option<(EnvId, u64)>, fork: u64, out: &mut ThreadLane) {
        let Some(trace) = &self.trace else { return };
        let (env, ordinal) = trace.next_env();
        let is_main = cause == Cause::Root || cause == Cause::Recovery && self.said.is_main();
        let mut event = EnvEvent {
            ticks: 0,
            seq: self.seq,
            env,
            trace: trace.id,
            cause,
            parent,
            site: 0,
            fork,
            is_main,
            lacks_payload: false,
        };
        out.env(trace, &mut event);
        self.seq = event.seq;
        self.said = Said::of(event, false, out.piece());
        self.show_env(env, ordinal);
    }

    fn show_env(&mut self, env: EnvId, ordinal: u32) {
        let Some(block) = self.blocks.first() else { return };
        self.show_ordinal(block, ordinal, 0);
        block.set(block::DEPTH, block.get(block::DEPTH) & !block::DEAD);
        self.blocks.show_env(env);
    }

    /// After so many steps.
    fn show_ordinal(&mut self, block: &Block, ordinal: u32, steps: u64) {
        block.set(block::ORDINAL, u64::from(ordinal));
        block.set(block::LAST, FrameId::raw_of(ordinal.into(), steps));
        self.ordinals_from = ordinal::from();
    }

    /// If the process was forked since, what it enters from now on gets other numbers than what its parent enters.
    #[inline]
    pub(crate) fn number_apart(&mut self) {
        if self.ordinals_from != ordinal::from() {
            self.renumber();
        }
    }

    #[cold]
    #[expect(clippy::cast_possible_truncation, reason = "it is an ordinal, but for a damaged block")]
    fn renumber(&mut self) {
        let Some(block) = self.blocks.first() else { return };
        let ordinal = ordinal::here(block.get(block::ORDINAL) as u32);
        self.show_ordinal(block, ordinal, self.steps());
    }

    /// Takes over an env that was recorded already and has no step yet.
    pub(crate) fn adopt(&mut self, trace: Arc<Trace>, env: Opened) {
        self.start(trace, env.fork, env.flows, env.ancestry);
        (self.seq, self.said) = (env.seq, env.said);
        self.show_env(env.id, env.ordinal);
        self.ordinals_from = env.ordinals_from;
    }

    /// Takes it out of use.
    pub(crate) fn take_trace(&mut self) -> Option<Arc<Trace>> {
        let trace = self.trace.take()?;
        self.blocks.end(&trace.tracer);
        self.calls.clear();
        Some(trace)
    }

    pub(crate) fn trace(&self) -> Option<&Arc<Trace>> {
        self.trace.as_ref()
    }

    pub(crate) fn block(&self) -> Option<&'static Block> {
        self.blocks.first()
    }

    fn get(&self, word: usize) -> u64 {
        self.blocks.first().map_or(0, |block| block.get(word))
    }

    fn set(&self, word: usize, value: u64) {
        if let Some(block) = self.blocks.first() {
            block.set(word, value);
        }
    }

    pub(crate) fn env(&self) -> Option<EnvId> {
        EnvId::new(self.get(block::ENV))
    }

    fn steps(&self) -> u64 {
        FrameId::step_of(self.get(block::LAST))
    }

    /// Counts a step; gives its number as the frame that it may open has it.
    fn step(&self) -> u64 {
        let step = self.get(block::LAST).wrapping_add(1);
        self.set(block::LAST, step);
        step
    }

    fn is_dead(&self) -> bool {
        self.get(block::DEPTH) & block::DEAD != 0
    }

    /// Takes note of the thread that holds it now; whether it is another than before.
    pub(crate) fn is_handed_to(&mut self, thread: u64) -> bool {
        let is_handed = std::mem::replace(&mut self.holder, thread) != thread;
        if is_handed {
            self.blocks.all().for_each(|block| block.is_held_by(thread));
        }
        is_handed
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// Steps were recorded in it, the last with a number up to this one.
    pub(crate) fn passed(&mut self, seq: u64) {
        self.seq = self.seq.max(seq);
    }

    pub(crate) fn pin(&self) {
        self.set(block::PINS, self.get(block::PINS) + 1);
    }

    pub(crate) fn unpin(&self) {
        self.set(block::PINS, self.get(block::PINS).saturating_sub(1));
    }

    /// Whether it lies below the forked context whose env this is.
    pub(crate) fn is_below(&self, env: EnvId) -> bool {
        std::iter::successors(self.ancestry.as_deref(), |fork| fork.parent.as_deref()).any(|fork| fork.env == env)
    }

    /// Whether nothing can come any more.
    pub(crate) fn is_over(&self) -> bool {
        self.trace.is_none() || self.blocks.depth() == 0 && self.get(block::PINS) == 0
    }

    /// The open frames with their places, the innermost first.
    fn open(&self) -> impl Iterator<Item = (usize, Frame<'static>)> + '_ {
        (0..self.blocks.depth()).rev().filter_map(|at| Some((at, self.blocks.frame(at)?)))
    }

    /// The innermost open frame.
    pub(crate) fn innermost(&self) -> Option<FrameId> {
        self.open().next().and_then(|(_, frame)| frame.id())
    }

    /// An open frame and its place; the innermost is looked at first.
    fn find(&self, frame: FrameId) -> Option<(usize, Frame<'static>)> {
        self.open().find(|(_, open)| open.raw_id() == frame.raw())
    }

    /// Counts a call of `site` made by `caller` (`None`: by no frame), which begins now.
    pub(crate) fn call(
        &mut self,
        caller: Option<FrameId>,
        site: &'static Site,
        node: u32,
        at_base: impl FnOnce() -> u32,
    ) -> Call {
        let Some((place, frame)) = caller.and_then(|caller| self.find(caller)) else {
            return self.base.call(site, at_base());
        };
        let occurrence = frame.count(node).unwrap_or_else(|| self.count(frame, node));
        let (key, _) = self.key(place);
        Call::by(frame.id(), key, site, occurrence)
    }

    /// Likewise, of one that begins later or never.
    pub(crate) fn call_later(
        &mut self,
        caller: Option<FrameId>,
        site: &'static Site,
        node: u32,
        at_base: impl FnOnce() -> u32,
    ) -> Call {
        if let Some((_, frame)) = caller.and_then(|caller| self.find(caller)) {
            if frame.await_call() > OCCURRENCES.into() {
                // A reader could not tell the occurrences of those that begin from what it has seen.
                self.count_elsewhere(frame);
            }
        }
        self.call(caller, site, node, at_base)
    }

    /// Counts a call that there is no room for in the block.
    #[cold]
    fn count(&mut self, frame: Frame<'_>, node: u32) -> u32 {
        let Some(id) = frame.id() else { return 0 };
        frame.mark_more();
        let calls = self.calls.entry((id, node)).or_default();
        *calls = calls.wrapping_add(1);
        calls.wrapping_sub(1)
    }

    #[cold]
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    fn count_elsewhere(&mut self, frame: Frame<'_>) {
        let Some(id) = frame.id() else { return };
        for calls in frame.count_elsewhere().into_iter().filter(|calls| *calls != 0) {
            self.calls.insert((id, (calls >> 32) as u32), calls as u32);
        }
    }

    /// The key and the parent of the frame at a place.
    fn key(&self, place: usize) -> (u64, u64) {
        let (Some(first), Some(frame)) = (self.blocks.first(), self.blocks.frame(place)) else { return (0, 0) };
        if place < FRAMES {
            return first.key(place as u64);
        }
        // Only the common calls, all of them in the first block, leave it out.
        frame.key().unwrap_or_default()
    }

    /// The key of the innermost frame.
    pub(crate) fn innermost_key(&self) -> u64 {
        self.blocks.depth().checked_sub(1).map_or(0, |place| self.key(place).0)
    }

    /// The key of an open frame, if that is a run of `site`.
    pub(crate) fn key_of(&self, frame: FrameId, site: &'static Site) -> Option<u64> {
        let (place, found) = self.find(frame)?;
        (found.site().node == site.id().node).then(|| self.key(place).0)
    }

    pub(crate) fn base(&self) -> Base {
        self.base
    }

    /// Enters `site`, called as `call`, at the frame `at` (`None`: before any frame). `later`: the call was
    /// [counted](Self::call_later) before.
    #[expect(clippy::too_many_arguments, reason = "a call, and where it is made")]
    pub(crate) fn enter(
        &mut self,
        at: Option<FrameId>,
        call: Call,
        later: bool,
        site: &'static Site,
        id: SiteId,
        detail: &mut Option<Box<Detail>>,
        out: &mut ThreadLane,
    ) -> Entered {
        if let Some((_, caller)) = call.parent.and_then(|parent| self.find(parent)) {
            if later {
                caller.begin_call();
            }
        }
        if at != self.innermost() || self.is_dead() || self.get(block::NODES) & bit(id.node) != 0 {
            if let Some(cause) = self.elsewhere(at, id.node, out) {
                return Entered::Elsewhere(Box::new((self.departure(cause), call)));
            }
        }
        self.enter_first(call, site, id, detail.take(), out).map_or(Entered::Nowhere, Entered::Here)
    }

    /// The first rows of the table. `None`: the node is entered here.
    #[cold]
    fn elsewhere(&mut self, at: Option<FrameId>, node: u32, out: &mut ThreadLane) -> Option<Cause> {
        if at.is_some_and(|at| self.find(at).is_none()) {
            return Some(Cause::Detached);
        }
        if self.is_dead() {
            self.recover(out);
        }
        if at != self.innermost() {
            return Some(Cause::Overlap);
        }
        self.open().any(|(_, frame)| frame.site().node == node).then_some(Cause::Reentry)
    }

    /// Enters `site` as the innermost frame: of a line that was just begun, the first. `None`: it is out of use.
    pub(crate) fn enter_first(
        &mut self,
        call: Call,
        site: &'static Site,
        id: SiteId,
        detail: Option<Box<Detail>>,
        out: &mut ThreadLane,
    ) -> Option<FrameId> {
        let depth = self.blocks.depth();
        let frame = self.blocks.room(depth, self.trace.as_ref()?)?;
        let frame_id = FrameId::from_raw(self.step())?;
        let nodes = self.get(block::NODES);
        if let Some(flow) = site.flow {
            self.check_flow(flow, site, out);
        }
        let preview = detail.as_ref().and_then(|detail| detail.preview());
        let ticks = self.emit(frame_id, call, id.site, call.tag, detail, out);
        frame.open(block::Opened {
            id: frame_id.raw(),
            site: id,
            occurrence: call.occurrence,
            ticks,
            nodes_below: nodes,
            key: None,
        });
        frame.set_uncommon(block::Uncommon {
            key: call.key,
            parent: call.parent.map_or(0, FrameId::raw),
            through_fork: call.tag.is_through_fork(),
            in_flow: site.flow.is_some(),
        });
        if let Some(preview) = preview {
            frame.set_preview(preview);
        }
        self.set(block::NODES, nodes | bit(id.node));
        self.blocks.set_depth(depth + 1);
        Some(frame_id)
    }

    #[cold]
    fn check_flow(&mut self, node: FlowNode, site: &'static Site, out: &mut ThreadLane) {
        let missing = self.flows.enter(node);
        if let (Some(missing), Some(env)) = (missing, self.env()) {
            let kind = NoteKind::FlowViolation { from: missing.from };
            let step = self.steps().saturating_sub(1);
            self.seq = out.note(NoteEvent { ticks: 0, seq: self.seq, env, step, site: site.id().site, kind });
            out.violation(node, missing);
        }
    }

    /// Ends a frame. Ending it twice does nothing.
    pub(crate) fn end(&mut self, frame: FrameId, end: End, out: &mut ThreadLane) {
        let Some((place, open)) = self.find(frame) else { return };
        if self.is_dead() {
            if let Some(error) = end.error {
                self.unwind(place, frame, error, out);
                return;
            }
            self.recover(out);
        }
        let (call, site) = (self.call_of(place, open), open.site().site);
        if let Some(node) = open.is_in_flow().then(|| crate::site::site(site)).flatten().and_then(|site| site.flow) {
            self.flows.end(node, end.error.is_some());
        }
        self.step();
        self.emit(frame, call, site, call.tag.end(end.error), end.detail, out);
        self.remove(place);
        if end.error.is_some() {
            self.set(block::DEPTH, self.get(block::DEPTH) | block::DEAD);
        }
    }

    /// The call that opened the frame at a place.
    fn call_of(&self, place: usize, frame: Frame<'_>) -> Call {
        let (key, parent) = self.key(place);
        Call { parent: FrameId::from_raw(parent), key, occurrence: frame.occurrence(), tag: frame.tag() }
    }

    #[cold]
    fn unwind(&mut self, place: usize, frame: FrameId, error: ErrorKind, out: &mut ThreadLane) {
        let Some(site) = self.blocks.frame(place).map(|frame| frame.site().site) else { return };
        if let Some(env) = self.env() {
            let kind = NoteKind::Unwound { frame, error };
            let note = NoteEvent { ticks: 0, seq: self.seq, env, step: self.steps(), site, kind };
            self.seq = out.note(note);
            self.say(out);
        }
        self.remove(place);
    }

    fn remove(&mut self, place: usize) {
        let Some((depth, removed)) = self.blocks.depth().checked_sub(1).zip(self.blocks.frame(place)) else { return };
        if removed.has_more() {
            let id = removed.id();
            self.calls.retain(|(frame, _), _| Some(*frame) != id);
        }
        // Those in it get another before them.
        for at in place + 1..=depth {
            self.key(at);
        }
        let mut nodes = removed.nodes_below();
        for at in place..depth {
            let (Some(to), Some(from)) = (self.blocks.frame(at), self.blocks.frame(at + 1)) else { break };
            to.copy(from);
            to.set_nodes_below(nodes);
            nodes |= bit(to.site().node);
        }
        self.set(block::NODES, nodes);
        self.blocks.set_depth(depth);
    }

    /// Goes on in a new env after an error was handled: enters every frame that is still open again.
    #[cold]
    fn recover(&mut self, out: &mut ThreadLane) {
        let parent = self.env().map(|env| (env, self.steps()));
        self.open_env(Cause::Recovery, parent, 0, out);
        for place in 0..self.blocks.depth() {
            let Some(frame) = self.blocks.frame(place) else { break };
            let Some(id) = frame.id() else { break };
            let (call, site) = (self.call_of(place, frame), frame.site().site);
            self.step();
            self.emit(id, call, site, call.tag.again(), None, out);
        }
    }

    /// Records the step that was just counted; gives its ticks.
    fn emit(
        &mut self,
        frame: FrameId,
        call: Call,
        site: u32,
        tag: Tag,
        detail: Option<Box<Detail>>,
        out: &mut ThreadLane,
    ) -> u64 {
        let Some(env) = self.env() else { return 0 };
        let entry = Entry::step(env, self.steps(), site, frame, call.parent, call.key, call.occurrence, tag);
        let written = out.step(entry, self.seq, detail);
        self.seq = written.seq;
        self.say(out);
        written.ticks
    }

    /// Says its env where `out` writes, if that was not done there.
    #[inline]
    pub(crate) fn say(&mut self, out: &mut ThreadLane) {
        if let Some(trace) = &self.trace {
            self.said.again(trace, out);
        }
    }

    /// Leaves for an env of its own.
    pub(crate) fn departure(&self, cause: Cause) -> Departure {
        Departure {
            trace: self.trace.clone(),
            cause,
            env: self.env().map(|env| (env, self.steps())),
            seq: self.seq,
            flows: self.flows.clone(),
            fork: None,
            ancestry: self.ancestry.clone(),
        }
    }

    /// Leaves for a fork, at the frame `at`.
    pub(crate) fn fork(&mut self, at: Option<FrameId>, number: impl FnOnce() -> u64) -> Departure {
        let fork = match at.and_then(|at| self.find(at)) {
            Some((place, frame)) => Fork::new(at, self.key(place).0, frame.fork()),
            None => self.base.fork(number()),
        };
        Departure { fork: Some(fork), ..self.departure(Cause::Fork) }
    }
}

#[inline]
pub(crate) const fn bit(node: u32) -> u64 {
    1 << (node % 64)
}
