//! Which steps of which env stand where: without putting the steps of common calls into words, which would take ten
//! times as long.

use std::collections::HashMap;

use tracer::TraceId;
use tracer::recorder::block::BLOCK_BYTES;

use super::named::low;
use super::open::{Env, ShownFrames};
use super::page::{FullInPage, Grown, InPage};
use super::scan::{Found, KIND_MASK, SEQ_SHIFT, Scan, Slot, ValidPage};
use super::table::Table;
use super::whole::{Piece, Wholes};
use crate::format::u64_at;

pub(super) const KIND_STEP: u64 = 1;
pub(super) const KIND_ENV: u64 = 2;
pub(super) const KIND_NOTE: u64 = 3;
pub(super) const KIND_OVER: u64 = 4;
pub(super) const KIND_RESUMED: u64 = 5;
pub(super) const CAUSE_RECOVERY: u64 = 4;
/// In the tag of a step: what happened; 0 is an enter.
pub(super) const STATUS: u64 = 7 << 4;
pub(super) const EXITED: u64 = 1 << 4;
/// Likewise: it goes on with a frame that is open.
pub(super) const RESUMED: u64 = 1 << 9;
/// In that of an env: it had a payload, which does not stand with this.
pub(super) const LACKS_PAYLOAD: u64 = 1 << 9;
/// Likewise: it is the first of its trace, or goes on with that by recoveries alone.
pub(super) const MAIN: u64 = 1 << 10;
/// In that of a step: a detail belongs to it.
pub(super) const DETAILED: u64 = 1 << 11;
/// Likewise, of an end: what kind of error it is, and that it is a panic.
pub(super) const PANIC_MASK: u64 = 3 << 7;
pub(super) const PANIC: u64 = 2 << 7;
/// In a frame, the number of its env stands above the step that entered it.
pub(super) const FRAME_SHIFT: u32 = 40;
/// In the word of a step, its number stands above the function.
pub(super) const STEP_SHIFT: u32 = 20;

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
    /// Its records: itself, its steps and its notes. No file has as many as this can count.
    pub(super) records: u32,
    pub(super) steps: u32,
    /// Steps that enter a node for the first time.
    pub(super) spans: u32,
    /// The page that has the last step.
    pub(super) newest: u32,
    /// Behind its last step.
    pub(super) end: u64,
    /// The lowest number of a record.
    pub(super) first_seq: u64,
    pub(super) first_ticks: u64,
    pub(super) last_ticks: u64,
}

/// An env left another one, which is of the same trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure {
    pub(super) seq: u64,
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
    /// The env that it is of, by its place; any, if it is of none.
    pub(super) env: u32,
}

/// Numbers envs in the order in which they are met, so that all that is known of one is found without its id.
#[derive(Debug, Default)]
pub(super) struct Envs {
    /// By place.
    pub(super) all: Vec<Env>,
    places: Table,
    /// The env that was asked for before, and its place: entries of one lie together.
    last: Option<(u64, u32)>,
}

/// What stands in the pages of a file.
#[derive(Debug)]
pub(super) struct Contents {
    /// What was written in full, by number: not the steps of common calls, nor those that say nothing of what is open.
    pub(super) full: Vec<Full>,
    /// Of the steps of common calls those that say what is open: that entered what a block shows, with values; where not
    /// every line has a block, also those of calls that did not begin and end in one run.
    pub(super) entered: Vec<Found>,
    /// When anything was last written.
    pub(super) last_ticks: u64,
    pub(super) stretches: Vec<Stretch>,
    pub(super) envs: Envs,
    /// Where envs left others.
    pub(super) departures: Vec<Departure>,
    /// Where envs are said once more that are not there as they were recorded, once [finished](Self::finish): one place for
    /// each, in the order in which they were.
    pub(super) again: Vec<Slot>,
    /// All places where any is.
    said_again: Vec<SaidAgain>,
    /// Traces of which nothing is in the lists above, nor among the envs.
    pub(super) wholes: Wholes,
    /// Of the page that is looked at.
    page: InPage,
    /// The places of the envs of what has grown in it; of those that are not followed none. They are looked up one right after
    /// the other, as none of these looks at memory has to wait for the one before it.
    places: Vec<Option<u32>>,
}

/// An env is said once more.
#[derive(Debug, Clone, Copy)]
struct SaidAgain {
    slot: Slot,
    /// By its place.
    env: u32,
}

impl Envs {
    /// The place of an env that some entry or block is of.
    pub(super) fn get(&self, id: u64) -> Option<u32> {
        self.places.get(u128::from(id), |place| self.id_at(place))
    }

    /// The place of an env.
    pub(super) fn place(&mut self, id: u64) -> u32 {
        match self.last {
            Some((last, place)) if last == id => place,
            _ => {
                // No file has as many slots.
                let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
                let id_at = |place: u32| u128::from(self.all[place_of(place)].id);
                let place = self.places.get_or(u128::from(id), next, id_at);
                if place == next {
                    self.all.push(Env::new(id));
                }
                self.last = Some((id, place));
                place
            }
        }
    }

    /// None is looked for any more.
    pub(super) fn forget_ids(&mut self) {
        (self.places, self.last) = (Table::default(), None);
    }

    fn id_at(&self, place: u32) -> u128 {
        u128::from(self.all[place_of(place)].id)
    }
}

impl Contents {
    /// Of a file of so many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            full: Vec::new(),
            entered: Vec::new(),
            last_ticks: 0,
            stretches: Vec::new(),
            envs: Envs::default(),
            departures: Vec::new(),
            again: Vec::new(),
            said_again: Vec::new(),
            wholes: Wholes::new(slots),
            page: InPage::default(),
            places: Vec::new(),
        }
    }

    /// Takes what stands in a page, which has this place among the pages; gives the lowest number in it.
    pub(super) fn take(&mut self, scan: &Scan<'_>, shown: &ShownFrames, page: &ValidPage, place: usize) -> u64 {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let first_seq = self.page.take(scan, shown, page, place);
        self.take_page(page.number, place, shown.may_be_whole);
        self.follow_given_up(scan, shown);
        first_seq
    }

    /// Follows what turned out not to be whole.
    fn follow_given_up(&mut self, scan: &Scan<'_>, shown: &ShownFrames) {
        let given_up = self.wholes.take_given_up();
        self.follow(scan, shown, &given_up);
    }

    fn follow(&mut self, scan: &Scan<'_>, shown: &ShownFrames, pieces: &[Piece]) {
        for Piece { page, first, slots, .. } in pieces {
            let from = first.slot();
            let counted = self.page.count(scan, shown, first.page(), *page, from..from + usize::from(*slots));
            debug_assert!(counted.is_some(), "what was counted can be counted again");
            self.take_page(first.page(), *page, false);
        }
    }

    /// Takes what was found in the page with this number and place.
    fn take_page(&mut self, number: u32, place: u32, may_be_whole: bool) {
        let InPage { grown, full, entered, departures, named, again, .. } = &mut self.page;
        self.places.clear();
        for of in &*grown {
            self.last_ticks = self.last_ticks.max(of.seen.last_ticks);
            let is_known = || self.envs.get(of.env).is_some();
            let is_set_aside = may_be_whole && self.wholes.take(of, number, place, is_known);
            if !is_set_aside {
                self.wholes.name(of.env);
                of.plain.trace.into_iter().for_each(|trace| self.wholes.name(low(trace)));
            }
            self.places.push((!is_set_aside).then(|| self.envs.place(of.env)));
        }
        named.drain(..).for_each(|id| self.wholes.name(id));
        for again in again.drain(..) {
            if again.part_of(grown).is_none_or(|of| self.places[of].is_some()) {
                [again.env].into_iter().chain(again.named).for_each(|id| self.wholes.name(id));
                self.said_again.push(SaidAgain { slot: again.slot, env: self.envs.place(again.env) });
            }
        }
        for (Grown { from, to, is_record, seen, .. }, env) in grown.drain(..).zip(&self.places) {
            let Some(env) = *env else { continue };
            self.stretches.push(Stretch { env, from, to, page: place });
            let of = &mut self.envs.all[place_of(env)];
            of.seen.add(&seen);
            of.is_recorded |= is_record;
        }
        // Of none: any.
        let env = |grown: Option<usize>| grown.map_or(Some(0), |grown| self.places[grown]);
        self.entered.extend(entered.drain(..).filter(|(grown, _)| env(*grown).is_some()).map(|(_, found)| found));
        self.departures.append(departures);
        let end = |env: u32| self.envs.all.get(place_of(env)).map_or(0, |env| env.seen.end);
        self.full.extend(full.drain(..).filter_map(|FullInPage { seq, slot, grown, step }| {
            let env = env(grown)?;
            step.is_none_or(|step| step + 1 >= end(env)).then_some(Full { seq, slot, env })
        }));
    }

    /// Takes what stands in later pages, the first of which has this place.
    pub(super) fn append(&mut self, later: Self, place: usize) {
        let before = u32::try_from(place).unwrap_or(u32::MAX);
        let places: Vec<u32> = later.envs.all.iter().map(|env| self.envs.place(env.id)).collect();
        for (Env { seen, is_recorded, .. }, place) in later.envs.all.iter().zip(&places) {
            let env = &mut self.envs.all[place_of(*place)];
            env.seen.add(&Seen { newest: seen.newest + before, ..*seen });
            env.is_recorded |= is_recorded;
        }
        let now = |env: u32| places.get(place_of(env)).copied().unwrap_or(0);
        self.full.extend(later.full.into_iter().map(|full| Full { env: now(full.env), ..full }));
        let stretches = later.stretches.into_iter();
        self.stretches.extend(stretches.map(|of| Stretch { env: now(of.env), page: of.page + before, ..of }));
        self.departures.extend(later.departures);
        self.said_again.extend(later.said_again.into_iter().map(|of| SaidAgain { env: now(of.env), ..of }));
        self.entered.extend(later.entered);
        self.last_ticks = self.last_ticks.max(later.last_ticks);
        self.wholes.append(later.wholes, before);
    }

    /// Puts in order what was taken so far: nearly all that there is to do, for each part of a file by itself.
    pub(super) fn sort(&mut self) {
        self.full.sort_by_key(|full| full.seq);
    }

    /// Puts in order what was taken.
    pub(super) fn finish(&mut self, scan: &Scan<'_>, shown: &ShownFrames, pages: &[ValidPage]) {
        self.wholes.wait_no_more();
        self.follow_given_up(scan, shown);
        if !self.wholes.all.is_empty() {
            self.name_what_else_is(scan);
            let named = self.wholes.take_named();
            self.follow(scan, shown, &named);
        }
        put_in_order(&mut self.full, pages);
        let mut again = self.take_again(scan);
        put_in_order(&mut again, pages);
        // Behind all others: of those with one number, the first counts.
        self.full.extend(&again);
        self.full.sort_by_key(|full| full.seq);
        self.full.dedup_by_key(|full| full.seq);
        for Full { seq, slot, env } in again {
            let is_all =
                self.full.binary_search_by_key(&seq, |full| full.seq).is_ok_and(|at| self.full[at].slot == slot);
            if let Some(found) = scan.found(slot).filter(|_| is_all) {
                self.again.push(slot);
                self.departures.extend(Departure::of(&found.words));
                let ticks = found.words[1];
                let seen = Seen { records: 1, first_seq: seq, first_ticks: ticks, last_ticks: ticks, ..Seen::NOTHING };
                self.envs.all[place_of(env)].seen.add(&seen);
            }
        }
        self.stretches = by_env(&self.stretches, self.envs.all.len());
    }

    /// Names what blocks name, and the traces that steps by hand do, of envs whose own records are not there.
    fn name_what_else_is(&mut self, scan: &Scan<'_>) {
        for block in scan.valid.superblock.blocks.of(scan.bytes).chunks_exact(BLOCK_BYTES) {
            for word in [0, 2] {
                self.wholes.name(u64_at(block, word * 8));
            }
        }
        let mut is_known: Vec<bool> = self.envs.all.iter().map(|env| env.is_recorded).collect();
        for said in &self.said_again {
            is_known[place_of(said.env)] = true;
        }
        for Full { slot, env, .. } in &self.full {
            let Some(is_known) = is_known.get_mut(place_of(*env)).filter(|is_known| !**is_known) else { continue };
            let is_by_hand = |found: &Found| found.words[0] & KIND_MASK == KIND_STEP && found.words[4] == 0;
            let trace = scan.found(*slot).filter(is_by_hand).and_then(|found| scan.detail(&found)?.trace());
            if let Some(trace) = trace {
                self.wholes.name(low(trace));
                *is_known = true;
            }
        }
    }

    /// The envs that are said once more, each one time, if anything else is there of them, but not their own records: more
    /// may have been forgotten.
    fn take_again(&mut self, scan: &Scan<'_>) -> Vec<Full> {
        let envs = &self.envs.all;
        let is_needed = |of: &SaidAgain| {
            let env = &envs[place_of(of.env)];
            env.seen.records > 0 && !env.is_recorded
        };
        let again = self.said_again.drain(..).filter(is_needed);
        let seq = |slot| Some(scan.words(slot)?[0] >> SEQ_SHIFT);
        again.filter_map(|SaidAgain { slot, env }| Some(Full { seq: seq(slot)?, slot, env })).collect()
    }
}

/// In the order of their numbers. Of those with one number, which no writer makes, the first of the file counts, in whatever
/// order they were found.
fn put_in_order(full: &mut Vec<Full>, pages: &[ValidPage]) {
    // Each part is in order, which a stable sort makes use of.
    full.sort_by_key(|full| full.seq);
    if full.windows(2).any(|two| two[0].seq == two[1].seq) {
        let places: HashMap<u32, usize> = pages.iter().enumerate().map(|(place, page)| (page.number, place)).collect();
        full.sort_by_key(|full| (full.seq, places.get(&full.slot.page()), full.slot.slot()));
        full.dedup_by_key(|full| full.seq);
    }
}

/// In the order of their envs, which have these places; those of one in that of their steps.
fn by_env(stretches: &[Stretch], envs: usize) -> Vec<Stretch> {
    let mut next = vec![0_u32; envs + 1];
    for of in stretches {
        next[place_of(of.env) + 1] += 1;
    }
    for env in 0..envs {
        next[env + 1] += next[env];
    }
    let mut ordered = vec![Stretch { env: 0, from: 0, to: 0, page: 0 }; stretches.len()];
    for of in stretches {
        let next = &mut next[place_of(of.env)];
        ordered[place_of(*next)] = *of;
        *next += 1;
    }
    let of_env = ordered.chunk_by_mut(|one, other| one.env == other.env);
    of_env.for_each(|of_env| of_env.sort_by_key(|of| (of.from, of.to, of.page)));
    ordered
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
        spans: 0,
        first_seq: u64::MAX,
        first_ticks: u64::MAX,
        last_ticks: 0,
        end: 0,
        newest: 0,
    };

    #[inline]
    pub(super) fn add(&mut self, other: &Self) {
        self.records = self.records.saturating_add(other.records);
        self.steps = self.steps.saturating_add(other.steps);
        self.spans = self.spans.saturating_add(other.spans);
        self.first_seq = self.first_seq.min(other.first_seq);
        self.first_ticks = self.first_ticks.min(other.first_ticks);
        self.last_ticks = self.last_ticks.max(other.last_ticks);
        if other.end > self.end {
            (self.end, self.newest) = (other.end, other.newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_in_the_order_of_envs_and_steps() {
        let said = [(2, 5, 6, 0), (0, 1, 2, 1), (2, 0, 5, 1), (0, 2, 4, 1), (2, 5, 6, 0), (2, 0, 5, 0)];
        let stretches = said.map(|(env, from, to, page)| Stretch { env, from, to, page });
        let mut sorted = said;
        sorted.sort_unstable();
        let ordered = by_env(&stretches, 4);
        assert_eq!(ordered.iter().map(|of| (of.env, of.from, of.to, of.page)).collect::<Vec<_>>(), sorted);
    }
}
