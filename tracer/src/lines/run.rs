//! What the events of common calls rest on: the run that a thread is in the midst of writing.
//!
//! A reader follows the steps of one env from a run header on. So the thread has to know whether a reader could still
//! do so: whether all steps of the env since then stand behind that header, in this page, in order.

use crate::id::FrameId;
use crate::recorder::Entry;
use crate::recorder::block::{self, Block};
use crate::recorder::page::{ELAPSED_END, Page, run_word};

/// A run in the page that a thread writes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    env: u64,
    /// The number of the next step, as a block has it.
    next: u64,
    /// The number of the next record.
    seq: u64,
    /// The ticks that events count from.
    pub(crate) began: u64,
    /// The frame that it began in, and how many were open then.
    base: u64,
    pub(crate) floor: u64,
}

impl Run {
    /// Begins a run where the line of `block` stands, with the record `seq`. `key` is that of its innermost frame.
    /// `None`: nothing can be called there, or the page is full.
    pub(crate) fn begin(block: &Block, page: &Page, key: u64, seq: u64, began: u64) -> Option<Self> {
        let floor = block.get(block::DEPTH);
        let base = block.frame(floor.checked_sub(1)?)?;
        let (env, last) = (block.get(block::ENV), block.get(block::LAST));
        let [first, others @ ..] = base.calls();
        let step = FrameId::step_of(last) + 1;
        let header = [run_word(seq, 0), began, env, step, base.raw_id(), key, block.get(block::ORDINAL), first];
        if !page.put(header) {
            return None;
        }
        if others[0] != 0 && !page.put([run_word(seq, 1), others[0], others[1], others[2], 0, 0, 0, 0]) {
            return None;
        }
        Some(Self { env, next: last.wrapping_add(1), seq, began, base: base.raw_id(), floor })
    }

    /// Whether what follows in the line of `block`, with the record `seq`, can be read from the events alone.
    pub(crate) fn goes_on(&self, block: &Block, seq: u64) -> bool {
        let here = (block.get(block::ENV), block.get(block::LAST).wrapping_add(1), seq);
        let base = block.frame(self.floor.wrapping_sub(1)).filter(|_| block.get(block::DEPTH) >= self.floor);
        here == (self.env, self.next, self.seq) && base.is_some_and(|base| base.raw_id() == self.base)
    }

    /// Takes note of what was written in full; `false`: a reader cannot follow any more.
    pub(crate) fn follow(&mut self, entry: &Entry) -> bool {
        self.seq = entry.seq() + 1;
        let [_, ticks, env, step, ..] = entry.words();
        if env != self.env || !entry.is_step() {
            return true;
        }
        let follows = FrameId::step_of(self.next) == Entry::step_in(step);
        self.next = self.next.wrapping_add(1);
        // Events that far behind would not find room for the time.
        follows && ticks.wrapping_sub(self.began) < ELAPSED_END / 2
    }

    /// So many steps were taken by common calls.
    pub(crate) fn pass(&mut self, steps: u64) {
        self.next = self.next.wrapping_add(steps);
        self.seq += steps;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::id::EnvId;
    use crate::recorder::block::Opened;
    use crate::site::SiteId;
    use crate::status::Status;

    /// Each of these alone makes a reader who followed the events take what comes next for something else.
    #[test]
    fn a_run_goes_on_only_from_where_it_stands() {
        let (page, block): (&'static Page, _) = (Box::leak(Box::default()), Block::default());
        page.open(1);
        let stand = |env, last, depth, innermost| {
            for (word, value) in [(block::ENV, env), (block::LAST, last), (block::DEPTH, depth)] {
                block.set(word, value);
            }
            for (at, id) in [(0, 1), (1, innermost)] {
                let site = SiteId { site: 1, node: 1 };
                block.frame(at).unwrap().open(Opened { id, site, occurrence: 0, ticks: 0, nodes_below: 0, key: None });
            }
        };
        stand(7, 2, 2, 2);
        let mut run = Run::begin(&block, page, 0, 10, 0).unwrap();
        assert!(run.goes_on(&block, 10));
        assert!(!run.goes_on(&block, 11), "another number");
        run.pass(2);
        stand(7, 4, 2, 2);
        assert!(run.goes_on(&block, 12));
        for (env, last, depth, innermost, what) in [
            (8, 4, 2, 2, "another env"),
            (7, 5, 2, 2, "another step"),
            (7, 4, 1, 2, "the frame that it began in has ended"),
            (7, 4, 2, 3, "and another is in its place"),
        ] {
            stand(env, last, depth, innermost);
            assert!(!run.goes_on(&block, 12), "{what}");
        }
    }

    /// An event says how long ago its run began, and has only so much room for that.
    #[test]
    fn a_run_that_began_long_ago_does_not_go_on() {
        let mut run = Run { env: 7, next: 1, seq: 1, began: 1000, base: 1, floor: 1 };
        let entered_at = |ticks, step| {
            let mut entry = Entry::manual(EnvId::new(7).unwrap(), step, 0, Status::Enter);
            entry.number(ticks, 1);
            entry
        };
        assert!(run.follow(&entered_at(1000 + ELAPSED_END / 2 - 1, 1)));
        assert!(!run.follow(&entered_at(1000 + ELAPSED_END / 2, 2)));
    }
}
