//! A page that one thread writes to while others may read what is complete, and the details of its entries.

use std::ops::Range;
use std::sync::PoisonError;

use crate::id::EnvId;
use crate::recorder::page::{self, KIND_DETAILED, KIND_ENTER, KIND_EXIT, KIND_RUN, PAGE_BYTES, Page, SLOT_WORDS};
use crate::recorder::{Decoder, Detail, Entry, Found, OwnSites};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// What a chunk takes.
pub(super) const BYTES: usize = PAGE_BYTES;

#[derive(Debug)]
pub(super) struct Chunk {
    page: &'static Page,
    /// What stands before this place is forgotten.
    from: AtomicUsize,
    /// By the place of the entry, in order.
    details: Mutex<Vec<(usize, Box<Detail>)>>,
    detail_bytes: AtomicUsize,
}

/// Pages of chunks that are gone: a thread writes to a page without asking whether it is still there, so pages are
/// never given back.
static PAGES: std::sync::Mutex<Vec<&'static Page>> = std::sync::Mutex::new(Vec::new());

impl Chunk {
    pub(super) fn new() -> Self {
        let page = PAGES.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self {
            page: open(page.unwrap_or_else(|| Box::leak(Box::default()))),
            from: AtomicUsize::new(0),
            details: Mutex::new(Vec::new()),
            detail_bytes: AtomicUsize::new(0),
        }
    }

    /// Makes it as new. Only the one who holds it alone can.
    pub(super) fn reset(&mut self) {
        self.page = open(self.page);
        for number in [&self.from, &self.detail_bytes] {
            number.store(0, Ordering::Relaxed);
        }
        self.details.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Where its thread writes.
    pub(super) fn page(&self) -> &'static Page {
        self.page
    }

    /// Puts an entry into the next slot, with its detail; gives its place. `None`: the page is full.
    pub(super) fn put(&self, entry: &Entry, detail: Option<Box<Detail>>) -> Option<usize> {
        let at = self.len().next_multiple_of(SLOT_WORDS);
        if self.page.free_slots() == 0 {
            return None;
        }
        if let Some(detail) = detail {
            self.attach(at, detail);
        }
        self.page.put(entry.words()).then_some(at)
    }

    /// Gives the entry at a place its detail, before it is complete.
    fn attach(&self, at: usize, detail: Box<Detail>) {
        let mut details = self.details();
        self.detail_bytes.fetch_add(detail.size(), Ordering::Relaxed);
        details.push((at, detail));
    }

    pub(super) fn len(&self) -> usize {
        self.page.len()
    }

    pub(super) fn detail_bytes(&self) -> usize {
        self.detail_bytes.load(Ordering::Relaxed)
    }

    /// Forgets what stands before `len`.
    pub(super) fn forget(&self, len: usize) {
        self.from.store(len, Ordering::Relaxed);
        let mut details = self.details();
        // The writer may have attached one to the entry that it is about to complete.
        details.retain(|(at, _)| *at >= len);
        self.detail_bytes.store(details.iter().map(|(_, detail)| detail.size()).sum(), Ordering::Relaxed);
    }

    /// The entries at `places`, with the details that stand in the page itself.
    pub(super) fn entries(&self, places: Range<usize>) -> Vec<Found> {
        // From the first, because what an event says depends on what came before it.
        let words = self.page.words(places.end);
        Decoder::new(&words, OwnSites).filter(|found| places.contains(&found.at)).collect()
    }

    /// The slots at `places` that begin there, with their first words.
    fn slots(&self, places: Range<usize>) -> impl Iterator<Item = (u64, &'static [AtomicU64])> + '_ {
        self.page.slots(places).map(|slot| (slot[0].load(Ordering::Acquire), slot))
    }

    /// The entries at `places` that are no steps.
    pub(super) fn others(&self, places: Range<usize>) -> impl Iterator<Item = Entry> + '_ {
        self.slots(places).filter(|(first, _)| Entry::is_other_in(*first)).map(|(_, slot)| read(slot))
    }

    /// How many records stand at `places`, read at little cost. `None`: that cannot be told, or one of them is of an env
    /// that `is_wanted`, which is asked more than once about some.
    pub(super) fn records_if(&self, places: Range<usize>, mut is_wanted: impl FnMut(EnvId) -> bool) -> Option<u64> {
        // An event in the first slot could be of a run that began before.
        if places.start % SLOT_WORDS != 0 {
            return None;
        }
        let (mut records, mut last) = (0, 0);
        for (first, slot) in self.slots(places) {
            match page::kind(first) {
                KIND_ENTER | KIND_EXIT => {
                    records += slot.iter().filter(|word| word.load(Ordering::Relaxed) != 0).count() as u64;
                    continue;
                }
                KIND_DETAILED => {
                    records += 1;
                    continue;
                }
                KIND_RUN => {}
                _ if Entry::is_record_in(first) => records += 1,
                _ => continue,
            }
            let env = slot[2].load(Ordering::Relaxed);
            if env != std::mem::replace(&mut last, env) && EnvId::new(env).is_some_and(&mut is_wanted) {
                return None;
            }
        }
        Some(records)
    }

    /// The places of what is complete and not forgotten.
    pub(super) fn places(&self) -> Range<usize> {
        self.from.load(Ordering::Relaxed)..self.len()
    }

    /// The entry in the slot at a place.
    pub(super) fn get(&self, at: usize) -> Option<Entry> {
        self.places().contains(&at).then(|| self.page.slot(at).map(read)).flatten()
    }

    /// Makes the entry in the slot at a place one that says nothing.
    pub(super) fn erase(&self, at: usize) {
        if let Some(words) = self.page.slot(at) {
            words[0].store(0, Ordering::Relaxed);
        }
    }

    /// Whether what stood at a place was [erased](Self::erase).
    pub(super) fn is_erased(&self, at: usize) -> bool {
        self.page.word(at) == Some(0)
    }

    pub(super) fn details(&self) -> MutexGuard<'_, Vec<(usize, Box<Detail>)>> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // What the model checker explores must not outlive its execution.
        if !cfg!(all(test, loom)) {
            PAGES.lock().unwrap_or_else(PoisonError::into_inner).push(self.page);
        }
    }
}

/// Of pages in memory, none is seen together with another life of it.
fn open(page: &'static Page) -> &'static Page {
    page.open(1);
    page
}

fn read(slot: &[AtomicU64]) -> Entry {
    Entry::of_words(std::array::from_fn(|word| slot[word].load(Ordering::Relaxed)))
}
