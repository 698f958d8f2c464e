//! What was written over between two readings of a file.

use super::Recovered;
use super::scan::{CHECKS_AT, Scan};
use crate::format::{u32_at, u64_at};
use crate::status::Word;

/// The pages that a file had when it was read: what [`Recovered::pages_missed`] compares with. By default none.
#[derive(Debug, Clone, Default)]
pub struct PagesSeen {
    newest: u64,
    /// The births of pages that were not full: more may have come into them.
    unfinished: Vec<u64>,
}

impl Recovered<'_> {
    /// Which pages it has.
    pub fn pages_seen(&self) -> PagesSeen {
        let scan = self.scan();
        let unfinished = pages(&scan).filter(|page| !page.is_full).map(|page| page.birth);
        PagesSeen { newest: newest(&scan), unfinished: unfinished.collect() }
    }

    /// How many pages began after an earlier reading of the same file, or were not full at that, and were written over
    /// before this one. What stood in them is in neither; of a page whose thread had ended, nothing may have.
    pub fn pages_missed(&self, since: &PagesSeen) -> u64 {
        let scan = self.scan();
        let births: Vec<u64> = pages(&scan).map(|page| page.birth).collect();
        let begun = newest(&scan).saturating_sub(since.newest);
        let there = births.iter().filter(|birth| **birth > since.newest).count() as u64;
        // They are in order.
        let gone = since.unfinished.iter().filter(|birth| births.binary_search(birth).is_err()).count() as u64;
        begun.saturating_sub(there) + gone
    }
}

struct Page {
    birth: u64,
    is_full: bool,
}

fn pages<'a>(scan: &'a Scan<'_>) -> impl Iterator<Item = Page> + 'a {
    let given = scan.status().get(Word::PagesGiven);
    let bytes = scan.valid.pages.iter().map(|page| scan.page(page.number));
    let says_so = scan.valid.superblock.version >= (2, 1);
    let pages = bytes.map(move |page| {
        let birth = u64_at(page, 8);
        // Before it was said, a page that was sealed was full, unless the file was brought to the disk.
        let is_full = if says_so { u64_at(page, 32) == birth } else { u32_at(page, CHECKS_AT) != 0 };
        Page { birth, is_full }
    });
    // One that is garbage is larger than any that was given.
    pages.filter(move |page| page.birth <= given)
}

fn newest(scan: &Scan<'_>) -> u64 {
    pages(scan).map(|page| page.birth).max().unwrap_or(0)
}
