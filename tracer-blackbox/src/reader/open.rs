//! Which nodes are open: by the entries, and by the table that outlives them.
//!
//! An enter without its end is open, and so is a frame in a block. Where both speak, they have to agree, but for the
//! moment in which the process died: a step is written to its page first, and to the block after that. So the last step
//! of an env counts whatever the block says, and it is looked for among the events of common calls too.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::num::NonZeroU32;

use serde_json::Value;
use tracer::recorder::block::{BLOCK_BYTES, FRAMES, NAME_AT, NodeName};
use tracer::recorder::{PREVIEW_AT, Preview};
use tracer::{EnvId, FrameId, TraceId};

use super::Share;
use super::contents::{
    CAUSE_RECOVERY, Contents, Departure, Envs, FRAME_SHIFT, Full, KIND_ENV, KIND_NOTE, KIND_OVER, KIND_RESUMED,
    KIND_STEP, MAIN, RESUMED, STEP_SHIFT, Seen, place_of,
};
use super::entered::{Calls, Entered};
use super::scan::{Found, KIND_MASK, Scan, Slot, trace_in};
use super::spread::{FrameMap, FrameSet, PlaceMap, Spread};
use super::table::Table;
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
    /// Zero for another.
    step: u64,
    pub(super) site: u32,
    pub(super) ticks: u64,
    /// Its enter, if that is there and was written in full.
    pub(super) enter: Option<Slot>,
    /// What its block has of its values.
    pub(super) preview: Option<Preview>,
    /// Of a step by hand: what its block has of its name.
    pub(super) name: Option<NodeName>,
}

/// What runs.
#[derive(Debug, Default)]
pub(super) struct Running {
    envs: Envs,
    trace_places: Table,
    /// By place.
    pub(super) traces: Vec<TraceId>,
    followed: Vec<Followed>,
    /// The trace that was asked for before: entries of one lie together.
    last_trace: u32,
    /// Of traces that went on after they were over: the entries that say one or the other.
    pub(super) turns: Vec<(TraceId, Slot)>,
    blocks_have_all: bool,
    /// The frames that blocks show, by the place of their trace.
    shown: FrameMap<Shown>,
    /// Likewise by hand, by the place of an env and the step that entered it.
    shown_by_hand: HashMap<(u32, u64), ShownByHand, Spread>,
    /// What is open besides, by the place of its env.
    entered: PlaceMap<Calls>,
    /// Of lines with frames that are in no block, by the place of their env: the innermost in the first block.
    deepest: PlaceMap<u64>,
    /// These frames.
    frames_outside: u64,
}

/// A place in a list; none takes no more room than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(NonZeroU32);

impl Place {
    pub(super) fn new(place: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(place))
    }

    pub(super) fn get(self) -> u32 {
        self.0.get() - 1
    }
}

/// The frames that blocks show, of whatever trace.
#[derive(Debug, Default)]
pub(super) struct ShownFrames {
    frames: FrameSet,
    /// All that is open is among them, but for steps by hand and the last of an env.
    are_all: bool,
    /// Every line has a block.
    pub(super) have_all: bool,
    /// Nothing has to be followed of traces of which nothing else speaks.
    pub(super) may_be_whole: bool,
}

impl ShownFrames {
    /// `follows_all`: whatever may be whole.
    pub(super) fn of(scan: &Scan<'_>, follows_all: bool) -> Self {
        let have_all = blocks_have_all(scan);
        let may_be_whole = have_all && !follows_all;
        let mut shown = Self { frames: FrameSet::default(), are_all: have_all, have_all, may_be_whole };
        for block in scan.valid.superblock.blocks.of(scan.bytes).chunks_exact(BLOCK_BYTES) {
            if u64_at(block, 0) != 0 {
                shown.are_all &= !is_deep(block);
                let frames = block[FRAME_BYTES..].chunks_exact(FRAME_BYTES).map(|frame| u64_at(frame, 0));
                shown.frames.extend(frames.filter(|frame| *frame != 0));
            }
        }
        shown
    }

    /// Whether there is such a frame, of any trace.
    pub(super) fn has(&self, frame: u64) -> bool {
        self.frames.contains(&frame)
    }

    /// The number of a step that says nothing of what is open, unless it is the last of its env.
    pub(super) fn tells_no_more(&self, words: &[u64; 8]) -> Option<u64> {
        let is_none = is_common(words) && self.are_all && !self.frames.contains(&words[4]);
        is_none.then_some(words[3] >> STEP_SHIFT)
    }
}

/// Whether these are of a step of a call that neither failed nor went on with a frame.
pub(super) fn is_common(words: &[u64; 8]) -> bool {
    let (tag, frame) = (words[0], words[4]);
    tag & KIND_MASK == KIND_STEP && frame != 0 && tag & RESUMED == 0 && (tag >> 4) & 7 != FAILED
}

/// Whether a line has frames that are in no block.
fn is_deep(block: &[u8]) -> bool {
    u64_at(block, 6 * 8) & (1 << 33) != 0
}

/// How many; not known before 2.1.
fn frames_outside(block: &[u8]) -> u64 {
    if is_deep(block) { u64_at(block, 9 * 8) } else { 0 }
}

/// A trace, by its entries.
#[derive(Debug)]
struct Followed {
    /// The entry that says that it is over.
    over: Option<Slot>,
    /// A block shows frames of it.
    is_shown: bool,
}

/// An env, by its entries.
#[derive(Debug)]
pub(super) struct Env {
    pub(super) id: u64,
    /// By its place.
    pub(super) trace: Option<Place>,
    pub(super) seen: Seen,
    /// Its own record is there.
    pub(super) is_recorded: bool,
    pub(super) origin: Origin,
    /// Its own record, if that is there.
    pub(super) record: Option<Slot>,
    /// The step by which an error ended it: no common one, so it has a slot.
    pub(super) failed: Option<Slot>,
    /// A frame of it ended by that error after others, so it failed even where the step is not there.
    pub(super) is_unwound: bool,
    /// The env that recovered from that, by its place.
    pub(super) successor: Option<Place>,
}

/// What an env is in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The first.
    Root,
    /// It goes on with the first, by recoveries alone.
    Main,
    Other,
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

/// A node that a block shows, of an env by hand.
#[derive(Debug, Clone, Copy)]
struct ShownByHand {
    ticks: u64,
    name: NodeName,
    enter: Option<Slot>,
    preview: Option<Preview>,
    has_ended: bool,
}

/// Entries whose traces are looked up together.
const AT_ONCE: usize = 256;
pub(super) const CAUSE_ROOT: u64 = 0;
const ENTERED: u64 = 0;
const FAILED: u64 = 2;
const UNWOUND: u64 = 0;

impl Running {
    /// Goes through the entries, in their order.
    pub(super) fn of(scan: &Scan<'_>, contents: &mut Contents, mut share: Share<'_>) -> Self {
        let mut running =
            Self { blocks_have_all: blocks_have_all(scan), envs: mem::take(&mut contents.envs), ..Self::default() };
        running.look_at_blocks(scan);
        running.look_at_departures(&contents.departures);
        // What a block shows need not be looked for among the steps of common calls, but for the last of them.
        let mut events = running.last_events(scan);
        events.append(&mut contents.entered);
        events.sort_by_key(|found| found.seq);
        events.dedup_by_key(|found| found.seq);
        let mut events = events.into_iter().peekable();
        let all = contents.full.len() as u64;
        for (nth, some) in (0..).zip(contents.full.chunks(AT_ONCE)) {
            share.upto(nth * AT_ONCE as u64, all);
            running.look_up_traces(some, scan);
            for Full { seq, slot, env } in some {
                while let Some(event) = events.next_if(|event| event.seq < *seq) {
                    running.take_any(&event, scan);
                }
                if let Some(found) = scan.found(*slot) {
                    running.take(&found, *env, scan);
                }
            }
        }
        events.for_each(|event| running.take_any(&event, scan));
        running
    }

    /// Gives places to the traces that entries name, before these are taken: looking them up one right after the other does
    /// not wait for memory each time.
    fn look_up_traces(&mut self, entries: &[Full], scan: &Scan<'_>) {
        for words in entries.iter().filter_map(|full| scan.words(full.slot)) {
            if let (KIND_ENV, Some(trace)) = (words[0] & KIND_MASK, trace_in(&words)) {
                self.trace(trace);
            }
        }
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
            let at = self.envs.place(env.get());
            let mut deepest = None;
            for frame in block[FRAME_BYTES..].chunks_exact(FRAME_BYTES).take(depth) {
                let word = |word: usize| u64_at(frame, word * 8);
                let (id, site, ticks) = (word(0), u32_at(frame, 8), word(3));
                // No check says that they are of this frame, once the machine went down.
                let preview = Preview::read(word(2), std::array::from_fn(|nth| word(PREVIEW_AT + nth)));
                let preview = preview.filter(|_| !scan.valid.is_torn);
                let name = NodeName::read(word(2), std::array::from_fn(|nth| word(NAME_AT + nth))).filter(|_| id != 0);
                if let Some(name) = name {
                    let step = id & ((1 << FRAME_SHIFT) - 1);
                    let shown = ShownByHand { ticks, name, enter: None, preview, has_ended: false };
                    self.shown_by_hand.insert((at, step), shown);
                    deepest = Some(id);
                } else if id != 0 && (!has_all_names || scan.dictionary.has(site)) {
                    // While one is taken out, those in it are twice there for a moment: the last is whole.
                    self.shown.insert((of, id), Shown { env, site, ticks, enter: None, preview, has_ended: false });
                    self.followed[place_of(of)].is_shown = true;
                    deepest = Some(id);
                }
            }
            if let Some(deepest) = deepest {
                self.at(at).trace = Some(Place::new(of));
                if is_deep(block) {
                    self.deepest.insert(at, deepest);
                    self.frames_outside = self.frames_outside.saturating_add(frames_outside(block));
                }
            }
        }
    }

    /// Learns of envs from those that left them: whose trace they are of, where their own records are gone; and that a
    /// line with more frames than its block has may have entered some of them there.
    fn look_at_departures(&mut self, departures: &[Departure]) {
        for departure in departures {
            let left = self.envs.place(departure.left);
            self.belongs(left, departure.trace);
        }
        if self.deepest.is_empty() {
            return;
        }
        let mut recoveries: Vec<_> = departures.iter().filter(|departure| departure.is_recovery).collect();
        // From the last env of a line to its first, wherever they stand.
        recoveries.sort_unstable_by_key(|departure| Reverse(departure.seq));
        for departure in recoveries {
            let (env, left) = (self.envs.place(departure.env), self.envs.place(departure.left));
            // The block shows the one or, if the process died on the way, the other.
            if let Some(deepest) = self.deepest.get(&env).or(self.deepest.get(&left)).copied() {
                self.deepest.extend([(left, deepest), (env, deepest)]);
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
        entries.filter(|found| found.is_event && envs.contains(&found.words[2])).collect()
    }

    fn at(&mut self, env: u32) -> &mut Env {
        &mut self.envs.all[place_of(env)]
    }

    /// Everything has its place by now.
    pub(super) fn forget_ids(&mut self) {
        self.envs.forget_ids();
        self.trace_places = Table::default();
    }

    /// The envs, by place.
    pub(super) fn envs(&self) -> &[Env] {
        &self.envs.all
    }

    /// Whether an entry says that the trace at a place is over.
    pub(super) fn is_over(&self, trace: u32) -> bool {
        self.followed[place_of(trace)].over.is_some()
    }

    /// The place of a trace.
    fn trace(&mut self, id: TraceId) -> u32 {
        if self.traces.get(place_of(self.last_trace)).is_some_and(|last| *last == id) {
            return self.last_trace;
        }
        let next = u32::try_from(self.traces.len()).unwrap_or(u32::MAX);
        self.last_trace = self.trace_places.get_or(id.get(), next, |place| self.traces[place_of(place)].get());
        if self.last_trace == next {
            self.traces.push(id);
            self.followed.push(Followed { over: None, is_shown: false });
        }
        self.last_trace
    }

    fn belongs(&mut self, env: u32, trace: Option<TraceId>) {
        self.at(env).trace = trace.map(|trace| Place::new(self.trace(trace)));
    }

    fn take_any(&mut self, found: &Found, scan: &Scan<'_>) {
        let env = self.envs.place(found.words[2]);
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
                    _ if frame == 0 => self.end_by_hand(at, six),
                    _ => self.end(at, frame),
                }
                if what == FAILED {
                    self.at(at).failed = found.slot;
                }
            }
            KIND_ENV => {
                self.at(at).origin = match what {
                    CAUSE_ROOT => Origin::Root,
                    CAUSE_RECOVERY if tag & MAIN != 0 => Origin::Main,
                    _ => Origin::Other,
                };
                self.at(at).record = found.slot;
                self.belongs(at, trace_in(&found.words));
                if what == CAUSE_RECOVERY {
                    // What is open goes on in this one.
                    let left = self.envs.place(six);
                    self.at(left).successor = Some(Place::new(at));
                    let entered = self.entered.remove(&left).unwrap_or_default();
                    self.entered.insert(at, entered);
                }
            }
            KIND_NOTE if what == UNWOUND => {
                self.at(at).is_unwound = true;
                self.end(at, frame);
            }
            KIND_OVER => {
                if let (Some(trace), Some(slot)) = (trace_in(&found.words), found.slot) {
                    let of = self.trace(trace);
                    self.followed[place_of(of)].over = Some(slot);
                }
            }
            KIND_RESUMED => {
                if let (Some(trace), Some(slot)) = (trace_in(&found.words), found.slot) {
                    let of = self.trace(trace);
                    let before = self.followed[place_of(of)].over.take();
                    self.turns.extend(before.into_iter().chain([slot]).map(|slot| (trace, slot)));
                    if found.words[2] != 0 {
                        self.at(at).trace = Some(Place::new(of));
                    }
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
        let number = step >> STEP_SHIFT;
        if let Some(shown) = self.shown_by_hand.get_mut(&(at, number)).filter(|_| !is_frame) {
            shown.enter = shown.enter.or(found.slot);
            return;
        }
        let is_last = number + 1 >= self.at(at).seen.end;
        let is_deep = || self.deepest.get(&at).is_some_and(|deepest| frame > *deepest);
        if is_frame && self.blocks_have_all && !is_last && !is_deep() {
            // It has ended by an event, or its block would show it.
            return;
        }
        let run = if is_frame { frame } else { number };
        let entered = self.entered.entry(at).or_default();
        if tag & RESUMED != 0 && entered.has(run, true) {
            return;
        }
        let site = u32::try_from(step & 0xf_ffff).unwrap_or(0);
        entered.push(Entered { run, is_frame, site, ticks, slot: found.slot });
    }

    fn end(&mut self, at: u32, frame: u64) {
        let env = self.at(at).id;
        match self.shown(at, frame) {
            // Behind 2^24 envs, another frame of the trace may have its number.
            Some(shown) if shown.env.get() == env => shown.has_ended = true,
            _ => self.end_of(at, frame, true),
        }
    }

    /// Ends what a step by hand has entered.
    fn end_by_hand(&mut self, at: u32, step: u64) {
        match self.shown_by_hand.get_mut(&(at, step)) {
            Some(shown) => shown.has_ended = true,
            None => self.end_of(at, step, false),
        }
    }

    /// Ends what no block shows.
    fn end_of(&mut self, at: u32, run: u64, is_frame: bool) {
        let Some(entered) = self.entered.get_mut(&at) else { return };
        entered.end(run, is_frame);
        if entered.is_empty() {
            self.entered.remove(&at);
        }
    }

    /// The frame of the trace of an env, if a block shows it.
    fn shown(&mut self, at: u32, frame: u64) -> Option<&mut Shown> {
        let trace = self.at(at).trace.filter(|_| frame != 0)?.get();
        if !self.followed[place_of(trace)].is_shown {
            return None;
        }
        self.shown.get_mut(&(trace, frame))
    }

    /// The trace at a place, unless nothing is to come of it.
    fn goes_on(&self, trace: u32) -> Option<TraceId> {
        (!self.is_over(trace)).then_some(self.traces[place_of(trace)])
    }

    /// The envs of which others say what trace they are of.
    pub(super) fn known(&self) -> impl Iterator<Item = (TraceId, EnvId)> + '_ {
        let known = self.envs().iter().filter(|env| env.record.is_none());
        known.filter_map(|env| Some((self.traces[place_of(env.trace?.get())], EnvId::new(env.id)?)))
    }

    /// An env that some entry or block is of.
    fn get(&self, env: u64) -> Option<&Env> {
        self.envs().get(place_of(self.envs.get(env)?))
    }

    /// Open frames that are in no block, and of which no entry speaks either.
    pub(super) fn frames_missing(&self) -> u64 {
        let deep = self.deepest.keys().filter_map(|env| self.entered.get(env));
        let known = deep.flat_map(Calls::all).count() as u64;
        self.frames_outside.saturating_sub(known)
    }

    /// What is open, in the order in which it was entered.
    pub(super) fn open(&self) -> Vec<Open> {
        let mut open = Vec::new();
        for (at, entered) in &self.entered {
            let env = &self.envs()[place_of(*at)];
            let Some(trace) = env.trace.and_then(|trace| self.goes_on(trace.get())) else { continue };
            let Some(id) = EnvId::new(env.id) else { continue };
            // By hand, an error ends its env, and so what it leaves open.
            let entered = entered.all().into_iter().filter(|entered| entered.is_frame || env.failed.is_none());
            open.extend(entered.map(|Entered { run, is_frame, site, ticks, slot }| {
                let (frame, step) = if is_frame { (run, 0) } else { (0, run) };
                Open { trace, env: id, frame, step, site, ticks, enter: slot, preview: None, name: None }
            }));
        }
        for ((at, step), shown) in self.shown_by_hand.iter().filter(|(_, shown)| !shown.has_ended) {
            let env = &self.envs()[place_of(*at)];
            let Some(trace) = env.trace.and_then(|trace| self.goes_on(trace.get())) else { continue };
            let Some(id) = EnvId::new(env.id).filter(|_| env.failed.is_none()) else { continue };
            let ShownByHand { ticks, name, enter, preview, .. } = *shown;
            open.push(Open { trace, env: id, frame: 0, step: *step, site: 0, ticks, enter, preview, name: Some(name) });
        }
        let shown = self.shown.iter().filter(|(_, shown)| !shown.has_ended);
        open.extend(shown.filter_map(|((trace, frame), shown)| {
            let Shown { env, site, ticks, enter, preview, .. } = *shown;
            let trace = self.goes_on(*trace)?;
            Some(Open { trace, env, frame: *frame, step: 0, site, ticks, enter, preview, name: None })
        }));
        open.sort_by_key(|open| (open.ticks, open.trace, open.frame, open.env, open.step));
        open
    }
}

/// Whether every line of calls has a block: then what no block shows has ended. Not so if blocks may be of another time
/// than pages.
fn blocks_have_all(scan: &Scan<'_>) -> bool {
    let status = scan.status();
    // Before 2.1 it was only said whether there was one at some time.
    let has_one_none = match status.get(Word::LinesOutside) {
        0 => status.get(Word::BlocksMissing) > 0,
        outside => outside > 1,
    };
    !scan.valid.is_torn && status.get(Word::BlocksGiven) > 0 && !has_one_none
}

impl Env {
    /// One of which nothing is there.
    pub(super) fn new(id: u64) -> Self {
        Self {
            id,
            trace: None,
            seen: Seen::NOTHING,
            is_recorded: false,
            origin: Origin::Other,
            record: None,
            failed: None,
            is_unwound: false,
            successor: None,
        }
    }
}
