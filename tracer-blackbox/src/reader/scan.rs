//! Finding what is valid in the bytes of a file: every slot of every page, by its check, and nothing by its position.

use tracer::TraceId;
use tracer::recorder::page::{PAGE_BYTES, PART_BYTES, SLOT_WORDS, SLOTS, check, slot_seed};
use tracer::recorder::{Decoder, SiteNumbers};
use tracer::{Detail, Entry};

use super::gaps::Gap;
use super::{Observed, RecoverError};
use crate::dictionary::Dictionary;
use crate::format::{COPY_AT, DICTIONARY_AT, NoSuperblock, Superblock, slot_at, u32_at, u64_at};
use crate::status::{StatusRead, Word};

/// Where the checks stand in a page: behind the head and the slots.
const CHECKS_AT: usize = (SLOTS + 1) * 64;
/// A slot that is part of a detail, by the lowest bits of its first word.
const KIND_PART: u64 = 7;
/// The header of a run of events.
const KIND_RUN: u64 = 6;
/// Events.
const KIND_ENTER: u64 = 8;
const KIND_EXIT: u64 = 9;
const KIND_MASK: u64 = 15;
/// In the first word of an entry, the number stands above the tag.
const SEQ_SHIFT: u32 = 16;
/// Ticks in a unit of the time of an event.
const TIME_UNIT: u64 = 4;

/// An entry that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) seq: u64,
    pub(super) words: [u64; 8],
    /// Page « 8 + slot.
    place: u32,
    /// It is the last of its page: who wrote it may have died before doing what follows.
    pub(super) is_last: bool,
}

impl Found {
    pub(super) fn entry(&self) -> Entry {
        Entry::of_words(self.words)
    }
}

/// What is valid in a file.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) superblock: Superblock,
    pub(super) dictionary: Dictionary<'a>,
    /// What was written in full, by number: all but the steps of common calls.
    pub(super) full: Vec<Found>,
    /// When anything was last written.
    pub(super) last_ticks: u64,
    pub(super) gaps: Vec<Gap>,
    /// The machine went down: only what has a check is to be believed, or what agrees with that.
    pub(super) is_torn: bool,
    /// Pages with something in them, in the order of their births.
    pages: Vec<ValidPage>,
}

/// What of a page is valid.
#[derive(Debug)]
struct ValidPage {
    number: u32,
    valid: [bool; SLOTS],
    forgotten: usize,
}

/// What is known of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Valid,
    /// Not written, or not to be believed.
    Nothing,
    Torn,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8], observed: &Observed) -> Result<Self, RecoverError> {
        let superblock = superblock(bytes)?;
        let mut scan = Self {
            bytes,
            dictionary: Dictionary::read(superblock.dictionary.of(bytes), DICTIONARY_AT, superblock.salt),
            full: Vec::new(),
            last_ticks: 0,
            gaps: Vec::new(),
            is_torn: observed.host_was_lost(&superblock),
            pages: Vec::new(),
            superblock,
        };
        scan.look();
        Ok(scan)
    }

    pub(super) fn status(&self) -> StatusRead<'a> {
        StatusRead(self.bytes)
    }

    fn region(&self) -> &'a [u8] {
        self.superblock.pages.of(self.bytes)
    }

    fn look(&mut self) {
        let region = self.region();
        let mut pages: Vec<(u64, u32)> =
            (0..).zip(region.chunks(PAGE_BYTES)).map(|(number, page)| (u64_at(page, 8), number)).collect();
        // In the order of their births, entries are nearly in the order of their numbers.
        pages.sort_unstable();
        let (mut births, mut unreadable, mut unsealed, mut before) = (0, 0, 0, 0);
        for (birth, number) in pages.iter().copied() {
            if birth == 0 || birth == before {
                let slots = page_of(region, number).get(64..);
                let is_used = slots.is_some_and(|slots| slots.iter().any(|byte| *byte != 0));
                unreadable += u64::from(birth == 0 && is_used);
                continue;
            }
            before = birth;
            let seen = self.look_at(birth, number);
            unsealed += seen.unsealed;
            if seen.is_readable { births += 1 } else { unreadable += 1 }
        }
        let given = self.status().get(Word::PagesGiven);
        // A birth that is garbage is larger than any that was given.
        let newest = pages.iter().rev().map(|(birth, _)| *birth).find(|birth| *birth <= given).unwrap_or(0);
        let over = newest.saturating_sub(births + unreadable);
        let cut = self.superblock.file_len.saturating_sub(self.bytes.len() as u64);
        for (count, gap) in [
            (unreadable, Gap::Unreadable { pages: unreadable }),
            (unsealed, Gap::Unsealed { slots: unsealed }),
            (over, Gap::WrittenOver { pages: over }),
            (cut, Gap::CutOff { bytes: cut }),
        ] {
            self.gaps.extend((count > 0).then_some(gap));
        }
        in_order(&mut self.full);
    }

    fn look_at(&mut self, birth: u64, number: u32) -> Seen {
        let page = page_of(self.region(), number);
        let salt = self.superblock.salt;
        let said = usize::try_from(u64_at(page, 0)).unwrap_or(usize::MAX).div_ceil(SLOT_WORDS).min(SLOTS);
        let forgotten = usize::try_from(u64_at(page, 24)).unwrap_or(usize::MAX);
        let (mut unsealed, mut end, mut torn) = (0, 0, 0);
        let mut slots = [Slot::Nothing; SLOTS];
        for (nth, slot) in slots.iter_mut().enumerate() {
            *slot = match slot_at(page, (nth + 1) * 64) {
                None => Slot::Torn,
                Some(words) => match u32_at(page, CHECKS_AT + nth * 4) {
                    0 if words == [0; SLOT_WORDS] => Slot::Nothing,
                    0 if self.is_torn => {
                        unsealed += 1;
                        Slot::Nothing
                    }
                    seal if seal == 0 || seal == check(&words, slot_seed(salt, birth, nth)) => Slot::Valid,
                    _ => Slot::Torn,
                },
            };
            match slot {
                Slot::Valid => end = nth + 1,
                Slot::Torn => torn += 1,
                Slot::Nothing => {}
            }
        }
        if end == 0 && torn > 0 {
            return Seen { is_readable: false, unsealed };
        }
        let reached = end.max(said);
        let is_missing = |(nth, slot): &(usize, &Slot)| match slot {
            Slot::Torn => *nth < reached,
            // Between others there is none that was not written.
            Slot::Nothing => *nth < end,
            Slot::Valid => false,
        };
        let missing = slots.iter().enumerate().filter(is_missing).count();
        if missing > 0 {
            self.gaps.push(Gap::Torn { page: number, slots: missing });
        }
        let valid = slots.map(|slot| slot == Slot::Valid);
        self.take_full(page, number, &valid, forgotten);
        self.pages.push(ValidPage { number, valid, forgotten });
        Seen { is_readable: true, unsealed }
    }

    /// Takes what is written in full, and the time of the rest.
    fn take_full(&mut self, page: &[u8], number: u32, valid: &[bool; SLOTS], forgotten: usize) {
        let first_new = self.full.len();
        let (mut began, mut last_slot) = (0, 0);
        for nth in (0..SLOTS).filter(|nth| valid[*nth]) {
            let Some(words) = slot_at(page, (nth + 1) * 64) else { continue };
            last_slot = nth;
            match words[0] & KIND_MASK {
                1..=5 => {
                    if words[0] & KIND_MASK <= 3 {
                        self.last_ticks = self.last_ticks.max(words[1]);
                    }
                    if nth * SLOT_WORDS >= forgotten {
                        let (seq, place) = (words[0] >> SEQ_SHIFT, place_of(number, nth));
                        self.full.push(Found { seq, words, place, is_last: false });
                    }
                }
                KIND_RUN if words[0] >> 4 & 1 == 0 => began = words[1],
                KIND_ENTER | KIND_EXIT => {
                    let last = words.iter().rev().find(|word| **word != 0).map_or(0, |event| event >> 32);
                    self.last_ticks = self.last_ticks.max(began.saturating_add(last.saturating_mul(TIME_UNIT)));
                }
                _ => {}
            }
        }
        let last = self.full[first_new..].last_mut();
        if let Some(last) = last.filter(|last| last.place == place_of(number, last_slot)) {
            last.is_last = true;
        }
    }

    /// All entries, those of common calls included, by number.
    pub(super) fn entries(&self) -> Vec<Found> {
        let numbers = self.dictionary.numbers();
        let mut entries = Vec::new();
        for page in &self.pages {
            self.decode(page, numbers, &mut entries);
        }
        in_order(&mut entries);
        entries
    }

    /// Reads what stands between gaps: behind one, nothing follows from what stood before it.
    fn decode(&self, page: &ValidPage, sites: &Numbers, entries: &mut Vec<Found>) {
        let bytes = page_of(self.region(), page.number);
        let first_new = entries.len();
        let mut from = 0;
        for run in page.valid.chunk_by(|one, next| one == next) {
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
            let found = Decoder::new(&words, sites).filter(|found| start * SLOT_WORDS + found.at >= page.forgotten);
            entries.extend(found.map(|found| Found {
                seq: found.entry.seq(),
                words: found.entry.words(),
                place: place_of(page.number, start + found.at / SLOT_WORDS),
                is_last: false,
            }));
        }
        if let Some(last) = entries[first_new..].last_mut() {
            last.is_last = true;
        }
    }

    /// What belongs to an entry: the parts that lie directly before it. `None`: nothing, or its beginning is missing.
    pub(super) fn detail(&self, found: &Found) -> Option<Detail> {
        if !found.entry().is_detailed() {
            return None;
        }
        let (number, slot) = (found.place >> 8, usize::from(found.place.to_le_bytes()[0]));
        let page = page_of(self.region(), number);
        let salt_and_birth = (self.superblock.salt, u64_at(page, 8));
        let part = |nth: usize| {
            let words = slot_at(page, (nth + 1) * 64).filter(|words| words[0] & KIND_MASK == KIND_PART)?;
            let seal = u32_at(page, CHECKS_AT + nth * 4);
            let is_valid = seal == check(&words, slot_seed(salt_and_birth.0, salt_and_birth.1, nth));
            (is_valid || (seal == 0 && !self.is_torn)).then_some(words)
        };
        let first = (0..slot).rev().take_while(|nth| part(*nth).is_some()).last()?;
        // Behind a gap, the first may be missing.
        let is_whole = first == 0 || slot_at(page, first * 64).is_some_and(|words| words[0] & KIND_MASK != KIND_PART);
        let mut bytes = Vec::with_capacity((slot - first) * PART_BYTES);
        for words in (first..slot).filter_map(part).filter(|_| is_whole) {
            let part: [u8; 64] = std::array::from_fn(|byte| words[byte / 8].to_le_bytes()[byte % 8]);
            bytes.extend_from_slice(&part[2..][..usize::from(part[1]).min(PART_BYTES)]);
        }
        Detail::read(&bytes)
    }
}

fn place_of(page: u32, slot: usize) -> u32 {
    (page << 8) | u32::try_from(slot).unwrap_or(0)
}

fn in_order(entries: &mut Vec<Found>) {
    entries.sort_by_key(|found| found.seq);
    entries.dedup_by_key(|found| found.seq);
}

fn page_of(region: &[u8], number: u32) -> &[u8] {
    let at = usize::try_from(number).map_or(usize::MAX, |number| number.saturating_mul(PAGE_BYTES));
    let rest = region.get(at..).unwrap_or(&[]);
    &rest[..rest.len().min(PAGE_BYTES)]
}

/// What a page turned out to be.
struct Seen {
    is_readable: bool,
    unsealed: u64,
}

/// Whose trace the words of an env, or of something about a whole trace, name.
pub(super) fn trace_in(words: &[u64; 8]) -> Option<TraceId> {
    TraceId::new((u128::from(words[4]) << 64) | u128::from(words[5]))
}

/// Takes out of a copy the pages that began anew while it was made: what comes from two lives of a page would be read
/// as one. `birth_now` gives the present birth of the page whose head is at a place.
pub(crate) fn drop_changed(bytes: &mut [u8], birth_now: impl Fn(u64) -> Option<u64>) {
    let Ok(superblock) = superblock(bytes) else { return };
    let from = usize::try_from(superblock.pages.at).unwrap_or(usize::MAX);
    let Some(pages) = bytes.get_mut(from..) else { return };
    for (nth, page) in (0..).zip(pages.chunks_mut(PAGE_BYTES)) {
        // Births only rise, so one that is the same now was the same all the while.
        if birth_now(superblock.pages.at + nth * PAGE_BYTES as u64) != Some(u64_at(page, 8)) {
            page.fill(0);
        }
    }
}

fn superblock(bytes: &[u8]) -> Result<Superblock, RecoverError> {
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
