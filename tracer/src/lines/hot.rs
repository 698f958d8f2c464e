//! The common calls, without the scope: a call by the innermost frame of the line that this thread is in, its end, and
//! the polls of a future in between.
//!
//! What they need is lent by the [scope](super::scope) whenever it is left, and taken back when it is entered. They
//! change nothing but the block and the page, which only this thread writes to, and where the thread is. Whatever is
//! not common, they leave alone: then they say so, having done nothing.

use std::cell::Cell;

use super::cell::Cell as LineCell;
use super::key;
use super::line::bit;
use super::scope::Position;
use crate::clock;
use crate::id::FrameId;
use crate::recorder::block::{self, Block, Frame, Opened};
use crate::recorder::page::{OpenPage, Page, SLOTS};
use crate::recorder::{Tag, step_and_site};
use crate::site::Site;

/// What the common calls of a thread work with.
struct Hot {
    /// What the line that the thread is in works on; `None`: nothing is lent.
    block: Cell<Option<&'static Block>>,
    cell: Cell<Option<&'static LineCell>>,
    /// The frame that the thread is in; 0 for none.
    frame: Cell<u64>,
    /// Where the thread writes for the tracer of that line, and the seed of the checks there.
    page: Cell<Option<&'static Page>>,
    seed: Cell<u64>,
    /// The number of the first slot of the page, if all of the page were of numbers one after the other. So the next
    /// number needs no counter: it follows from the next slot.
    first: Cell<u64>,
    /// Whether the time stamp counter is the clock.
    counter: Cell<bool>,
}

thread_local! {
    // With nothing to drop: a look at it is a look at memory.
    static HOT: Hot = const {
        Hot {
            block: Cell::new(None),
            cell: Cell::new(None),
            frame: Cell::new(0),
            page: Cell::new(None),
            seed: Cell::new(0),
            first: Cell::new(0),
            counter: Cell::new(false),
        }
    };
}

/// What the scope lends. Nothing of it changes before it is taken back, but for the frame and the length of the page.
pub(super) struct Lent {
    /// The line that the thread is in and holds.
    pub(super) cell: &'static LineCell,
    pub(super) block: &'static Block,
    pub(super) frame: Option<FrameId>,
    /// Where the thread writes for the tracer of that line.
    pub(super) page: OpenPage,
    /// The next number. As many are free as the page has free slots.
    pub(super) next: u64,
    pub(super) counter: bool,
}

/// What comes back: where the thread is, and the next number.
pub(super) struct Returned {
    pub(super) at: Position,
    pub(super) next: u64,
}

/// Lends what the common calls need.
pub(super) fn lend(lent: &Lent) {
    HOT.with(|hot| {
        hot.block.set(Some(lent.block));
        hot.cell.set(Some(lent.cell));
        hot.frame.set(lent.frame.map_or(0, FrameId::raw));
        hot.page.set(Some(lent.page.page()));
        hot.seed.set(lent.page.seed());
        hot.first.set(lent.next.wrapping_sub(lent.page.page().next()));
        hot.counter.set(lent.counter);
    });
}

/// Takes it back: from now on no call is common.
pub(super) fn take_back() -> Option<Returned> {
    HOT.with(|hot| {
        hot.block.take()?;
        let at = Position { cell: hot.cell.get()?, frame: FrameId::from_raw(hot.frame.get()) };
        Some(Returned { at, next: hot.first.get().wrapping_add(hot.page.get()?.next()) })
    })
}

/// The call of a future, counted before it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    /// The caller.
    pub(super) at: Position,
    pub(super) key: u64,
    pub(super) occurrence: u32,
}

/// Enters `site` below the frame that the thread is in; gives that one and the new one.
#[inline]
pub(super) fn enter(site: &'static Site) -> Option<(Position, FrameId)> {
    HOT.with(|hot| {
        let caller = hot.caller(site)?;
        let room = hot.room(&caller)?;
        let occurrence = caller.frame.count(caller.node)?;
        let key = key::call(caller.frame.key(), site.hash, occurrence);
        let frame = hot.open(&caller, &room, key, occurrence);
        hot.frame.set(frame);
        Some((Position { cell: hot.cell.get()?, frame: FrameId::from_raw(caller.id) }, FrameId::from_raw(frame)?))
    })
}

/// Counts a call of `site` by the frame that the thread is in, and pins the line for it.
#[inline]
pub(super) fn count(site: &'static Site) -> Option<Counted> {
    HOT.with(|hot| {
        let caller = hot.caller(site)?;
        let at = Position { cell: hot.cell.get()?, frame: FrameId::from_raw(caller.id) };
        let occurrence = caller.frame.count(caller.node)?;
        let key = key::call(caller.frame.key(), site.hash, occurrence);
        caller.block.set(block::PINS, caller.block.get(block::PINS) + 1);
        Some(Counted { at, key, occurrence })
    })
}

/// Enters `site`, whose call was [counted](count), where it was called; unpins the line. The thread stays in the caller.
#[inline]
pub(super) fn enter_counted(site: &'static Site, call: Counted) -> Option<FrameId> {
    HOT.with(|hot| {
        let caller = hot.caller(site)?;
        let here = FrameId::from_raw(caller.id) == call.at.frame;
        hot.cell.get().filter(|cell| here && std::ptr::eq(*cell, call.at.cell))?;
        let room = hot.room(&caller)?;
        let frame = hot.open(&caller, &room, call.key, call.occurrence);
        caller.block.set(block::PINS, caller.block.get(block::PINS) - 1);
        FrameId::from_raw(frame)
    })
}

/// Goes to `at` in the line that the thread is in; gives the frame it was in.
#[inline]
pub(super) fn go(at: Position) -> Option<Position> {
    HOT.with(|hot| {
        hot.block.get()?;
        let cell = hot.cell.get().filter(|cell| std::ptr::eq(*cell, at.cell))?;
        let before = hot.frame.replace(at.frame.map_or(0, FrameId::raw));
        Some(Position { cell, frame: FrameId::from_raw(before) })
    })
}

/// Ends the frame at `at`, the innermost, which went well, and goes back to `before` in the same line. `false`: it is
/// not that case.
#[inline]
pub(super) fn end(at: Position, before: Option<FrameId>) -> bool {
    HOT.with(|hot| hot.end(at, before)).is_some()
}

/// What a call at the frame that the thread is in works on.
struct Caller {
    block: &'static Block,
    frame: Frame<'static>,
    id: u64,
    /// Open frames.
    depth: u64,
    site: u32,
    node: u32,
}

/// Where the next step is written, and the frame that it opens.
struct Room {
    page: &'static Page,
    slot: u64,
    frame: Frame<'static>,
    /// The open nodes.
    nodes: u64,
}

impl Hot {
    /// The frame that the thread is in, if it is the innermost of its line and may call `site` as any other.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what it gives then stays in registers")]
    fn caller(&self, site: &'static Site) -> Option<Caller> {
        let block = self.block.get()?;
        let (site, node) = site.plain()?;
        let depth = block.get(block::DEPTH);
        let (frame, id) = (block.frame(depth.wrapping_sub(1))?, self.frame.get());
        (frame.raw_id() == id).then_some(Caller { block, frame, id, depth, site, node })
    }

    /// `None`: there is no room for a step and a frame, or the node is open.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what it gives then stays in registers")]
    fn room(&self, caller: &Caller) -> Option<Room> {
        let page = self.page.get()?;
        let (slot, nodes) = (page.next(), caller.block.get(block::NODES));
        let frame = caller.block.frame(caller.depth)?;
        (slot < SLOTS as u64 && nodes & bit(caller.node) == 0).then_some(Room { page, slot, frame, nodes })
    }

    /// Opens a frame as the innermost.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what it takes then stays in registers")]
    fn open(&self, caller: &Caller, room: &Room, key: u64, occurrence: u32) -> u64 {
        let (block, site) = (caller.block, caller.site);
        let step = block.get(block::STEPS) + 1;
        let id = FrameId::raw_of(block.get(block::ORDINAL), step);
        let ticks = self.ticks();
        let tag = Tag::enter(false);
        let second = tag.numbered(self.first.get().wrapping_add(room.slot));
        let (third, env) = (step_and_site(step, site), block.get(block::ENV));
        let words = [ticks, second, env, third, id, caller.id, key, u64::from(occurrence)];
        room.page.put_at(room.slot, words, self.seed.get());
        room.frame.open(Opened {
            id,
            key,
            parent: caller.id,
            site,
            occurrence,
            ticks,
            nodes_below: room.nodes,
            node: caller.node,
            tag,
            in_flow: false,
        });
        block.set(block::STEPS, step);
        block.set(block::NODES, room.nodes | bit(caller.node));
        block.publish(block::DEPTH, caller.depth + 1);
        id
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it is most of the function that calls it")]
    fn end(&self, at: Position, before: Option<FrameId>) -> Option<()> {
        let block = self.block.get()?;
        let page = self.page.get()?;
        self.cell.get().filter(|cell| std::ptr::eq(*cell, at.cell))?;
        let depth = block.get(block::DEPTH).wrapping_sub(1);
        let (frame, id, slot) = (block.frame(depth)?, at.frame?.raw(), page.next());
        if frame.raw_id() != id || frame.is_in_flow() || slot >= SLOTS as u64 {
            return None;
        }
        let step = block.get(block::STEPS) + 1;
        let second = frame.tag().end(None).numbered(self.first.get().wrapping_add(slot));
        let (third, env) = (step_and_site(step, frame.site()), block.get(block::ENV));
        let occurrence = u64::from(frame.occurrence());
        let words = [self.ticks(), second, env, third, id, frame.raw_parent(), frame.key(), occurrence];
        page.put_at(slot, words, self.seed.get());
        block.set(block::STEPS, step);
        block.set(block::NODES, frame.nodes_below());
        block.publish(block::DEPTH, depth);
        self.frame.set(before.map_or(0, FrameId::raw));
        Some(())
    }

    #[inline]
    fn ticks(&self) -> u64 {
        if self.counter.get() { clock::counter() } else { clock::system_ticks() }
    }
}
