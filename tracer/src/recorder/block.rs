//! What is open: the frames of a line of calls, in memory that can be read after the process has died.
//!
//! A block is both the state that the next call works on and the table that says what was running: keeping them apart
//! would cost every call a second write. Only the thread that holds the line writes to it.

use std::fmt;

use crate::sync::atomic::{AtomicU64, Ordering};

/// Frames in a block. A line with more goes on in another block.
pub const FRAMES: usize = 15;
/// What a block takes, in bytes.
pub const BLOCK_BYTES: usize = 128 * (FRAMES + 1);

/// The frames of a line. Zeroes are a block that is not in use.
///
/// | word of the head | |
/// |---|---|
/// | 0 | the env; 0: not in use, and nothing else holds |
/// | 1, 2 | the trace, high and low half |
/// | 3 | the ordinal of the env in its trace, and in the high half the site that started the trace (0: by hand) |
/// | 4 | the number of the last step |
/// | 5 | a bit for each open node: `number % 64` |
/// | 6 | open frames in this block; with [`DEAD`] while the last step is an error |
///
/// | word of a frame | |
/// |---|---|
/// | 0 to 7 | its enter, as it was written to a page: see [`Entry`](crate::Entry) |
/// | 8 | where: birth « 8 + slot |
/// | 9 | word 5 of the head without this frame and those in it |
/// | 10 to 13 | calls that it made: node « 32 + count |
/// | 14 | forks that it made « 32, [`MORE`], and how many of the four words before are used |
/// | 15 | the number of its node |
#[repr(C, align(128))]
pub struct Block {
    head: [AtomicU64; 16],
    frames: [[AtomicU64; 16]; FRAMES],
}

/// In word 6 of a head: the env was ended by an error.
pub const DEAD: u64 = 1 << 32;
/// In word 14 of a frame: it calls more nodes than fit.
pub const MORE: u64 = 1 << 31;

impl Default for Block {
    fn default() -> Self {
        Self { head: Default::default(), frames: std::array::from_fn(|_| Default::default()) }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("env", &self.get(ENV)).field("depth", &self.get(DEPTH)).finish_non_exhaustive()
    }
}

pub(crate) const ENV: usize = 0;
pub(crate) const TRACE: usize = 1;
pub(crate) const ORDINAL: usize = 3;
pub(crate) const STEPS: usize = 4;
pub(crate) const NODES: usize = 5;
pub(crate) const DEPTH: usize = 6;

impl Block {
    #[inline]
    pub(crate) fn get(&self, word: usize) -> u64 {
        self.head[word].load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, word: usize, value: u64) {
        self.head[word].store(value, Ordering::Relaxed);
    }

    /// Likewise, after all that was written before.
    #[inline]
    pub(crate) fn publish(&self, word: usize, value: u64) {
        self.head[word].store(value, Ordering::Release);
    }

    #[inline]
    pub(crate) fn frame(&self, at: usize) -> Option<&[AtomicU64; 16]> {
        self.frames.get(at)
    }
}
