//! Finding what is valid in the bytes of a file: every slot of every page, by its check, and nothing by its position.

use std::num::NonZeroU32;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use tracer::recorder::page::{PAGE_BYTES, SLOT_WORDS, SLOTS, check, part_of, slot_seed};
use tracer::recorder::{Decoder, SiteNumbers};
use tracer::{Detail, Entry, TraceId};

use super::contents::Contents;
use super::gaps::Gap;
use super::open::ShownFrames;
use super::{Done, Observed, RecoverError};
use crate::dictionary::Dictionary;
use crate::format::{COPY_AT, DICTIONARY_AT, NoSuperblock, Superblock, slot_at, u32_at, u64_at};
use crate::status::{StatusRead, Word};

/// Where the checks stand in a page: behind the head and the slots.
pub(super) const CHECKS_AT: usize = (SLOTS + 1) * 64;
/// The header of a run of events.
pub(super) const KIND_RUN: u64 = 6;
/// A slot that is part of a detail, by the lowest bits of its first word.
const KIND_PART: u64 = 7;
/// Events.
pub(super) const KIND_ENTER: u64 = 8;
pub(super) const KIND_EXIT: u64 = 9;
/// An event and the end of its detail.
pub(super) const KIND_DETAILED: u64 = 10;
/// An env that was recorded elsewhere, once more.
pub(super) const KIND_AGAIN: u64 = 11;
pub(super) const KIND_MASK: u64 = 15;
/// In the first word of an entry, the number stands above the tag.
pub(super) const SEQ_SHIFT: u32 = 16;

/// Where an entry stands: page « 8 + slot + 1, so that none takes no more room than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(NonZeroU32);

impl Slot {
    pub(super) fn new(page: u32, slot: usize) -> Self {
        const { assert!(SLOTS < 256) };
        Self(NonZeroU32::MIN.saturating_add((page << 8) | u32::try_from(slot).unwrap_or(0)))
    }

    pub(super) fn page(self) -> u32 {
        (self.0.get() - 1) >> 8
    }

    pub(super) fn slot(self) -> usize {
        usize::from((self.0.get() - 1).to_le_bytes()[0])
    }
}

/// An entry that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) seq: u64,
    pub(super) words: [u64; 8],
    /// `None`: it was an event without a detail.
    pub(super) slot: Option<Slot>,
    /// It was the step of a common call, of which only so much was written as does not follow from what stands before.
    pub(super) is_event: bool,
}

impl Found {
    pub(super) fn entry(&self) -> Entry {
        Entry::of_words(self.words)
    }
}

/// What is valid in a file: the numbers of slots, without the bytes.
#[derive(Debug)]
pub(super) struct Valid {
    pub(super) superblock: Superblock,
    /// The machine went down: only what has a check is to be believed, or what agrees with that.
    pub(super) is_torn: bool,
    /// Pages with something in them, in the order of their births.
    pub(super) pages: Vec<ValidPage>,
}

/// What of a page is valid.
#[derive(Debug)]
pub(super) struct ValidPage {
    pub(super) number: u32,
    valid: [bool; SLOTS],
    /// The slots behind the last that is valid.
    end: usize,
    /// Words before this one are forgotten.
    forgotten: usize,
    /// Its lowest number of an entry.
    pub(super) first_seq: u64,
}

/// A file that was looked at, with its bytes.
#[derive(Debug, Clone)]
pub(super) struct Scan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) dictionary: Arc<Dictionary<'a>>,
    pub(super) valid: &'a Valid,
}

/// What looking at a file gives.
pub(super) struct Looked {
    pub(super) valid: Valid,
    pub(super) contents: Contents,
    pub(super) gaps: Vec<Gap>,
}

const SLOT_BYTES: usize = SLOT_WORDS * 8;

/// What is known of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Valid,
    /// Not written, or not to be believed.
    Nothing,
    Torn,
}

pub(super) fn dictionary<'a>(bytes: &'a [u8], superblock: &Superblock) -> Dictionary<'a> {
    Dictionary::read(superblock.dictionary.of(bytes), DICTIONARY_AT, superblock.salt)
}

/// Looks at every byte of the pages. `follows_all`: even what is whole, for a test.
pub(super) fn look(
    bytes: &[u8],
    superblock: Superblock,
    dictionary: &Arc<Dictionary<'_>>,
    observed: &Observed,
    done: Done<'_>,
    follows_all: bool,
) -> Looked {
    let is_torn = observed.host_was_lost(&superblock);
    let mut valid = Valid { superblock, is_torn, pages: Vec::new() };
    let region = valid.superblock.pages.of(bytes);
    let mut pages: Vec<Page> =
        (0..).zip(region.chunks(PAGE_BYTES)).map(|(number, page)| (u64_at(page, 8), number)).collect();
    // In the order of their births, entries are nearly in the order of their numbers.
    pages.sort_unstable();
    let (births, not_begun) = births(&pages, region, is_torn);
    let scan = Scan { bytes, dictionary: dictionary.clone(), valid: &valid };
    let shown = ShownFrames::of(&scan, follows_all);
    let Part { pages: found, mut contents, mut gaps, unreadable, unsealed } =
        Part::of_many(&scan, &shown, &births, done);
    contents.finish(&scan, &shown, &found);
    let unreadable = not_begun + unreadable;
    let given = StatusRead(bytes).get(Word::PagesGiven);
    // A birth that is garbage is larger than any that was given.
    let newest = pages.iter().rev().map(|(birth, _)| *birth).find(|birth| *birth <= given).unwrap_or(0);
    let over = newest.saturating_sub(found.len() as u64 + unreadable);
    let cut = valid.superblock.file_len.saturating_sub(bytes.len() as u64);
    for (count, gap) in [
        (unreadable, Gap::Unreadable { pages: unreadable }),
        (unsealed, Gap::Unsealed { slots: unsealed }),
        (over, Gap::WrittenOver { pages: over }),
        (cut, Gap::CutOff { bytes: cut }),
    ] {
        gaps.extend((count > 0).then_some(gap));
    }
    valid.pages = found;
    Looked { valid, contents, gaps }
}

/// A page by its birth and its place in the file.
type Page = (u64, u32);

/// The pages that have begun, in their order, the first of each birth; and how many others are in use.
fn births(pages: &[Page], region: &[u8], is_torn: bool) -> (Vec<Page>, u64) {
    let (mut births, mut unreadable, mut is_one_begun) = (Vec::with_capacity(pages.len()), 0, false);
    for (birth, number) in pages.iter().copied() {
        if birth != 0 && births.last().is_none_or(|(before, _)| *before != birth) {
            births.push((birth, number));
            continue;
        }
        let page = page_of(region, number);
        let is_used = page.get(64..).is_some_and(|slots| slots.iter().any(|byte| *byte != 0));
        // The process may have died while one began anew: then its head was emptied first. Under a lock, so there is one
        // at most.
        let begins = !is_one_begun && !is_torn && u64_at(page, 0) == 0;
        is_one_begun |= birth == 0 && is_used && begins;
        unreadable += u64::from(birth == 0 && is_used && !begins);
    }
    (births, unreadable)
}

/// With more pages than this, a second thread looks at half of them.
const PAGES_ALONE: usize = 256;

/// Of the bytes of a page: the part that is done with when it was looked at.
pub(super) const LOOKED_AT: u64 = PAGE_BYTES as u64 / 2;

/// What there is in some of the pages.
struct Part {
    pages: Vec<ValidPage>,
    contents: Contents,
    gaps: Vec<Gap>,
    unreadable: u64,
    unsealed: u64,
}

impl Part {
    fn of_many(scan: &Scan<'_>, shown: &ShownFrames, pages: &[Page], done: Done<'_>) -> Self {
        if pages.len() <= PAGES_ALONE {
            return Self::of(scan, shown, pages, done);
        }
        let (older, newer) = pages.split_at(pages.len() / 2);
        thread::scope(|scope| {
            let other = thread::Builder::new().spawn_scoped(scope, || Self::of(scan, shown, newer, done));
            let mut part = Self::of(scan, shown, older, done);
            part.append(match other {
                Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(_) => Self::of(scan, shown, newer, done),
            });
            part
        })
    }

    fn of(scan: &Scan<'_>, shown: &ShownFrames, pages: &[Page], done: Done<'_>) -> Self {
        let region = scan.valid.superblock.pages.of(scan.bytes);
        let contents = Contents::new(region.len() / SLOT_BYTES);
        let mut part = Self { pages: Vec::new(), contents, gaps: Vec::new(), unreadable: 0, unsealed: 0 };
        for (birth, number) in pages.iter().copied() {
            let seen = part.look_at(scan, page_of(region, number), birth, number);
            part.unsealed += seen.unsealed;
            let Some(mut page) = seen.page else {
                part.unreadable += 1;
                continue;
            };
            page.first_seq = part.contents.take(scan, shown, &page, part.pages.len());
            part.pages.push(page);
            done(LOOKED_AT);
        }
        part.contents.sort();
        part
    }

    /// Takes what is in the pages after these.
    fn append(&mut self, newer: Self) {
        self.contents.append(newer.contents, self.pages.len());
        self.pages.extend(newer.pages);
        self.gaps.extend(newer.gaps);
        self.unreadable += newer.unreadable;
        self.unsealed += newer.unsealed;
    }

    fn look_at(&mut self, scan: &Scan<'_>, page: &[u8], birth: u64, number: u32) -> Seen {
        let (salt, is_torn) = (scan.valid.superblock.salt, scan.valid.is_torn);
        let said = usize::try_from(u64_at(page, 0)).unwrap_or(usize::MAX).div_ceil(SLOT_WORDS).min(SLOTS);
        let forgotten = usize::try_from(u64_at(page, 24)).unwrap_or(usize::MAX);
        let (mut unsealed, mut end, mut torn) = (0, 0, 0);
        let mut slots = [State::Nothing; SLOTS];
        for (nth, slot) in slots.iter_mut().enumerate() {
            *slot = match slot_at(page, (nth + 1) * 64) {
                None => State::Torn,
                Some(words) => match u32_at(page, CHECKS_AT + nth * 4) {
                    0 if words == [0; SLOT_WORDS] => State::Nothing,
                    0 if is_torn => {
                        unsealed += 1;
                        State::Nothing
                    }
                    seal if seal == 0 || seal == check(&words, slot_seed(salt, birth, nth)) => State::Valid,
                    _ => State::Torn,
                },
            };
            match slot {
                State::Valid => end = nth + 1,
                State::Torn => torn += 1,
                State::Nothing => {}
            }
        }
        if end == 0 && torn > 0 {
            return Seen { page: None, unsealed };
        }
        let reached = end.max(said);
        let is_missing = |(nth, slot): &(usize, &State)| match slot {
            State::Torn => *nth < reached,
            // Between others there is none that was not written.
            State::Nothing => *nth < end,
            State::Valid => false,
        };
        let missing = slots.iter().enumerate().filter(is_missing).count();
        if missing > 0 {
            self.gaps.push(Gap::Torn { page: number, slots: missing });
        }
        let valid = slots.map(|slot| slot == State::Valid);
        Seen { page: Some(ValidPage { number, valid, end, forgotten, first_seq: 0 }), unsealed }
    }
}

impl ValidPage {
    /// The slots in use, if all of them are valid and none is forgotten.
    pub(super) fn whole(&self) -> Option<usize> {
        (self.forgotten == 0 && self.valid[..self.end].iter().all(|valid| *valid)).then_some(self.end)
    }

    /// The slots that are valid, whether they are forgotten or not.
    pub(super) fn valid(&self) -> impl Iterator<Item = Slot> + '_ {
        let valid = self.valid[..self.end].iter().enumerate().filter(|(_, valid)| **valid);
        valid.map(|(nth, _)| Slot::new(self.number, nth))
    }
}

impl<'a> Scan<'a> {
    pub(super) fn status(&self) -> StatusRead<'a> {
        StatusRead(self.bytes)
    }

    pub(super) fn page(&self, number: u32) -> &'a [u8] {
        page_of(self.valid.superblock.pages.of(self.bytes), number)
    }

    /// The words of a slot.
    pub(super) fn words(&self, slot: Slot) -> Option<[u64; 8]> {
        slot_at(self.page(slot.page()), (slot.slot() + 1) * 64)
    }

    /// The entry that was written in full into a slot; an env that is said there once more, as it was recorded.
    pub(super) fn found(&self, slot: Slot) -> Option<Found> {
        let words = self.words(slot)?;
        let words = Entry::of_words(words).as_said_before().map_or(words, |env| env.words());
        Some(Found { seq: words[0] >> SEQ_SHIFT, words, slot: Some(slot), is_event: false })
    }

    /// The place among the pages of the one that a slot is in.
    pub(super) fn place_of(&self, slot: Slot) -> Option<u32> {
        let place = self.valid.pages.iter().position(|page| page.number == slot.page())?;
        u32::try_from(place).ok()
    }

    /// All entries of a page by number, those of common calls included.
    ///
    /// Reads what stands between gaps: behind one, nothing follows from what stood before it.
    pub(super) fn entries(&self, page: &ValidPage) -> Vec<Found> {
        let bytes = self.page(page.number);
        let mut entries = Vec::new();
        let mut from = 0;
        for run in page.valid[..page.end].chunk_by(|one, next| one == next) {
            let start = from;
            from += run.len();
            if !run[0] {
                continue;
            }
            let slots = (start..start + run.len()).filter_map(|nth| slot_at(bytes, (nth + 1) * 64));
            let mut words: Vec<u64> = slots.flatten().collect();
            // Details are read where they stand, when they are asked for.
            for slot in words.chunks_exact_mut(SLOT_WORDS).filter(|slot| slot[0] & KIND_MASK == KIND_PART) {
                slot.fill(0);
            }
            let decoder = Decoder::new(&words, self.dictionary.numbers());
            let found = decoder.filter(|found| start * SLOT_WORDS + found.at >= page.forgotten);
            entries.extend(found.map(|found| {
                let is_event = words[found.at] & KIND_MASK >= KIND_ENTER;
                let slot = Slot::new(page.number, start + found.at / SLOT_WORDS);
                let slot = (!is_event || found.entry.is_detailed()).then_some(slot);
                Found { seq: found.entry.seq(), words: found.entry.words(), slot, is_event }
            }));
        }
        // Where several threads have written to it, one after the other, they are in no order.
        entries.sort_by_key(|found| found.seq);
        entries
    }

    /// What belongs to an entry: the parts that lie directly before it. `None`: nothing, or its beginning is missing.
    pub(super) fn detail(&self, found: &Found) -> Option<Detail> {
        self.detail_at(found.slot.filter(|_| found.entry().is_detailed())?)
    }

    /// Likewise, of what stands in a slot.
    pub(super) fn detail_at(&self, at: Slot) -> Option<Detail> {
        let (page, slot) = (self.page(at.page()), at.slot());
        let (salt, birth) = (self.valid.superblock.salt, u64_at(page, 8));
        let part = |nth: usize| {
            let words = slot_at(page, (nth + 1) * 64).filter(|words| words[0] & KIND_MASK == KIND_PART)?;
            let seal = u32_at(page, CHECKS_AT + nth * 4);
            let is_valid = seal == check(&words, slot_seed(salt, birth, nth));
            (is_valid || (seal == 0 && !self.valid.is_torn)).then_some(words)
        };
        let words = self.words(at)?;
        let is_event = words[0] & KIND_MASK == KIND_DETAILED;
        if !is_event && !Entry::of_words(words).is_detailed() {
            return None;
        }
        let first = (0..slot).rev().take_while(|nth| part(*nth).is_some()).last().unwrap_or(slot);
        // Behind a gap, the first may be missing.
        let is_whole = first == 0 || slot_at(page, first * 64).is_some_and(|words| words[0] & KIND_MASK != KIND_PART);
        let parts = (first..slot).filter_map(part).chain(is_event.then_some(words)).filter(|_| is_whole);
        let bytes: Vec<u8> = parts.filter_map(|words| part_of(&words)).flatten().collect();
        Detail::read(&bytes)
    }
}

fn page_of(region: &[u8], number: u32) -> &[u8] {
    let at = usize::try_from(number).map_or(usize::MAX, |number| number.saturating_mul(PAGE_BYTES));
    let rest = region.get(at..).unwrap_or(&[]);
    &rest[..rest.len().min(PAGE_BYTES)]
}

/// What a page turned out to be.
struct Seen {
    /// `None`: nothing of it can be read.
    page: Option<ValidPage>,
    unsealed: u64,
}

/// Whose trace the words of an env, or of something about a whole trace, name.
pub(super) fn trace_in(words: &[u64; 8]) -> Option<TraceId> {
    TraceId::new((u128::from(words[4]) << 64) | u128::from(words[5]))
}

pub(crate) fn superblock(bytes: &[u8]) -> Result<Superblock, RecoverError> {
    let copy = || Superblock::read(bytes.get(COPY_AT..).unwrap_or(&[]));
    Superblock::read(bytes).or_else(|first| copy().map_err(|_| first)).map_err(|why| match why {
        NoSuperblock::Magic if bytes.is_empty() => RecoverError::Empty,
        NoSuperblock::Magic => RecoverError::NotABlackBox,
        NoSuperblock::ByteOrder => RecoverError::ByteOrder,
        NoSuperblock::Major(found) => RecoverError::Version { found },
        NoSuperblock::Check => RecoverError::Damaged,
    })
}

/// The numbers of nodes, for who follows the events of a page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers(Vec<Option<(u32, u64)>>);

impl Numbers {
    /// `sites`: number and hash of the node's name; in the order of the numbers.
    pub(crate) fn new(sites: impl Iterator<Item = (u32, u64)>) -> Self {
        let mut first = std::collections::HashMap::new();
        let mut numbers = Vec::new();
        for (site, hash) in sites {
            // Functions with one name are one node; any number that they share will do.
            let node = *first.entry(hash).or_insert(site);
            let place = usize::try_from(site).unwrap_or(usize::MAX);
            if place < 1 << 20 {
                numbers.resize(numbers.len().max(place + 1), None);
                numbers[place] = Some((node, hash));
            }
        }
        Self(numbers)
    }
}

impl SiteNumbers for &Numbers {
    fn node(&self, site: u32) -> Option<(u32, u64)> {
        *self.0.get(usize::try_from(site).ok()?)?
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracer::{Status, Tracer};

    use super::*;
    use crate::blackbox::BlackBox;

    /// What was found, but for how it is looked up, and for steps that say nothing.
    fn said(scan: &Scan<'_>, shown: &ShownFrames, mut part: Part) -> String {
        part.contents.finish(scan, shown, &part.pages);
        let Part { pages, contents, gaps, unreadable, unsealed } = part;
        let Contents { mut full, last_ticks, stretches, envs, departures, again, .. } = contents;
        full.retain_mut(|full| {
            let words = scan.words(full.slot).unwrap();
            // That a trace is over is of no env.
            full.env = if words[2] == 0 { 0 } else { full.env };
            let step = shown.tells_no_more(&words);
            step.is_none_or(|step| step + 1 == envs.all[usize::try_from(full.env).unwrap()].seen.end)
        });
        assert!(full.len() > 1000, "{}", full.len());
        format!(
            "{pages:?} {full:?} {last_ticks} {stretches:?} {:?} {departures:?} {gaps:?} {unreadable} {unsealed} {again:?}",
            envs.all
        )
    }

    #[test]
    fn half_the_pages_on_another_thread_say_what_all_on_one_do() {
        let directory = std::env::temp_dir().join(format!("tracer-parts-{}", std::process::id()));
        let black_box = BlackBox::options().app("parts", "").bytes(9 << 19).open(&directory).unwrap();
        let tracer = Tracer::builder().recorder(black_box.clone()).build();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let tracer = &tracer;
                scope.spawn(move || {
                    let mut long = tracer.create_env(json!({"thread": thread}), "long");
                    for n in 0..2_000_u64 {
                        let ctx = tracer.create_env(n, "short").step("node", Status::Enter, n).unwrap();
                        drop(ctx.step("node", if n % 7 == 0 { Status::Error } else { Status::Exit }, ()).unwrap());
                        long = long.step("node", Status::Enter, n).unwrap().step("node", Status::Exit, ()).unwrap();
                    }
                });
            }
        });
        let bytes = std::fs::read(black_box.path().unwrap()).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        let superblock = superblock(&bytes).unwrap();
        let dictionary = Arc::new(dictionary(&bytes, &superblock));
        let looked = look(&bytes, superblock, &dictionary, &Observed::default(), &|_| (), false);
        let scan = Scan { bytes: &bytes, dictionary, valid: &looked.valid };
        let births: Vec<Page> =
            looked.valid.pages.iter().map(|page| (u64_at(scan.page(page.number), 8), page.number)).collect();
        assert!(births.len() > PAGES_ALONE, "{}", births.len());
        let shown = ShownFrames::of(&scan, true);
        let whole = said(&scan, &shown, Part::of(&scan, &shown, &births, &|_| ()));
        assert!(whole == said(&scan, &shown, Part::of_many(&scan, &shown, &births, &|_| ())));
        for split in [0, 1, 200, births.len()] {
            let (older, newer) = births.split_at(split);
            let mut part = Part::of(&scan, &shown, older, &|_| ());
            part.append(Part::of(&scan, &shown, newer, &|_| ()));
            assert!(whole == said(&scan, &shown, part), "split at {split}");
        }
    }
}
