//! A page that one thread writes to while others may read what is complete, and the details of its entries.

use std::ops::Range;
use std::sync::PoisonError;

use crate::recorder::page::{OpenPage, PAGE_BYTES, Page, SLOTS};
use crate::recorder::{Detail, Entry};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Entries in a chunk.
pub(super) const ENTRIES: usize = SLOTS;
/// What a chunk takes.
pub(super) const BYTES: usize = PAGE_BYTES;

#[derive(Debug)]
pub(super) struct Chunk {
    page: OpenPage,
    /// Entries before this one are forgotten.
    from: AtomicUsize,
    /// By entry, in order.
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
        self.page = open(self.page.page());
        for number in [&self.from, &self.detail_bytes] {
            number.store(0, Ordering::Relaxed);
        }
        self.details.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Where its thread writes.
    pub(super) fn page(&self) -> OpenPage {
        self.page
    }

    /// Gives the entry `at` its detail, before it is complete.
    pub(super) fn attach(&self, at: usize, detail: Box<Detail>) {
        let mut details = self.details();
        self.detail_bytes.fetch_add(detail.size(), Ordering::Relaxed);
        details.push((at, detail));
    }

    pub(super) fn len(&self) -> usize {
        self.page.page().len()
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

    fn slot(&self, at: usize) -> Option<&'static [AtomicU64; 8]> {
        self.page.page().slot(at)
    }

    /// The complete entries at `places`.
    pub(super) fn entries(&self, places: Range<usize>) -> impl Iterator<Item = (usize, Entry)> + '_ {
        places.filter_map(|at| Some((at, read(self.slot(at)?))))
    }

    /// Those among them that are no steps.
    pub(super) fn others(&self, places: Range<usize>) -> impl Iterator<Item = Entry> + '_ {
        places.filter_map(|at| self.slot(at)).filter(|words| !is_step(words)).map(read)
    }

    /// The places of the complete entries that are not forgotten.
    pub(super) fn places(&self) -> Range<usize> {
        self.from.load(Ordering::Relaxed)..self.len()
    }

    /// The env of the step at a place; `None` if it is no step.
    pub(super) fn step_env(&self, at: usize) -> Option<u64> {
        let words = self.slot(at)?;
        is_step(words).then(|| words[2].load(Ordering::Relaxed))
    }

    /// How many steps of the same env follow the step at a place, up to another.
    pub(super) fn steps_like(&self, at: usize, end: usize) -> usize {
        let Some(env) = self.step_env(at) else { return 0 };
        (at + 1..end).take_while(|at| self.step_env(*at) == Some(env)).count()
    }

    pub(super) fn get(&self, at: usize) -> Option<Entry> {
        self.places().contains(&at).then(|| self.slot(at).map(read)).flatten()
    }

    /// Makes a complete entry one that says nothing.
    pub(super) fn erase(&self, at: usize) {
        if let Some(words) = self.slot(at) {
            words[1].store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn details(&self) -> MutexGuard<'_, Vec<(usize, Box<Detail>)>> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // What the model checker explores must not outlive its execution.
        if !cfg!(all(test, loom)) {
            PAGES.lock().unwrap_or_else(PoisonError::into_inner).push(self.page.page());
        }
    }
}

/// Of pages in memory, none is seen together with another life of it.
fn open(page: &'static Page) -> OpenPage {
    page.open(0, 0, 0)
}

fn is_step(words: &[AtomicU64; 8]) -> bool {
    Entry::is_step_in(words[1].load(Ordering::Relaxed))
}

fn read(words: &[AtomicU64; 8]) -> Entry {
    Entry::of_words(std::array::from_fn(|n| words[n].load(Ordering::Relaxed)))
}
