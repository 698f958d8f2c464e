//! Which nodes are open: by the entries, and by the table that outlives them.
//!
//! An enter without its end is open, and so is a frame in a block. Where both speak, they have to agree, but for the
//! moment in which the process died: a step is written to its page first, and to the block after that.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use serde_json::Value;
use tracer::recorder::block::{BLOCK_BYTES, FRAMES};
use tracer::{EnvId, FrameId, TraceId};

use super::scan::{Found, Scan, trace_in};
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
    pub(super) enter: Option<Found>,
}

/// What runs, by env.
#[derive(Debug, Default)]
pub(super) struct Running {
    envs: HashMap<u64, Env, BuildHasherDefault<Mixer>>,
    over: HashSet<TraceId>,
    blocks_have_all: bool,
    /// Frames of blocks that have been seen to end.
    ended: HashSet<(TraceId, u64)>,
    /// Enters of frames that blocks show.
    entered: HashMap<(TraceId, u64), Found>,
}

#[derive(Debug, Default)]
struct Env {
    trace: Option<TraceId>,
    /// In the order in which they were entered.
    open: Vec<Entered>,
}

#[derive(Debug, Clone, Copy)]
struct Entered {
    /// The frame, or by hand the step.
    run: u64,
    is_frame: bool,
    site: u32,
    ticks: u64,
    place: Found,
}

/// Numbers of envs are random already; a multiplication spreads them.
#[derive(Debug, Default)]
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// A frame that a block shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) trace: TraceId,
    pub(super) env: EnvId,
    frame: u64,
    site: u32,
    ticks: u64,
    /// The line has more frames, which no block shows.
    is_deep: bool,
}

/// The frames that blocks show.
pub(super) fn shown(scan: &Scan<'_>) -> Vec<Shown> {
    const FRAME_BYTES: usize = 128;
    let mut found = Vec::new();
    for block in scan.superblock.blocks.of(scan.bytes).chunks_exact(BLOCK_BYTES) {
        let word = |word: usize| u64_at(block, word * 8);
        // Word 15: it belongs to a thread that this process, a forked one, does not have.
        let (Some(env), 0) = (EnvId::new(word(0)), word(15)) else { continue };
        let Some(trace) = TraceId::new((u128::from(word(1)) << 64) | u128::from(word(2))) else { continue };
        let depth = usize::try_from(word(6) & 0xffff_ffff).unwrap_or(usize::MAX);
        if depth > FRAMES {
            // No writer makes that.
            continue;
        }
        let is_deep = word(6) & (1 << 33) != 0;
        let frames = block[FRAME_BYTES..].chunks_exact(FRAME_BYTES).take(depth);
        found.extend(frames.map(|frame| Shown {
            trace,
            env,
            frame: u64_at(frame, 0),
            site: u32_at(frame, 8),
            ticks: u64_at(frame, 24),
            is_deep,
        }));
    }
    let has_all_names = scan.status().get(Word::SitesMissing) == 0;
    found.retain(|shown| shown.frame != 0 && (!has_all_names || scan.dictionary.has(shown.site)));
    if scan.is_torn {
        // A block has no check. It is believed where entries say that there was such an env.
        let envs: HashSet<u64> = scan.full.iter().map(|found| found.words[2]).collect();
        found.retain(|shown| envs.contains(&shown.env.get()));
    }
    found
}

/// Whether every line of calls had a block: then what no block shows has ended. Not so if blocks may be of another time
/// than pages.
fn blocks_have_all(scan: &Scan<'_>) -> bool {
    let status = scan.status();
    !scan.is_torn && status.get(Word::BlocksGiven) > 0 && status.get(Word::BlocksMissing) == 0
}

const KIND_STEP: u64 = 1;
const KIND_ENV: u64 = 2;
const KIND_NOTE: u64 = 3;
const KIND_OVER: u64 = 4;
const KIND_RESUMED: u64 = 5;
const CAUSE_RECOVERY: u64 = 4;

impl Running {
    /// Goes through all entries, in their order.
    pub(super) fn of(scan: &Scan<'_>, shown: &[Shown]) -> Self {
        let mut running = Self::default();
        let watched: HashSet<(TraceId, u64)> = shown.iter().map(|shown| (shown.trace, shown.frame)).collect();
        for shown in shown {
            running.env(shown.env.get()).trace = Some(shown.trace);
        }
        // What a block shows need not be looked for among the steps of common calls.
        running.blocks_have_all = blocks_have_all(scan);
        let all = if running.blocks_have_all { None } else { Some(scan.entries()) };
        for found in all.as_ref().unwrap_or(&scan.full) {
            running.take(found, &watched);
        }
        running
    }

    fn env(&mut self, env: u64) -> &mut Env {
        self.envs.entry(env).or_default()
    }

    fn take(&mut self, found: &Found, watched: &HashSet<(TraceId, u64)>) {
        let [tag, ticks, env, step, four, _, six, _] = found.words;
        let (kind, what) = (tag & 15, (tag >> 4) & 7);
        let trace = || trace_in(&found.words);
        match kind {
            KIND_STEP => {
                let is_frame = four != 0;
                let at = self.env(env);
                if what == 0 {
                    let run = if is_frame { four } else { step >> 20 };
                    let site = u32::try_from(step & 0xf_ffff).unwrap_or(0);
                    at.open.push(Entered { run, is_frame, site, ticks, place: *found });
                    self.note_enter(env, four, found, watched);
                } else {
                    let run = if is_frame { four } else { six };
                    at.end(run, is_frame);
                    self.note_end(env, four, watched);
                }
            }
            KIND_ENV => {
                if what == CAUSE_RECOVERY {
                    // Its frames are entered anew in this one.
                    self.env(six).open.clear();
                }
                self.env(env).trace = trace();
            }
            KIND_NOTE if what == 0 => {
                self.env(env).end(four, true);
                self.note_end(env, four, watched);
            }
            KIND_OVER => self.over.extend(trace()),
            KIND_RESUMED => {
                if let Some(trace) = trace() {
                    self.over.remove(&trace);
                    self.env(env).trace = Some(trace);
                }
            }
            // Of a later version, or a note that ends nothing.
            _ => {}
        }
    }

    fn note_enter(&mut self, env: u64, frame: u64, found: &Found, watched: &HashSet<(TraceId, u64)>) {
        if watched.is_empty() {
            return;
        }
        if let Some(trace) = self.env(env).trace.filter(|trace| watched.contains(&(*trace, frame))) {
            // The first: one that is entered anew in another env has its arguments from before.
            self.entered.entry((trace, frame)).or_insert(*found);
        }
    }

    fn note_end(&mut self, env: u64, frame: u64, watched: &HashSet<(TraceId, u64)>) {
        if watched.is_empty() {
            return;
        }
        if let Some(trace) = self.env(env).trace.filter(|trace| watched.contains(&(*trace, frame))) {
            self.ended.insert((trace, frame));
        }
    }

    /// Whose trace an env is of.
    pub(super) fn trace_of(&self, env: u64) -> Option<TraceId> {
        self.envs.get(&env)?.trace
    }

    /// Whose trace an entry is of.
    pub(super) fn trace_of_words(&self, words: &[u64; 8]) -> Option<TraceId> {
        match words[0] & 15 {
            KIND_STEP | KIND_NOTE => self.trace_of(words[2]),
            _ => trace_in(words),
        }
    }

    /// The traces that are known, and whether something may still come of each.
    pub(super) fn traces(&self) -> impl Iterator<Item = (TraceId, bool)> + '_ {
        let mut known = HashSet::new();
        let traces = self.envs.values().filter_map(|env| env.trace);
        traces.filter(move |trace| known.insert(*trace)).map(|trace| (trace, !self.over.contains(&trace)))
    }

    /// What is open, in the order in which it was entered.
    pub(super) fn open(&self, shown: &[Shown]) -> Vec<Open> {
        let in_blocks: HashSet<(TraceId, u64)> = shown.iter().map(|shown| (shown.trace, shown.frame)).collect();
        let deep: HashSet<TraceId> = shown.iter().filter(|shown| shown.is_deep).map(|shown| shown.trace).collect();
        let mut open = Vec::new();
        let mut listed = HashSet::new();
        for (id, env) in &self.envs {
            let Some(trace) = env.trace.filter(|trace| !self.over.contains(trace)) else { continue };
            let Some(id) = EnvId::new(*id) else { continue };
            for entered in &env.open {
                let frame = if entered.is_frame { entered.run } else { 0 };
                let is_missing = entered.is_frame
                    && self.blocks_have_all
                    && !in_blocks.contains(&(trace, frame))
                    && !deep.contains(&trace)
                    && !entered.place.is_last;
                if is_missing || (entered.is_frame && !listed.insert((trace, frame))) {
                    continue;
                }
                let Entered { site, ticks, place, .. } = *entered;
                open.push(Open { trace, env: id, frame, site, ticks, enter: Some(place) });
            }
        }
        for shown in shown {
            let frame_of = (shown.trace, shown.frame);
            if self.over.contains(&shown.trace) || self.ended.contains(&frame_of) || !listed.insert(frame_of) {
                continue;
            }
            let Shown { trace, env, frame, site, ticks, .. } = *shown;
            open.push(Open { trace, env, frame, site, ticks, enter: self.entered.get(&frame_of).copied() });
        }
        open.sort_by_key(|open| (open.ticks, open.trace, open.frame));
        open
    }
}

impl Env {
    fn end(&mut self, run: u64, is_frame: bool) {
        // Nearly always the last.
        if let Some(place) = self.open.iter().rposition(|open| open.run == run && open.is_frame == is_frame) {
            self.open.remove(place);
        }
    }
}
