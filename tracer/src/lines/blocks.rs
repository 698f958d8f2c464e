//! The memory that a line of calls works on: a block that the recorder lends, or its own, and more where it is deep.

use super::trace::Trace;
use crate::id::EnvId;
use crate::recorder::block::{self, Block, FRAMES, Frame};
use crate::tracer::Tracer;

/// The blocks of a line, outermost frames first. Those past the depth of the line wait to be used again.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Memory of the recorder's, while the line is in use.
    lent: Option<&'static Block>,
    /// Memory that it keeps.
    own: Option<&'static Block>,
    more: Vec<More>,
    /// Memory that it keeps, for more.
    spare: Vec<&'static Block>,
}

/// A further block.
#[derive(Debug)]
struct More {
    block: &'static Block,
    /// It is memory of the recorder's.
    is_lent: bool,
}

impl Blocks {
    /// The first, which the common calls work on.
    pub(super) fn first(&self) -> Option<&'static Block> {
        self.lent.or(self.own)
    }

    /// Makes sure that there is a first.
    pub(super) fn begin(&mut self, trace: &Trace) -> &'static Block {
        self.lent = trace.tracer.block();
        if self.lent.is_none() {
            trace.tracer.begin_outside();
        }
        self.lent.unwrap_or_else(|| self.own.get_or_insert_with(|| Box::leak(Box::default())))
    }

    /// Gives back what was lent.
    pub(super) fn end(&mut self, tracer: &Tracer) {
        if let Some(block) = self.first() {
            block.publish(block::ENV, 0);
        }
        match self.lent.take() {
            Some(lent) => tracer.free(lent),
            None => tracer.end_outside(),
        }
        for More { block, is_lent } in self.more.drain(..) {
            if is_lent {
                block.publish(block::ENV, 0);
                tracer.free(block);
            } else {
                self.spare.push(block);
            }
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &'static Block> + '_ {
        self.first().into_iter().chain(self.more.iter().map(|more| more.block))
    }

    /// Says in all of them whose frames they have.
    pub(super) fn show_env(&self, env: EnvId) {
        self.all().for_each(|block| block.publish(block::ENV, env.get()));
    }

    pub(super) fn depth(&self) -> usize {
        let Some(first) = self.first() else { return 0 };
        let depth = first.get(block::DEPTH);
        let more = if depth & block::DEEP == 0 { &[] } else { &self.more[..] };
        depth_in(depth) + more.iter().map(More::depth).sum::<usize>()
    }

    /// The frame at a place; `None` past the last that there is room for.
    pub(super) fn frame(&self, at: usize) -> Option<Frame<'static>> {
        let block = if at < FRAMES { self.first()? } else { self.more.get(at / FRAMES - 1)?.block };
        block.frame((at % FRAMES) as u64)
    }

    /// Room for a frame at the place `depth`, the first that is not used.
    pub(super) fn room(&mut self, depth: usize, trace: &Trace) -> Option<Frame<'static>> {
        if self.frame(depth).is_none() {
            self.go_on(trace);
        }
        self.frame(depth)
    }

    /// Goes on in a further block.
    #[cold]
    fn go_on(&mut self, trace: &Trace) {
        let lent = self.lent.and_then(|_| trace.tracer.further_block());
        let is_lent = lent.is_some();
        let block = lent.or_else(|| self.spare.pop()).unwrap_or_else(|| Box::leak(Box::default()));
        block.set(block::DEPTH, 0);
        block.is_held_by(self.first().map_or(0, |first| first.get(block::HOLDER)));
        block.set_trace(trace.id);
        block.publish(block::ENV, self.first().map_or(0, |first| first.get(block::ENV)));
        self.more.push(More { block, is_lent });
    }

    /// Sets how many frames are open, leaving the other flags alone.
    pub(super) fn set_depth(&self, depth: usize) {
        let Some(first) = self.first() else { return };
        let dead = first.get(block::DEPTH) & block::DEAD;
        let deep = if depth > FRAMES { block::DEEP } else { 0 };
        let mut outside = 0;
        for (nth, More { block, is_lent }) in self.more.iter().enumerate() {
            let depth = depth.saturating_sub((nth + 1) * FRAMES).min(FRAMES) as u64;
            // Far down, most are as they were: to write to each would take its page of the file along.
            if block.get(block::DEPTH) != depth {
                block.publish(block::DEPTH, depth);
            }
            outside += if *is_lent { 0 } else { depth };
        }
        let flag = if outside > 0 { block::OUTSIDE } else { 0 };
        if !self.more.is_empty() {
            first.set(block::OUTSIDE_COUNT, outside);
        }
        first.publish(block::DEPTH, depth.min(FRAMES) as u64 | dead | deep | flag);
    }
}

impl More {
    fn depth(&self) -> usize {
        depth_in(self.block.get(block::DEPTH))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "leaves the flags out")]
fn depth_in(depth: u64) -> usize {
    (depth as u32 as usize).min(FRAMES)
}
