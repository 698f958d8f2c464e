//! The default recorder: bounded memory.
//!
//! Each thread fills a [`Chunk`] of its own without a lock; a full one goes to the [`Store`], which evicts.

mod chunk;
mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::page::Page;
use super::{Assembler, Detail, Entry, Lane, Recorder, Times};
use crate::id::TraceId;
use crate::record::Record;
use chunk::Chunk;
use store::Store;

/// Keeps records in memory, within a bound.
///
/// When the bound is reached, whole finished traces go first, the oldest first. A running trace that alone outgrows
/// it keeps the records of its envs, its open frames, its errors and its newest steps. What goes is counted in
/// [`Stats::dropped`](crate::Stats::dropped). Each thread that records holds 16 KiB of its own. They
/// count, but are not taken away: more threads at once than fit into the bound exceed it, and leave no room for others.
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// The bound unless one is given: some 250,000 steps.
    pub const BYTES_DEFAULT: usize = 16 << 20;

    /// Keeps at most `bytes`, or 128 KiB if that is less.
    pub fn new(bytes: usize) -> Self {
        let store = Mutex::new(Store::new(bytes.max(8 * chunk::BYTES)));
        Self { shared: Arc::new(Shared { store }) }
    }

    fn writer(&self) -> Writer {
        let mut store = self.shared.store();
        let (chunk, detail_bytes_max) = (store.open_chunk(), store.detail_bytes_max());
        Writer { chunk, detail_bytes_max, shared: self.shared.clone() }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Self::BYTES_DEFAULT)
    }
}

impl Recorder for Memory {
    fn lane(&self) -> Box<dyn Lane> {
        Box::new(self.writer())
    }

    fn records(&self, of: Option<TraceId>, times: &Times) -> Vec<Record> {
        let entries = loop {
            let snapshot = self.shared.store().snapshot(of);
            let entries = snapshot.entries();
            // What was cleared meanwhile has lost its details.
            if self.shared.store().is_current(&snapshot) {
                break entries;
            }
        };
        let mut assembler = <Assembler>::default();
        entries.iter().filter_map(|(entry, detail)| assembler.push(entry, detail.as_ref(), times)).collect()
    }

    fn holds(&self, trace: TraceId) -> bool {
        self.shared.store().holds(trace)
    }

    fn running(&self) -> Vec<TraceId> {
        self.shared.store().running()
    }

    fn clear(&self) {
        self.shared.store().clear();
    }

    fn dropped(&self) -> u64 {
        self.shared.store().dropped()
    }
}

/// Where one thread writes.
struct Writer {
    chunk: Arc<Chunk>,
    detail_bytes_max: usize,
    shared: Arc<Shared>,
}

impl Lane for Writer {
    fn page(&self) -> Option<&'static Page> {
        Some(self.chunk.page())
    }

    #[cold]
    fn turn(&mut self) {
        let mut store = self.shared.store();
        store.seal(&self.chunk);
        self.chunk = store.open_chunk();
    }

    fn write(&mut self, entry: &Entry) {
        while self.chunk.put(entry, None).is_none() {
            self.turn();
        }
    }

    fn write_with(&mut self, entry: &Entry, detail: Box<Detail>) {
        // A chunk that is evicted whole must not be most of the memory.
        if self.chunk.page().free_slots() == 0 || self.chunk.detail_bytes() >= self.detail_bytes_max {
            self.turn();
        }
        // There is room now.
        self.chunk.put(entry, Some(detail));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.store().leave(&self.chunk);
    }
}

#[cfg(all(test, loom))]
mod loom;
