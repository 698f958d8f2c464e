//! What is open: the frames of a line of calls, in memory that can be read after the process has died.
//!
//! A block is both the state that the next call works on and the table that says what was running: keeping them apart
//! would cost every call a second write. Only the thread that holds the line writes to it.

use std::fmt;

use crate::id::FrameId;
use crate::recorder::Tag;
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
/// | 3 | the ordinal of the env in its trace |
/// | 4 | the number of the last step |
/// | 5 | a bit for each open node: `number % 64` |
/// | 6 | open frames in this block; bit 32 while the last step is an error, bit 33 while the line goes on in another |
/// | 7 | what may still come back to the line |
/// | 8 | the site that started the trace, 0: by hand |
///
/// | word of a frame | |
/// |---|---|
/// | 0 | its number; 0: it was never used |
/// | 1 | its key |
/// | 2 | its parent frame, 0: none |
/// | 3 | the site « 32, and the how manieth call of its node it is |
/// | 4 | the ticks of its first enter |
/// | 5 | word 5 of the head without this frame and those in it |
/// | 6 | the number of its node « 32, its [tag](crate::Entry) « 16, flags, how many of the words 8 to 11 are used |
/// | 7 | forks that it made, if a flag says so |
/// | 8 to 11 | calls that it made: node « 32 + count |
#[repr(C, align(128))]
pub struct Block {
    head: [AtomicU64; 16],
    frames: [[AtomicU64; 16]; FRAMES],
}

/// Words of the head.
pub(crate) const ENV: usize = 0;
pub(crate) const TRACE: usize = 1;
pub(crate) const ORDINAL: usize = 3;
pub(crate) const STEPS: usize = 4;
pub(crate) const NODES: usize = 5;
pub(crate) const DEPTH: usize = 6;
pub(crate) const PINS: usize = 7;
pub(crate) const SOURCE: usize = 8;

/// In the depth: the env was ended by an error. Makes it no place of a frame.
pub(crate) const DEAD: u64 = 1 << 32;
/// In the depth: more frames are in another block. Likewise.
pub(crate) const DEEP: u64 = 1 << 33;

/// Words of a frame.
const ID: usize = 0;
const KEY: usize = 1;
const PARENT: usize = 2;
const CALL: usize = 3;
const SINCE: usize = 4;
const NODES_BELOW: usize = 5;
const STATE: usize = 6;
const FORKS: usize = 7;
const CALLS: usize = 8;
const CALLS_LEN: usize = 4;

/// In the state: how many of the counts of calls are used.
const USED: u64 = 7;
/// It calls more nodes than fit.
const MORE: u64 = 1 << 3;
/// It made forks.
const FORKED: u64 = 1 << 4;
/// Its node is of a declared flow.
const IN_FLOW: u64 = 1 << 5;

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

    /// The frame at a place; `None` past the last, and for any depth with a flag.
    #[inline]
    pub(crate) fn frame(&self, at: u64) -> Option<Frame<'_>> {
        self.frames.get(usize::try_from(at).ok()?).map(Frame)
    }
}

/// A frame in a block.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a>(&'a [AtomicU64; 16]);

/// What a frame is opened with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) id: u64,
    pub(crate) key: u64,
    /// 0: none.
    pub(crate) parent: u64,
    pub(crate) site: u32,
    pub(crate) occurrence: u32,
    pub(crate) ticks: u64,
    pub(crate) nodes_below: u64,
    pub(crate) node: u32,
    pub(crate) tag: Tag,
    pub(crate) in_flow: bool,
}

impl Frame<'_> {
    #[inline]
    fn get(self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    #[inline]
    fn set(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    /// Opens it: no call and no fork was made.
    #[inline]
    pub(crate) fn open(self, with: Opened) {
        self.set(ID, with.id);
        self.set(KEY, with.key);
        self.set(PARENT, with.parent);
        self.set(CALL, (u64::from(with.site) << 32) | u64::from(with.occurrence));
        self.set(SINCE, with.ticks);
        self.set(NODES_BELOW, with.nodes_below);
        let flags = if with.in_flow { IN_FLOW } else { 0 };
        self.set(STATE, (u64::from(with.node) << 32) | (with.tag.bits() << 16) | flags);
    }

    /// Its number; 0 for none.
    #[inline]
    pub(crate) fn raw_id(self) -> u64 {
        self.get(ID)
    }

    pub(crate) fn id(self) -> Option<FrameId> {
        FrameId::from_raw(self.raw_id())
    }

    #[inline]
    pub(crate) fn key(self) -> u64 {
        self.get(KEY)
    }

    /// The frame that called it; 0 for none.
    #[inline]
    pub(crate) fn raw_parent(self) -> u64 {
        self.get(PARENT)
    }

    /// Its site.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes one half")]
    pub(crate) fn site(self) -> u32 {
        (self.get(CALL) >> 32) as u32
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes one half")]
    pub(crate) fn occurrence(self) -> u32 {
        self.get(CALL) as u32
    }

    /// That of its enter.
    #[inline]
    pub(crate) fn tag(self) -> Tag {
        Tag::of(self.get(STATE) >> 16)
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes one half")]
    pub(crate) fn node(self) -> u32 {
        (self.get(STATE) >> 32) as u32
    }

    #[inline]
    pub(crate) fn is_in_flow(self) -> bool {
        self.get(STATE) & IN_FLOW != 0
    }

    #[inline]
    pub(crate) fn nodes_below(self) -> u64 {
        self.get(NODES_BELOW)
    }

    pub(crate) fn set_nodes_below(self, nodes: u64) {
        self.set(NODES_BELOW, nodes);
    }

    /// Counts a call of `node`, and gives its number among those, from 0. `None`: there is no room to count it, and
    /// nothing was done.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes one half")]
    pub(crate) fn count(self, node: u32) -> Option<u32> {
        let state = self.get(STATE);
        let used = (state & USED) as usize;
        for nth in 0..used.min(CALLS_LEN) {
            let calls = self.get(CALLS + nth);
            if calls >> 32 == u64::from(node) {
                self.set(CALLS + nth, calls + 1);
                return Some(calls as u32);
            }
        }
        if used >= CALLS_LEN {
            return None;
        }
        self.set(CALLS + used, (u64::from(node) << 32) | 1);
        self.set(STATE, state + 1);
        Some(0)
    }

    /// Says that it calls more nodes than fit.
    pub(crate) fn mark_more(self) {
        self.set(STATE, self.get(STATE) | MORE);
    }

    pub(crate) fn has_more(self) -> bool {
        self.get(STATE) & MORE != 0
    }

    /// Counts a fork, and gives its number, from 0.
    #[expect(clippy::cast_possible_truncation, reason = "nobody makes that many forks")]
    pub(crate) fn fork(self) -> u32 {
        let state = self.get(STATE);
        let forks = if state & FORKED == 0 { 0 } else { self.get(FORKS) };
        self.set(FORKS, forks + 1);
        self.set(STATE, state | FORKED);
        forks as u32
    }

    /// Becomes what another is.
    pub(crate) fn copy(self, other: Frame<'_>) {
        for nth in 0..16 {
            self.set(nth, other.get(nth));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_the_calls_of_four_nodes() {
        let block = Block::default();
        let frame = block.frame(0).unwrap();
        let opened = Opened {
            id: FrameId::new(0, 1).raw(),
            key: 2,
            parent: 0,
            site: 3,
            occurrence: 4,
            ticks: 5,
            nodes_below: 6,
            node: 7,
            tag: Tag::enter(true),
            in_flow: true,
        };
        frame.open(opened);
        assert_eq!((frame.raw_id(), frame.key(), frame.site(), frame.occurrence()), (opened.id, 2, 3, 4));
        assert_eq!((frame.nodes_below(), frame.node(), frame.tag(), frame.is_in_flow()), (6, 7, opened.tag, true));
        for round in 0..3 {
            for node in 1..=4 {
                assert_eq!(frame.count(node), Some(round));
            }
            assert_eq!(frame.count(5), None);
        }
        assert_eq!((frame.fork(), frame.fork()), (0, 1));
        frame.mark_more();
        assert_eq!((frame.count(4), frame.fork(), frame.has_more()), (Some(3), 2, true));
        assert_eq!((frame.node(), frame.tag(), frame.is_in_flow()), (7, opened.tag, true));
        frame.open(opened);
        assert_eq!((frame.count(4), frame.fork(), frame.has_more()), (Some(0), 0, false));
    }

    #[test]
    fn a_line_that_is_dead_or_deep_has_no_top() {
        let top = |block: &Block| block.frame(block.get(DEPTH).wrapping_sub(1)).map(Frame::raw_id);
        let block = Block::default();
        assert!(top(&block).is_none());
        block.set(DEPTH, 1);
        assert!(top(&block).is_some());
        for flag in [DEAD, DEEP] {
            block.set(DEPTH, 1 | flag);
            assert!(top(&block).is_none());
        }
    }
}
