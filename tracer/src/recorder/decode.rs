//! The words of a page into entries.
//!
//! Events leave out what follows from what came before them: the decoder goes through the same motions as the thread
//! that wrote them. It starts at a run header, which says where the thread was, and follows every step of that env.

use super::entry::{Entry, Tag, step_and_site};
use super::page::{
    self, Detailed, ELAPSED_END, KIND_DETAILED, KIND_ENTER, KIND_EXIT, KIND_PART, KIND_RUN, SLOT_WORDS, TIME_UNIT,
    event, kind,
};
use super::{Event, NoteKind};
use crate::id::{EnvId, FrameId};
use crate::lines::key;
use crate::status::Status;

/// What is known of sites where a page is read: in the process that wrote it, or elsewhere.
pub trait SiteNumbers {
    /// The number and the hash of the node of a site; `None` for a number that was not given.
    fn node(&self, site: u32) -> Option<(u32, u64)>;
}

/// The process's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnSites;

impl SiteNumbers for OwnSites {
    fn node(&self, site: u32) -> Option<(u32, u64)> {
        crate::site::node(site)
    }
}

/// What stands at a place of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The number of its first word in the slots of the page.
    pub at: usize,
    /// What was written there, or what the event there says.
    pub entry: Entry,
    /// The bytes of its detail, if they stand in the page.
    pub detail: Vec<u8>,
}

/// Goes through the slots of a page. Words that make no sense are passed over.
#[derive(Debug)]
pub struct Decoder<'a, S> {
    words: &'a [u64],
    at: usize,
    sites: S,
    run: Option<Run>,
    /// The number of the next event.
    seq: u64,
    /// Of the detail to come.
    parts: Vec<u8>,
    /// The slot of events before ended early. Only something else can follow: a copy that was made while the page was
    /// written to may lack what stood between.
    cut: bool,
}

/// Where the writing thread was.
#[derive(Debug)]
struct Run {
    env: EnvId,
    ordinal: u64,
    /// Of the next event.
    step: u64,
    began: u64,
    /// Of the last event or entry.
    ticks: u64,
    /// Open frames, from the one that the run began in.
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    id: u64,
    parent: u64,
    key: u64,
    site: u32,
    occurrence: u32,
    calls: Calls,
}

/// The calls that a frame has made, as far as they were seen. A [block](super::block) counts those of four nodes only;
/// the calls of others are written in full.
#[derive(Debug, Default)]
struct Calls(Vec<(u32, u32)>);

impl Calls {
    fn of(&self, node: u32) -> u32 {
        self.0.iter().find(|(known, _)| *known == node).map_or(0, |(_, calls)| *calls)
    }

    /// Takes note of a call.
    fn see(&mut self, node: u32, occurrence: u32) {
        let calls = occurrence.wrapping_add(1);
        if let Some((_, known)) = self.0.iter_mut().find(|(known, _)| *known == node) {
            // Those that are written out of order are few; the count itself may pass its end.
            if calls.wrapping_sub(*known) < u32::MAX / 2 {
                *known = calls;
            }
        } else {
            self.0.push((node, calls));
        }
    }
}

impl<'a, S: SiteNumbers> Decoder<'a, S> {
    /// Reads the slots that `words` are, from the first.
    pub fn new(words: &'a [u64], sites: S) -> Self {
        Self { words, at: 0, sites, run: None, seq: 0, parts: Vec::new(), cut: false }
    }

    fn slot(&self) -> Option<&'a [u64; SLOT_WORDS]> {
        self.words.get(self.at..self.at + SLOT_WORDS)?.try_into().ok()
    }

    /// A slot that is not of events.
    fn take_slot(&mut self, slot: &[u64; SLOT_WORDS]) -> Option<Found> {
        let at = self.at;
        self.at += SLOT_WORDS;
        self.cut = false;
        match kind(slot[0]) {
            KIND_RUN => {
                self.begin(slot);
                None
            }
            KIND_PART => {
                self.parts.extend(page::part_of(slot)?);
                None
            }
            KIND_DETAILED => self.take_detailed(slot),
            _ => {
                let entry = Entry::of_words(*slot);
                let parts = std::mem::take(&mut self.parts);
                let read = entry.event()?;
                self.follow(&read, entry.seq());
                Some(Found { at, entry, detail: if entry.is_detailed() { parts } else { Vec::new() } })
            }
        }
    }

    /// An event in the last word of a slot, with the parts before it.
    fn take_detailed(&mut self, slot: &[u64; SLOT_WORDS]) -> Option<Found> {
        let mut detail = std::mem::take(&mut self.parts);
        detail.extend(page::part_of(slot).unwrap_or_default());
        let detailed = Detailed::of(slot);
        // Even behind a slot that ended early: what was missing would show.
        self.run.take_if(|run| detailed.is_none_or(|detailed| !detailed.is_step(run.step)));
        let mut entry = self.follow_event(detailed?.event)?;
        entry.set_detailed();
        Some(Found { at: self.at - 1, entry, detail })
    }

    fn begin(&mut self, slot: &[u64; SLOT_WORDS]) {
        let [first, began, env, step, frame, key, more, calls] = *slot;
        if first >> 4 & 1 == 1 {
            // The rest of the counts.
            if let Some(open) = self.run.as_mut().and_then(|run| run.open.last_mut()) {
                open.calls.0.extend(slot[1..4].iter().filter(|calls| **calls != 0).map(|calls| halves(*calls)));
            }
            return;
        }
        self.seq = first >> super::entry::TAG_BITS;
        self.run = EnvId::new(env).map(|env| {
            let calls = Calls(if calls == 0 { Vec::new() } else { vec![halves(calls)] });
            let open = Open { id: frame, parent: 0, key, site: 0, occurrence: 0, calls };
            Run { env, ordinal: more, step, began, ticks: began, open: vec![open] }
        });
    }

    /// Goes along with what is written in full.
    fn follow(&mut self, read: &Event, seq: u64) {
        self.seq = seq + 1;
        let Some(run) = &mut self.run else { return };
        match read {
            Event::Step(step) if step.env == run.env => {
                run.step = step.step.wrapping_add(1);
                run.ticks = run.ticks.max(step.ticks);
                let Some(frame) = step.frame else { return };
                if step.status != Status::Enter {
                    return self.close(frame);
                }
                let parent = step.parent.map_or(0, FrameId::raw);
                let node = self.sites.node(step.site).map(|(node, _)| node);
                if let Some((caller, node)) = run.open.last_mut().filter(|open| open.id == parent).zip(node) {
                    caller.calls.see(node, step.occurrence);
                }
                run.open.push(Open {
                    id: frame.raw(),
                    parent,
                    key: step.key,
                    site: step.site,
                    occurrence: step.occurrence,
                    calls: Calls::default(),
                });
            }
            Event::Note(note) if note.env == run.env => {
                if let NoteKind::Unwound { frame, .. } = note.kind {
                    self.close(frame);
                }
            }
            _ => {}
        }
    }

    /// Closes a frame. What is called where the run began is not known.
    fn close(&mut self, frame: FrameId) {
        if let Some(run) = &mut self.run {
            run.open.retain(|open| open.id != frame.raw());
            if run.open.is_empty() {
                self.run = None;
            }
        }
    }

    /// An event.
    fn take_event(&mut self, word: u64) -> Option<Found> {
        let at = self.at;
        self.at += 1;
        if std::mem::take(&mut self.cut) {
            self.run = None;
        }
        self.follow_event(word).map(|entry| Found { at, entry, detail: Vec::new() })
    }

    fn follow_event(&mut self, word: u64) -> Option<Entry> {
        let read = self.read_event(word);
        if read.is_none() {
            // Those behind it would be read wrongly.
            self.run = None;
        }
        read
    }

    fn read_event(&mut self, word: u64) -> Option<Entry> {
        let run = self.run.as_mut()?;
        #[expect(clippy::cast_possible_truncation, reason = "takes the fields apart")]
        let (low, site) = ((word >> 4) as u8, (word >> 12) as u32 & 0xf_ffff);
        let elapsed = (word >> 32) * TIME_UNIT;
        debug_assert!(elapsed < ELAPSED_END && event(kind(word), u32::from(low), site, elapsed) == word);
        // Rounded down, so it may lie before what was written in full.
        run.ticks = run.ticks.max(run.began.saturating_add(elapsed));
        let (env, step) = (run.env.get(), step_and_site(run.step, site));
        let words = if kind(word) == KIND_ENTER {
            let (node, hash) = self.sites.node(site)?;
            let caller = run.open.last_mut()?;
            let occurrence = near(caller.calls.of(node), low);
            caller.calls.see(node, occurrence);
            let (parent, key) = (caller.id, key::call(caller.key, hash, occurrence));
            let id = FrameId::raw_of(run.ordinal, run.step);
            run.open.push(Open { id, parent, key, site, occurrence, calls: Calls::default() });
            [Tag::enter(false).numbered(self.seq), run.ticks, env, step, id, parent, key, u64::from(occurrence)]
        } else {
            let [_, .., last] = &run.open[..] else { return None };
            if last.site != site {
                return None;
            }
            let Open { id, parent, key, occurrence, .. } = run.open.pop()?;
            let tag = Tag::enter(false).end(None);
            [tag.numbered(self.seq), run.ticks, env, step, id, parent, key, u64::from(occurrence)]
        };
        run.step = run.step.wrapping_add(1);
        self.seq += 1;
        Some(Entry::of_words(words))
    }
}

impl<S: SiteNumbers> Iterator for Decoder<'_, S> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        while self.at < self.words.len() {
            let word = self.words[self.at];
            let found = match kind(word) {
                KIND_ENTER | KIND_EXIT => self.take_event(word),
                _ if self.at % SLOT_WORDS != 0 || word == 0 => {
                    // The rest of a slot of events, or a slot that was never completed.
                    self.cut = true;
                    self.at = (self.at + 1).next_multiple_of(SLOT_WORDS);
                    None
                }
                _ => match self.slot() {
                    Some(slot) => self.take_slot(slot),
                    None => break,
                },
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
fn halves(calls: u64) -> (u32, u32) {
    ((calls >> 32) as u32, calls as u32)
}

/// The occurrence with these low bits that is nearest to the expected one.
fn near(expected: u32, low: u8) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the difference modulo 256")]
    let ahead = low.wrapping_sub(expected as u8) as i8;
    expected.wrapping_add_signed(i32::from(ahead))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::detail::Padded;
    use super::super::page::{Page, run_word};
    use super::*;

    struct One;

    impl SiteNumbers for One {
        fn node(&self, site: u32) -> Option<(u32, u64)> {
            (site == 7).then_some((1, 99))
        }
    }

    /// The numbers of the steps that are read: an enter, and an exit with a detail that says that it is `step`.
    fn steps(step: u64) -> Vec<(u64, Vec<u8>)> {
        let page: &'static Page = Box::leak(Box::default());
        page.open(1);
        assert!(page.put([run_word(10, 0), 1000, 5, 3, FrameId::raw_of(1, 2), 11, 1, 0]));
        page.put_event(page.next(), event(KIND_ENTER, 0, 7, 0));
        let detail = [&[1, 2, 3][..], &[0; Padded::ZEROES]].concat();
        let detail = Padded::new(&detail, 3);
        page.put_detailed(page.next(), detail, step, event(KIND_EXIT, 0, 7, 4));
        page.put_event(page.next(), event(KIND_ENTER, 1, 7, 8));
        let words = page.words(page.len());
        let found = Decoder::new(&words, One);
        found.map(|Found { entry, detail, .. }| (entry.words()[3] >> 20, detail)).collect()
    }

    #[test]
    fn an_event_with_a_detail_counts_only_as_the_step_that_it_says() {
        let read = [(3, vec![]), (4, vec![1, 2, 3]), (5, vec![])];
        assert_eq!(steps(4), read);
        assert_eq!(steps(4 + (1 << 16)), read);
        // Something is missing, so nothing behind it can be told either.
        assert_eq!(steps(5), read[..1]);
    }

    #[test]
    fn an_occurrence_is_found_by_its_low_bits() {
        for expected in [0, 5, 255, 256, 1_000_000] {
            for occurrence in expected.max(100) - 100..expected + 100 {
                #[expect(clippy::cast_possible_truncation, reason = "the low bits")]
                let low = occurrence as u8;
                assert_eq!(near(expected, low), occurrence);
            }
        }
    }
}
