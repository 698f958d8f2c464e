//! Which steps of which env stand where: without putting the steps of common calls into words, which would take ten
//! times as long.
//!
//! Steps of an env are numbered without a gap, so a header of a run of events and their count say which they are.

use std::ops::Range;

use tracer::TraceId;
use tracer::recorder::SiteNumbers;
use tracer::recorder::block::BLOCK_BYTES;
use tracer::recorder::page::{Detailed, SLOT_WORDS};

use super::open::{CAUSE_ROOT, Env, ShownFrames, is_common};
use super::scan::{
    Found, KIND_AGAIN, KIND_DETAILED, KIND_ENTER, KIND_EXIT, KIND_MASK, KIND_RUN, SEQ_SHIFT, Scan, Slot, ValidPage,
    trace_in,
};
use super::table::Table;
use super::whole::{Begun, Named, Whole, low};
use crate::format::u64_at;

pub(super) const KIND_STEP: u64 = 1;
pub(super) const KIND_ENV: u64 = 2;
pub(super) const KIND_NOTE: u64 = 3;
pub(super) const KIND_OVER: u64 = 4;
pub(super) const KIND_RESUMED: u64 = 5;
pub(super) const CAUSE_RECOVERY: u64 = 4;
/// In the tag of a step: what happened; 0 is an enter.
pub(super) const STATUS: u64 = 7 << 4;
const EXITED: u64 = 1 << 4;
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
/// The words by which an env, or something about a whole trace, names that and the env that was left.
const NAMED: [usize; 2] = [5, 6];
/// Ticks in a unit of the time of an event.
const TIME_UNIT: u64 = 4;

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
    pub(super) whole: Vec<Whole>,
    /// The envs and traces of those that are, and each of `whole` once.
    named: Named,
    /// Of the page that is looked at.
    page: PageContents,
}

/// What stands in one page, before the places of its envs are known: they are looked up one right after the other, as none
/// of these looks at memory has to wait for the one before it.
#[derive(Debug, Default)]
struct PageContents {
    grown: Vec<Grown>,
    found: Vec<FoundInPage>,
    /// Envs and traces that are named besides.
    named: Vec<u64>,
    whole: Vec<Whole>,
    /// The envs that are said once more, and where.
    again: Vec<(u64, Slot)>,
    /// The places of the envs of `grown`.
    places: Vec<u32>,
}

/// An env is said once more.
#[derive(Debug, Clone, Copy)]
struct SaidAgain {
    slot: Slot,
    /// By its place.
    env: u32,
}

/// Steps of one env without a gap, by its id.
#[derive(Debug)]
struct Grown {
    env: u64,
    from: u64,
    to: u64,
    /// It begins with the env's own record.
    is_record: bool,
    seen: Seen,
}

/// An entry that was written in full.
#[derive(Debug)]
struct FoundInPage {
    seq: u64,
    slot: Slot,
    /// Which of the grown it is of; of none, if that is not there.
    grown: usize,
    /// The number of a step that says nothing of what is open, unless it is the last of its env.
    step: Option<u64>,
}

/// What was entered in a run and has not ended: the frame, and the event that says so, if it was one.
#[derive(Debug, Default)]
struct RunCalls(Vec<(u64, Option<Found>)>);

/// The run that events belong to.
#[derive(Clone, Copy)]
struct Run {
    env: u64,
    /// The number of the env in its trace.
    ordinal: u64,
    /// The numbers of the next step and record.
    step: u64,
    seq: u64,
    /// What events count from.
    began: u64,
    ticks: u64,
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
            whole: Vec::new(),
            named: Named::new(slots),
            page: PageContents::default(),
        }
    }

    /// Takes what stands in a page, which has this place among the pages; gives the lowest number in it.
    pub(super) fn take(&mut self, scan: &Scan<'_>, shown: &ShownFrames, page: &ValidPage, place: usize) -> u64 {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let (departures_len, entered_len) = (self.departures.len(), self.entered.len());
        let counted = page.whole().and_then(|slots| self.count(scan, shown, page, place, 0..slots, true));
        let first_seq = counted.unwrap_or_else(|| {
            self.departures.truncate(departures_len);
            self.entered.truncate(entered_len);
            self.page.clear();
            self.decode(scan, shown, page, place)
        });
        self.take_page(place);
        first_seq
    }

    /// Takes what was found in the page with this place.
    fn take_page(&mut self, place: u32) {
        let PageContents { grown, found, places, named, whole, again } = &mut self.page;
        for Whole { env, trace, seen, .. } in &*whole {
            self.last_ticks = self.last_ticks.max(seen.last_ticks);
            self.named.add(*env);
            self.named.add(low(*trace));
        }
        self.whole.append(whole);
        named.drain(..).chain(grown.iter().map(|of| of.env)).for_each(|id| self.named.add_twice(id));
        places.clear();
        places.extend(grown.iter().map(|of| self.envs.place(of.env)));
        for (Grown { from, to, is_record, seen, .. }, env) in grown.drain(..).zip(places.iter().copied()) {
            self.last_ticks = self.last_ticks.max(seen.last_ticks);
            self.stretches.push(Stretch { env, from, to, page: place });
            let of = &mut self.envs.all[place_of(env)];
            of.seen.add(&seen);
            of.is_recorded |= is_record;
        }
        self.said_again.extend(again.drain(..).map(|(env, slot)| SaidAgain { slot, env: self.envs.place(env) }));
        let end = |env: u32| self.envs.all.get(place_of(env)).map_or(0, |env| env.seen.end);
        self.full.extend(found.drain(..).filter_map(|FoundInPage { seq, slot, grown, step }| {
            let env = places.get(grown).copied().unwrap_or(0);
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
        let whole = later.whole.into_iter();
        self.whole.extend(whole.map(|of| Whole { seen: Seen { newest: of.seen.newest + before, ..of.seen }, ..of }));
        self.named.append(&later.named);
    }

    /// Puts in order what was taken so far: nearly all that there is to do, for each part of a file by itself.
    pub(super) fn sort(&mut self) {
        self.full.sort_by_key(|full| full.seq);
    }

    /// Puts in order what was taken from these pages. `follows_all`: no trace is taken for whole.
    pub(super) fn finish(&mut self, scan: &Scan<'_>, shown: &ShownFrames, pages: &[ValidPage], follows_all: bool) {
        if !self.whole.is_empty() {
            self.name_what_else_is(scan);
            self.open_whole(scan, shown, pages, follows_all);
        }
        let again = self.take_again(scan);
        // Behind all others: of those with one number, the first counts.
        self.full.extend(&again);
        // Each part is in order, which a stable sort makes use of.
        self.full.sort_by_key(|full| full.seq);
        self.full.dedup_by_key(|full| full.seq);
        for Full { seq, slot, env } in again {
            let is_all =
                self.full.binary_search_by_key(&seq, |full| full.seq).is_ok_and(|at| self.full[at].slot == slot);
            if let Some(found) = scan.found(slot).filter(|_| is_all) {
                self.again.push(slot);
                self.depart(&found.words);
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
                self.named.add_twice(u64_at(block, word * 8));
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
                self.named.add_twice(low(trace));
                *is_known = true;
            }
        }
    }

    /// Takes what there is of traces that are named elsewhere, too, or of all, as if they were not whole.
    fn open_whole(&mut self, scan: &Scan<'_>, shown: &ShownFrames, pages: &[ValidPage], are_all: bool) {
        let (named, mut open) = (&self.named, Vec::new());
        self.whole.retain(|of| {
            let is_open = are_all || named.has_twice(of.env) || named.has_twice(low(of.trace));
            open.extend(is_open.then_some(*of));
            !is_open
        });
        for Whole { record, over, seen, .. } in open {
            let page = &pages[place_of(seen.newest)];
            let counted = self.count(scan, shown, page, seen.newest, record.slot()..over.slot() + 1, false);
            debug_assert!(counted.is_some(), "what was counted can be counted again");
            self.take_page(seen.newest);
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
        let mut again: Vec<Full> =
            again.filter_map(|SaidAgain { slot, env }| Some(Full { seq: seq(slot)?, slot, env })).collect();
        again.sort_by_key(|full| full.seq);
        again.dedup_by_key(|full| full.seq);
        again
    }

    /// Takes note of the env that another left for this one.
    fn depart(&mut self, words: &[u64; 8]) {
        if words[6] != 0 {
            let is_recovery = words[0] >> 4 & 7 == CAUSE_RECOVERY;
            let (seq, trace) = (words[0] >> SEQ_SHIFT, trace_in(words));
            self.departures.push(Departure { seq, trace, env: words[2], left: words[6], is_recovery });
        }
    }

    /// Counts events by the headers before them. `None`: they are not as a thread writes them, so that they have to be
    /// decoded.
    fn count(
        &mut self,
        scan: &Scan<'_>,
        shown: &ShownFrames,
        page: &ValidPage,
        place: u32,
        slots: Range<usize>,
        may_be_whole: bool,
    ) -> Option<u64> {
        let (mut run, mut is_cut, mut first_seq) = (None::<Run>, false, u64::MAX);
        let (mut calls, mut begun) = (RunCalls::default(), None);
        for nth in slots {
            let slot = Slot::new(page.number, nth);
            let words = scan.words(slot)?;
            let seq = words[0] >> SEQ_SHIFT;
            match words[0] & KIND_MASK {
                KIND_STEP..=5 => {
                    first_seq = first_seq.min(seq);
                    self.see(place, seq, &words);
                    self.page.find(seq, slot, shown.tells_no_more(&words));
                    if may_be_whole && shown.have_all {
                        begun = self.follow_whole(begun, slot, &words, run.as_ref());
                    }
                    let is_step = words[0] & KIND_MASK == KIND_STEP;
                    if let Some(run) = run.as_mut() {
                        run.seq = seq + 1;
                        if is_step && run.env == words[2] {
                            run.step = (words[3] >> STEP_SHIFT) + 1;
                            run.ticks = run.ticks.max(words[1]);
                        }
                        if run.env == words[2] {
                            calls.follow(&words);
                        }
                    }
                }
                KIND_RUN if words[0] >> 4 & 1 == 0 => {
                    self.entered.extend(calls.end());
                    first_seq = first_seq.min(seq);
                    let [_, began, env, step, _, _, ordinal, _] = words;
                    run = Some(Run { env, ordinal, step, seq, began, ticks: began });
                }
                KIND_DETAILED => {
                    let run = run.as_mut().filter(|run| run.env != 0)?;
                    let detailed = Detailed::of(&words).filter(|detailed| detailed.is_step(run.step))?;
                    let (step, seq) = (run.step, run.seq);
                    if !shown.have_all {
                        calls.take(*run, &[detailed.event], Some(slot), shown, &mut self.entered)?;
                    }
                    self.page.grow(run.events(scan, &[detailed.event], place)?);
                    if detailed.event & KIND_MASK == KIND_ENTER && shown.has(run.frame(step)) {
                        self.entered.push(run.found(step, seq, detailed.event, Some(slot), run.frame(step)));
                    }
                }
                KIND_ENTER | KIND_EXIT => {
                    let run = run.as_mut().filter(|run| run.env != 0 && !is_cut)?;
                    if !shown.have_all {
                        calls.take(*run, &words, None, shown, &mut self.entered)?;
                    }
                    self.page.grow(run.events(scan, &words, place)?);
                    is_cut = words[SLOT_WORDS - 1] == 0;
                    continue;
                }
                0 => {
                    is_cut = true;
                    continue;
                }
                KIND_AGAIN => {
                    self.say_again(slot, &words);
                    begun = None;
                }
                // Of a later version, or part of something.
                _ => {}
            }
            is_cut = false;
        }
        self.entered.extend(calls.end());
        Some(first_seq)
    }

    /// Looks for traces that lie whole in the page: goes along with an entry that was just found. Gives one that has begun
    /// and may be whole, if it goes on like that.
    fn follow_whole(&mut self, begun: Option<Begun>, slot: Slot, words: &[u64; 8], run: Option<&Run>) -> Option<Begun> {
        let page = &mut self.page;
        let begun = begun.filter(|begun| begun.grown + 1 == page.grown.len());
        match words[0] & KIND_MASK {
            KIND_ENV => {
                let (last, trace, left) = (page.grown.last()?, trace_in(words)?, words[6]);
                let is_first = words[0] >> 4 & 7 == CAUSE_ROOT && left == 0;
                // Of a run that goes on, the header is to be among its entries.
                let is_alone = is_first && run.is_none_or(|run| run.env != last.env);
                is_alone.then(|| Begun {
                    trace,
                    record: slot,
                    grown: page.grown.len() - 1,
                    found: page.found.len() - 1,
                    named: page.named.len() - NAMED.len(),
                    entered: self.entered.len(),
                })
            }
            KIND_STEP if is_common(words) => begun,
            KIND_OVER => {
                let begun = begun.filter(|begun| trace_in(words) == Some(begun.trace))?;
                let Grown { env, seen, .. } = page.grown.pop()?;
                page.found.truncate(begun.found);
                page.named.truncate(begun.named);
                self.entered.truncate(begun.entered);
                page.whole.push(Whole { env, trace: begun.trace, record: begun.record, over: slot, seen });
                None
            }
            _ => None,
        }
    }

    fn decode(&mut self, scan: &Scan<'_>, shown: &ShownFrames, page: &ValidPage, place: u32) -> u64 {
        for (slot, words) in page.valid().filter_map(|slot| Some((slot, scan.words(slot)?))) {
            if words[0] & KIND_MASK == KIND_AGAIN {
                self.say_again(slot, &words);
            }
        }
        let entries = scan.entries(page);
        for found in &entries {
            let Found { seq, words, slot, is_event } = found;
            self.see(place, *seq, words);
            match slot {
                Some(slot) if !is_event => self.page.find(*seq, *slot, shown.tells_no_more(words)),
                Some(_) if words[0] & STATUS == 0 && shown.has(words[4]) => self.entered.push(*found),
                _ if !shown.have_all => self.entered.push(*found),
                _ => {}
            }
        }
        entries.first().map_or(u64::MAX, |found| found.seq)
    }

    /// Takes note of where an env is said once more.
    fn say_again(&mut self, slot: Slot, words: &[u64; 8]) {
        self.page.again.push((words[2], slot));
        self.page.named.push(words[2]);
        self.page.named.extend(NAMED.map(|word| words[word]));
    }

    fn see(&mut self, page: u32, seq: u64, words: &[u64; 8]) {
        let [tag, ticks, env, step, ..] = *words;
        let number = step >> STEP_SHIFT;
        if matches!(tag & KIND_MASK, KIND_ENV | KIND_OVER | KIND_RESUMED) {
            self.page.named.extend(NAMED.map(|word| words[word]));
        }
        let (from, to) = match tag & KIND_MASK {
            KIND_STEP => (number, number + 1),
            KIND_ENV => (0, 1),
            KIND_NOTE => (number + 1, number + 1),
            // It goes on there.
            _ if env != 0 => {
                return self.page.grow(Grown { env, from: 0, to: 0, is_record: false, seen: Seen::NOTHING });
            }
            _ => return,
        };
        let is_step = tag & KIND_MASK == KIND_STEP;
        let is_enter = is_step && tag & (STATUS | RESUMED) == 0;
        if tag & KIND_MASK == KIND_ENV {
            self.depart(words);
        }
        let seen = Seen {
            records: 1,
            steps: u32::from(is_step),
            spans: u32::from(is_enter),
            first_seq: seq,
            first_ticks: ticks,
            last_ticks: ticks,
            end: to,
            newest: page,
        };
        self.page.grow(Grown { env, from, to, is_record: tag & KIND_MASK == KIND_ENV, seen });
    }
}

impl PageContents {
    /// Forgets what was found.
    fn clear(&mut self) {
        self.grown.clear();
        self.found.clear();
        self.named.clear();
        self.whole.clear();
        self.again.clear();
    }

    /// Takes what is of the last that has grown.
    fn find(&mut self, seq: u64, slot: Slot, step: Option<u64>) {
        self.found.push(FoundInPage { seq, slot, grown: self.grown.len().wrapping_sub(1), step });
    }

    fn grow(&mut self, more: Grown) {
        match self.grown.last_mut() {
            Some(last) if last.env == more.env && last.to == more.from && !more.is_record => {
                last.to = more.to;
                last.seen.add(&more.seen);
            }
            _ => self.grown.push(more),
        }
    }
}

impl RunCalls {
    /// Goes along with what was written in full.
    fn follow(&mut self, words: &[u64; 8]) {
        let (kind, frame) = (words[0] & KIND_MASK, words[4]);
        match kind {
            KIND_STEP if words[0] & STATUS == 0 => self.0.push((frame, None)),
            KIND_STEP | KIND_NOTE => self.0.retain(|(open, _)| *open != frame),
            _ => {}
        }
    }

    /// Takes events, of the steps that `run` stands before; those of calls that end here say nothing, unless a block shows
    /// them, which may be older. `None`: what ends did not begin here.
    fn take(
        &mut self,
        mut run: Run,
        events: &[u64],
        slot: Option<Slot>,
        shown: &ShownFrames,
        out: &mut Vec<Found>,
    ) -> Option<()> {
        for event in events.iter().copied().take_while(|event| *event != 0) {
            run.ticks = run.ticks.max(run.began.saturating_add((event >> 32) * TIME_UNIT));
            if event & KIND_MASK == KIND_ENTER {
                let frame = run.frame(run.step);
                self.0.push((frame, Some(run.found(run.step, run.seq, event, slot, frame))));
            } else {
                let (frame, entered) = self.0.pop()?;
                if entered.is_none() || shown.has(frame) {
                    out.extend(entered);
                    out.push(run.found(run.step, run.seq, event, slot, frame));
                }
            }
            (run.step, run.seq) = (run.step.checked_add(1)?, run.seq + 1);
        }
        Some(())
    }

    /// The run is over: gives what it has entered.
    fn end(&mut self) -> impl Iterator<Item = Found> + '_ {
        self.0.drain(..).filter_map(|(_, entered)| entered)
    }
}

impl Run {
    /// The frame that a step enters.
    const fn frame(&self, step: u64) -> u64 {
        (self.ordinal << FRAME_SHIFT) | (step & ((1 << FRAME_SHIFT) - 1))
    }

    /// The step of a frame that an event is, the last, as far as it says what is open.
    fn found(&self, step: u64, seq: u64, event: u64, slot: Option<Slot>, frame: u64) -> Found {
        let step_and_site = (step << STEP_SHIFT) | (event >> 12 & 0xf_ffff);
        let status = if event & KIND_MASK == KIND_ENTER { 0 } else { EXITED };
        let tag = (seq << SEQ_SHIFT) | if slot.is_some() { DETAILED } else { 0 } | status | KIND_STEP;
        let words = [tag, self.ticks, self.env, step_and_site, frame, 0, 0, 0];
        Found { seq, words, slot, is_event: true }
    }

    /// The steps that the events of a slot are.
    fn events(&mut self, scan: &Scan<'_>, words: &[u64], page: u32) -> Option<Grown> {
        let (mut steps, mut spans, mut first_ticks) = (0_u32, 0, 0);
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
        (self.step, self.seq) = (from.checked_add(steps.into())?, seq + u64::from(steps));
        let seen = Seen {
            records: steps,
            steps,
            spans,
            first_seq: seq,
            first_ticks,
            last_ticks: self.ticks,
            end: self.step,
            newest: page,
        };
        Some(Grown { env: self.env, from, to: self.step, is_record: false, seen })
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
