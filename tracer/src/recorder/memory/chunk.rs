//! 256 entries that one thread writes while others may read what is complete.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::recorder::{Detail, Entry};

/// Entries in a chunk.
pub(super) const ENTRIES: usize = 256;
/// What a chunk takes.
pub(super) const BYTES: usize = ENTRIES * 64;

#[derive(Debug)]
pub(super) struct Chunk {
    words: Box<[[AtomicU64; 8]; ENTRIES]>,
    /// Complete entries. Stored last, so what it counts can be read.
    len: AtomicUsize,
    /// Entries before this one are forgotten.
    from: AtomicUsize,
    /// By entry, in order.
    details: Mutex<Vec<(usize, Box<Detail>)>>,
    detail_bytes: AtomicUsize,
}

impl Chunk {
    pub(super) fn new() -> Self {
        let words: Vec<[AtomicU64; 8]> = (0..ENTRIES).map(|_| Default::default()).collect();
        Self {
            words: words.try_into().unwrap_or_else(|_| unreachable!("made with this length")),
            len: AtomicUsize::new(0),
            from: AtomicUsize::new(0),
            details: Mutex::new(Vec::new()),
            detail_bytes: AtomicUsize::new(0),
        }
    }

    /// Makes it as new. Only the one who holds it alone can.
    pub(super) fn reset(&mut self) {
        *self.len.get_mut() = 0;
        *self.from.get_mut() = 0;
        *self.detail_bytes.get_mut() = 0;
        self.details.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Completes the entry `at`, the first that is not complete. `false`: the chunk is full.
    #[inline]
    pub(super) fn put(&self, at: usize, entry: &Entry) -> bool {
        let Some(words) = self.words.get(at) else { return false };
        for (word, value) in words.iter().zip(entry.0) {
            word.store(value, Ordering::Relaxed);
        }
        self.len.store(at + 1, Ordering::Release);
        true
    }

    /// Gives the entry `at` its detail, before it is complete.
    pub(super) fn attach(&self, at: usize, detail: Box<Detail>) {
        self.detail_bytes.fetch_add(detail.size(), Ordering::Relaxed);
        self.details().push((at, detail));
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn detail_bytes(&self) -> usize {
        self.detail_bytes.load(Ordering::Relaxed)
    }

    /// Forgets what is complete.
    pub(super) fn forget(&self) {
        self.from.store(self.len(), Ordering::Relaxed);
        self.detail_bytes.store(0, Ordering::Relaxed);
        self.details().clear();
    }

    /// The complete entries that are not forgotten, with their places.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, Entry)> + '_ {
        self.entries_from(0)
    }

    /// Likewise, from a place on.
    pub(super) fn entries_from(&self, from: usize) -> impl Iterator<Item = (usize, Entry)> + '_ {
        let len = self.len();
        let from = from.max(self.from.load(Ordering::Relaxed)).min(len);
        let read = |words: &[AtomicU64; 8]| Entry(std::array::from_fn(|n| words[n].load(Ordering::Relaxed)));
        (from..len).zip(&self.words[from..len]).map(move |(at, words)| (at, read(words)))
    }

    /// The complete entries in `range` that are no steps.
    pub(super) fn others(&self, range: Range<usize>) -> impl Iterator<Item = Entry> + '_ {
        range.filter(|at| self.step_env(*at).is_none()).filter_map(|at| self.get(at))
    }

    /// The places of the complete entries that are not forgotten.
    pub(super) fn places(&self) -> Range<usize> {
        self.from.load(Ordering::Relaxed)..self.len()
    }

    /// The env of the step at a place; `None` if it is no step.
    pub(super) fn step_env(&self, at: usize) -> Option<u64> {
        let words = self.words.get(at)?;
        Entry::is_step_in(words[7].load(Ordering::Relaxed)).then(|| words[2].load(Ordering::Relaxed))
    }

    /// How many steps of the same env follow the step at a place, up to another.
    pub(super) fn steps_like(&self, at: usize, end: usize) -> usize {
        let Some([first, more @ ..]) = self.words.get(at..end) else { return 0 };
        let env = first[2].load(Ordering::Relaxed);
        let like = |words: &&[AtomicU64; 8]| {
            Entry::is_step_in(words[7].load(Ordering::Relaxed)) && words[2].load(Ordering::Relaxed) == env
        };
        more.iter().take_while(like).count()
    }

    pub(super) fn get(&self, at: usize) -> Option<Entry> {
        self.entries_from(at).next().map(|(_, entry)| entry)
    }

    /// Makes a complete entry one that says nothing.
    pub(super) fn erase(&self, at: usize) {
        if let Some(words) = self.words.get(at) {
            words[7].store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn details(&self) -> MutexGuard<'_, Vec<(usize, Box<Detail>)>> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
