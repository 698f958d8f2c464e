//! Which nodes are open: by the entries, and by the table that outlives them.
//!
//! An enter without its end is open, and so is a frame in a block. Where both speak, they have to agree, but for the
//! moment in which the process died: a step is written to its page first, and to the block after that. So the last step
//! of an env counts whatever the block says, and it is looked for among the events of common calls too.

use std::collections::{HashMap, HashSet};
use std::mem;

use serde_json::Value;
use tracer::recorder::block::{BLOCK_BYTES, FRAMES};
use tracer::recorder::{PREVIEW_AT, Preview};
use tracer::{EnvId, FrameId, TraceId};

use super::contents::{
    CAUSE_RECOVERY, Contents, Departure, EnvPlaces, Full, KIND_ENV, KIND_NOTE, KIND_STEP, RESUMED, STEP_SHIFT, Seen,
    TraceMap, place_of,
};
use super::merge::Merged;
use super::scan::{Found, KIND_MASK, Scan, Slot, trace_in};
use crate::format::{FRAME_BYTES, u32_at, u64_at};
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
    /// The arguments that were recorded; null if none were. Where its enter was written over since, the first 24 bytes of
    /// them as `MessagePack`: null then if the line of calls had no block.
    pub arguments: Value,
    /// Part of the arguments was left out.
    pub truncated: bool,
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
    /// What its block has of its values.
    pub(super) preview: Option<Preview>,
}

/// What runs.
#[derive(Debug, Default)]
pub(super) struct Running {
    places: EnvPlaces,
    pub(super) envs: Vec<Env>,
    trace_places: TraceMap<u32>,
    pub(super) traces: Vec<Followed>,
    /// The trace that was asked for before: entries of one lie together.
    last_trace: u32,
    /// Of traces that went on after they were over: the entries that say one or the other.
    pub(super) turns: Vec<(TraceId, Slot)>,
    blocks_have_all: bool,
    /// The frames that blocks show, by the place of their trace.
    shown: HashMap<(u32, u64), Shown>,
}

/// A trace, by its entries.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) id: TraceId,
    /// The entry that says that it is over.
    pub(super) over: Option<Slot>,
    /// A block shows frames of it.
    is_shown: bool,
}

/// An env, by its entries.
#[derive(Debug)]
pub(super) struct Env {
    pub(super) id: u64,
    /// By its place.
    pub(super) trace: Option<u32>,
    pub(super) seen: Seen,
    pub(super) is_root: bool,
    /// Its own record, if that is there.
    pub(super) record: Option<Slot>,
    /// When an error ended it, and by which step.
    pub(super) failed: Option<(u64, Option<Slot>)>,
    /// The env that recovered from that, by its place.
    pub(super) successor: Option<u32>,
    /// In the order in which they were entered. Not those that blocks show.
    open: Vec<Entered>,
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
    preview: Option<Preview>,
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
    pub(super) fn of(scan: &Scan<'_>, contents: &mut Contents) -> Self {
        let envs = contents.envs.iter().map(|(id, seen)| Env::new(*id, *seen));
        let mut running = Self {
            blocks_have_all: blocks_have_all(scan),
            envs: envs.collect(),
            places: mem::take(&mut contents.places),
            ..Self::default()
        };
        running.look_at_blocks(scan);
        running.look_at_departures(&contents.departures);
        if running.blocks_have_all {
            // What a block shows need not be looked for among the steps of common calls, but for the last of them.
            let mut events = running.last_events(scan).into_iter().peekable();
            for Full { seq, slot, env } in &contents.full {
                while let Some(event) = events.next_if(|event| event.seq < *seq) {
                    running.take_any(&event, scan);
                }
                if let Some(found) = scan.found(*slot) {
                    running.take(&found, *env, scan);
                }
            }
            events.for_each(|event| running.take_any(&event, scan));
        } else {
            Merged::all(scan.clone()).for_each(|found| running.take_any(&found, scan));
        }
        running
    }

    fn look_at_blocks(&mut self, scan: &Scan<'_>) {
        let has_all_names = scan.status().get(Word::SitesMissing) == 0;
        for block in scan.valid.superblock.blocks.of(scan.bytes).chunks_exact(BLOCK_BYTES) {
            let word = |word: usize| u64_at(block, word * 8);
            // Word 15: it belongs to a thread that this process, a forked one, does not have.
            let (Some(env), 0) = (EnvId::new(word(0)), word(15)) else { continue };
            let Some(trace) = TraceId::new((u128::from(word(1)) << 64) | u128::from(word(2))) else { continue };
            let depth = usize::try_from(word(6) & 0xffff_ffff).unwrap_or(usize::MAX);
            // A depth that no writer makes; or, as a block has no check, an env that no entry is of.
            let is_known = || self.get(env.get()).is_some_and(|env| env.seen.records > 0);
            if depth > FRAMES || (scan.valid.is_torn && !is_known()) {
                continue;
            }
            let of = self.trace(trace);
            let is_deep = word(6) & (1 << 33) != 0;
            let mut deepest = None;
            for frame in block[FRAME_BYTES..].chunks_exact(FRAME_BYTES).take(depth) {
                let word = |word: usize| u64_at(frame, word * 8);
                let (id, site, ticks) = (word(0), u32_at(frame, 8), word(3));
                if id != 0 && (!has_all_names || scan.dictionary.has(site)) {
                    // While one is taken out, those in it are twice there for a moment: the last is whole.
                    // No check says that they are of this frame, once the machine went down.
                    let preview = Preview::read(word(2), std::array::from_fn(|nth| word(PREVIEW_AT + nth)));
                    let preview = preview.filter(|_| !scan.valid.is_torn);
                    self.shown.insert((of, id), Shown { env, site, ticks, enter: None, preview, has_ended: false });
                    self.traces[place_of(of)].is_shown = true;
                    deepest = Some(id);
                }
            }
            let at = self.env(env.get());
            self.at(at).deepest = deepest.filter(|_| is_deep);
            if deepest.is_some() {
                self.at(at).trace = Some(of);
            }
        }
    }

    /// Learns of envs from those that left them: whose trace they are of, where their own records are gone; and that a
    /// line with more frames than its block has may have entered some of them there.
    fn look_at_departures(&mut self, departures: &[Departure]) {
        for departure in departures.iter().rev() {
            let left = self.env(departure.left);
            self.belongs(left, departure.trace);
            if departure.is_recovery {
                let env = self.env(departure.env);
                // The block shows the one or, if the process died on the way, the other.
                let deepest = self.at(env).deepest.or(self.at(left).deepest);
                self.at(left).deepest = deepest;
                self.at(env).deepest = deepest;
            }
        }
    }

    /// The events of the pages that have the last steps of the envs of blocks.
    fn last_events(&self, scan: &Scan<'_>) -> Vec<Found> {
        let envs: HashSet<u64> = self.shown.values().map(|shown| shown.env.get()).collect();
        let seen = envs.iter().filter_map(|env| self.get(*env)).map(|env| env.seen);
        let pages: HashSet<u32> = seen.filter(|seen| seen.records > 0).map(|seen| seen.newest).collect();
        let pages = pages.into_iter().filter_map(|page| scan.valid.pages.get(usize::try_from(page).ok()?));
        let entries = pages.flat_map(|page| scan.entries(page));
        let mut events: Vec<_> =
            entries.filter(|found| found.slot.is_none() && envs.contains(&found.words[2])).collect();
        events.sort_unstable_by_key(|found| found.seq);
        events
    }

    /// The place of an env.
    fn env(&mut self, env: u64) -> u32 {
        let place = self.places.get_or(env, self.envs.len());
        if place_of(place) == self.envs.len() {
            self.envs.push(Env::new(env, Seen::NOTHING));
        }
        place
    }

    fn at(&mut self, env: u32) -> &mut Env {
        &mut self.envs[place_of(env)]
    }

    /// The place of a trace.
    fn trace(&mut self, id: TraceId) -> u32 {
        if self.traces.get(place_of(self.last_trace)).is_some_and(|last| last.id == id) {
            return self.last_trace;
        }
        let next = u32::try_from(self.traces.len()).unwrap_or(u32::MAX);
        self.last_trace = *self.trace_places.entry(id).or_insert(next);
        if self.last_trace == next {
            self.traces.push(Followed { id, over: None, is_shown: false });
        }
        self.last_trace
    }

    fn belongs(&mut self, env: u32, trace: Option<TraceId>) {
        self.at(env).trace = trace.map(|trace| self.trace(trace));
    }

    fn take_any(&mut self, found: &Found, scan: &Scan<'_>) {
        let env = self.env(found.words[2]);
        self.take(found, env, scan);
    }

    /// Takes an entry, of the env at this place.
    fn take(&mut self, found: &Found, at: u32, scan: &Scan<'_>) {
        let [tag, _, _, _, frame, _, six, _] = found.words;
        let (kind, what) = (tag & KIND_MASK, (tag >> 4) & 7);
        match kind {
            KIND_STEP => {
                if self.at(at).trace.is_none() {
                    // Steps by hand name their trace.
                    self.belongs(at, scan.detail(found).and_then(|detail| detail.trace()));
                }
                match what {
                    ENTERED => self.enter(at, found),
                    _ if frame == 0 => self.at(at).end(six, false),
                    _ => self.end(at, frame),
                }
                if what == FAILED {
                    self.at(at).failed = Some((found.words[1], found.slot));
                }
            }
            KIND_ENV => {
                self.at(at).is_root = what == CAUSE_ROOT;
                self.at(at).record = found.slot;
                self.belongs(at, trace_in(&found.words));
                if what == CAUSE_RECOVERY {
                    // What is open goes on in this one.
                    let left = self.env(six);
                    self.at(left).successor = Some(at);
                    self.at(at).open = mem::take(&mut self.at(left).open);
                }
            }
            KIND_NOTE if what == UNWOUND => self.end(at, frame),
            KIND_OVER => {
                if let (Some(trace), Some(slot)) = (trace_in(&found.words), found.slot) {
                    let of = self.trace(trace);
                    self.traces[place_of(of)].over = Some(slot);
                }
            }
            KIND_RESUMED => {
                if let (Some(trace), Some(slot)) = (trace_in(&found.words), found.slot) {
                    let of = self.trace(trace);
                    let before = self.traces[place_of(of)].over.take();
                    self.turns.extend(before.into_iter().chain([slot]).map(|slot| (trace, slot)));
                    self.at(at).trace = Some(of);
                }
            }
            // Of a later version, or a note that ends nothing.
            _ => {}
        }
    }

    fn enter(&mut self, at: u32, found: &Found) {
        let [tag, ticks, _, step, frame, ..] = found.words;
        let is_frame = frame != 0;
        if let Some(shown) = self.shown(at, frame) {
            // One that is entered anew in another env has its arguments from before.
            shown.enter = shown.enter.or(found.slot);
            return;
        }
        let blocks_have_all = self.blocks_have_all;
        let env = self.at(at);
        let is_last = (step >> STEP_SHIFT) + 1 >= env.seen.end;
        let is_deep = env.deepest.is_some_and(|deepest| frame > deepest);
        if is_frame && blocks_have_all && !is_last && !is_deep {
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

    fn end(&mut self, at: u32, frame: u64) {
        match self.shown(at, frame) {
            Some(shown) => shown.has_ended = true,
            None => self.at(at).end(frame, true),
        }
    }

    /// The frame of the trace of an env, if a block shows it.
    fn shown(&mut self, at: u32, frame: u64) -> Option<&mut Shown> {
        let trace = self.at(at).trace.filter(|_| frame != 0)?;
        if !self.traces[place_of(trace)].is_shown {
            return None;
        }
        self.shown.get_mut(&(trace, frame))
    }

    /// The trace at a place, unless nothing is to come of it.
    fn goes_on(&self, trace: u32) -> Option<TraceId> {
        let trace = &self.traces[place_of(trace)];
        trace.over.is_none().then_some(trace.id)
    }

    /// The envs of which others say what trace they are of.
    pub(super) fn known(&self) -> impl Iterator<Item = (TraceId, EnvId)> + '_ {
        let known = self.envs.iter().filter(|env| env.record.is_none());
        known.filter_map(|env| Some((self.traces[place_of(env.trace?)].id, EnvId::new(env.id)?)))
    }

    /// An env that some entry or block is of.
    fn get(&self, env: u64) -> Option<&Env> {
        self.envs.get(place_of(self.places.get(env)?))
    }

    /// What is open, in the order in which it was entered.
    pub(super) fn open(&self) -> Vec<Open> {
        let mut open = Vec::new();
        for env in &self.envs {
            let Some(trace) = env.trace.and_then(|trace| self.goes_on(trace)) else { continue };
            let Some(id) = EnvId::new(env.id) else { continue };
            open.extend(env.open.iter().map(|entered| {
                let Entered { run, is_frame, site, ticks, slot } = *entered;
                let frame = if is_frame { run } else { 0 };
                Open { trace, env: id, frame, site, ticks, enter: slot, preview: None }
            }));
        }
        let shown = self.shown.iter().filter(|(_, shown)| !shown.has_ended);
        open.extend(shown.filter_map(|((trace, frame), shown)| {
            let Shown { env, site, ticks, enter, preview, .. } = *shown;
            Some(Open { trace: self.goes_on(*trace)?, env, frame: *frame, site, ticks, enter, preview })
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
    fn new(id: u64, seen: Seen) -> Self {
        Self {
            id,
            trace: None,
            seen,
            is_root: false,
            record: None,
            failed: None,
            successor: None,
            open: Vec::new(),
            deepest: None,
        }
    }

    fn end(&mut self, run: u64, is_frame: bool) {
        // Nearly always the last.
        if let Some(place) = self.open.iter().rposition(|open| open.run == run && open.is_frame == is_frame) {
            self.open.remove(place);
        }
    }
}
