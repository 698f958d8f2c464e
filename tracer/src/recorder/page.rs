//! The memory that steps are written to.
//!
//! One thread writes to a page; others, and those who come after the process has died, read it. So a page lies in
//! memory that is never given back, and all of it is atomic words. What is written becomes visible with the store of one
//! word, so a process that is killed leaves a whole number of facts.
//!
//! A page is 240 slots of eight words. A slot holds one [entry](crate::Entry), or part of a detail, or up to eight
//! *events*: the steps of common calls, a word each. An event only says which site was entered or left, and when; the
//! rest follows from the events before it and from the *run header* in front of them. An event that has a detail takes the
//! last word of a slot of its own. See [`Decoder`](super::Decoder).

use std::fmt;
use std::ops::Range;

use super::detail::Padded;
use super::entry::{KIND_MASK, TAG_BITS};
use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// Slots in a page.
pub const SLOTS: usize = if cfg!(all(test, loom)) { 4 } else { 240 };
/// Words in a slot.
pub const SLOT_WORDS: usize = 8;
/// Words in all slots.
pub(crate) const DATA: usize = SLOTS * SLOT_WORDS;
/// Words in a page: those of the head, those of the slots, a check of 32 bits for each slot.
pub const PAGE_WORDS: usize = SLOT_WORDS + DATA + SLOTS / 2;
/// What a page takes, in bytes: 16 KiB.
pub const PAGE_BYTES: usize = PAGE_WORDS * 8;
/// Bytes of a detail that fit into a slot.
pub const PART_BYTES: usize = 62;
/// Likewise, if there is also the event that it belongs to.
const TAIL_BYTES: usize = 52;

/// Kinds of slots and events that are no entries; see [`Entry`](crate::Entry) for those.
pub(crate) const KIND_RUN: u64 = 6;
pub(crate) const KIND_PART: u64 = 7;
pub(crate) const KIND_ENTER: u64 = 8;
pub(crate) const KIND_EXIT: u64 = 9;
pub(crate) const KIND_DETAILED: u64 = 10;

/// A page. Zeroes are a page that was never written to.
///
/// | word of the head | |
/// |---|---|
/// | 0 | words written, only a hint for who reads it after the process has died |
/// | 1 | the birth, see [`open`](Self::open); 0: nothing is valid |
/// | 3 | what stands before this place is [forgotten](Self::forget) |
/// | 4 | the birth, once the page is [finished](Self::finish) |
#[repr(C, align(64))]
pub struct Page {
    head: [AtomicU64; SLOT_WORDS],
    data: [AtomicU64; DATA],
    checks: [AtomicU64; SLOTS / 2],
}

impl Default for Page {
    fn default() -> Self {
        Self {
            head: Default::default(),
            data: std::array::from_fn(|_| AtomicU64::new(0)),
            checks: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("birth", &self.birth()).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Page {
    /// Begins a new life of the page: it is empty. `birth` is not zero, and differs from that of every other life of
    /// every page that a reader may see together with it.
    pub fn open(&'static self, birth: u64) {
        self.head[1].store(0, Ordering::Relaxed);
        self.head[0].store(0, Ordering::Relaxed);
        // Who sees anything of what follows sees that the birth has changed, if it looks after that.
        fence(Ordering::Release);
        self.data.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.checks.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.begin(birth);
    }

    /// Likewise, of a page that is all zeroes: nothing else of it is touched than what is written.
    pub fn begin(&'static self, birth: u64) {
        self.head[3].store(0, Ordering::Relaxed);
        self.head[1].store(birth, Ordering::Release);
    }

    /// [`open`](Self::open)'s birth of its present life.
    pub fn birth(&self) -> u64 {
        self.head[1].load(Ordering::Acquire)
    }

    /// Forgets what is complete: whoever reads the page takes it for not there.
    pub fn forget(&self) {
        self.head[3].store(self.len() as u64, Ordering::Relaxed);
    }

    /// Makes it full, whatever is in it: who writes to it has to go on elsewhere.
    pub fn close(&self) {
        self.head[0].store(DATA as u64, Ordering::Release);
    }

    /// Whether no slot is left.
    pub fn is_full(&self) -> bool {
        self.free_slots() == 0
    }

    /// The place behind what is complete: the number of a word in the slots.
    #[inline]
    pub fn len(&self) -> usize {
        usize::try_from(self.head[0].load(Ordering::Acquire)).map_or(DATA, |len| len.min(DATA))
    }

    /// Says to whoever reads it that nothing more comes into it.
    pub fn finish(&self) {
        self.head[4].store(self.birth(), Ordering::Relaxed);
    }

    /// Whether nothing is complete.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What stands in the slots up to a place.
    pub fn words(&self, len: usize) -> Vec<u64> {
        self.data[..len.min(DATA)].iter().map(|word| word.load(Ordering::Acquire)).collect()
    }

    pub(crate) fn word(&self, at: usize) -> Option<u64> {
        Some(self.data.get(at)?.load(Ordering::Relaxed))
    }

    /// The slots that begin at `places`.
    pub(crate) fn slots(&self, places: Range<usize>) -> impl Iterator<Item = &[AtomicU64]> {
        let end = places.end.next_multiple_of(SLOT_WORDS).min(DATA);
        let start = places.start.next_multiple_of(SLOT_WORDS).min(end);
        self.data[start..end].chunks_exact(SLOT_WORDS)
    }

    /// The words of the slot at a place.
    pub(crate) fn slot(&self, at: usize) -> Option<&[AtomicU64]> {
        self.data.get(at..at + SLOT_WORDS)
    }

    /// The next place; [`DATA`] if it is full. For the thread that writes.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.head[0].load(Ordering::Relaxed)
    }

    /// The place of the next slot that nothing is in.
    fn next_slot(&self) -> usize {
        self.len().next_multiple_of(SLOT_WORDS)
    }

    /// Free slots.
    pub(crate) fn free_slots(&self) -> usize {
        SLOTS - self.next_slot() / SLOT_WORDS
    }

    /// Puts words into the next slot; the first of them says what it is, and is stored last. `false`: the page is full,
    /// and nothing was done.
    pub fn put(&self, words: [u64; SLOT_WORDS]) -> bool {
        let at = self.next_slot();
        let is_put = self.fill(at, |nth| words[nth]);
        if is_put {
            self.head[0].store((at + SLOT_WORDS) as u64, Ordering::Release);
        }
        is_put
    }

    /// Writes the words of the slot at a place, the first of them last. `false`: there is no such slot.
    // Each is made when it is written: all at once are more than there are registers for.
    #[inline]
    fn fill(&self, at: usize, word: impl Fn(usize) -> u64) -> bool {
        let Some([first, others @ ..]) = self.data.get(at..at + SLOT_WORDS) else { return false };
        for (nth, other) in (1..).zip(others) {
            other.store(word(nth), Ordering::Relaxed);
        }
        first.store(word(0), Ordering::Release);
        true
    }

    /// Whether a detail and its entry fit.
    fn has_room_for(&self, detail: &[u8]) -> bool {
        self.free_slots().checked_sub(1).is_some_and(|slots| detail.len() <= slots * PART_BYTES)
    }

    /// Puts `bytes` into as many slots as it takes. The entry that they belong to follows. `false`: there are not that
    /// many, or none would be left for the entry; nothing was done.
    pub fn put_parts(&self, bytes: &[u8]) -> bool {
        self.has_room_for(bytes) && {
            let at = self.fill_parts(bytes);
            self.head[0].store(at as u64, Ordering::Release);
            true
        }
    }

    /// Writes a detail that there is room for; gives the place behind it.
    fn fill_parts(&self, bytes: &[u8]) -> usize {
        let mut at = self.next_slot();
        for bytes in bytes.chunks(PART_BYTES) {
            let mut part = [0; PART_BYTES];
            part[..bytes.len()].copy_from_slice(bytes);
            self.fill(at, part_word(&part, bytes.len()));
            at += SLOT_WORDS;
        }
        at
    }

    /// Puts a detail and the entry that it belongs to into the next slots. `false`: there are not that many, and nothing
    /// was done.
    pub fn put_with(&self, words: [u64; SLOT_WORDS], detail: &[u8]) -> bool {
        self.has_room_for(detail) && {
            let at = self.fill_parts(detail);
            self.fill(at, |nth| words[nth]);
            self.head[0].store((at + SLOT_WORDS) as u64, Ordering::Release);
            true
        }
    }

    /// Whether a detail and its event fit if the [next](Self::next) place is `at`.
    #[inline]
    pub(crate) const fn has_room_behind(at: u64, detail: Padded<'_>) -> bool {
        // Of each slot no more is counted on than of the last: at the end of a page that may be one too few.
        let slots = (detail.len() / TAIL_BYTES + 1) as u64;
        at.next_multiple_of(SLOT_WORDS as u64) + slots * SLOT_WORDS as u64 <= DATA as u64
    }

    /// Puts an event and its detail, for which there [is room](Self::has_room_behind), behind a place, which is the
    /// [next](Self::next); gives the place behind them. `step` is its number in its env, or ends as that does.
    pub(crate) fn put_detailed(&self, at: u64, detail: Padded<'_>, step: u64, event: u64) -> u64 {
        let mut at = usize::try_from(at).map_or(DATA, |at| at.next_multiple_of(SLOT_WORDS));
        let (mut from, mut left) = (0, detail.len());
        while left > TAIL_BYTES {
            let len = left.min(PART_BYTES);
            self.fill(at, part_word(detail.from(from), len));
            (at, from, left) = (at + SLOT_WORDS, from + PART_BYTES, left - len);
        }
        self.fill(at, tail_word(detail.from(from), left, step, event));
        let end = (at + SLOT_WORDS) as u64;
        self.head[0].store(end, Ordering::Release);
        end
    }

    /// Puts an event at a place, which is the [next](Self::next).
    #[inline]
    pub(crate) fn put_event(&self, at: u64, event: u64) {
        if let Some(word) = usize::try_from(at).ok().and_then(|at| self.data.get(at)) {
            word.store(event, Ordering::Release);
            self.head[0].store(at + 1, Ordering::Release);
        }
    }

    /// Writes the checks of the slots that will not change any more. Any thread may do it, at any time; `salt` is one for
    /// all pages that a reader may see together.
    pub fn seal(&self, salt: u64) {
        let (birth, len) = (self.birth(), self.len());
        if birth == 0 {
            // Nothing in it is valid, and a check would make it look as if something had been.
            return;
        }
        let slots = len / SLOT_WORDS;
        let groups = self.data.chunks_exact(GROUP * SLOT_WORDS).zip(self.checks.chunks_exact(GROUP / 2));
        for (nth, (group, checks)) in groups.take(slots / GROUP).enumerate() {
            // None of them changes any more, so all who write it write the same.
            let sums = group_checks(group, std::array::from_fn(|slot| slot_seed(salt, birth, nth * GROUP + slot)));
            for (check, pair) in checks.iter().zip(sums.chunks_exact(2)) {
                check.store(u64::from(pair[0]) | (u64::from(pair[1]) << 32), Ordering::Relaxed);
            }
        }
        for nth in slots / GROUP * GROUP..slots {
            let words = std::array::from_fn(|word| self.data[nth * SLOT_WORDS + word].load(Ordering::Relaxed));
            let check = u64::from(check(&words, slot_seed(salt, birth, nth)));
            // Whoever sees the other slot of the pair complete may be about to write both.
            self.checks[nth / 2].fetch_or(check << (nth % 2 * 32), Ordering::Relaxed);
        }
    }
}

/// Slots whose checks are made side by side: by itself, each step of a check waits for the one before.
const GROUP: usize = 10;

/// The [checks](check) of slots that stand one behind the other.
fn group_checks(slots: &[AtomicU64], seeds: [u64; GROUP]) -> [u32; GROUP] {
    let mut sums = seeds;
    // Unrolled, they would be made one after the other again.
    for word in 0..std::hint::black_box(SLOT_WORDS) {
        for (slot, sum) in sums.iter_mut().enumerate() {
            *sum = check_word(*sum, slots[slot * SLOT_WORDS + word].load(Ordering::Relaxed));
        }
    }
    sums.map(check_of)
}

/// The words of the slot of the first `len` bytes; the others are zero.
#[inline]
fn part_word(bytes: &[u8; PART_BYTES], len: usize) -> impl Fn(usize) -> u64 + '_ {
    move |nth| match nth {
        0 => (word_at(bytes, 0) << 16) | ((len as u64) << 8) | KIND_PART,
        _ => word_at(bytes, nth * 8 - 2),
    }
}

/// Likewise, of an event.
#[inline]
fn tail_word(bytes: &[u8; PART_BYTES], len: usize, step: u64, event: u64) -> impl Fn(usize) -> u64 + '_ {
    move |nth| match nth {
        0 => (word_at(bytes, 0) << 32) | ((step & STEP_MASK) << 16) | ((len as u64) << 8) | KIND_DETAILED,
        7 => event,
        _ => word_at(bytes, nth * 8 - 4),
    }
}

/// The eight bytes that begin at a place.
#[inline]
fn word_at(bytes: &[u8; PART_BYTES], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_le_bytes(*word))
}

/// The bits of a step's number that stand beside an event with a detail: what follows from the events before it has to
/// agree.
const STEP_MASK: u64 = 0xffff;

/// The bytes of a detail in a slot; `None` if it holds none.
pub fn part_of(words: &[u64; SLOT_WORDS]) -> Option<Vec<u8>> {
    let (at, len_max) = match kind(words[0]) {
        KIND_PART => (2, PART_BYTES),
        KIND_DETAILED => (4, TAIL_BYTES),
        _ => return None,
    };
    let len = usize::from(words[0].to_le_bytes()[1]);
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    (len <= len_max).then(|| bytes.skip(at).take(len).collect())
}

/// An event with a detail.
#[derive(Debug, Clone, Copy)]
pub struct Detailed {
    /// The event.
    pub event: u64,
    step: u64,
}

impl Detailed {
    /// That of a slot, if it holds one.
    pub fn of(words: &[u64; SLOT_WORDS]) -> Option<Self> {
        let event = words[SLOT_WORDS - 1];
        let is_one = kind(words[0]) == KIND_DETAILED && matches!(kind(event), KIND_ENTER | KIND_EXIT);
        is_one.then_some(Self { event, step: (words[0] >> 16) & STEP_MASK })
    }

    /// Whether it can be the step with this number.
    pub const fn is_step(self, step: u64) -> bool {
        step & STEP_MASK == self.step
    }
}

/// What a slot or an event is, by its first word.
pub(crate) const fn kind(first: u64) -> u64 {
    first & KIND_MASK as u64
}

/// The seed of the check of a slot.
pub fn slot_seed(salt: u64, birth: u64, slot: usize) -> u64 {
    let mixed = (salt ^ birth).wrapping_mul(FACTOR);
    (mixed ^ (mixed >> 32)).wrapping_add(slot as u64).wrapping_mul(FACTOR)
}

/// The check of a slot: 32 bits of a hash over its words, which differs by page, life and place. Never zero, which
/// stands for a slot that is not sealed.
pub fn check(words: &[u64; SLOT_WORDS], seed: u64) -> u32 {
    check_of(words.iter().fold(seed, |sum, word| check_word(sum, *word)))
}

const fn check_word(sum: u64, word: u64) -> u64 {
    (sum ^ word).wrapping_mul(FACTOR).rotate_left(29)
}

fn check_of(sum: u64) -> u32 {
    u32::try_from((sum ^ (sum >> 32)).wrapping_mul(FACTOR) >> 32).unwrap_or(0).max(1)
}

/// An odd number without a pattern: the fractional part of the square root of 2 (FIPS 180-4, 5.3.5).
const FACTOR: u64 = 0x6a09_e667_f3bc_c909;

/// An event: the kind, the low bits of the occurrence, the site, and the time since the run began.
///
/// From the lowest bit: 4 of the kind, 8 of the occurrence, 20 of the site, 32 of the time in units of [`TIME_UNIT`].
#[inline]
pub(crate) const fn event(kind: u64, occurrence: u32, site: u32, elapsed: u64) -> u64 {
    kind | ((occurrence as u64 & 0xff) << 4) | ((site as u64) << 12) | ((elapsed / TIME_UNIT) << 32)
}

/// Ticks in a unit of the time of events. With a counter of 4 GHz, a run may last four seconds.
pub(crate) const TIME_UNIT: u64 = 4;
/// What is longer ago does not fit into an event.
pub(crate) const ELAPSED_END: u64 = TIME_UNIT << 32;
/// How far an occurrence may be from the one that a reader expects.
pub(crate) const OCCURRENCES: u32 = 100;

/// The first word of a run header: the number of the next record, and how much of the header it is.
pub(crate) const fn run_word(seq: u64, part: u64) -> u64 {
    (seq << TAG_BITS) | (part << 4) | KIND_RUN
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn page() -> &'static Page {
        let page: &'static Page = Box::leak(Box::default());
        page.open(1);
        page
    }

    #[test]
    fn a_page_is_16_kib() {
        assert_eq!((PAGE_BYTES, size_of::<Page>()), (16 * 1024, 16 * 1024));
    }

    #[test]
    fn a_check_is_right_for_one_slot_in_one_life() {
        let page = page();
        assert!(page.put([1, 2, 3, 4, 5, 6, 7, 8]));
        assert!(page.put([1, 2, 3, 4, 5, 6, 7, 8]));
        page.put_event(page.next(), 8);
        page.seal(7);
        let words: [u64; 8] = page.words(8).try_into().unwrap();
        let stored = |nth: usize| page.checks[nth / 2].load(Ordering::Relaxed) >> (32 * (nth % 2)) & 0xffff_ffff;
        assert_eq!(stored(0), u64::from(check(&words, slot_seed(7, 1, 0))));
        assert_ne!((stored(0), 0), (stored(1), stored(2)), "the last is still being written");
        for (salt, birth, slot) in [(8, 1, 0), (7, 2, 0), (7, 1, 1)] {
            assert_ne!(stored(0), u64::from(check(&words, slot_seed(salt, birth, slot))));
        }
        for bit in 0..512 {
            let mut flipped = words;
            flipped[bit / 64] ^= 1 << (bit % 64);
            assert_ne!(stored(0), u64::from(check(&flipped, slot_seed(7, 1, 0))), "bit {bit}");
        }
        page.seal(7);
        assert_eq!(stored(0), u64::from(check(&words, slot_seed(7, 1, 0))), "sealing twice changes nothing");
    }

    #[test]
    fn a_detail_of_any_length_lies_before_its_event() {
        for len in 0..4 * PART_BYTES {
            let page = page();
            let written: Vec<u8> = (1..=u8::MAX).cycle().take(len).collect();
            let padded = [&written[..], &[0; Padded::ZEROES]].concat();
            let event = event(KIND_EXIT, 0, 7, 99);
            let detail = Padded::new(&padded, len);
            page.put_detailed(page.next(), detail, 0xabc_def0_1234, event);
            let words = page.words(page.len());
            let slots: Vec<&[u64; SLOT_WORDS]> =
                words.chunks(SLOT_WORDS).map(|slot| slot.try_into().unwrap()).collect();
            let read: Vec<u8> = slots.iter().flat_map(|slot| part_of(slot).unwrap()).collect();
            assert_eq!(read, written);
            let (last, before) = slots.split_last().unwrap();
            let detailed = Detailed::of(last).unwrap();
            assert_eq!((detailed.event, detailed.is_step(0x1_1234), detailed.is_step(0x1235)), (event, true, false));
            assert!(before.iter().all(|slot| Detailed::of(slot).is_none()), "{len} bytes");
            let others = len.saturating_sub(TAIL_BYTES).div_ceil(PART_BYTES);
            assert_eq!(before.len(), others, "{len} bytes");
        }
    }

    #[test]
    fn what_has_room_fits() {
        let (page, padded) = (page(), vec![0; PAGE_BYTES]);
        let mut most = 0;
        for len in (0..PAGE_BYTES - Padded::ZEROES).step_by(3) {
            let detail = Padded::new(&padded, len);
            page.open(1);
            page.put_event(page.next(), 8);
            if Page::has_room_behind(page.next(), detail) {
                let end = page.put_detailed(page.next(), detail, 1, event(KIND_EXIT, 0, 7, 99));
                assert!(Detailed::of(page.words(DATA)[..page.len()].last_chunk().unwrap()).is_some(), "{len} bytes");
                assert_eq!(end, page.len() as u64);
                most = len;
            }
        }
        assert!(most > 12_000, "{most}");
    }

    #[test]
    fn slots_have_the_checks_that_each_has_by_itself() {
        for slots in [GROUP - 1, GROUP, 2 * GROUP + 3, SLOTS] {
            let page = page();
            (0..slots as u64).for_each(|slot| assert!(page.put(std::array::from_fn(|word| slot << word | 1))));
            page.seal(7);
            for nth in 0..SLOTS {
                let stored = page.checks[nth / 2].load(Ordering::Relaxed) >> (32 * (nth % 2)) & 0xffff_ffff;
                let words = std::array::from_fn(|word| page.word(nth * SLOT_WORDS + word).unwrap());
                let own = if nth < slots { check(&words, slot_seed(7, 1, nth)) } else { 0 };
                assert_eq!(stored, u64::from(own), "slot {nth} of {slots}");
            }
        }
    }

    #[test]
    fn parts_come_whole_or_not_at_all() {
        let page = page();
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(PART_BYTES + 1).collect();
        assert!(page.put_parts(&bytes));
        let read: Vec<u8> =
            page.words(page.len()).chunks(8).flat_map(|slot| part_of(slot.try_into().unwrap()).unwrap()).collect();
        assert_eq!((read, page.len()), (bytes, 16));
        assert!(!page.put_parts(&[1; (SLOTS - 2) * PART_BYTES]), "no slot would be left for the entry");
        assert_eq!(page.len(), 16);
        assert!(page.put_parts(&[1; (SLOTS - 3) * PART_BYTES]));
        assert_eq!(page.free_slots(), 1);
    }
}

#[cfg(all(test, loom))]
mod loom {
    //! A page begins anew while somebody reads it.

    use super::*;

    #[test]
    fn a_reader_of_a_page_that_begins_anew_finds_one_life_or_knows() {
        let mut model = ::loom::model::Builder::new();
        // More switches of threads than that only repeat, for there is one write of interest.
        model.preemption_bound = Some(2);
        model.check(|| {
            let page: &'static Page = Box::leak(Box::default());
            page.open(1);
            assert!(page.put([0x11; 8]));
            let writer = ::loom::thread::spawn(move || {
                page.open(2);
                assert!(page.put([0x21; 8]));
            });
            let birth = page.birth();
            let slot = page.slot(0).expect("it has one");
            // The first and the last stand for all: each more multiplies what there is to try.
            let words = [0, 7].map(|word: usize| slot[word].load(Ordering::Acquire));
            if birth != 0 && page.birth() == birth {
                assert!(words[0] == 0 || words == [birth * 0x10 + 1; 2], "{words:x?} in life {birth}");
            }
            writer.join().unwrap();
        });
    }
}
