//! Finding what is valid in the bytes of a file: every slot of every page, by its check, and nothing by its position.
//!
//! This is the part that sees every byte, so it does little with each.

use std::collections::HashSet;

use tracer::Detail;
use tracer::recorder::page::{PAGE_BYTES, PART_BYTES, PART_LEN_BITS, SLOTS, page_seed, part_seed, seal, slot_seed};

use super::gaps::Gap;
use super::{RecoverError, status_of};
use crate::format::{COPY_AT, NoSuperblock, Superblock, slot_at, u64_at};
use crate::status::{StatusRead, Word};

/// In the second word of an entry, the number stands above the tag.
const SEQ_SHIFT: u32 = 16;
/// Slots and the head of a page.
const PLACES: usize = SLOTS + 1;

/// An entry that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) seq: u64,
    /// Page « 8 + slot.
    pub(super) place: u32,
}

/// What is valid in a file.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) superblock: Superblock,
    /// By number.
    pub(super) entries: Vec<Found>,
    pub(super) gaps: Vec<Gap>,
    /// Entries that were the last of their page: whoever wrote them may have died before doing what follows.
    pub(super) last: HashSet<u32>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, RecoverError> {
        let superblock = superblock(bytes)?;
        let mut scan = Self { bytes, superblock, entries: Vec::new(), gaps: Vec::new(), last: HashSet::new() };
        scan.pages();
        Ok(scan)
    }

    pub(super) fn status(&self) -> StatusRead<'a> {
        status_of(self.bytes)
    }

    fn pages(&mut self) {
        let region = self.superblock.pages.of(self.bytes);
        let mut pages: Vec<(u64, u32)> =
            (0..).zip(region.chunks(PAGE_BYTES)).map(|(number, page)| (u64_at(page, 8), number)).collect();
        // In the order of their births, entries are nearly in the order of their numbers.
        pages.sort_unstable();
        self.entries.reserve(region.len() / 64);
        let (mut births, mut unreadable) = (0, 0);
        let mut before = 0;
        for (birth, number) in pages.iter().copied() {
            let page = page_of(region, number);
            if birth == 0 || birth == before {
                unreadable +=
                    u64::from(birth == 0 && page.get(64..).is_some_and(|slots| slots.iter().any(|b| *b != 0)));
                continue;
            }
            before = birth;
            if self.page(page, birth, number) { births += 1 } else { unreadable += 1 }
        }
        let given = self.status().get(Word::PagesGiven);
        // The hint may be garbage after a loss of power; a birth that valid entries have is none.
        let newest = pages.iter().rev().map(|(birth, _)| *birth).find(|birth| *birth <= given).unwrap_or(0);
        if unreadable > 0 {
            self.gaps.push(Gap::Unreadable { pages: unreadable });
        }
        let over = newest.saturating_sub(births + unreadable);
        if over > 0 {
            self.gaps.push(Gap::WrittenOver { pages: over });
        }
        let cut = self.superblock.file_len.saturating_sub(self.bytes.len() as u64);
        if cut > 0 {
            self.gaps.push(Gap::CutOff { bytes: cut });
        }
        self.entries.sort_by_key(|found| found.seq);
        self.entries.dedup_by_key(|found| found.seq);
    }

    /// `false`: what is in it is of no life of this page.
    fn page(&mut self, page: &[u8], birth: u64, number: u32) -> bool {
        let seed = page_seed(self.superblock.salt, birth);
        let parts = part_seed(seed);
        let said = usize::try_from(u64_at(page, 0)).unwrap_or(usize::MAX).min(SLOTS);
        let forgotten = usize::try_from(u64_at(page, 24)).unwrap_or(usize::MAX);
        let mut holes: Vec<(usize, usize)> = Vec::new();
        // One past the last that is valid.
        let mut end = 0;
        let mut last = None;
        for at in 0..SLOTS {
            let Some(words) = slot_at(page, (at + 1) * 64) else { break };
            let is = |seed| seal(&words, slot_seed(seed, at as u64)) == words[7];
            if is(seed) {
                end = at + 1;
                let place = (number << 8) | u32::try_from(at).unwrap_or(0);
                last = Some(place);
                if at >= forgotten {
                    self.entries.push(Found { seq: words[1] >> SEQ_SHIFT, place });
                }
            } else if is(parts) {
                end = at + 1;
            } else {
                match holes.last_mut() {
                    Some((_, to)) if *to == at => *to += 1,
                    _ => holes.push((at, at + 1)),
                }
            }
        }
        self.last.extend(last);
        let reached = end.max(said);
        holes.retain_mut(|(from, to)| {
            *to = (*to).min(reached);
            *from < *to
        });
        let missing: usize = holes.iter().map(|(from, to)| to - from).sum();
        if end == 0 && missing > 0 {
            return false;
        }
        if missing > 0 {
            self.gaps.push(Gap::Torn { page: number, slots: missing });
        }
        true
    }

    /// The words of an entry.
    pub(super) fn words(&self, found: Found) -> [u64; 8] {
        let region = self.superblock.pages.of(self.bytes);
        let (page, slot) = (page_of(region, found.place >> 8), usize::from(found.place.to_le_bytes()[0]));
        slot_at(page, (slot + 1) * 64).unwrap_or([0; 8])
    }

    /// What belongs to an entry: the parts directly before it. `None` where its beginning is missing.
    pub(super) fn detail(&self, found: Found) -> Option<Detail> {
        let region = self.superblock.pages.of(self.bytes);
        let page = page_of(region, found.place >> 8);
        let seed = part_seed(page_seed(self.superblock.salt, u64_at(page, 8)));
        let end = usize::from(found.place.to_le_bytes()[0]);
        let part = |at: usize| {
            let words = slot_at(page, (at + 1) * 64)?;
            (seal(&words, slot_seed(seed, at as u64)) == words[7]).then_some(words)
        };
        let number = |words: [u64; 8]| usize::try_from((words[7] & 0xffff_ffff) >> PART_LEN_BITS).unwrap_or(usize::MAX);
        let last = end.checked_sub(1)?;
        let first = last.checked_sub(number(part(last)?))?;
        let mut bytes = Vec::with_capacity((end - first) * PART_BYTES);
        for at in first..end {
            let words = part(at).filter(|words| number(*words) == at - first)?;
            let len = usize::from(words[7].to_le_bytes()[0]).min(PART_BYTES);
            let start = bytes.len();
            bytes.extend(words[..7].iter().flat_map(|word| word.to_le_bytes()));
            bytes.truncate(start + len);
        }
        Detail::read(&bytes)
    }
}

fn page_of(region: &[u8], number: u32) -> &[u8] {
    let at = usize::try_from(number).map_or(usize::MAX, |number| number.saturating_mul(PLACES * 64));
    let rest = region.get(at..).unwrap_or(&[]);
    &rest[..rest.len().min(PAGE_BYTES)]
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
