//! Where one thread writes.

use tracer::recorder::page::{PART_BYTES, Page, SLOTS};
use tracer::{Detail, Entry, Lane};

use crate::options::Sync;
use crate::power;
use crate::shared::{Held, Shared};

/// Parts of a detail at most; what is larger is cut, and says so.
const PARTS_MAX: usize = 200;

/// A thread's way into a black box.
pub(crate) struct Writer {
    shared: &'static Shared,
    /// `None`: all pages are taken, and it shares one.
    held: Option<Held>,
    /// Where the last entry went.
    piece: u64,
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(shared: &'static Shared) -> Self {
        let mut new = Self { shared, held: None, piece: 0, bytes: Vec::new() };
        new.turn();
        new
    }

    fn put(&mut self, put: impl Fn(&Page) -> bool) {
        // A fresh page takes anything, unless another process has closed it between: this one was forked.
        for _ in 0..3 {
            if self.held.is_some_and(|held| put(held.page)) {
                return;
            }
            self.turn();
            if self.held.is_none() {
                break;
            }
        }
        self.piece = self.shared.overflow(put).unwrap_or(self.piece);
    }
}

impl Lane for Writer {
    fn page(&self) -> Option<&'static Page> {
        self.held.map(|held| held.page)
    }

    #[cold]
    fn turn(&mut self) {
        self.held = self.shared.turn(self.held.take());
        self.piece = self.held.map_or(self.piece, |held| self.shared.piece(held));
    }

    fn piece(&self) -> u64 {
        self.piece
    }

    fn write(&mut self, entry: &Entry) {
        self.put(|page| page.put(entry.words()));
    }

    fn write_with(&mut self, entry: &Entry, detail: Box<Detail>) {
        const { assert!(PARTS_MAX < SLOTS) };
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        detail.write_to(&mut bytes);
        bytes.truncate(PARTS_MAX * PART_BYTES);
        self.put(|page| page.put_with(entry.words(), &bytes));
        self.bytes = bytes;
        if self.shared.options.sync == Sync::SyncOnError && detail.has_failure() {
            let _counted = power::sync(self.shared);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.shared.leave(held);
        }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("held", &self.held).finish_non_exhaustive()
    }
}
