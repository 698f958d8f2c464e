//! Which nodes are open: by the entries, and by the table that outlives them.
//!
//! An enter without its end is open, and so is a frame in a block. Where both speak, they have to agree, but for the
//! moment in which the process died: a step is written to its page first, and to the block after that. So the last step
//! of an env counts whatever the block says, and it is looked for among the events of common calls too.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use serde_json::Value;
use tracer::recorder::block::{BLOCK_BYTES, FRAMES};
use tracer::{EnvId, FrameId, TraceId};

use super::contents::{
    CAUSE_RECOVERY, Contents, EnvMap, KIND_ENV, KIND_NOTE, KIND_STEP, Mixer, RESUMED, STEP_SHIFT, TraceMap,
};
use super::merge::Merged;
use super::scan::{Found, KIND_MASK, Scan, Slot, trace_in};
use crate::format::{u32_at, u64_at};
use crate::status::Word;

/// A node that was running.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OpenNode {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its env.
    pub env_id: EnvId,
    /// Its frame; `None` for a step by hand.
    pub frame: Option<FrameId>,
    /// Its name.
    pub node: String,
    /// When it was entered, in Unix nanoseconds.
    pub since_unix_ns: u64,
    /// The arguments that were recorded; null if none were, or if they were written over since.
    pub arguments: Value,
}

/// A node that is open, before it has names and times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) trace: TraceId,
    pub(super) env: EnvId,
    /// Zero for a step by hand.
    pub(super) frame: u64,
    pub(super) site: u32,
    pub(super) ticks: u64,
    /// Its enter, if that is there and was written in full.
    pub(super) enter: Option<Slot>,
}

/// What runs.
#[derive(Debug, Default)]
pub(super) struct Running {
    places: EnvMap<usize>,
    pub(super) envs: Vec<Env>,
    /// The env of the entry before, and its place.
    last: (u64, usize),
    /// By trace: the entry that says that it is over.
    over: TraceMap<Slot>,
    /// Of traces that went on after they were over: the entries that say one or the other.
    pub(super) turns: Vec<(TraceId, Slot)>,
    blocks_have_all: bool,
    /// The frames that blocks show.
    shown: HashMap<(TraceId, u64), Shown>,
    /// Traces that have some.
    shown_traces: HashSet<TraceId, BuildHasherDefault<Mixer>>,
}

/// An env, by its entries.
#[derive(Debug, Default)]
pub(super) struct Env {
    pub(super) id: u64,
    pub(super) trace: Option<TraceId>,
    pub(super) is_root: bool,
    /// Its own record, if that is there.
    pub(super) record: Option<Slot>,
    /// When an error ended it, and by which step.
    pub(super) failed: Option<(u64, Option<Slot>)>,
    /// The env that recovered from that.
    pub(super) successor: Option<u64>,
    /// In the order in which they were entered. Not those that blocks show.
    open: Vec<Entered>,
    /// Behind its last step.
    end: u64,
    /// A block shows frames of its trace.
    is_shown: bool,
    /// Of a line with more frames than a block has: the innermost in the block.
    deepest: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Entered {
    /// The frame, or by hand the step.
    run: u64,
    is_frame: bool,
    site: u32,
    ticks: u64,
    slot: Option<Slot>,
}

/// A frame that a block shows.
#[derive(Debug, Clone, Copy)]
struct Shown {
    env: EnvId,
    site: u32,
    ticks: u64,
    /// Its first enter, and whether it is there.
    enter: Option<Slot>,
    /// An entry says that it has ended.
    has_ended: bool,
}

const CAUSE_ROOT: u64 = 0;
const KIND_OVER: u64 = 4;
const KIND_RESUMED: u64 = 5;
const ENTERED: u64 = 0;
const FAILED: u64 = 2;
const UNWOUND: u64 = 0;

impl Running {
    /// Goes through the entries, in their order.
    pub(super) fn of(scan: &Scan<'_>, contents: &Contents) -> Self {
        let mut running = Self { blocks_have_all: blocks_have_all(scan), ..Self::default() };
        running.places.reserve(contents.envs.len());
        running.envs.reserve(contents.envs.len());
        running.look_at_blocks(scan, contents);
        running.look_at_departures(contents);
        if running.blocks_have_all {
            // What a block shows need not be looked for among the steps of common calls, but for the last of them.
            let mut events = running.last_events(scan, contents).into_iter().peekable();
            for (seq, slot) in &contents.full {
                while let Some(event) = events.next_if(|event| event.seq < *seq) {
                    running.take(&event, scan, contents);
                }
                if let Some(found) = scan.found(*slot) {
                    running.take(&found, scan, contents);
                }
            }
            events.for_each(|event| running.take(&event, scan, contents));
        } else {
            Merged::all(scan.clone()).for_each(|found| running.take(&found, scan, contents));
        }
        running
    }

    fn look_at_blocks(&mut self, scan: &Scan<'_>, contents: &Contents) {
        const FRAME_BYTES: usize = 128;
        let has_all_names = scan.status().get(Word::SitesMissing) == 0;
        for block in scan.valid.superblock.blocks.of(scan.bytes).chunks_exact(BLOCK_BYTES) {
            let word = |word: usize| u64_at(block, word * 8);
            // Word 15: it belongs to a thread that this process, a forked one, does not have.
            let (Some(env), 0) = (EnvId::new(word(0)), word(15)) else { continue };
            let Some(trace) = TraceId::new((u128::from(word(1)) << 64) | u128::from(word(2))) else { continue };
            let depth = usize::try_from(word(6) & 0xffff_ffff).unwrap_or(usize::MAX);
            // A depth that no writer makes; or, as a block has no check, an env that no entry is of.
            if depth > FRAMES || (scan.valid.is_torn && !contents.envs.contains_key(&env.get())) {
                continue;
            }
            let is_deep = word(6) & (1 << 33) != 0;
            let mut deepest = None;
            for frame in block[FRAME_BYTES..].chunks_exact(FRAME_BYTES).take(depth) {
                let (id, site, ticks) = (u64_at(frame, 0), u32_at(frame, 8), u64_at(frame, 24));
                if id != 0 && (!has_all_names || scan.dictionary.has(site)) {
                    // While one is taken out, those in it are twice there for a moment: the last is whole.
                    self.shown.insert((trace, id), Shown { env, site, ticks, enter: None, has_ended: false });
                    self.shown_traces.insert(trace);
                    deepest = Some(id);
                }
            }
            let at = self.env(env.get(), contents);
            self.envs[at].deepest = deepest.filter(|_| is_deep);
            if deepest.is_some() {
                self.belongs(at, Some(trace));
            }
        }
    }

    /// Learns of envs from those that left them: whose trace they are of, where their own records are gone; and that a
    /// line with more frames than its block has may have entered some of them there.
    fn look_at_departures(&mut self, contents: &Contents) {
        for departure in contents.departures.iter().rev() {
            let left = self.env(departure.left, contents);
            self.belongs(left, departure.trace);
            if departure.is_recovery {
                let env = self.env(departure.env, contents);
                // The block shows the one or, if the process died on the way, the other.
                let deepest = self.envs[env].deepest.or(self.envs[left].deepest);
                (self.envs[left].deepest, self.envs[env].deepest) = (deepest, deepest);
            }
        }
    }

    /// The events of the pages that have the last steps of the envs of blocks.
    fn last_events(&self, scan: &Scan<'_>, contents: &Contents) -> Vec<Found> {
        let envs: HashSet<u64> = self.shown.values().map(|shown| shown.env.get()).collect();
        let seen = envs.iter().filter_map(|env| contents.envs.get(env));
        let pages: HashSet<u32> = seen.map(|seen| seen.newest).collect();
        let pages = pages.into_iter().filter_map(|page| scan.valid.pages.get(usize::try_from(page).ok()?));
        let entries = pages.flat_map(|page| scan.entries(page));
        let mut events: Vec<_> =
            entries.filter(|found| found.slot.is_none() && envs.contains(&found.words[2])).collect();
        events.sort_unstable_by_key(|found| found.seq);
        events
    }

    fn env(&mut self, env: u64, contents: &Contents) -> usize {
        if self.last.0 == env && env != 0 {
            return self.last.1;
        }
        let (places, envs) = (&mut self.places, &mut self.envs);
        let at = *places.entry(env).or_insert_with(|| {
            let end = contents.envs.get(&env).map_or(0, |seen| seen.end);
            envs.push(Env { id: env, end, ..Env::default() });
            envs.len() - 1
        });
        self.last = (env, at);
        at
    }

    fn belongs(&mut self, at: usize, trace: Option<TraceId>) {
        self.envs[at].trace = trace;
        self.envs[at].is_shown = trace.is_some_and(|trace| self.shown_traces.contains(&trace));
    }

    fn take(&mut self, found: &Found, scan: &Scan<'_>, contents: &Contents) {
        let [tag, _, env, _, frame, _, six, _] = found.words;
        let (kind, what) = (tag & KIND_MASK, (tag >> 4) & 7);
        match kind {
            KIND_STEP => {
                let at = self.env(env, contents);
                if self.envs[at].trace.is_none() {
                    // Steps by hand name their trace.
                    self.belongs(at, scan.detail(found).and_then(|detail| detail.trace()));
                }
                match what {
                    ENTERED => self.enter(at, found),
                    _ if frame == 0 => self.envs[at].end(six, false),
                    _ => self.end(at, frame),
                }
                if what == FAILED {
                    self.envs[at].failed = Some((found.words[1], found.slot));
                }
            }
            KIND_ENV => {
                let at = self.env(env, contents);
                self.envs[at].is_root = what == CAUSE_ROOT;
                self.envs[at].record = found.slot;
                self.belongs(at, trace_in(&found.words));
                if what == CAUSE_RECOVERY {
                    // What is open goes on in this one.
                    let left = self.env(six, contents);
                    self.envs[left].successor = Some(env);
                    let open = std::mem::take(&mut self.envs[left].open);
                    self.envs[at].open = open;
                }
            }
            KIND_NOTE if what == UNWOUND => {
                let at = self.env(env, contents);
                self.end(at, frame);
            }
            KIND_OVER => {
                if let (Some(trace), Some(slot)) = (trace_in(&found.words), found.slot) {
                    self.over.insert(trace, slot);
                }
            }
            KIND_RESUMED => {
                if let (Some(trace), Some(slot)) = (trace_in(&found.words), found.slot) {
                    let before = self.over.remove(&trace);
                    self.turns.extend(before.into_iter().chain([slot]).map(|slot| (trace, slot)));
                    let at = self.env(env, contents);
                    self.belongs(at, Some(trace));
                }
            }
            // Of a later version, or a note that ends nothing.
            _ => {}
        }
    }

    fn enter(&mut self, at: usize, found: &Found) {
        let [tag, ticks, _, step, frame, ..] = found.words;
        let is_frame = frame != 0;
        if let Some(shown) = self.shown(at, frame) {
            // One that is entered anew in another env has its arguments from before.
            shown.enter = shown.enter.or(found.slot);
            return;
        }
        let env = &mut self.envs[at];
        let is_last = (step >> STEP_SHIFT) + 1 >= env.end;
        let is_deep = env.deepest.is_some_and(|deepest| frame > deepest);
        if is_frame && self.blocks_have_all && !is_last && !is_deep {
            // It has ended by an event, or its block would show it.
            return;
        }
        let run = if is_frame { frame } else { step >> STEP_SHIFT };
        if tag & RESUMED != 0 && env.open.iter().any(|open| open.is_frame && open.run == run) {
            return;
        }
        let site = u32::try_from(step & 0xf_ffff).unwrap_or(0);
        env.open.push(Entered { run, is_frame, site, ticks, slot: found.slot });
    }

    fn end(&mut self, at: usize, frame: u64) {
        match self.shown(at, frame) {
            Some(shown) => shown.has_ended = true,
            None => self.envs[at].end(frame, true),
        }
    }

    /// The frame of the trace of an env, if a block shows it.
    fn shown(&mut self, at: usize, frame: u64) -> Option<&mut Shown> {
        let env = &self.envs[at];
        let trace = env.trace.filter(|_| env.is_shown && frame != 0)?;
        self.shown.get_mut(&(trace, frame))
    }

    /// Whether nothing is to come of a trace.
    pub(super) fn is_over(&self, trace: TraceId) -> bool {
        self.over.contains_key(&trace)
    }

    /// The envs of which others say what trace they are of.
    pub(super) fn known(&self) -> impl Iterator<Item = (TraceId, EnvId)> + '_ {
        let known = self.envs.iter().filter(|env| env.record.is_none());
        known.filter_map(|env| Some((env.trace?, EnvId::new(env.id)?)))
    }

    /// An env that some entry or block is of.
    pub(super) fn get(&self, env: u64) -> Option<&Env> {
        self.envs.get(*self.places.get(&env)?)
    }

    /// What is open, in the order in which it was entered.
    pub(super) fn open(&self) -> Vec<Open> {
        let mut open = Vec::new();
        for env in &self.envs {
            let Some(trace) = env.trace.filter(|trace| !self.is_over(*trace)) else { continue };
            let Some(id) = EnvId::new(env.id) else { continue };
            open.extend(env.open.iter().map(|entered| {
                let Entered { run, is_frame, site, ticks, slot } = *entered;
                Open { trace, env: id, frame: if is_frame { run } else { 0 }, site, ticks, enter: slot }
            }));
        }
        let shown = self.shown.iter().filter(|((trace, _), shown)| !shown.has_ended && !self.is_over(*trace));
        open.extend(shown.map(|((trace, frame), shown)| {
            let Shown { env, site, ticks, enter, .. } = *shown;
            Open { trace: *trace, env, frame: *frame, site, ticks, enter }
        }));
        open.sort_by_key(|open| (open.ticks, open.trace, open.frame));
        open
    }
}

/// Whether every line of calls had a block: then what no block shows has ended. Not so if blocks may be of another time
/// than pages.
fn blocks_have_all(scan: &Scan<'_>) -> bool {
    let status = scan.status();
    !scan.valid.is_torn && status.get(Word::BlocksGiven) > 0 && status.get(Word::BlocksMissing) == 0
}

impl Env {
    fn end(&mut self, run: u64, is_frame: bool) {
        // Nearly always the last.
        if let Some(place) = self.open.iter().rposition(|open| open.run == run && open.is_frame == is_frame) {
            self.open.remove(place);
        }
    }
}
