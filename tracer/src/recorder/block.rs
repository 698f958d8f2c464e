//! What is open: the frames of a line of calls, in memory that can be read after the process has died.
//!
//! A block is both the state that the next call works on and the table that says what was running: keeping them apart
//! would cost every call a second write. Only the thread that holds the line writes to it.
//!
//! It may be memory of a file, which somebody else can truncate: then any of its words is zero all at once. So no sum of
//! them may overflow, and no loop end by them alone.

mod by_hand;

use std::fmt;
// Not those of the model checker: who has the lock of the line is alone.
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::{FrameId, TraceId};
use crate::lines::key;
use crate::recorder::page::OCCURRENCES;
use crate::recorder::{PREVIEW_AT, Preview, Tag};
use crate::site::SiteId;
pub(crate) use by_hand::Entered;
pub use by_hand::{BY_HAND, NAME_AT, NodeName};

/// Frames in a block. A line with more goes on in another block.
pub const FRAMES: usize = 15;
/// What a block takes, in bytes.
pub const BLOCK_BYTES: usize = 128 * (FRAMES + 1);

/// The frames of a line. Zeroes are a block that is not in use. Of a further block of a line, words 0 to 2, 6, 10 and 15 hold.
///
/// | word of the head | |
/// |---|---|
/// | 0 | the env; 0: not in use, and nothing else holds |
/// | 1, 2 | the trace, high and low half |
/// | 3 | the ordinal of the env in its trace |
/// | 4 | the number of the last step, with that ordinal as a [frame](crate::FrameId) has it |
/// | 5 | a bit for each open node: `number % 64` |
/// | 6 | open frames in this block; bit 32 while the last step is an error, bit 34 while the line goes on in others, bit 33 while some of these do not outlive the process |
/// | 7 | what may still come back to the line |
/// | 8 | the site that started the trace, 0: by hand |
/// | 9 | where bit 33 of word 6 says so: how many open frames are in blocks that do not outlive the process |
/// | 10 | the [thread](super::this_thread) that was in the line last |
/// | 15 | 1: it is of a thread that this process, a forked one, does not have |
///
/// | word of a frame | |
/// |---|---|
/// | 0 | its number |
/// | 1 | the number of its node « 32 + its site |
/// | 2 | the how manieth call of its node it is « 32 + flags |
/// | 3 | the ticks of its first enter |
/// | 4 | word 5 of the head without this frame and those in it |
/// | 5, 6 | its key and its parent frame, where a flag says so; else the parent is the frame before |
/// | 7 | forks that it made, where a flag says so |
/// | 8 to 11 | calls that it made: node « 32 + count; the first is 0 if there were none |
/// | 12 | calls that it made and that did not begin yet, where a flag says so |
/// | 13 to 15 | the [beginning](Preview) of its values |
///
/// In the block of an env by hand, words 3 to 5 and 7 of the head do not hold; nor do 5 to 12 of its frames, which are the
/// nodes that are open there: they have a [name](NodeName) in words 4 to 11, and word 1 is 0.
///
/// The flags, from the lowest bit: 3 say how many counts of calls are used; more nodes are called than that; words 5
/// and 6, word 7, word 12 hold; the node is of a declared flow; the call was made in a forked env by no frame of it; 5
/// say how many bytes of words 13 to 15 hold; values were left out; it was [entered by hand](BY_HAND).
#[repr(C, align(128))]
pub struct Block {
    head: [AtomicU64; 16],
    frames: [[AtomicU64; 16]; FRAMES],
}

/// Words of the head.
pub(crate) const ENV: usize = 0;
pub(crate) const TRACE: usize = 1;
pub(crate) const ORDINAL: usize = 3;
pub(crate) const LAST: usize = 4;
pub(crate) const NODES: usize = 5;
pub(crate) const DEPTH: usize = 6;
pub(crate) const PINS: usize = 7;
pub(crate) const SOURCE: usize = 8;
/// How many frames are [outside](OUTSIDE).
pub(crate) const OUTSIDE_COUNT: usize = 9;
pub(crate) const HOLDER: usize = 10;
const FOREIGN: usize = 15;

/// In the depth: the env was ended by an error. Makes it no place of a frame.
pub(crate) const DEAD: u64 = 1 << 32;
/// In the depth: more frames are in other blocks. Likewise.
pub(crate) const DEEP: u64 = 1 << 34;
/// Besides: some of these are in memory that does not outlive the process.
pub(crate) const OUTSIDE: u64 = 1 << 33;

/// Words of a frame.
const ID: usize = 0;
const SITE: usize = 1;
const STATE: usize = 2;
const SINCE: usize = 3;
const NODES_BELOW: usize = 4;
const KEY: usize = 5;
const PARENT: usize = 6;
const FORKS: usize = 7;
const CALLS: usize = 8;
/// Nodes whose calls are counted in a frame.
pub(crate) const CALLS_LEN: usize = 4;
const PENDING: usize = 12;

/// In the state: how many of the counts of calls are used.
const USED: u64 = 7;
const MORE: u64 = 1 << 3;
const KEYED: u64 = 1 << 4;
const FORKED: u64 = 1 << 5;
const AWAITED: u64 = 1 << 6;
const IN_FLOW: u64 = 1 << 7;
const THROUGH_FORK: u64 = 1 << 8;

/// The first count of a frame that counts elsewhere: it is that of no node.
const ELSEWHERE: u64 = u64::MAX;

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

    /// Says which thread is in the line: one of this process, wherever the block is from.
    pub(crate) fn is_held_by(&self, thread: u64) {
        self.set(HOLDER, thread);
        self.set(FOREIGN, 0);
    }

    /// Says whose frames these are.
    pub(crate) fn set_trace(&self, trace: TraceId) {
        let (high, low) = trace.halves();
        self.set(TRACE, high);
        self.set(TRACE + 1, low);
    }

    /// The frame at a place; `None` past the last, and for any depth with a flag.
    #[inline]
    pub(crate) fn frame(&self, at: u64) -> Option<Frame<'_>> {
        self.frames.get(usize::try_from(at).ok()?).map(Frame)
    }
}

impl Block {
    /// Whether at this depth, which has no flag, there is a frame, and room for the next.
    #[inline]
    pub(crate) const fn has_room(depth: u64) -> bool {
        depth.wrapping_sub(1) < FRAMES as u64 - 1
    }

    /// The innermost frame and the place of the next, at a depth that [has room](Self::has_room).
    // Not an `Option`: looking into it again would cost.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a place in a block")]
    pub(crate) fn innermost(&self, depth: u64) -> (Frame<'_>, Frame<'_>) {
        let at = depth as usize;
        (Frame(&self.frames[at - 1]), Frame(&self.frames[at]))
    }
}

impl Block {
    /// The key and the parent of the frame at a place, 0 for none. Those of a common call follow from the frame before;
    /// then they are kept.
    pub(crate) fn key(&self, at: u64) -> (u64, u64) {
        let Some(frame) = self.frame(at) else { return (0, 0) };
        let Some(before) = at.checked_sub(1).filter(|_| frame.key().is_none()) else {
            return frame.key().unwrap_or_default();
        };
        let first = (0..=before).rev().find(|at| self.frame(*at).is_some_and(|frame| frame.key().is_some()));
        let mut key = first.map_or((0, 0), |at| self.frame(at).and_then(Frame::key).unwrap_or_default());
        for at in first.unwrap_or(0)..at {
            let Some((caller, frame)) = self.frame(at).zip(self.frame(at + 1)) else { break };
            key = frame.key_below(key.0, caller.raw_id());
        }
        key
    }
}

/// A frame in a block.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a>(&'a [AtomicU64; 16]);

/// What a frame is opened with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) id: u64,
    pub(crate) site: SiteId,
    pub(crate) occurrence: u32,
    pub(crate) ticks: u64,
    pub(crate) nodes_below: u64,
    /// Its key and its parent, if they are kept.
    pub(crate) key: Option<(u64, u64)>,
}

/// A count after one more call. Past 2^32 it begins again, and leaves the node alone.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "takes one half")]
const fn next_call(calls: u64) -> u64 {
    (calls & !0xffff_ffff) | (calls as u32).wrapping_add(1) as u64
}

/// What is kept of a frame whose call was not a common one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uncommon {
    pub(crate) key: u64,
    /// 0: none.
    pub(crate) parent: u64,
    pub(crate) through_fork: bool,
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
        self.set(SITE, with.site.pack());
        self.set(STATE, (u64::from(with.occurrence) << 32) | if with.key.is_some() { KEYED } else { 0 });
        self.set(SINCE, with.ticks);
        self.set(NODES_BELOW, with.nodes_below);
        if let Some((key, parent)) = with.key {
            self.set(KEY, key);
            self.set(PARENT, parent);
        }
        self.set(CALLS, 0);
    }

    /// Adds what is not as with a common call.
    pub(crate) fn set_uncommon(self, with: Uncommon) {
        self.set_key(with.key, with.parent);
        let flow = if with.in_flow { IN_FLOW } else { 0 };
        self.mark(flow | if with.through_fork { THROUGH_FORK } else { 0 });
    }

    /// Keeps the key, and the parent.
    pub(crate) fn set_key(self, key: u64, parent: u64) {
        self.set(KEY, key);
        self.set(PARENT, parent);
        self.mark(KEYED);
    }

    /// Keeps the beginning of the values that it was entered with, once it is [open](Self::open).
    pub(crate) fn set_preview(self, preview: Preview) {
        for (nth, word) in preview.words.into_iter().enumerate() {
            self.set(PREVIEW_AT + nth, word);
        }
        self.mark(preview.bits);
    }

    fn mark(self, flags: u64) {
        self.set(STATE, self.get(STATE) | flags);
    }

    fn has(self, flag: u64) -> bool {
        self.get(STATE) & flag != 0
    }

    /// Its number; 0 for none.
    #[inline]
    pub(crate) fn raw_id(self) -> u64 {
        self.get(ID)
    }

    pub(crate) fn id(self) -> Option<FrameId> {
        FrameId::from_raw(self.raw_id())
    }

    /// Its key and its parent, 0 for none; `None`: its call was a common one, so they follow from the frame before.
    pub(crate) fn key(self) -> Option<(u64, u64)> {
        self.has(KEYED).then(|| (self.get(KEY), self.get(PARENT)))
    }

    /// The key and the parent that it has as a common call by the frame `caller`, whose key is `above`. Keeps them.
    pub(crate) fn key_below(self, above: u64, caller: u64) -> (u64, u64) {
        let hash = crate::site::node(self.site().site).map_or(0, |(_, hash)| hash);
        let key = key::call(above, hash, self.occurrence());
        self.set_key(key, caller);
        (key, caller)
    }

    /// The numbers of its site and node.
    #[inline]
    pub(crate) fn site(self) -> SiteId {
        SiteId::unpack(self.get(SITE))
    }

    #[inline]
    pub(crate) fn occurrence(self) -> u32 {
        (self.get(STATE) >> 32) as u32
    }

    /// That of its enter.
    pub(crate) fn tag(self) -> Tag {
        Tag::enter(self.has(THROUGH_FORK))
    }

    #[inline]
    pub(crate) fn is_in_flow(self) -> bool {
        self.has(IN_FLOW)
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
    pub(crate) fn count(self, node: u32) -> Option<u32> {
        self.count_again(node).or_else(|| self.count_other(self.get(CALLS), node))
    }

    /// [`count`](Self::count), if the node is the one that it called last.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes one half")]
    pub(crate) fn count_again(self, node: u32) -> Option<u32> {
        let calls = self.get(CALLS);
        if calls >> 32 != u64::from(node) {
            return None;
        }
        self.set(CALLS, next_call(calls));
        Some(calls as u32)
    }

    #[expect(clippy::cast_possible_truncation, reason = "takes one half")]
    fn count_other(self, first: u64, node: u32) -> Option<u32> {
        if first == ELSEWHERE {
            return None;
        }
        let used = self.used();
        for nth in 1..used {
            let calls = self.get(CALLS + nth);
            if calls >> 32 == u64::from(node) {
                // The next call is likely to be of it, too.
                self.set(CALLS + nth, first);
                self.set(CALLS, next_call(calls));
                return Some(calls as u32);
            }
        }
        if used == CALLS_LEN {
            return None;
        }
        if used > 0 {
            self.set(CALLS + used, first);
        }
        self.set(CALLS, (u64::from(node) << 32) | 1);
        self.set(STATE, self.get(STATE) + 1);
        Some(0)
    }

    fn used(self) -> usize {
        usize::try_from(self.get(STATE) & USED).map_or(CALLS_LEN, |used| used.min(CALLS_LEN))
    }

    /// The counts of calls: node « 32 + count. Zeroes are not used.
    pub(crate) fn calls(self) -> [u64; CALLS_LEN] {
        let used = if self.get(CALLS) == ELSEWHERE { 0 } else { self.used() };
        std::array::from_fn(|nth| if nth < used { self.get(CALLS + nth) } else { 0 })
    }

    /// Counts calls elsewhere from now on; gives the counts so far.
    pub(crate) fn count_elsewhere(self) -> [u64; CALLS_LEN] {
        let calls = self.calls();
        self.set(CALLS, ELSEWHERE);
        self.mark(MORE);
        calls
    }

    /// Whether calls are counted elsewhere, all or those of some nodes.
    pub(crate) fn has_more(self) -> bool {
        self.has(MORE)
    }

    /// Says that calls of some nodes are counted elsewhere.
    pub(crate) fn mark_more(self) {
        self.mark(MORE);
    }

    /// A call was counted that does not begin yet; how many there are.
    pub(crate) fn await_call(self) -> u64 {
        let calls = if self.has(AWAITED) { self.get(PENDING) } else { 0 } + 1;
        self.set(PENDING, calls);
        self.mark(AWAITED);
        calls
    }

    /// Counts a call of `node` that does not begin yet; gives the key of this frame and the number of the call. `None`:
    /// there are too many of these for a reader to tell them apart, there is no room to count it, or no key is kept;
    /// nothing was done.
    pub(crate) fn await_any(self, node: u32) -> Option<(u64, u32)> {
        let (key, _) = self.key()?;
        let occurrence = if self.await_call() <= u64::from(OCCURRENCES) { self.count(node) } else { None };
        if occurrence.is_none() {
            self.begin_call();
        }
        Some((key, occurrence?))
    }

    /// [`await_any`](Self::await_any), if the node is the one that it called last, and calls were awaited before.
    #[inline]
    pub(crate) fn await_again(self, node: u32) -> Option<(u64, u32)> {
        let calls = self.get(PENDING);
        if self.get(STATE) & (KEYED | AWAITED) != KEYED | AWAITED || calls >= u64::from(OCCURRENCES) {
            return None;
        }
        let occurrence = self.count_again(node)?;
        self.set(PENDING, calls + 1);
        Some((self.get(KEY), occurrence))
    }

    /// A call that was counted before begins.
    pub(crate) fn begin_call(self) {
        if self.has(AWAITED) {
            self.begin_awaited();
        }
    }

    /// A call of a frame that awaits some begins.
    #[inline]
    pub(crate) fn begin_awaited(self) {
        self.set(PENDING, self.get(PENDING).saturating_sub(1));
    }

    /// How far the calls of `node` have been counted beyond this one; `None`: they are counted elsewhere.
    #[expect(clippy::cast_possible_truncation, reason = "takes one half")]
    pub(crate) fn calls_since(self, node: u32, occurrence: u32) -> Option<u32> {
        let calls = self.calls().into_iter().find(|calls| calls >> 32 == u64::from(node))?;
        Some((calls as u32).wrapping_sub(occurrence))
    }

    /// [`calls_since`](Self::calls_since), if the node is the one that it called last.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes one half")]
    pub(crate) fn calls_since_last(self, node: u32, occurrence: u32) -> Option<u32> {
        let calls = self.get(CALLS);
        (calls >> 32 == u64::from(node)).then(|| (calls as u32).wrapping_sub(occurrence))
    }

    /// Counts a fork, and gives its number, from 0.
    pub(crate) fn fork(self) -> u64 {
        let forks = if self.has(FORKED) { self.get(FORKS) } else { 0 };
        self.set(FORKS, forks + 1);
        self.mark(FORKED);
        forks
    }

    /// Becomes what another is.
    pub(crate) fn copy(self, other: Frame<'_>) {
        for word in 0..16 {
            self.set(word, other.get(word));
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
        let site = SiteId { site: 3, node: 7 };
        let opened = Opened { id: 2, site, occurrence: 4, ticks: 5, nodes_below: 6, key: None };
        frame.open(opened);
        assert_eq!((frame.raw_id(), frame.site(), frame.occurrence(), frame.get(SINCE)), (2, site, 4, 5));
        assert_eq!((frame.nodes_below(), frame.key(), frame.is_in_flow()), (6, None, false));
        let preview =
            |frame: Frame<'_>| Preview::read(frame.get(STATE), std::array::from_fn(|nth| frame.get(13 + nth)));
        assert_eq!(preview(frame), None);
        frame.set_preview(Preview::of(&[0x91, 7], false));
        frame.set_uncommon(Uncommon { key: 8, parent: 9, through_fork: true, in_flow: true });
        for round in 0..3 {
            for node in 1..=4 {
                assert_eq!(frame.count(node), Some(round));
            }
            assert_eq!(frame.count(5), None);
        }
        assert_eq!((frame.fork(), frame.fork(), frame.await_call(), frame.await_call()), (0, 1, 1, 2));
        frame.begin_call();
        assert_eq!((frame.await_call(), frame.calls_since(4, 1), frame.calls_since(5, 0)), (2, Some(2), None));
        assert_eq!((frame.occurrence(), frame.key(), frame.tag()), (4, Some((8, 9)), Tag::enter(true)));
        assert_eq!(preview(frame).map(|preview| preview.values()), Some((serde_json::json!([7]), false)));
        assert!(frame.is_in_flow() && !frame.has_more());
        let mut calls = frame.count_elsewhere().map(|calls| (calls >> 32, calls & 0xff));
        calls.sort_unstable();
        assert_eq!((calls, frame.count(4), frame.has_more()), ([(1, 3), (2, 3), (3, 3), (4, 3)], None, true));
        assert_eq!(frame.calls(), [0; 4]);
        frame.open(opened);
        assert_eq!((frame.count(4), frame.fork(), frame.has_more(), frame.await_call()), (Some(0), 0, false, 1));
        assert!(!frame.is_in_flow() && preview(frame).is_none());
    }

    #[test]
    fn a_line_that_is_dead_or_deep_has_no_top() {
        let top = |block: &Block| block.frame(block.get(DEPTH).wrapping_sub(1)).map(Frame::raw_id);
        let block = Block::default();
        assert!(top(&block).is_none());
        block.set(DEPTH, 1);
        assert!(top(&block).is_some());
        for flag in [DEAD, DEEP, OUTSIDE] {
            block.set(DEPTH, 1 | flag);
            assert!(top(&block).is_none());
        }
    }
}
