//! What stands in one page, before the places of its envs are known: without putting the steps of common calls into words.
//!
//! Steps of an env are numbered without a gap, so a header of a run of events and their count say which they are.

use std::ops::Range;

use tracer::TraceId;
use tracer::recorder::page::{Detailed, SLOT_WORDS};

use super::contents::{
    CAUSE_RECOVERY, Departure, KIND_ENV, KIND_NOTE, KIND_OVER, KIND_STEP, RESUMED, STATUS, STEP_SHIFT, Seen,
};
use super::open::{CAUSE_ROOT, ShownFrames, is_common};
use super::run::{Run, RunCalls};
use super::scan::{
    Found, KIND_AGAIN, KIND_DETAILED, KIND_ENTER, KIND_EXIT, KIND_MASK, KIND_RUN, SEQ_SHIFT, Scan, Slot, ValidPage,
    trace_in,
};
use super::whole::Plain;

/// The words by which an env, or something about a whole trace, names that and the env that was left.
const NAMED: [usize; 2] = [5, 6];

/// What stands in a page, or in some slots of it.
#[derive(Debug, Default)]
pub(super) struct InPage {
    pub(super) grown: Vec<Grown>,
    /// What stands directly before the slot that is looked at.
    before: Option<Before>,
    pub(super) full: Vec<FullInPage>,
    /// Of the steps of common calls those that say what is open, with which of the grown they are of, if that is known.
    pub(super) entered: Vec<(Option<usize>, Found)>,
    pub(super) departures: Vec<Departure>,
    /// Envs and traces that are named besides.
    pub(super) named: Vec<u64>,
    pub(super) again: Vec<AgainInPage>,
}

/// Steps of one env without a gap, by its id.
#[derive(Debug)]
pub(super) struct Grown {
    pub(super) env: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    /// It begins with the env's own record.
    pub(super) is_record: bool,
    pub(super) seen: Seen,
    pub(super) plain: Plain,
    /// Where they stand, with what they need to be read.
    pub(super) slots: Range<usize>,
}

/// An entry that was written in full.
#[derive(Debug)]
pub(super) struct FullInPage {
    pub(super) seq: u64,
    pub(super) slot: Slot,
    /// Which of the grown it is of.
    pub(super) grown: Option<usize>,
    /// The number of a step that says nothing of what is open, unless it is the last of its env.
    pub(super) step: Option<u64>,
}

/// An env is said once more.
#[derive(Debug)]
pub(super) struct AgainInPage {
    pub(super) env: u64,
    /// What it names.
    pub(super) named: [u64; 2],
    pub(super) slot: Slot,
    /// Which of the grown it may be part of.
    grown: usize,
}

/// Steps of an env that stand in a slot.
pub(super) struct Steps {
    pub(super) env: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) seen: Seen,
}

/// A slot, and the env of the run that it is in.
struct At {
    slot: usize,
    run: Option<u64>,
}

/// From this slot on stands what steps of an env that follow need to be read.
#[derive(Debug)]
struct Before {
    env: u64,
    slot: usize,
}

impl InPage {
    /// Takes what stands in a page, which has this place among the pages; gives the lowest number in it.
    pub(super) fn take(&mut self, scan: &Scan<'_>, shown: &ShownFrames, page: &ValidPage, place: u32) -> u64 {
        let counted = page.whole().and_then(|slots| self.count(scan, shown, page.number, place, 0..slots));
        counted.unwrap_or_else(|| {
            *self = Self::default();
            self.decode(scan, shown, page, place)
        })
    }

    /// Counts events by the headers before them. `None`: they are not as a thread writes them, so that they have to be
    /// decoded.
    pub(super) fn count(
        &mut self,
        scan: &Scan<'_>,
        shown: &ShownFrames,
        page: u32,
        place: u32,
        slots: Range<usize>,
    ) -> Option<u64> {
        let (mut run, mut is_cut, mut first_seq) = (None::<Run>, false, u64::MAX);
        let mut calls = RunCalls::default();
        self.before = None;
        for nth in slots {
            let slot = Slot::new(page, nth);
            let words = scan.words(slot)?;
            let seq = words[0] >> SEQ_SHIFT;
            let at = At { slot: nth, run: run.as_ref().map(|run| run.env) };
            match words[0] & KIND_MASK {
                KIND_STEP..=5 => {
                    first_seq = first_seq.min(seq);
                    let is_of_last = self.see(place, seq, &words, Some(slot), &at);
                    self.before = None;
                    self.find(seq, slot, is_of_last, shown.tells_no_more(&words));
                    if let Some(run) = run.as_mut() {
                        run.goes_on(seq, &words);
                        if run.env == words[2] {
                            calls.follow(&words);
                        }
                    }
                }
                KIND_RUN if words[0] >> 4 & 1 == 0 => {
                    self.enter(calls.end());
                    first_seq = first_seq.min(seq);
                    run = Some(Run::of(&words));
                    self.stands_before(words[2], nth);
                }
                KIND_DETAILED => {
                    let run = run.as_mut().filter(|run| run.env != 0)?;
                    let detailed = Detailed::of(&words).filter(|detailed| detailed.is_step(run.step))?;
                    let (step, seq) = (run.step, run.seq);
                    if !shown.have_all {
                        self.enter(calls.take(*run, &[detailed.event], Some(slot), shown)?);
                    }
                    let steps = run.events(scan, &[detailed.event], place)?;
                    self.grow(steps, true, &at);
                    if detailed.event & KIND_MASK == KIND_ENTER && shown.has(run.frame(step)) {
                        let found = run.found(step, seq, detailed.event, Some(slot), run.frame(step));
                        self.entered.push((self.last(), found));
                    }
                }
                KIND_ENTER | KIND_EXIT => {
                    let run = run.as_mut().filter(|run| run.env != 0 && !is_cut)?;
                    if !shown.have_all {
                        self.enter(calls.take(*run, &words, None, shown)?);
                    }
                    let steps = run.events(scan, &words, place)?;
                    self.grow(steps, true, &at);
                    is_cut = words[SLOT_WORDS - 1] == 0;
                    continue;
                }
                0 => {
                    is_cut = true;
                    continue;
                }
                KIND_AGAIN => self.say_again(slot, &words, at.run),
                // Of a later version, or part of something.
                _ => {}
            }
            is_cut = false;
        }
        self.enter(calls.end());
        Some(first_seq)
    }

    fn decode(&mut self, scan: &Scan<'_>, shown: &ShownFrames, page: &ValidPage, place: u32) -> u64 {
        for (slot, words) in page.valid().filter_map(|slot| Some((slot, scan.words(slot)?))) {
            if words[0] & KIND_MASK == KIND_AGAIN {
                self.say_again(slot, &words, Some(words[2]));
            }
        }
        let entries = scan.entries(page);
        for found in &entries {
            let Found { seq, words, slot, is_event } = found;
            // As if all stood before others: in the order of their numbers, none can be read by itself.
            let at = At { slot: 0, run: Some(words[2]) };
            let is_of_last = self.see(place, *seq, words, *slot, &at);
            match slot {
                Some(slot) if !is_event => self.find(*seq, *slot, is_of_last, shown.tells_no_more(words)),
                Some(_) if words[0] & STATUS == 0 && shown.has(words[4]) => self.enter([*found]),
                _ if !shown.have_all => self.enter([*found]),
                _ => {}
            }
        }
        entries.first().map_or(u64::MAX, |found| found.seq)
    }

    /// Takes note of where an env is said once more. `run`: the env of the run.
    fn say_again(&mut self, slot: Slot, words: &[u64; 8], run: Option<u64>) {
        let (env, at) = (words[2], slot.slot());
        let last = self.grown.last_mut().filter(|last| last.env == env && is_root(words));
        let is_of_last = last.map(|last| last.slots.end = at + 1).is_some();
        let grown = self.grown.len() - usize::from(is_of_last);
        self.again.push(AgainInPage { env, named: NAMED.map(|word| words[word]), slot, grown });
        let is_before = self.before.as_ref().is_some_and(|before| before.env == env);
        if is_root(words) && !is_of_last && (is_before || run != Some(env)) {
            self.stands_before(env, at);
        } else {
            self.before = None;
        }
    }

    /// Takes an entry; gives whether it is of the last that has grown.
    fn see(&mut self, place: u32, seq: u64, words: &[u64; 8], slot: Option<Slot>, at: &At) -> bool {
        let [tag, ticks, env, step, ..] = *words;
        let (kind, number) = (tag & KIND_MASK, step >> STEP_SHIFT);
        let mut seen =
            Seen { records: 1, first_seq: seq, first_ticks: ticks, last_ticks: ticks, newest: place, ..Seen::NOTHING };
        let (from, to) = match kind {
            KIND_STEP => {
                let is_enter = tag & (STATUS | RESUMED) == 0;
                (seen.steps, seen.spans) = (1, is_enter.into());
                (number, number + 1)
            }
            KIND_ENV => {
                let root = trace_in(words).zip(slot).filter(|_| is_root(words));
                if root.is_none() {
                    self.name(words);
                }
                self.departures.extend(Departure::of(words));
                seen.end = 1;
                let plain = root.map_or(Plain::NOT, |(trace, slot)| Plain::record(trace, slot));
                self.begin(Steps { env, from: 0, to: 1, seen }, true, plain, at);
                return true;
            }
            KIND_NOTE => (number + 1, number + 1),
            KIND_OVER if env == 0 && self.is_over(trace_in(words), at.slot) => return true,
            _ => {
                self.name(words);
                if env == 0 {
                    return false;
                }
                // It goes on there.
                seen = Seen::NOTHING;
                (0, 0)
            }
        };
        seen.end = to;
        self.grow(Steps { env, from, to, seen }, is_common(words), at);
        true
    }

    fn name(&mut self, words: &[u64; 8]) {
        self.named.extend(NAMED.map(|word| words[word]));
    }

    /// Takes what may be of the last that has grown.
    fn find(&mut self, seq: u64, slot: Slot, is_of_last: bool, step: Option<u64>) {
        let grown = self.last().filter(|_| is_of_last);
        self.full.push(FullInPage { seq, slot, grown, step });
    }

    fn enter(&mut self, entered: impl IntoIterator<Item = Found>) {
        self.entered.extend(entered.into_iter().map(|found| (None, found)));
    }

    fn last(&self) -> Option<usize> {
        self.grown.len().checked_sub(1)
    }

    /// Takes what may be the first that steps of an env need to be read.
    fn stands_before(&mut self, env: u64, slot: usize) {
        if self.before.as_ref().is_none_or(|before| before.env != env) {
            self.before = Some(Before { env, slot });
        }
    }

    /// Takes steps, which may go on with the last that have grown. `are_common`: of common calls.
    #[inline]
    fn grow(&mut self, more: Steps, are_common: bool, at: &At) {
        match self.grown.last_mut() {
            Some(last) if last.env == more.env && last.to == more.from => {
                self.before = None;
                last.to = more.to;
                last.seen.add(&more.seen);
                last.slots.end = at.slot + 1;
                last.plain.is_so &= are_common;
            }
            _ => self.begin(more, false, if are_common { Plain::STEPS } else { Plain::NOT }, at),
        }
    }

    fn begin(&mut self, Steps { env, from, to, seen }: Steps, is_record: bool, mut plain: Plain, at: &At) {
        let mut slots = at.slot..at.slot + 1;
        if let Some(before) = self.before.take().filter(|before| before.env == env) {
            slots.start = before.slot;
        } else if at.run == Some(env) {
            // What they need to be read stands before others.
            plain.is_so = false;
        }
        self.grown.push(Grown { env, from, to, is_record, seen, plain, slots });
    }

    /// Takes that a trace is over, in a slot; gives whether it may be that of the last that has grown.
    fn is_over(&mut self, trace: Option<TraceId>, slot: usize) -> bool {
        let (Some(last), Some(trace)) = (self.grown.last_mut(), trace) else { return false };
        let Some(plain) = last.plain.and(&Plain::over(trace)) else { return false };
        (last.plain, last.slots.end) = (plain, slot + 1);
        true
    }
}

impl AgainInPage {
    /// Which of the grown it is part of.
    pub(super) fn part_of(&self, grown: &[Grown]) -> Option<usize> {
        let of = grown.get(self.grown)?;
        (of.env == self.env && of.slots.contains(&self.slot.slot())).then_some(self.grown)
    }
}

impl Departure {
    /// That an env, of which these words are, was begun where another was left.
    pub(super) fn of(words: &[u64; 8]) -> Option<Self> {
        let [tag, _, env, .., left, _] = *words;
        let is_recovery = tag >> 4 & 7 == CAUSE_RECOVERY;
        (left != 0).then_some(Self { seq: tag >> SEQ_SHIFT, trace: trace_in(words), env, left, is_recovery })
    }
}

/// Whether an env is the first of its trace, and left none.
fn is_root(words: &[u64; 8]) -> bool {
    words[0] >> 4 & 7 == CAUSE_ROOT && words[6] == 0
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// In the slots from 0 on: what is said of an env, 1 for one that is the first of its trace, and a header or a step.
    enum Entry {
        Again(u64, bool),
        Header(u64),
        Step(u64),
    }

    fn page(entries: Vec<Entry>) -> InPage {
        let (mut page, mut run) = (InPage::default(), None);
        let mut steps: HashMap<u64, u64> = HashMap::new();
        for (slot, entry) in entries.into_iter().enumerate() {
            match entry {
                Entry::Again(env, is_first) => {
                    let left = u64::from(!is_first);
                    page.say_again(Slot::new(0, slot), &[0, 0, env, 0, 0, 7, left, 0], run);
                }
                Entry::Header(env) => {
                    page.stands_before(env, slot);
                    run = Some(env);
                }
                Entry::Step(env) => {
                    let to = steps.entry(env).or_default();
                    *to += 1;
                    let steps = Steps { env, from: *to - 1, to: *to, seen: Seen::NOTHING };
                    page.grow(steps, true, &At { slot, run });
                }
            }
        }
        page
    }

    #[test]
    fn what_can_be_read_by_itself_has_what_its_steps_need() {
        use Entry::{Again, Header, Step};
        for (what, entries, grown) in [
            ("nothing", vec![Step(1), Step(2), Step(2)], vec![(1, 0..1, true), (2, 1..3, true)]),
            ("a header", vec![Header(1), Step(1), Step(1)], vec![(1, 0..3, true)]),
            ("a header in the midst", vec![Step(1), Header(1), Step(1)], vec![(1, 0..3, true)]),
            ("that of another before it", vec![Header(1), Header(2), Step(2)], vec![(2, 1..3, true)]),
            (
                "one that stands before another's",
                vec![Step(1), Header(2), Step(1), Step(2)],
                vec![(1, 0..3, true), (2, 3..4, false)],
            ),
            (
                "one that stands before others",
                vec![Header(1), Step(2), Step(1)],
                vec![(2, 1..2, true), (1, 2..3, false)],
            ),
            ("once more behind the header", vec![Header(1), Again(1, true), Step(1)], vec![(1, 0..3, true)]),
            (
                "likewise, and behind others",
                vec![Header(1), Step(2), Again(1, true), Step(1)],
                vec![(2, 1..2, true), (1, 3..4, false)],
            ),
            (
                "a header, and another once more",
                vec![Header(1), Again(2, true), Step(1), Step(2)],
                vec![(1, 2..3, false), (2, 3..4, true)],
            ),
        ] {
            let page = page(entries);
            let of = page.grown.iter().map(|of| (of.env, of.slots.clone(), of.plain.is_so)).collect::<Vec<_>>();
            assert_eq!(of, grown, "{what}");
        }
    }

    #[test]
    fn what_is_said_once_more_is_part_of_what_can_be_read_by_itself() {
        use Entry::{Again, Header, Step};
        for (what, entries, part_of) in [
            ("before a step", vec![Again(1, true), Step(1)], Some(0)),
            ("before a header", vec![Again(1, true), Header(1), Step(1)], Some(0)),
            ("behind a step", vec![Step(2), Step(1), Again(1, true)], Some(1)),
            ("before the step of another", vec![Again(1, true), Step(2), Step(1)], None),
            ("behind the step of another", vec![Step(1), Step(2), Again(1, true)], None),
            ("of an env that is not the first", vec![Again(1, false), Step(1)], None),
            ("likewise behind a step", vec![Step(1), Again(1, false)], None),
            ("of another, behind a header", vec![Header(2), Again(1, false), Step(2)], None),
            ("before nothing", vec![Step(2), Again(1, true)], None),
        ] {
            let page = page(entries);
            assert_eq!(page.again[0].part_of(&page.grown), part_of, "{what}");
        }
    }
}
