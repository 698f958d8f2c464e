//! The entries of many pages by number, a page at a time: pages of threads that wrote at one time lie beside each other,
//! and no more than these are in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::vec;

use super::scan::{Found, Scan, Slot};

/// Entries, each once.
#[derive(Debug)]
pub(super) struct Merged<'a> {
    scan: Scan<'a>,
    /// Pages that were not begun, by their lowest number; the last is next.
    pages: Vec<u32>,
    /// Those that were.
    begun: Vec<vec::IntoIter<Found>>,
    /// The next of each of them: its number, and which it is.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    seq_before: Option<u64>,
}

impl<'a> Merged<'a> {
    /// Of all pages, with those in slots that are in none of them, which are in order.
    pub(super) fn all(scan: Scan<'a>, others: &[Slot]) -> Self {
        let pages = (0..).take(scan.valid.pages.len()).collect();
        Self::of(scan, pages, others)
    }

    /// Likewise, of these pages, by their places.
    pub(super) fn of(scan: Scan<'a>, mut pages: Vec<u32>, others: &[Slot]) -> Self {
        pages.sort_unstable_by_key(|page| Reverse(first_seq(&scan, *page)));
        let others: Vec<Found> = others.iter().filter_map(|slot| scan.found(*slot)).collect();
        let mut merged =
            Self { scan, pages, begun: vec![others.into_iter()], next: BinaryHeap::new(), seq_before: None };
        merged.wait(0);
        merged
    }

    fn begin_pages(&mut self) {
        while let Some(page) = self.pages.last() {
            let first = first_seq(&self.scan, *page);
            if self.next.peek().is_some_and(|Reverse((seq, _))| *seq < first) {
                return;
            }
            let place = usize::try_from(*page).unwrap_or(usize::MAX);
            self.pages.pop();
            let Some(page) = self.scan.valid.pages.get(place) else { continue };
            let entries = self.scan.entries(page).into_iter();
            let free = self.begun.iter().position(|entries| entries.len() == 0);
            let at = free.unwrap_or(self.begun.len());
            if at == self.begun.len() {
                self.begun.push(entries);
            } else {
                self.begun[at] = entries;
            }
            self.wait(at);
        }
    }

    fn wait(&mut self, at: usize) {
        let next = self.begun[at].as_slice().first();
        self.next.extend(next.map(|found| Reverse((found.seq, at))));
    }
}

fn first_seq(scan: &Scan<'_>, page: u32) -> u64 {
    let page = usize::try_from(page).ok().and_then(|page| scan.valid.pages.get(page));
    page.map_or(u64::MAX, |page| page.first_seq)
}

impl Iterator for Merged<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            self.begin_pages();
            let Reverse((seq, at)) = self.next.pop()?;
            let found = self.begun[at].next();
            self.wait(at);
            // The same entry may be in two copies of a page.
            if self.seq_before.replace(seq) != Some(seq) {
                return found;
            }
        }
    }
}
