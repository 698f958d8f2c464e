//! Which steps of which env stand where: without putting the steps of common calls into words, which would take ten
//! times as long.
//!
//! Steps of an env are numbered without a gap, so a header of a run of events and their count say which they are.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use tracer::TraceId;
use tracer::recorder::SiteNumbers;
use tracer::recorder::page::SLOT_WORDS;

use super::scan::{Found, KIND_ENTER, KIND_EXIT, KIND_MASK, KIND_RUN, SEQ_SHIFT, Scan, Slot, ValidPage, trace_in};

pub(super) const KIND_STEP: u64 = 1;
pub(super) const KIND_ENV: u64 = 2;
pub(super) const KIND_NOTE: u64 = 3;
pub(super) const CAUSE_RECOVERY: u64 = 4;
/// In the tag of a step: what happened; 0 is an enter.
const STATUS: u64 = 7 << 4;
/// Likewise: it goes on with a frame that is open.
pub(super) const RESUMED: u64 = 1 << 9;
/// In the word of a step, its number stands above the function.
pub(super) const STEP_SHIFT: u32 = 20;
/// Ticks in a unit of the time of an event.
const TIME_UNIT: u64 = 4;

/// Numbers of envs and traces are random already; a multiplication spreads them.
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

    #[expect(clippy::cast_possible_truncation, reason = "half of the bits are enough")]
    fn write_u128(&mut self, number: u128) {
        self.write_u64(number as u64);
    }
}

type EnvMap<T> = HashMap<u64, T, BuildHasherDefault<Mixer>>;
pub(super) type EnvSet = HashSet<u64, BuildHasherDefault<Mixer>>;
pub(super) type TraceMap<T> = HashMap<TraceId, T, BuildHasherDefault<Mixer>>;

/// Records of one env that stand in one page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// By its place among the envs.
    pub(super) env: u32,
    /// Its first step and the one behind its last, without a gap between. 0 is the env's own record.
    pub(super) from: u64,
    pub(super) to: u64,
    /// By its place among the pages.
    pub(super) page: u32,
}

/// What there is of an env, or of a trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Its records: itself, its steps and its notes.
    pub(super) records: u64,
    pub(super) steps: u64,
    /// 1 if its own record is there; of many, their number.
    pub(super) envs: u64,
    /// Steps that enter a node for the first time.
    pub(super) spans: u64,
    /// The lowest number of a record.
    pub(super) first_seq: u64,
    pub(super) first_ticks: u64,
    pub(super) last_ticks: u64,
    /// Behind its last step.
    pub(super) end: u64,
    /// The page that has the last step.
    pub(super) newest: u32,
}

/// An env left another one, which is of the same trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    pub(super) trace: Option<TraceId>,
    pub(super) env: u64,
    pub(super) left: u64,
    /// What was open there goes on in it.
    pub(super) is_recovery: bool,
}

/// An entry that was written in full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Full {
    pub(super) seq: u64,
    pub(super) slot: Slot,
    /// What it says of which env, by its place.
    pub(super) env: u32,
}

/// Numbers envs in the order in which they are met, so that all that is known of one is found without its id.
#[derive(Debug, Default)]
pub(super) struct EnvPlaces {
    places: EnvMap<u32>,
    /// The env that was asked for before, and its place: entries of one lie together.
    last: Option<(u64, u32)>,
}

/// What stands in the pages of a file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// What was written in full, by number: all but the steps of common calls.
    pub(super) full: Vec<Full>,
    /// When anything was last written.
    pub(super) last_ticks: u64,
    pub(super) stretches: Vec<Stretch>,
    pub(super) places: EnvPlaces,
    /// The envs with their ids, by place.
    pub(super) envs: Vec<(u64, Seen)>,
    /// Where envs left others.
    pub(super) departures: Vec<Departure>,
    /// Of the page that is looked at.
    growing: Vec<(Stretch, Seen)>,
}

/// The run that events belong to.
#[derive(Clone, Copy)]
struct Run {
    env: u64,
    /// The numbers of the next step and record.
    step: u64,
    seq: u64,
    /// What events count from.
    began: u64,
    ticks: u64,
}

impl EnvPlaces {
    pub(super) fn get(&self, env: u64) -> Option<u32> {
        self.places.get(&env).copied()
    }

    /// The place of an env. If it had none, that is `next`.
    pub(super) fn get_or(&mut self, env: u64, next: usize) -> u32 {
        match self.last {
            Some((last, place)) if last == env => place,
            _ => {
                // No file has as many slots.
                let next = u32::try_from(next).unwrap_or(u32::MAX);
                let place = *self.places.entry(env).or_insert(next);
                self.last = Some((env, place));
                place
            }
        }
    }
}

impl Contents {
    /// Takes what stands in a page; gives the lowest number in it.
    pub(super) fn take(&mut self, scan: &Scan<'_>, page: &ValidPage) -> u64 {
        let place = u32::try_from(scan.valid.pages.len()).unwrap_or(u32::MAX);
        let (full_len, departures_len) = (self.full.len(), self.departures.len());
        let counted = page.whole().and_then(|slots| self.count(scan, page, place, slots));
        let first_seq = counted.unwrap_or_else(|| {
            self.full.truncate(full_len);
            self.departures.truncate(departures_len);
            self.growing.clear();
            self.decode(scan, page, place)
        });
        for (stretch, seen) in self.growing.drain(..) {
            self.last_ticks = self.last_ticks.max(seen.last_ticks);
            self.stretches.push(stretch);
            self.envs[place_of(stretch.env)].1.add(&seen);
        }
        first_seq
    }

    /// Puts in order what was taken.
    pub(super) fn finish(&mut self) {
        // Both are nearly in order, which a stable sort makes use of.
        self.full.sort_by_key(|full| full.seq);
        self.full.dedup_by_key(|full| full.seq);
        self.stretches.sort_by_key(|stretch| (stretch.env, stretch.from, stretch.to, stretch.page));
    }

    fn env(&mut self, env: u64) -> u32 {
        let place = self.places.get_or(env, self.envs.len());
        if place_of(place) == self.envs.len() {
            self.envs.push((env, Seen::NOTHING));
        }
        place
    }

    /// Counts events by the headers before them. `None`: they are not as a thread writes them, so that they have to be
    /// decoded.
    fn count(&mut self, scan: &Scan<'_>, page: &ValidPage, place: u32, slots: usize) -> Option<u64> {
        let (mut run, mut is_cut, mut first_seq) = (None::<Run>, false, u64::MAX);
        for nth in 0..slots {
            let slot = Slot::new(page.number, nth);
            let words = scan.words(slot)?;
            let seq = words[0] >> SEQ_SHIFT;
            match words[0] & KIND_MASK {
                KIND_STEP..=5 => {
                    first_seq = first_seq.min(seq);
                    let env = self.see(place, seq, &words);
                    self.full.push(Full { seq, slot, env });
                    let is_step = words[0] & KIND_MASK == KIND_STEP;
                    if let Some(run) = run.as_mut() {
                        run.seq = seq + 1;
                        if is_step && run.env == words[2] {
                            run.step = (words[3] >> STEP_SHIFT) + 1;
                            run.ticks = run.ticks.max(words[1]);
                        }
                    }
                }
                KIND_RUN if words[0] >> 4 & 1 == 0 => {
                    first_seq = first_seq.min(seq);
                    let [_, began, env, step, ..] = words;
                    run = Some(Run { env, step, seq, began, ticks: began });
                }
                KIND_ENTER | KIND_EXIT => {
                    let run = run.as_mut().filter(|run| run.env != 0 && !is_cut)?;
                    let env = self.env(run.env);
                    let (stretch, seen) = run.events(scan, &words, env, place)?;
                    is_cut = words[SLOT_WORDS - 1] == 0;
                    self.grow(stretch, seen);
                    continue;
                }
                0 => {
                    is_cut = true;
                    continue;
                }
                // Of a later version, or part of something.
                _ => {}
            }
            is_cut = false;
        }
        Some(first_seq)
    }

    fn decode(&mut self, scan: &Scan<'_>, page: &ValidPage, place: u32) -> u64 {
        let entries = scan.entries(page);
        for Found { seq, words, slot } in &entries {
            let (seq, env) = (*seq, self.see(place, *seq, words));
            self.full.extend(slot.map(|slot| Full { seq, slot, env }));
        }
        entries.first().map_or(u64::MAX, |found| found.seq)
    }

    /// Gives the place of the env that an entry is of.
    fn see(&mut self, page: u32, seq: u64, words: &[u64; 8]) -> u32 {
        let [tag, ticks, env, step, ..] = *words;
        let id = env;
        let env = self.env(id);
        let number = step >> STEP_SHIFT;
        let (from, to) = match tag & KIND_MASK {
            KIND_STEP => (number, number + 1),
            KIND_ENV => (0, 1),
            KIND_NOTE => (number + 1, number + 1),
            _ => return env,
        };
        let is_step = tag & KIND_MASK == KIND_STEP;
        let is_enter = is_step && tag & (STATUS | RESUMED) == 0;
        if tag & KIND_MASK == KIND_ENV && words[6] != 0 {
            let is_recovery = tag >> 4 & 7 == CAUSE_RECOVERY;
            self.departures.push(Departure { trace: trace_in(words), env: id, left: words[6], is_recovery });
        }
        let stretch = Stretch { env, from, to, page };
        self.grow(
            stretch,
            Seen {
                records: 1,
                steps: u64::from(is_step),
                envs: u64::from(tag & KIND_MASK == KIND_ENV),
                spans: u64::from(is_enter),
                first_seq: seq,
                first_ticks: ticks,
                last_ticks: ticks,
                end: to,
                newest: page,
            },
        );
        env
    }

    fn grow(&mut self, stretch: Stretch, seen: Seen) {
        match self.growing.last_mut() {
            Some((last, all)) if last.env == stretch.env && last.to == stretch.from => {
                last.to = stretch.to;
                all.add(&seen);
            }
            _ => self.growing.push((stretch, seen)),
        }
    }
}

impl Run {
    /// The steps that the events of a slot are.
    fn events(&mut self, scan: &Scan<'_>, words: &[u64; 8], env: u32, page: u32) -> Option<(Stretch, Seen)> {
        let (mut steps, mut spans, mut first_ticks) = (0, 0, 0);
        for word in words.iter().take_while(|word| **word != 0) {
            match word & KIND_MASK {
                KIND_ENTER => spans += 1,
                KIND_EXIT => {}
                _ => return None,
            }
            let site = u32::try_from(word >> 12 & 0xf_ffff).unwrap_or(0);
            scan.dictionary.numbers().node(site)?;
            self.ticks = self.ticks.max(self.began.saturating_add((word >> 32) * TIME_UNIT));
            if steps == 0 {
                first_ticks = self.ticks;
            }
            steps += 1;
        }
        let is_cut = words.iter().skip_while(|word| **word != 0).any(|word| *word != 0);
        if is_cut {
            return None;
        }
        let (from, seq) = (self.step, self.seq);
        (self.step, self.seq) = (from.checked_add(steps)?, seq + steps);
        let stretch = Stretch { env, from, to: self.step, page };
        let seen = Seen {
            records: steps,
            steps,
            envs: 0,
            spans,
            first_seq: seq,
            first_ticks,
            last_ticks: self.ticks,
            end: self.step,
            newest: page,
        };
        Some((stretch, seen))
    }
}

/// A place of an env as an index.
pub(super) fn place_of(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

impl Seen {
    /// No record.
    pub(super) const NOTHING: Self = Self {
        records: 0,
        steps: 0,
        envs: 0,
        spans: 0,
        first_seq: u64::MAX,
        first_ticks: u64::MAX,
        last_ticks: 0,
        end: 0,
        newest: 0,
    };

    pub(super) fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.steps += other.steps;
        self.envs += other.envs;
        self.spans += other.spans;
        self.first_seq = self.first_seq.min(other.first_seq);
        self.first_ticks = self.first_ticks.min(other.first_ticks);
        self.last_ticks = self.last_ticks.max(other.last_ticks);
        if other.end > self.end {
            (self.end, self.newest) = (other.end, other.newest);
        }
    }
}
