//! Finding what is valid in the bytes of a file: every slot of every page, by its check, and nothing by its position.

use tracer::TraceId;
use tracer::recorder::page::{PAGE_BYTES, SLOT_WORDS, SLOTS, check, slot_seed};
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
const KIND_MASK: u64 = 15;

/// An entry that is there.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) seq: u64,
    pub(super) words: [u64; 8],
    detail: Option<Box<[u8]>>,
    /// It is the last of its page: who wrote it may have died before doing what follows.
    pub(super) is_last: bool,
}

impl Found {
    pub(super) fn entry(&self) -> Entry {
        Entry::of_words(self.words)
    }

    /// What belongs to it. `None`: nothing, or its beginning is missing.
    pub(super) fn detail(&self) -> Option<Detail> {
        Detail::read(self.detail.as_deref()?)
    }
}

/// What is valid in a file.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) superblock: Superblock,
    pub(super) dictionary: Dictionary<'a>,
    /// By number.
    pub(super) entries: Vec<Found>,
    pub(super) gaps: Vec<Gap>,
    /// The machine went down: only what has a check is to be believed, or what agrees with that.
    pub(super) is_torn: bool,
}

/// What is known of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Valid([u64; SLOT_WORDS]),
    /// Not written, or not to be believed.
    Nothing,
    Torn,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8], observed: &Observed) -> Result<Self, RecoverError> {
        let superblock = superblock(bytes)?;
        let dictionary = Dictionary::read(superblock.dictionary.of(bytes), DICTIONARY_AT, superblock.salt);
        let mut scan = Self { bytes, superblock, dictionary, entries: Vec::new(), gaps: Vec::new(), is_torn: false };
        scan.is_torn = observed.host_was_lost(&scan.superblock);
        scan.pages();
        Ok(scan)
    }

    pub(super) fn status(&self) -> StatusRead<'a> {
        StatusRead(self.bytes)
    }

    fn pages(&mut self) {
        let region = self.superblock.pages.of(self.bytes);
        let mut pages: Vec<(u64, u32, &[u8])> =
            (0..).zip(region.chunks(PAGE_BYTES)).map(|(number, page)| (u64_at(page, 8), number, page)).collect();
        // In the order of their births, entries are nearly in the order of their numbers.
        pages.sort_unstable();
        let (mut births, mut unreadable, mut unsealed, mut before) = (0, 0, 0, 0);
        for (birth, number, page) in pages.iter().copied() {
            if birth == 0 || birth == before {
                let is_used = page.get(64..).is_some_and(|slots| slots.iter().any(|byte| *byte != 0));
                unreadable += u64::from(birth == 0 && is_used);
                continue;
            }
            before = birth;
            let seen = self.page(page, birth, number);
            unsealed += seen.unsealed;
            if seen.is_readable { births += 1 } else { unreadable += 1 }
        }
        let given = self.status().get(Word::PagesGiven);
        // A birth that is garbage is larger than any that was given.
        let newest = pages.iter().rev().map(|(birth, ..)| *birth).find(|birth| *birth <= given).unwrap_or(0);
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
        self.entries.sort_by_key(|found| found.seq);
        self.entries.dedup_by_key(|found| found.seq);
    }

    fn page(&mut self, page: &[u8], birth: u64, number: u32) -> Seen {
        let salt = self.superblock.salt;
        let said = usize::try_from(u64_at(page, 0)).unwrap_or(usize::MAX).div_ceil(SLOT_WORDS).min(SLOTS);
        let forgotten = usize::try_from(u64_at(page, 24)).unwrap_or(usize::MAX);
        let mut unsealed = 0;
        let slots: Vec<Slot> = (0..SLOTS)
            .map(|nth| {
                let Some(words) = slot_at(page, (nth + 1) * 64) else { return Slot::Torn };
                match u32_at(page, CHECKS_AT + nth * 4) {
                    0 if words == [0; SLOT_WORDS] => Slot::Nothing,
                    0 if self.is_torn => {
                        unsealed += 1;
                        Slot::Nothing
                    }
                    0 => Slot::Valid(words),
                    seal if seal == check(&words, slot_seed(salt, birth, nth)) => Slot::Valid(words),
                    _ => Slot::Torn,
                }
            })
            .collect();
        let end = slots.iter().rposition(|slot| matches!(slot, Slot::Valid(_))).map_or(0, |last| last + 1);
        let reached = end.max(said);
        let is_missing = |nth: usize, slot: &Slot| match slot {
            Slot::Torn => nth < reached,
            // Between others there is none that was not written.
            Slot::Nothing => nth < end,
            Slot::Valid(_) => false,
        };
        let missing = slots.iter().enumerate().filter(|(nth, slot)| is_missing(*nth, slot)).count();
        if end == 0 && slots.contains(&Slot::Torn) {
            return Seen { is_readable: false, unsealed };
        }
        if missing > 0 {
            self.gaps.push(Gap::Torn { page: number, slots: missing });
        }
        self.decode(&slots[..end], forgotten);
        Seen { is_readable: true, unsealed }
    }

    /// Reads what stands between gaps: behind one, nothing follows from what stood before it.
    fn decode(&mut self, slots: &[Slot], forgotten: usize) {
        let sites = self.dictionary.numbers();
        let first_new = self.entries.len();
        for (nth, run) in
            slots.chunk_by(|one, next| matches!((one, next), (Slot::Valid(_), Slot::Valid(_)))).scan(0, |at, run| {
                let start = *at;
                *at += run.len();
                Some((start, run))
            })
        {
            let words = run.iter().filter_map(|slot| if let Slot::Valid(words) = slot { Some(words) } else { None });
            let mut words: Vec<u64> = words.flatten().copied().collect();
            if nth > 0 {
                // Parts of a detail whose beginning may be missing.
                let is_part = |slot: &&mut [u64]| slot[0] & KIND_MASK == KIND_PART;
                words.chunks_exact_mut(SLOT_WORDS).take_while(is_part).for_each(|slot| slot.fill(0));
            }
            let found = Decoder::new(&words, &sites).filter(|found| nth * SLOT_WORDS + found.at >= forgotten);
            self.entries.extend(found.map(|found| Found {
                seq: found.entry.seq(),
                words: found.entry.words(),
                detail: (!found.detail.is_empty()).then(|| found.detail.into_boxed_slice()),
                is_last: false,
            }));
        }
        if let Some(last) = self.entries[first_new..].last_mut() {
            last.is_last = true;
        }
    }
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
