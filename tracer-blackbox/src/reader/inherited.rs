//! What a forked child goes on with. Its parent does, too, under the same ids, in another file: so that both can be read
//! together, what the child made of it is given ids of its own. Frames that it entered have numbers of their own already.

use std::collections::HashMap;

use tracer::recorder::Times;
use tracer::{Cause, EnvId, Record};

use super::contents::{Contents, KIND_NOTE, KIND_STEP, place_of};
use super::open::{Env, Running};
use super::scan::{KIND_AGAIN, KIND_MASK, KIND_RUN, SEQ_SHIFT, Scan, ValidPage};
use crate::status::Word;

/// What in the file of a forked child goes on from before the fork; in another file nothing.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// That of the child.
    segment: u64,
    envs: HashMap<u64, Before>,
}

/// What an env has in the file of another process.
#[derive(Debug, Clone, Copy)]
struct Before {
    /// The number of its last step there.
    steps: u64,
    /// The number before that of its first record here.
    seq: u64,
}

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
        let is_inherited = |env: &Env| {
            if env.trace.is_none() || env.seen.records == 0 {
                return false;
            }
            // An env of its own is said once more, too, and that may be all that was not written over.
            let Some(words) = env.record.and_then(|slot| scan.words(slot)) else { return is_whole };
            words[0] & KIND_MASK == KIND_AGAIN && is_before(words[1])
        };
        let mut envs = HashMap::new();
        for stretch in contents.stretches.iter().filter(|stretch| stretch.from > 0) {
            let env = &running.envs()[place_of(stretch.env)];
            if is_inherited(env) {
                // The first has the lowest.
                envs.entry(env.id).or_insert(Before { steps: stretch.from - 1, seq: u64::MAX });
            }
        }
        find_first(scan, &mut envs);
        Self { segment: superblock.salt, envs }
    }

    pub(super) fn has(&self, env: u64) -> bool {
        self.envs.contains_key(&env)
    }

    /// How many steps of an env were made before the fork, and are in the file of another process.
    pub(super) fn steps_before(&self, env: u64) -> u64 {
        self.envs.get(&env).map_or(0, |before| before.steps)
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

    /// A record as it is given.
    pub(super) fn record(&self, mut record: Record) -> Record {
        if self.envs.is_empty() {
            return record;
        }
        match &mut record {
            Record::Env(env) => {
                if let Some(before) = self.envs.get(&env.env_id.get()) {
                    (env.cause, env.parent_env, env.parent_step) = (Cause::Fork, Some(env.env_id), Some(before.steps));
                    // What the first was given is no payload of this one.
                    (env.seq, env.truncated) = (before.seq, false);
                } else if let Some(parent) = env.parent_env {
                    env.parent_env = Some(self.env(parent));
                    env.parent_step = env.parent_step.map(|step| self.step(parent, step));
                }
                env.env_id = self.env(env.env_id);
            }
            Record::Step(step) => {
                (step.step_id, step.env_id) = (self.step(step.env_id, step.step_id), self.env(step.env_id));
            }
            Record::Note(note) => {
                (note.step_id, note.env_id) = (self.step(note.env_id, note.step_id), self.env(note.env_id));
            }
        }
        record
    }
}

/// Finds the first record of each of these envs.
fn find_first(scan: &Scan<'_>, envs: &mut HashMap<u64, Before>) {
    if envs.is_empty() {
        return;
    }
    let slots = scan.valid.pages.iter().flat_map(ValidPage::valid);
    for words in slots.filter_map(|slot| scan.words(slot)) {
        if matches!(words[0] & KIND_MASK, KIND_RUN | KIND_STEP | KIND_NOTE) {
            if let Some(before) = envs.get_mut(&words[2]) {
                before.seq = before.seq.min((words[0] >> SEQ_SHIFT).saturating_sub(1));
            }
        }
    }
}

/// The same for the same two each time, and for any other two most likely something else.
fn blend(one: u64, other: u64) -> u64 {
    let product = u128::from(one ^ 0x9e37_79b9_7f4a_7c15) * u128::from(other ^ 0xd6e8_feb8_6659_fd93);
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    let (high, low) = ((product >> 64) as u64, product as u64);
    high ^ low
}
