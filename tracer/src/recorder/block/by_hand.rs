//! Nodes that steps by hand have entered, in the frames of a block: what is left of them once these were written over.

use std::sync::atomic::{Ordering, fence};

use super::{Block, DEPTH, ENV, FRAMES, Frame, ID, OUTSIDE, OUTSIDE_COUNT, SINCE, SITE, SOURCE, STATE};
use crate::id::{EnvId, FrameId, TraceId};
use crate::lines::this_thread;
use crate::node::{NAME_LEN_MAX, check_name};
use crate::recorder::Preview;

/// Words of a frame that have the name.
const WORDS: usize = NAME_LEN_MAX / 8;
/// Where in a frame they begin.
pub const NAME_AT: usize = 4;
/// The bit of word 2 of a frame that says that its node was entered by hand, so that it has a name.
pub const BY_HAND: u64 = 1 << 15;

/// The name of a node that was entered by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeName([u64; WORDS]);

impl NodeName {
    fn of(name: &str) -> Self {
        let mut bytes = [0; NAME_LEN_MAX];
        let len = name.len().min(NAME_LEN_MAX);
        bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
        Self(std::array::from_fn(|nth| u64::from_le_bytes(std::array::from_fn(|byte| bytes[nth * 8 + byte]))))
    }

    /// That of a frame with this word 2, and these words from [`NAME_AT`] on. `None`: it was not entered by hand, or is what
    /// no writer makes.
    pub fn read(state: u64, words: [u64; WORDS]) -> Option<Self> {
        let name = Self(words);
        (state & BY_HAND != 0 && check_name(&name.to_text()).is_ok()).then_some(name)
    }

    /// As a text.
    pub fn to_text(self) -> String {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).take_while(|byte| *byte != 0).collect();
        String::from_utf8(bytes).unwrap_or_default()
    }
}

/// A node that was entered by hand and is open.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) node: Box<str>,
    /// The step that entered it.
    pub(crate) step: u64,
    pub(crate) ticks: u64,
    pub(crate) preview: Option<Preview>,
}

impl Block {
    /// Makes it that of an env by hand, in which nothing is open yet.
    pub(crate) fn begin_by_hand(&self, trace: TraceId, env: EnvId) {
        for word in [DEPTH, SOURCE] {
            self.set(word, 0);
        }
        self.set_trace(trace);
        self.publish(ENV, env.get());
    }

    /// Shows all that are open in the env with this number, of which those before `from` are as they were.
    pub(crate) fn show(&self, open: &[Entered], from: usize, ordinal: u32) {
        self.is_held_by(this_thread());
        for (frame, entered) in self.frames.iter().zip(open).skip(from) {
            Frame(frame).show(entered, ordinal);
        }
        let outside = open.len().saturating_sub(FRAMES) as u64;
        self.set(OUTSIDE_COUNT, outside);
        let flag = if outside > 0 { OUTSIDE } else { 0 };
        self.publish(DEPTH, open.len().min(FRAMES) as u64 | flag);
    }
}

impl Frame<'_> {
    fn show(self, entered: &Entered, ordinal: u32) {
        // None, until all of it is there.
        self.set(ID, 0);
        fence(Ordering::Release);
        self.set(SITE, 0);
        self.set(STATE, BY_HAND);
        self.set(SINCE, entered.ticks);
        for (nth, word) in NodeName::of(&entered.node).0.into_iter().enumerate() {
            self.set(NAME_AT + nth, word);
        }
        if let Some(preview) = entered.preview {
            self.set_preview(preview);
        }
        self.0[ID].store(FrameId::raw_of(ordinal.into(), entered.step), Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::recorder::block::FOREIGN;

    fn entered(step: u64, node: &str) -> Entered {
        Entered { node: node.into(), step, ticks: step * 10, preview: None }
    }

    /// What a reader sees of it: the numbers and names of its frames.
    fn seen(block: &Block) -> Vec<(u64, Option<String>)> {
        let depth = usize::try_from(block.get(DEPTH) & 0xffff_ffff).unwrap();
        let frames = block.frames[..depth].iter().map(Frame);
        let name =
            |frame: Frame<'_>| NodeName::read(frame.get(STATE), std::array::from_fn(|nth| frame.get(NAME_AT + nth)));
        frames.map(|frame| (frame.raw_id(), name(frame).map(NodeName::to_text))).collect()
    }

    #[test]
    fn a_block_shows_the_first_that_are_open_and_counts_the_others() {
        let block = Block::default();
        let longest = "n".repeat(NAME_LEN_MAX);
        let mut open = vec![entered(1, "parse"), entered(2, &longest)];
        block.set(FOREIGN, 1);
        block.show(&open, 0, 3);
        let named = |step, node: &str| (FrameId::raw_of(3, step), Some(node.to_owned()));
        assert_eq!((seen(&block), block.get(FOREIGN)), (vec![named(1, "parse"), named(2, &longest)], 0));
        open.extend((3..=17).map(|step| entered(step, "more")));
        block.show(&open, 2, 3);
        assert_eq!((seen(&block).len(), block.get(DEPTH) & OUTSIDE, block.get(OUTSIDE_COUNT)), (FRAMES, OUTSIDE, 2));
        // Shorter names leave nothing of longer ones.
        open.remove(1);
        block.show(&open, 1, 3);
        assert_eq!((&seen(&block)[1], &seen(&block)[14]), (&named(3, "more"), &named(16, "more")));
        open.truncate(1);
        block.show(&open, 1, 3);
        assert_eq!((seen(&block), block.get(DEPTH)), (vec![named(1, "parse")], 1));
    }

    #[test]
    fn what_is_no_name_is_none() {
        let name = NodeName::of("parse");
        assert_eq!(NodeName::read(BY_HAND, name.0), Some(name));
        assert_eq!(NodeName::read(!BY_HAND, name.0), None, "words of another kind");
        for bytes in ["Parse", "", "pa rse", "\u{1b}[2J", "enter"] {
            assert_eq!(NodeName::read(BY_HAND, NodeName::of(bytes).0), None, "{bytes}");
        }
    }
}
