//! What a forked child goes on with. Its parent does, too, under the same ids, in another file: so that both can be read
//! together, what the child made of it is given ids of its own.

use std::collections::{HashMap, HashSet};

use tracer::recorder::Times;
use tracer::{Cause, EnvId, FrameId, Note, Record, TraceId};

use super::contents::{Contents, FRAME_SHIFT, KIND_STEP, RESUMED, STATUS, place_of};
use super::open::{Env, Running};
use super::scan::{KIND_AGAIN, KIND_MASK, KIND_RUN, SEQ_SHIFT, Scan, ValidPage};
use crate::status::Word;

/// What in the file of a forked child goes on from before the fork; in another file nothing.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// That of the child.
    segment: u64,
    /// The number before the lowest of a record that it wrote.
    seq: u64,
    /// The envs, each with the number of the last step before those of the child.
    envs: HashMap<u64, u64>,
    /// Theirs.
    traces: HashSet<TraceId>,
    entered_before: EnteredBefore,
}

/// The frames of these traces that were entered before the fork.
#[derive(Debug)]
enum EnteredBefore {
    /// By steps before these, by the number of an env; or of another env.
    Steps(HashMap<(TraceId, u64), u64>),
    /// Where the first of those steps may be missing: as far as blocks show them.
    Shown(HashSet<(TraceId, u64)>),
}

impl Default for EnteredBefore {
    fn default() -> Self {
        Self::Steps(HashMap::new())
    }
}

/// The highest bit of the number of an env in a frame: it is set in those that are given here.
const GIVEN: u64 = 1 << (63 - FRAME_SHIFT);
const STEP_MASK: u64 = (1 << FRAME_SHIFT) - 1;

impl Inherited {
    /// `is_whole`: of the pages nothing is missing.
    pub(super) fn of(scan: &Scan<'_>, contents: &Contents, running: &Running, times: &Times, is_whole: bool) -> Self {
        let superblock = &scan.valid.superblock;
        if superblock.parent_salt == 0 {
            return Self::default();
        }
        let forked_ticks = scan.status().get(Word::ForkedTicks);
        let is_before = |ticks: u64| match forked_ticks {
            0 => times.unix_ns(ticks) < superblock.created_unix_ns,
            forked => ticks < forked,
        };
        let lowest = scan.valid.pages.iter().map(|page| page.first_seq).min().unwrap_or(u64::MAX);
        let is_inherited = |env: &Env| {
            if env.trace.is_none() || env.seen.records == 0 {
                return false;
            }
            // An env of its own is said once more, too, and that may be all that was not written over.
            let Some(words) = env.record.and_then(|slot| scan.words(slot)) else { return is_whole };
            words[0] & KIND_MASK == KIND_AGAIN && words[0] >> SEQ_SHIFT < lowest && (is_whole || is_before(words[1]))
        };
        let mut envs = HashMap::new();
        for stretch in contents.stretches.iter().filter(|stretch| stretch.from > 0) {
            let env = &running.envs()[place_of(stretch.env)];
            if is_inherited(env) {
                // The first has the lowest.
                envs.entry(env.id).or_insert(stretch.from - 1);
            }
        }
        let traces: HashSet<TraceId> = envs.keys().filter_map(|env| running.trace_of(*env)).collect();
        let entered_before = if is_whole {
            EnteredBefore::Steps(first_steps(scan, running, &envs, &traces))
        } else {
            let shown = running.shown_frames().filter(|(_, ticks)| is_before(*ticks));
            EnteredBefore::Shown(shown.map(|(frame, _)| frame).collect())
        };
        Self { segment: superblock.salt, seq: lowest.saturating_sub(1), envs, traces, entered_before }
    }

    pub(super) fn has(&self, env: u64) -> bool {
        self.envs.contains_key(&env)
    }

    /// How many steps of an env were made before the fork, and are in the file of another process.
    pub(super) fn steps_before(&self, env: u64) -> u64 {
        self.envs.get(&env).copied().unwrap_or(0)
    }

    /// The id of an env as it is given.
    pub(super) fn env(&self, env: EnvId) -> EnvId {
        if !self.has(env.get()) {
            return env;
        }
        EnvId::new(blend(env.get(), self.segment) | 1).unwrap_or(env)
    }

    /// The number of a step of an env as it is given: that of the child's first is 1.
    pub(super) fn step(&self, env: EnvId, step: u64) -> u64 {
        step.saturating_sub(self.steps_before(env.get()))
    }

    /// A frame as it is given.
    pub(super) fn frame(&self, trace: TraceId, frame: FrameId) -> FrameId {
        let (ordinal, step) = (frame.number() >> FRAME_SHIFT, frame.number() & STEP_MASK);
        let is_before = match &self.entered_before {
            EnteredBefore::Steps(first) => first.get(&(trace, ordinal)).is_none_or(|first| step < *first),
            EnteredBefore::Shown(frames) => frames.contains(&(trace, frame.number())),
        };
        if is_before || !self.traces.contains(&trace) {
            return frame;
        }
        let given = GIVEN | (blend(0, self.segment).wrapping_add(ordinal) & (GIVEN - 1));
        FrameId::from_number((given << FRAME_SHIFT) | step).unwrap_or(frame)
    }

    /// A record as it is given.
    pub(super) fn record(&self, mut record: Record) -> Record {
        if self.envs.is_empty() {
            return record;
        }
        match &mut record {
            Record::Env(env) => {
                if let Some(before) = self.envs.get(&env.env_id.get()) {
                    (env.cause, env.parent_env, env.parent_step) = (Cause::Fork, Some(env.env_id), Some(*before));
                    // What the first was given is no payload of this one.
                    (env.seq, env.truncated) = (self.seq, false);
                } else if let Some(parent) = env.parent_env {
                    env.parent_env = Some(self.env(parent));
                    env.parent_step = env.parent_step.map(|step| self.step(parent, step));
                }
                env.env_id = self.env(env.env_id);
            }
            Record::Step(step) => {
                let frame = |frame| self.frame(step.trace_id, frame);
                (step.frame, step.parent) = (step.frame.map(frame), step.parent.map(frame));
                (step.step_id, step.env_id) = (self.step(step.env_id, step.step_id), self.env(step.env_id));
            }
            Record::Note(note) => {
                if let Note::Unwound { frame, .. } = &mut note.note {
                    *frame = self.frame(note.trace_id, *frame);
                }
                (note.step_id, note.env_id) = (self.step(note.env_id, note.step_id), self.env(note.env_id));
            }
        }
        record
    }
}

/// The first step that a child has made in each of its envs of these traces, by the number of the env.
fn first_steps(
    scan: &Scan<'_>,
    running: &Running,
    envs: &HashMap<u64, u64>,
    traces: &HashSet<TraceId>,
) -> HashMap<(TraceId, u64), u64> {
    let mut first_steps = HashMap::new();
    if traces.is_empty() {
        return first_steps;
    }
    let slots = scan.valid.pages.iter().flat_map(ValidPage::valid);
    for words in slots.filter_map(|slot| scan.words(slot)) {
        let ordinal = match words[0] & KIND_MASK {
            KIND_RUN if words[0] >> 4 & 1 == 0 => words[6] & ((GIVEN << 1) - 1),
            KIND_STEP if words[0] & (STATUS | RESUMED) == 0 && words[4] != 0 => words[4] >> FRAME_SHIFT,
            _ => continue,
        };
        let Some(trace) = running.trace_of(words[2]).filter(|trace| traces.contains(trace)) else { continue };
        let first = envs.get(&words[2]).map_or(0, |before| before + 1);
        let known = first_steps.entry((trace, ordinal)).or_insert(first);
        *known = first.min(*known);
    }
    first_steps
}

/// The same for the same two each time, and for any other two most likely something else.
fn blend(one: u64, other: u64) -> u64 {
    let product = u128::from(one ^ 0x9e37_79b9_7f4a_7c15) * u128::from(other ^ 0xd6e8_feb8_6659_fd93);
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    let (high, low) = ((product >> 64) as u64, product as u64);
    high ^ low
}
