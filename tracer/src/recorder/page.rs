//! The memory that steps are written to: pages of slots, each slot a cache line.
//!
//! One thread writes to a page; others, and those who come after the process has died, read it. So a page lies in
//! memory that is never given back, all of it is atomic words, and each slot carries a checksum over its words, its
//! page and its place: what is there is an entry that was written there, whole, or it is nothing.

use std::fmt;

use crate::sync::atomic::{AtomicU64, Ordering};

/// Slots in a page.
pub const SLOTS: usize = if cfg!(all(test, loom)) { 4 } else { 255 };
/// What a page takes, in bytes: the slots, and a head of the size of one.
pub const PAGE_BYTES: usize = (SLOTS + 1) * 64;
/// Bytes of payload in a slot that is [part](OpenPage::put_parts) of a detail.
pub const PART_BYTES: usize = 56;
/// Bits of the last word of a part that say its length; its number stands above them.
pub const PART_LEN_BITS: u32 = 8;

/// A page. Zeroes are a page that was never written to.
#[repr(C, align(64))]
pub struct Page {
    /// Word 0: complete slots; only a hint for who reads it after the process has died. Word 1: the birth, see
    /// [`open`](Self::open). Word 2: a number of the writing thread. Word 3: slots before this one are
    /// [forgotten](Self::forget). The rest is zero.
    head: [AtomicU64; 8],
    slots: [[AtomicU64; 8]; SLOTS],
}

impl Default for Page {
    fn default() -> Self {
        Self { head: Default::default(), slots: std::array::from_fn(|_| Default::default()) }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("birth", &self.birth()).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Page {
    /// Begins a new life of the page: it is empty. `birth` differs from that of every other life of every page that
    /// a reader may see together with it; `salt` is one for them all.
    pub fn open(&'static self, salt: u64, birth: u64, writer: u64) -> OpenPage {
        self.head[0].store(0, Ordering::Relaxed);
        self.head[3].store(0, Ordering::Relaxed);
        self.head[1].store(birth, Ordering::Release);
        self.head[2].store(writer, Ordering::Relaxed);
        OpenPage { page: self, seed: page_seed(salt, birth) }
    }

    /// [`open`](Self::open)'s birth of its present life.
    pub fn birth(&self) -> u64 {
        self.head[1].load(Ordering::Acquire)
    }

    /// Forgets the slots that are complete: whoever reads it takes them for not there.
    pub fn forget(&self) {
        self.head[3].store(self.len() as u64, Ordering::Relaxed);
    }

    /// Makes it full, whatever is in it: who writes to it has to go on elsewhere.
    pub fn close(&self) {
        self.head[0].store(SLOTS as u64, Ordering::Release);
    }

    /// Complete slots.
    #[inline]
    pub fn len(&self) -> usize {
        usize::try_from(self.head[0].load(Ordering::Acquire)).map_or(SLOTS, |len| len.min(SLOTS))
    }

    /// Whether no slot is complete.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next slot; [`SLOTS`] if it is full.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.head[0].load(Ordering::Relaxed)
    }

    /// Completes the slot [`next`](Self::next) with `words`, as [`OpenPage::put`] does. `false`: there is none.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "takes eight words, which then stay in registers")]
    pub(crate) fn put_at(&self, at: u64, mut words: [u64; 8], page_seed: u64) -> bool {
        let Some(slot) = usize::try_from(at).ok().and_then(|at| self.slots.get(at)) else { return false };
        words[7] = seal(&words, slot_seed(page_seed, at));
        for (word, value) in slot.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        self.head[0].store(at + 1, Ordering::Release);
        true
    }

    /// The words of a slot; `None` past the last.
    pub fn slot(&self, at: usize) -> Option<&[AtomicU64; 8]> {
        self.slots.get(at)
    }
}

/// A page in the hands of the one thread that writes to it.
#[derive(Debug, Clone, Copy)]
pub struct OpenPage {
    page: &'static Page,
    seed: u64,
}

impl OpenPage {
    /// The page.
    pub fn page(&self) -> &'static Page {
        self.page
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Free slots.
    pub(crate) fn room(&self) -> u64 {
        (SLOTS as u64).saturating_sub(self.page.next())
    }

    #[inline]
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Completes the next slot with `words`, the high half of whose last word becomes their check. `false`: the page is
    /// full.
    #[inline]
    pub fn put(&self, words: [u64; 8]) -> bool {
        self.page.put_at(self.page.next(), words, self.seed)
    }

    /// Completes the next slots with a detail and the entry that it belongs to. `false`: there are not that many, and
    /// nothing was done.
    pub fn put_with(&self, words: [u64; 8], detail: &[u8]) -> bool {
        detail.len().div_ceil(PART_BYTES) < SLOTS - self.page.len() && self.put_parts(detail) && self.put(words)
    }

    /// Completes as many slots as it takes with `bytes`, [`PART_BYTES`] in each, zeroes behind them; in the low half of
    /// the last word the length, and above it the number of the part. `false`: there are not that many, and nothing was
    /// done. The entry that they belong to follows.
    pub fn put_parts(&self, bytes: &[u8]) -> bool {
        if bytes.len().div_ceil(PART_BYTES) > SLOTS - self.page.len() {
            return false;
        }
        for (nth, part) in (0..).zip(bytes.chunks(PART_BYTES)) {
            let mut words = [0; 8];
            for (word, bytes) in words.iter_mut().zip(part.chunks(8)) {
                let mut whole = [0; 8];
                whole[..bytes.len()].copy_from_slice(bytes);
                *word = u64::from_le_bytes(whole);
            }
            words[7] = part.len() as u64 | (nth << PART_LEN_BITS);
            self.page.put_at(self.page.next(), words, part_seed(self.seed));
        }
        true
    }
}

/// The seed of all checks in one life of a page.
pub fn page_seed(salt: u64, birth: u64) -> u64 {
    let mixed = (salt ^ birth).wrapping_mul(FACTORS[0]);
    (mixed ^ (mixed >> 32)).wrapping_mul(FACTORS[1])
}

/// The seed of the check of a slot that holds an entry.
#[inline]
pub fn slot_seed(page_seed: u64, at: u64) -> u64 {
    page_seed ^ at
}

/// The seed of all checks of slots that hold part of a detail.
pub fn part_seed(page_seed: u64) -> u64 {
    page_seed ^ FACTORS[1]
}

/// Odd numbers without a pattern: the fractional parts of the square roots of 2 and 3 (FIPS 180-4, 5.3.5), made
/// odd where they are not.
const FACTORS: [u64; 2] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b];

/// The last word with the check of all in its high half, whatever was there.
///
/// A slot is never torn: it is a cache line, and no disk writes less than eight of them. So what is to be found out is
/// a slot of another life or place, one that was being written when the process died (whose last word is then of
/// another life), bits that flipped, and bytes from anywhere. The first two differ in their seed; of the last two, one in
/// 2^32 passes.
#[inline]
pub fn seal(words: &[u64; 8], seed: u64) -> u64 {
    let last = words[7] & 0xffff_ffff;
    let [a, b, c, d, e, f, g, _] = *words;
    let sum = (a ^ b ^ c ^ d) ^ (e ^ f.rotate_left(17) ^ g ^ last ^ seed);
    (sum.wrapping_mul(FACTORS[0]) & !0xffff_ffff) | last
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn read(page: &Page, at: usize) -> [u64; 8] {
        std::array::from_fn(|nth| page.slots[at][nth].load(Ordering::Relaxed))
    }

    #[test]
    fn a_slot_is_valid_where_it_was_written_and_nowhere_else() {
        let page: &'static Page = Box::leak(Box::default());
        let open = page.open(7, 1, 0);
        for nth in 0..SLOTS as u64 {
            assert!(open.put([nth; 8]));
        }
        assert!(!open.put([0; 8]));
        let slot = read(page, 3);
        assert_eq!(seal(&slot, slot_seed(page_seed(7, 1), 3)), slot[7]);
        for (salt, birth, at) in [(8, 1, 3), (7, 2, 3), (7, 1, 4)] {
            assert_ne!(seal(&slot, slot_seed(page_seed(salt, birth), at)), slot[7]);
        }
        assert_ne!(seal(&slot, slot_seed(part_seed(page_seed(7, 1)), 3)), slot[7]);
        for bit in 0..512 {
            let mut flipped = slot;
            flipped[bit / 64] ^= 1 << (bit % 64);
            assert_ne!(seal(&flipped, slot_seed(page_seed(7, 1), 3)), flipped[7], "bit {bit}");
        }
    }

    #[test]
    fn parts_come_whole_or_not_at_all() {
        let page: &'static Page = Box::leak(Box::default());
        let open = page.open(7, 1, 0);
        assert!(open.put_parts(&[1; 57]));
        assert_eq!((page.len(), read(page, 0)[7] & 0xffff_ffff, read(page, 1)[7] & 0xffff_ffff), (2, 56, 1 << 8 | 1));
        assert!(!open.put_parts(&[1; (SLOTS - 2) * PART_BYTES + 1]));
        assert_eq!(page.len(), 2);
        assert!(open.put_parts(&[1; (SLOTS - 2) * PART_BYTES]));
        assert_eq!(page.len(), SLOTS);
    }
}
