//! 256 entries that one thread writes while others may read what is complete.

use std::ops::Range;
use std::sync::PoisonError;

use crate::recorder::{Detail, Entry};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Entries in a chunk.
pub(super) const ENTRIES: usize = if cfg!(all(test, loom)) { 4 } else { 256 };
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
        for number in [&self.len, &self.from, &self.detail_bytes] {
            number.store(0, Ordering::Relaxed);
        }
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
        let mut details = self.details();
        self.detail_bytes.fetch_add(detail.size(), Ordering::Relaxed);
        details.push((at, detail));
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn detail_bytes(&self) -> usize {
        self.detail_bytes.load(Ordering::Relaxed)
    }

    /// Forgets the entries before `len`.
    pub(super) fn forget(&self, len: usize) {
        self.from.store(len, Ordering::Relaxed);
        let mut details = self.details();
        // The writer may have attached one to the entry that it is about to complete.
        details.retain(|(at, _)| *at >= len);
        self.detail_bytes.store(details.iter().map(|(_, detail)| detail.size()).sum(), Ordering::Relaxed);
    }

    /// The complete entries at `places`.
    pub(super) fn entries(&self, places: Range<usize>) -> impl Iterator<Item = (usize, Entry)> + '_ {
        let words = &self.words[places.clone()];
        places.zip(words).map(|(at, words)| (at, read(words)))
    }

    /// Those among them that are no steps.
    pub(super) fn others(&self, places: Range<usize>) -> impl Iterator<Item = Entry> + '_ {
        let words = self.words[places].iter();
        words.filter(|words| !Entry::is_step_in(words[7].load(Ordering::Relaxed))).map(read)
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
        self.places().contains(&at).then(|| read(&self.words[at]))
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

fn read(words: &[AtomicU64; 8]) -> Entry {
    Entry(std::array::from_fn(|n| words[n].load(Ordering::Relaxed)))
}
