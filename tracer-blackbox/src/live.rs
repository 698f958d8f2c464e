//! Copies of what is written to meanwhile: what of a copy is whole.
//!
//! Copying goes from the beginning to the end, and so does writing: a copy may have the end of something whose beginning
//! was not there yet. So of a page counts what its head said before the copy, if its life is the same after it. Of a block,
//! which carries no check, counts what two copies agree on: its words never take a value again that they had.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{Ordering, fence};

use tracer::recorder::block::{BLOCK_BYTES, BY_HAND};
use tracer::recorder::page::{PAGE_BYTES, SLOT_WORDS, SLOTS};
use tracer::recorder::{PREVIEW_AT, PREVIEW_BITS};

use crate::format::{DEATH_AT, FRAME_BYTES, SUPERBLOCK_LEN, Superblock, u64_at};
use crate::map::Map;
use crate::status::{StatusRead, Word};

/// Bytes that are copied at a time, so that somebody can be told how far it is.
const CHUNK: usize = 1 << 20;
/// Where a page has its seals.
const SEALS_AT: usize = (SLOTS + 1) * SLOT_WORDS * 8;

/// What is copied.
pub(crate) trait Source {
    /// Fills `into` from a place on; gives how many bytes there were.
    fn read(&self, at: usize, into: &mut [u8]) -> io::Result<usize>;
}

impl Source for File {
    fn read(&self, at: usize, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.read_at(&mut into[done..], (at + done) as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl Source for Map {
    fn read(&self, at: usize, into: &mut [u8]) -> io::Result<usize> {
        let words = self.words(at, into.len() / 8);
        for (bytes, word) in into.chunks_exact_mut(8).zip(words) {
            // Acquire: a slot whose head says that it is complete is complete.
            bytes.copy_from_slice(&word.load(Ordering::Acquire).to_le_bytes());
        }
        Ok(into.len())
    }
}

/// All bytes, up to `len`, as they are: for what nobody writes to.
pub(crate) fn plain(source: &impl Source, len: usize, seen: &mut dyn FnMut(u64)) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    for chunk in bytes.chunks_mut(CHUNK) {
        let count = source.read(done, chunk)?;
        done += count;
        seen(count as u64);
        if count < chunk.len() {
            break;
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Likewise of a file with this beginning, while it is written to: what is not whole in it is left out.
pub(crate) fn copy(
    source: &impl Source,
    len: usize,
    superblock: &Superblock,
    seen: &mut dyn FnMut(u64),
) -> io::Result<Vec<u8>> {
    let at = |offset: u64| usize::try_from(offset).map_or(len, |at| at.min(len));
    let (blocks_at, pages_at) = (at(superblock.blocks.at), at(superblock.pages.at));
    let heads: Vec<_> = (pages_at..len).step_by(PAGE_BYTES).map(|page| Head::read(source, page)).collect();
    fence(Ordering::Acquire);
    let mut bytes = plain(source, len, seen)?;
    fence(Ordering::Acquire);
    // Once more what lies before the pages, now that they are there: it explains them.
    let mut front = plain(source, pages_at, &mut |_| ())?;
    let blocks = front.get_mut(blocks_at..).unwrap_or_default().chunks_exact_mut(BLOCK_BYTES);
    for (block, before) in blocks.zip(bytes.get(blocks_at..).unwrap_or_default().chunks_exact(BLOCK_BYTES)) {
        settle_block(block, before);
    }
    let is_cut = front.len().min(bytes.len());
    bytes[..is_cut].copy_from_slice(&front[..is_cut]);
    let pages = bytes.get_mut(pages_at..).unwrap_or_default().chunks_mut(PAGE_BYTES);
    for (nth, (page, head)) in pages.zip(heads).enumerate() {
        let now = birth(source, pages_at + nth * PAGE_BYTES);
        settle_page(page, head.filter(|head| now == Some(head.birth)));
    }
    Ok(bytes)
}

/// What the pages of a file said of themselves: while they say the same, nothing was recorded in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads {
    beginning: Vec<u8>,
    /// Whether its process says that it has ended.
    state: u64,
    /// Birth and length of each, where there is a whole head.
    pages: Vec<Option<(u64, u64)>>,
}

impl Heads {
    /// Of an open file; reads no more of it than that.
    ///
    /// # Errors
    ///
    /// If the system gives nothing.
    pub fn of(file: &File) -> io::Result<Self> {
        let mut beginning = plain(file, DEATH_AT, &mut |_| ())?;
        let len = file.metadata()?.len();
        // Of what is no black box there are none.
        let found = crate::reader::superblock(&beginning).ok();
        let pages = found.as_ref().map(|block| block.pages.at..block.file_len.min(len)).unwrap_or_default();
        let head = |at: u64| {
            let page = usize::try_from(at).ok()?;
            let birth = birth(file, page)?;
            Some((birth, word(file, page)?))
        };
        let pages = pages.step_by(PAGE_BYTES).map(head).collect();
        let state = if found.is_some() { StatusRead(&beginning).get(Word::State) } else { 0 };
        // The rest of it changes all the while.
        beginning.truncate(SUPERBLOCK_LEN);
        Ok(Self { beginning, state, pages })
    }
}

/// What the head of a page said: its birth, then how many words of that life were complete. Births only rise, so one that
/// is the same later was the same all the while.
struct Head {
    birth: u64,
    len: usize,
}

impl Head {
    fn read(source: &impl Source, page: usize) -> Option<Self> {
        let birth = birth(source, page)?;
        fence(Ordering::Acquire);
        let len = usize::try_from(word(source, page)?).unwrap_or(usize::MAX);
        Some(Self { birth, len })
    }
}

fn birth(source: &impl Source, page: usize) -> Option<u64> {
    word(source, page + 8)
}

fn word(source: &impl Source, at: usize) -> Option<u64> {
    let mut word = [0; 8];
    (source.read(at, &mut word).ok()? == word.len()).then(|| u64::from_le_bytes(word))
}

/// Leaves of a page what its head said; nothing, if that is not known.
fn settle_page(page: &mut [u8], head: Option<Head>) {
    let Some(head) = head else { return page.fill(0) };
    let len = head.len.min(SLOTS * SLOT_WORDS);
    page[..8].copy_from_slice(&(len as u64).to_le_bytes());
    let seals = SEALS_AT + len / SLOT_WORDS * 4;
    for (from, to) in [(64 + len * 8, SEALS_AT), (seals, PAGE_BYTES)] {
        if let Some(rest) = page.get_mut(from..) {
            let to = (to - from).min(rest.len());
            rest[..to].fill(0);
        }
    }
}

/// Takes out of a block what another copy, made before, has differently. How often a frame has called changes all the
/// while, and is nothing that a reader takes.
fn settle_block(block: &mut [u8], before: &[u8]) {
    let whose = 0..3 * 8;
    if block[whose.clone()] != before[whose] {
        block[..8].fill(0);
    }
    for (frame, before) in block.chunks_exact_mut(FRAME_BYTES).zip(before.chunks_exact(FRAME_BYTES)).skip(1) {
        let is_by_hand = u64_at(frame, 2 * 8) & BY_HAND != 0;
        let kept = [0..2 * 8, 3 * 8..if is_by_hand { PREVIEW_AT } else { 4 } * 8];
        let is_other = kept.into_iter().any(|words| frame[words.clone()] != before[words]);
        if is_other {
            frame[..8].fill(0);
        }
        let preview = |frame: &[u8]| (u64_at(frame, 2 * 8) & PREVIEW_BITS, frame[PREVIEW_AT * 8..].to_vec());
        if preview(frame) != preview(before) {
            let without = u64_at(frame, 2 * 8) & !PREVIEW_BITS;
            frame[2 * 8..3 * 8].copy_from_slice(&without.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tracer::recorder::page::{Page, part_of};

    use super::*;
    use crate::format::{Region, slot_at};

    /// Pages to which so many entries are written when so many words have been copied.
    struct Written<F> {
        due: F,
        pages: [&'static Page; 2],
        births: Cell<u64>,
        copied: Cell<usize>,
    }

    /// What stands before the pages.
    const FRONT: usize = 4096;
    const PARTS: usize = 3;
    const LEN: usize = FRONT + 2 * PAGE_BYTES;

    impl<F> Written<F> {
        fn new(due: F) -> Self {
            let pages = [(); 2].map(|()| &*Box::leak(Box::<Page>::default()));
            pages[0].open(1);
            Self { due, pages, births: Cell::new(1), copied: Cell::new(0) }
        }

        /// Puts an entry and its detail into the newest page, or a new one.
        fn write(&self) {
            let nth = self.births.get();
            let page = |birth: u64| self.pages[usize::try_from(birth + 1).unwrap() % 2];
            let entry = [1, nth, 3, 4, 5, 6, 7, 8];
            if !page(nth).put_with(entry, &[1; PARTS * 62]) {
                self.births.set(nth + 1);
                page(nth + 1).open(nth + 1);
                assert!(page(nth + 1).put_with([1, nth + 1, 3, 4, 5, 6, 7, 8], &[1; PARTS * 62]));
            }
        }

        fn word(&self, at: usize) -> u64 {
            let Some(at) = at.checked_sub(FRONT) else { return 0 };
            let (page, word) = (self.pages[at / PAGE_BYTES], at % PAGE_BYTES / 8);
            match word {
                0 => page.len() as u64,
                1 => page.birth(),
                8.. => page.words(word - 7).get(word - 8).copied().unwrap_or(0),
                _ => 0,
            }
        }
    }

    impl<F: Fn(usize) -> usize> Source for Written<F> {
        fn read(&self, at: usize, into: &mut [u8]) -> io::Result<usize> {
            for (nth, bytes) in into.chunks_exact_mut(8).enumerate() {
                bytes.copy_from_slice(&self.word(at + nth * 8).to_le_bytes());
                self.copied.set(self.copied.get() + 1);
                (0..(self.due)(self.copied.get())).for_each(|_| self.write());
            }
            Ok(into.len())
        }
    }

    /// Entries, and those of them that are not whole.
    fn entries(bytes: &[u8]) -> (usize, usize) {
        let (mut all, mut torn) = (0, 0);
        for page in bytes[FRONT..].chunks(PAGE_BYTES) {
            let slots: Vec<_> = (0..SLOTS).map(|nth| slot_at(page, (nth + 1) * 64).unwrap()).collect();
            for (nth, words) in slots.iter().enumerate().filter(|(_, words)| words[0] == 1) {
                let parts = slots[..nth].iter().rev().take_while(|words| part_of(words).is_some()).count();
                all += 1;
                torn += usize::from(parts != PARTS || words[1] != u64_at(page, 8));
            }
        }
        (all, torn)
    }

    fn superblock() -> Superblock {
        let (blocks, pages) = (Region::new(FRONT, 0), Region::new(FRONT, 2 * PAGE_BYTES));
        Superblock { blocks, pages, ..crate::format::tests::superblock() }
    }

    #[test]
    fn an_entry_is_copied_with_its_detail_or_not_at_all() {
        let (mut most, mut torn) = (0, 0);
        for every in 1..300 {
            let written = Written::new(|copied: usize| usize::from(copied.is_multiple_of(every)));
            (0..every).for_each(|_| written.write());
            let (all, wrong) = entries(&copy(&written, LEN, &superblock(), &mut |_| ()).unwrap());
            assert_eq!(wrong, 0, "of {all} entries, one each {every} words");
            most = most.max(all);
            torn += entries(&plain(&written, LEN, &mut |_| ()).unwrap()).1;
        }
        assert!(most > 50, "{most}");
        // The control.
        assert!(torn > 100, "{torn} in plain copies");
    }

    #[test]
    fn a_page_that_begins_anew_while_its_head_is_read_is_left_out() {
        // Its first words are read, and those in the midst of its second entry.
        let midst = 2 * 2 + FRONT / 8 + 8 + 45;
        let written = Written::new(|copied: usize| match copied {
            1 => 1,
            _ if copied == midst => 5,
            _ => 0,
        });
        while written.births.get() < 2 || !written.pages[1].is_full() {
            written.write();
        }
        let (all, wrong) = entries(&copy(&written, LEN, &superblock(), &mut |_| ()).unwrap());
        assert_eq!((all, wrong), (60, 0));
    }

    #[test]
    fn of_a_block_stays_what_two_copies_agree_on() {
        let block: Vec<u8> = (0..BLOCK_BYTES).map(|at| u8::try_from(at / 8 % 16 + 1).unwrap()).collect();
        let settled = |at: usize| {
            let (mut now, mut before) = (block.clone(), block.clone());
            before[at] = 99;
            settle_block(&mut now, &before);
            let frames = now.chunks_exact(FRAME_BYTES).map(|frame| u64_at(frame, 0) != 0);
            frames.enumerate().filter(|(_, is_there)| !is_there).map(|(nth, _)| nth).collect::<Vec<_>>()
        };
        let none: [usize; 0] = [];
        // The env, its trace, a frame, its function, its time; how deep it is, how often it has called.
        for (at, gone) in [(0, &[0][..]), (8, &[0]), (16, &[0]), (128, &[1]), (264, &[2]), (1944, &[15])] {
            assert_eq!(settled(at), gone, "byte {at}");
        }
        for at in [6 * 8, 128 + 2 * 8, 128 + 8 * 8, 128 + 13 * 8] {
            assert_eq!(settled(at), none, "byte {at}");
        }
    }

    /// It is written once, before the frame has its number.
    #[test]
    fn of_a_frame_by_hand_stays_what_two_copies_agree_on_the_name_of() {
        let mut block = vec![1; BLOCK_BYTES];
        for (state, is_kept) in [(BY_HAND, false), (0, true)] {
            block[128 + 2 * 8..][..8].copy_from_slice(&state.to_le_bytes());
            for at in [128 + 4 * 8, 128 + 12 * 8 - 1] {
                let (mut now, mut before) = (block.clone(), block.clone());
                before[at] ^= 2;
                settle_block(&mut now, &before);
                assert_eq!(u64_at(&now, 128) != 0, is_kept, "byte {at}");
            }
        }
    }

    #[test]
    fn of_the_values_of_a_frame_stays_what_two_copies_agree_on() {
        let mut block = vec![0; BLOCK_BYTES];
        // Both a length and, above it, the number of the call.
        block[128 + 2 * 8..][..8].copy_from_slice(&(PREVIEW_BITS | (1 << 32)).to_le_bytes());
        let state = |at: usize| {
            let (mut now, mut before) = (block.clone(), block.clone());
            before[at] ^= 2;
            settle_block(&mut now, &before);
            u64_at(&now, 128 + 2 * 8)
        };
        let whole = PREVIEW_BITS | (1 << 32);
        // How many calls were counted, other flags; the length, the first byte, the last.
        for (at, left) in [(128 + 2 * 8, whole), (128 + 12 * 8, whole)] {
            assert_eq!(state(at), left, "byte {at}");
        }
        for at in [128 + 2 * 8 + 1, 128 + 13 * 8, 128 + 16 * 8 - 1] {
            assert_eq!(state(at), 1 << 32, "byte {at}");
        }
    }
}
