//! The common calls, without the scope: a call by the innermost frame of the line that this thread is in, its end, and
//! the polls of a future in between.
//!
//! What they need is lent by the [scope](super::scope) whenever it is left, and taken back when it is entered. They
//! change nothing but the block and the page, which only this thread writes to, and where the thread is. Whatever is
//! not common, they leave alone: then they say so, having done nothing.
//!
//! The usual among them come in a form of their own, which calls nothing: a function that calls another has to save what
//! it works with first.

use std::cell::Cell;
use std::num::NonZeroU64;

use super::cell::Cell as LineCell;
use super::key;
use super::line::bit;
use super::run::Run;
use super::scope::Position;
use crate::clock;
use crate::id::FrameId;
use crate::recorder::Padded;
use crate::recorder::block::{self, Block, Frame, Opened};
use crate::recorder::page::{DATA, ELAPSED_END, KIND_ENTER, KIND_EXIT, OCCURRENCES, Page, event};
use crate::site::{Site, SiteId};

/// What the common calls of a thread work with.
pub(super) struct Hot {
    /// What the line that the thread is in works on; `None`: nothing is lent.
    block: Cell<Option<&'static Block>>,
    cell: Cell<Option<&'static LineCell>>,
    /// The frame that the thread is in; 0 for none.
    frame: Cell<u64>,
    /// Where the thread writes for the tracer of that line; `None`: no run was begun.
    page: Cell<Option<&'static Page>>,
    /// What the place of an event in the page has to be added to, for its step as the block has it: so steps need no
    /// counter of their own.
    first: Cell<u64>,
    /// The ticks that events count from.
    began: Cell<u64>,
    /// Frames that cannot end as a common call does: the run began in them.
    floor: Cell<u64>,
    /// Where the next event after the last slot of another kind will be, and its number.
    from: Cell<u64>,
    seq: Cell<u64>,
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
            first: Cell::new(0),
            began: Cell::new(0),
            floor: Cell::new(0),
            from: Cell::new(0),
            seq: Cell::new(0),
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
    pub(super) out: Out,
}

/// A thread's way into a recorder, as far as the common calls need it.
pub(crate) struct Out {
    /// The page and the run there, if one was begun. There is a number for each word that is free in it.
    pub(crate) run: Option<(&'static Page, Run)>,
    /// The next number.
    pub(crate) next: u64,
    /// Time is the time stamp counter, else what the system's clock says.
    pub(crate) counter: bool,
}

/// What comes back: where the thread is, and the next number, if it may be another.
pub(super) struct Returned {
    pub(super) at: Position,
    pub(super) next: Option<u64>,
}

/// Lends what the common calls need.
pub(super) fn lend(lent: &Lent) {
    HOT.with(|hot| {
        hot.cell.set(Some(lent.cell));
        hot.frame.set(lent.frame.map_or(0, FrameId::raw));
        hot.page.set(lent.out.run.map(|(page, _)| page));
        if let Some((page, run)) = &lent.out.run {
            hot.go_on(page.next(), lent.block.get(block::LAST), lent.out.next);
            hot.began.set(run.began);
            hot.floor.set(run.floor);
        }
        hot.counter.set(lent.out.counter);
        hot.block.set(Some(lent.block));
    });
}

/// Takes it back: from now on no call is common.
pub(super) fn take_back() -> Option<Returned> {
    HOT.with(|hot| {
        hot.block.take()?;
        let at = Position { cell: hot.cell.take()?, frame: FrameId::from_raw(hot.frame.get()) };
        let next = hot.page.take().map(|page| hot.next_seq(page.next()));
        Some(Returned { at, next })
    })
}

/// Runs `work` with what this thread was lent.
// To be called with a function that is not in line: then a look at the thread-local is, and that function has it all.
#[inline(always)]
#[expect(clippy::inline_always, reason = "one instruction, but the compiler takes it for more")]
pub(super) fn with<R>(work: impl FnOnce(&Hot) -> R) -> R {
    HOT.with(work)
}

/// The call of a future, counted before it begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    /// The line that it was counted in; `None`: it was not.
    pub(super) cell: Option<&'static LineCell>,
    /// The caller.
    pub(super) caller: u64,
    pub(super) key: u64,
    pub(super) occurrence: u32,
}

/// What is new in a call that was [counted](Counted). Also as an `Option` no more than comes back in two registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    key: u64,
    /// The occurrence, from 1.
    nth: NonZeroU64,
}

/// A call that was entered: its frame, and where it was called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    /// Always there; asking whether it is would cost.
    pub(super) cell: Option<&'static LineCell>,
    pub(super) frame: u64,
    pub(super) caller: u64,
}

/// What a call at the frame that the thread is in works on.
struct Caller {
    block: &'static Block,
    frame: Frame<'static>,
    /// The place of the frame that it opens.
    next: Frame<'static>,
    id: u64,
    /// Open frames.
    depth: u64,
    site: SiteId,
}

/// Where the next event is written.
struct Room {
    page: &'static Page,
    at: u64,
    /// The step, as the block has it.
    step: u64,
    /// The open nodes.
    nodes: u64,
}

/// When it is written: ticks, and those since the run began.
#[derive(Clone, Copy)]
struct Now {
    ticks: u64,
    elapsed: u64,
}

/// What a frame is opened with.
struct Call<'a> {
    occurrence: u32,
    /// The key and the parent, if they are kept.
    key: Option<(u64, u64)>,
    values: Option<Padded<'a>>,
}

impl Hot {
    /// Whether a common call only wants for a run.
    pub(super) fn wants_run(&self) -> bool {
        self.block.get().is_some() && self.page.get().is_none()
    }

    /// Enters `site` below the frame that the thread is in. `USUAL`: only if that called the same node last, and the
    /// time stamp counter is the clock.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what it gives then goes straight to where it is kept")]
    pub(super) fn enter<const USUAL: bool>(&self, site: &'static Site) -> Option<Entered> {
        let now = self.now::<USUAL>()?;
        let caller = self.caller(site)?;
        let room = self.room(&caller)?;
        let node = caller.site.node;
        let occurrence = if USUAL { caller.frame.count_again(node)? } else { caller.frame.count(node)? };
        self.open(&caller, &room, now, Call { occurrence, key: None, values: None });
        Some(Entered { cell: self.cell.get(), frame: room.step, caller: caller.id })
    }

    /// Counts a call of `site` by the frame that the thread is in, and pins the line for it. `USUAL`: only if that called
    /// the same node last, for later likewise.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it is most of the function that calls it")]
    pub(super) fn count<const USUAL: bool>(&self, site: &'static Site) -> Option<Number> {
        let Caller { block, frame, site: SiteId { node, .. }, .. } = self.caller(site)?;
        let (key, occurrence) = if USUAL { frame.await_again(node)? } else { frame.await_any(node)? };
        block.set(block::PINS, block.get(block::PINS) + 1);
        Some(Number { key: key::call(key, site.hash, occurrence), nth: NonZeroU64::new(u64::from(occurrence) + 1)? })
    }

    /// The call that was just counted.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "it was made of 32 bits")]
    pub(super) fn counted(&self, Number { key, nth }: Number) -> Counted {
        Counted { cell: self.cell.get(), caller: self.frame.get(), key, occurrence: (nth.get() - 1) as u32 }
    }

    /// Enters `site`, whose call was [counted](Self::count), where it was called; unpins the line. Gives the frame.
    /// `USUAL`: only if the caller called the same node last, and the time stamp counter is the clock.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it is most of the function that calls it")]
    pub(super) fn enter_counted<const USUAL: bool>(&self, site: &'static Site, call: Counted) -> Option<u64> {
        let now = self.now::<USUAL>()?;
        let caller = self.caller(site)?;
        if caller.id != call.caller || !self.is_in(call.cell) {
            return None;
        }
        let node = caller.site.node;
        let since = if USUAL {
            caller.frame.calls_since_last(node, call.occurrence)?
        } else {
            caller.frame.calls_since(node, call.occurrence)?
        };
        if since > OCCURRENCES {
            return None;
        }
        let room = self.room(&caller)?;
        let key = Some((call.key, caller.id));
        self.open(&caller, &room, now, Call { occurrence: call.occurrence, key, values: None });
        caller.frame.begin_awaited();
        caller.block.set(block::PINS, caller.block.get(block::PINS).saturating_sub(1));
        Some(room.step)
    }

    /// [`enter`](Self::enter) with values: the bytes of a detail.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what it gives then goes straight to where it is kept")]
    pub(super) fn enter_with(&self, site: &'static Site, values: Padded<'_>) -> Option<Entered> {
        let now = self.now::<false>()?;
        let caller = self.caller(site)?;
        let room = self.room(&caller)?;
        if !Page::has_room_behind(room.at, values) {
            return None;
        }
        let occurrence = caller.frame.count(caller.site.node)?;
        self.open(&caller, &room, now, Call { occurrence, key: None, values: Some(values) });
        Some(Entered { cell: self.cell.get(), frame: room.step, caller: caller.id })
    }

    /// The number of the event at a place.
    fn next_seq(&self, at: u64) -> u64 {
        // The page may be in a file, which others can truncate: then it is empty all at once, and numbers go on.
        self.seq.get() + at.saturating_sub(self.from.get())
    }

    /// Goes on with events at the place `from`, behind the step `last`, the first with the number `seq`.
    fn go_on(&self, from: u64, last: u64, seq: u64) {
        self.from.set(from);
        self.seq.set(seq);
        self.first.set(last.wrapping_add(1).wrapping_sub(from));
    }

    /// The frame that the thread is in, if it is the innermost of its line and may call `site` as any other.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what it gives then stays in registers")]
    fn caller(&self, site: &'static Site) -> Option<Caller> {
        let block = self.block.get()?;
        let site = site.plain()?;
        let depth = block.get(block::DEPTH);
        if !Block::has_room(depth) {
            return None;
        }
        let ((frame, next), id) = (block.innermost(depth), self.frame.get());
        (frame.raw_id() == id).then_some(Caller { block, frame, next, id, depth, site })
    }

    /// `None`: there is no run, it is too late for it, or, if `USUAL`, the time stamp counter is not the clock.
    // To be asked first: it takes as long as all of the rest, which the processor then does meanwhile.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "one instruction")]
    fn now<const USUAL: bool>(&self) -> Option<Now> {
        let ticks = match self.counter.get() {
            true => clock::counter(),
            false if USUAL => return None,
            // Not where it is for nothing.
            false => self.page.get().map(|_| clock::system_ticks())?,
        };
        let elapsed = ticks.wrapping_sub(self.began.get());
        (elapsed < ELAPSED_END).then_some(Now { ticks, elapsed })
    }

    /// `None`: there is no room for an event, or the node is open.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what it gives then stays in registers")]
    fn room(&self, caller: &Caller) -> Option<Room> {
        let page = self.page.get()?;
        let nodes = caller.block.get(block::NODES);
        if nodes & bit(caller.site.node) != 0 {
            return None;
        }
        self.room_in(page, nodes)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what it gives then stays in registers")]
    fn room_in(&self, page: &'static Page, nodes: u64) -> Option<Room> {
        let at = page.next();
        (at < DATA as u64).then(|| Room { page, at, step: self.first.get().wrapping_add(at), nodes })
    }

    /// Opens a frame as the innermost, and goes there.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what it takes then stays in registers")]
    fn open(&self, caller: &Caller, room: &Room, now: Now, call: Call<'_>) {
        let (block, site, Call { occurrence, key, values }) = (caller.block, caller.site, call);
        caller.next.open(Opened { id: room.step, site, occurrence, ticks: now.ticks, nodes_below: room.nodes, key });
        if let Some(preview) = values.and_then(Padded::preview) {
            caller.next.set_preview(preview);
        }
        self.put(block, room, event(KIND_ENTER, occurrence, site.site, now.elapsed), values);
        block.set(block::NODES, room.nodes | bit(site.node));
        block.publish(block::DEPTH, caller.depth + 1);
        self.frame.set(room.step);
    }

    /// Writes an event, for which there is room.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what it takes then stays in registers")]
    fn put(&self, block: &Block, room: &Room, event: u64, values: Option<Padded<'_>>) {
        match values {
            None => {
                room.page.put_event(room.at, event);
                block.set(block::LAST, room.step);
            }
            Some(values) => {
                let seq = self.next_seq(room.at);
                let end = room.page.put_detailed(room.at, values, room.step, event);
                block.set(block::LAST, room.step);
                self.go_on(end, room.step, seq + 1);
            }
        }
    }

    /// Goes to a frame of the line of `cell`, if that is the one that the thread is in; gives the frame that it was in. 0
    /// is none.
    #[inline]
    pub(super) fn go(&self, cell: Option<&'static LineCell>, frame: u64) -> Option<u64> {
        self.is_in(cell).then(|| self.frame.replace(frame))
    }

    /// Whether the line of `cell` is the one that the thread is in, if something is lent.
    #[inline]
    fn is_in(&self, cell: Option<&'static LineCell>) -> bool {
        // As addresses: whether there are any is not asked.
        let address = |cell: Option<&'static LineCell>| cell.map_or(std::ptr::null(), std::ptr::from_ref);
        address(self.cell.get()) == address(cell)
    }

    /// Ends a frame of the line of `cell`, the innermost, which went well, and goes back to the frame `before` in the
    /// same line (0: to none). `false`: it is not that case.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it is most of the function that calls it")]
    pub(super) fn end<const USUAL: bool>(&self, cell: Option<&'static LineCell>, id: u64, before: u64) -> bool {
        self.end_as::<USUAL>(cell, id, before, None)
    }

    /// [`end`](Self::end) with values: the bytes of a detail.
    pub(super) fn end_with(&self, entered: &Entered, values: Padded<'_>) -> bool {
        let Entered { cell, frame, caller } = *entered;
        self.end_as::<false>(cell, frame, caller, Some(values))
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it is most of the functions that call it")]
    fn end_as<const USUAL: bool>(
        &self,
        cell: Option<&'static LineCell>,
        id: u64,
        before: u64,
        values: Option<Padded<'_>>,
    ) -> bool {
        let Some(now) = self.now::<USUAL>() else { return false };
        let (Some(block), Some(page)) = (self.block.get(), self.page.get()) else { return false };
        let depth = block.get(block::DEPTH).wrapping_sub(1);
        let Some(frame) = block.frame(depth) else { return false };
        if !self.is_in(cell) || frame.raw_id() != id || depth < self.floor.get() || frame.is_in_flow() {
            return false;
        }
        let Some(room) = self.room_in(page, 0) else { return false };
        if values.is_some_and(|values| !Page::has_room_behind(room.at, values)) {
            return false;
        }
        self.put(block, &room, event(KIND_EXIT, 0, frame.site().site, now.elapsed), values);
        block.set(block::NODES, frame.nodes_below());
        block.publish(block::DEPTH, depth);
        self.frame.set(before);
        true
    }
}
