//! Traces of one env, which are over and of which nothing else in the file speaks: most of them. Their steps say nothing of
//! what is open, and their ids need not be looked up among those of all others: for hundreds of thousands of them, that
//! would take most of the time that a file is read in. Only those that have begun in a page and go on in another are
//! remembered by their ids, until they are over: as many as run at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::iter::successors;
use std::mem;

use tracer::TraceId;
use tracer::recorder::page::SLOTS;

use super::contents::{Seen, place_of};
use super::named::{Named, low};
use super::open::Place;
use super::page::Grown;
use super::scan::Slot;
use super::spread::Spread;

/// A trace of one env, which is over; all of its steps are those of common calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) env: u64,
    pub(super) trace: TraceId,
    /// The env's own record.
    pub(super) record: Slot,
    /// The last of its [pieces](Wholes::pieces).
    pieces: Place,
    pub(super) seen: Seen,
}

/// Slots of one page with steps of one env and with what these need to be read. What else stands among them counts once,
/// however often it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// By its place among the pages.
    pub(super) page: u32,
    pub(super) first: Slot,
    pub(super) slots: u8,
    /// The steps in them, and the env's own record.
    pub(super) records: u16,
    /// One more of the env, that was found before.
    before: Option<Place>,
}

/// What entries of an env say of its trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain {
    /// They say nothing else: they are steps of common calls, and the beginning and the end of a trace of one env.
    pub(super) is_so: bool,
    /// That which they name.
    pub(super) trace: Option<TraceId>,
    pub(super) record: Option<Slot>,
    pub(super) is_over: bool,
}

/// Steps of an env without a gap, which may turn out to be all of its trace.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    plain: Plain,
    from: u64,
    to: u64,
    seen: Seen,
    /// The last of its pieces.
    pieces: Place,
    count: u8,
}

/// The traces that are whole, and envs of which that is not known yet.
#[derive(Debug)]
pub(super) struct Wholes {
    pub(super) all: Vec<Whole>,
    /// How many of them are named.
    are_named: usize,
    pieces: Vec<Piece>,
    waiting: HashMap<u64, Waiting, Spread>,
    /// Those that turned out not to be.
    given_up: Vec<Waiting>,
    /// How many waited in vain so far, and how many not.
    in_vain: usize,
    ended: usize,
    /// The envs and traces of those that are, each once; and what is named besides.
    named: Named,
}

/// Traces that are named at once.
const AT_ONCE: usize = 64;
/// Envs that wait at a time: few, so that each is found in a cache.
const WAITING_MAX: usize = 4096;
/// Pieces of an env. One that goes on in more pages is rather of a long trace that is not over.
const PIECES_MAX: u8 = 8;
/// Waiting is given up where more than a third do so in vain, and so many did.
const IN_VAIN_MAX: usize = 1024;

impl Wholes {
    /// Of a file of so many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            all: Vec::new(),
            are_named: 0,
            pieces: Vec::new(),
            waiting: HashMap::default(),
            given_up: Vec::new(),
            in_vain: 0,
            ended: 0,
            named: Named::new(slots),
        }
    }

    /// Takes steps of an env in the page with this number and place; gives whether nothing else is to be done with them for
    /// now. `is_known`: whether anything of it is followed.
    pub(super) fn take(&mut self, of: &Grown, number: u32, place: u32, is_known: impl FnOnce() -> bool) -> bool {
        if let Some((trace, record)) = of.plain.all() {
            let pieces = self.push(Piece::new(of, number, place));
            self.insert(Whole { env: of.env, trace, record, pieces, seen: of.seen });
            return true;
        }
        if !of.plain.is_so || self.in_vain > self.ended / 2 + IN_VAIN_MAX || is_known() {
            return false;
        }
        if self.waiting.len() == WAITING_MAX && !self.waiting.contains_key(&of.env) {
            self.wait_no_more();
        }
        let pieces = self.push(Piece::new(of, number, place));
        self.add(of.env, Waiting { plain: of.plain, from: of.from, to: of.to, seen: of.seen, pieces, count: 1 })
    }

    /// Takes what there is of an env that may be whole; gives whether it still may.
    fn add(&mut self, env: u64, more: Waiting) -> bool {
        let mut place = match self.waiting.entry(env) {
            Entry::Occupied(place) => place,
            Entry::Vacant(place) => {
                place.insert(more);
                return true;
            }
        };
        let Some(both) = place.get().and(&more) else {
            let waiting = place.remove();
            self.give_up(waiting);
            return false;
        };
        let mut first = place_of(more.pieces.get());
        while let Some(before) = self.pieces[first].before {
            first = place_of(before.get());
        }
        self.pieces[first].before = Some(place.get().pieces);
        match both.plain.all() {
            Some((trace, record)) => {
                place.remove();
                self.ended += 1;
                self.insert(Whole { env, trace, record, pieces: both.pieces, seen: both.seen });
            }
            None => _ = place.insert(both),
        }
        true
    }

    fn push(&mut self, piece: Piece) -> Place {
        self.pieces.push(piece);
        Place::new(u32::try_from(self.pieces.len() - 1).unwrap_or(u32::MAX))
    }

    fn insert(&mut self, whole: Whole) {
        self.all.push(whole);
        if self.all.len() - self.are_named >= AT_ONCE {
            self.name_all();
        }
    }

    /// One right after the other, as none of these looks at memory has to wait for the one before it.
    fn name_all(&mut self) {
        for of in &self.all[self.are_named..] {
            self.named.add(of.env);
            self.named.add(low(of.trace));
        }
        self.are_named = self.all.len();
    }

    fn give_up(&mut self, waiting: Waiting) {
        self.in_vain += 1;
        self.given_up.push(waiting);
    }

    /// Something that is not whole is of this env or trace, or names it.
    pub(super) fn name(&mut self, id: u64) {
        self.named.add_twice(id);
    }

    /// None of those that wait is whole.
    pub(super) fn wait_no_more(&mut self) {
        for (_, waiting) in in_order(mem::take(&mut self.waiting)) {
            self.give_up(waiting);
        }
    }

    /// The pieces of those that turned out not to be whole: they are to be followed.
    pub(super) fn take_given_up(&mut self) -> Vec<Piece> {
        let given_up = mem::take(&mut self.given_up);
        given_up.iter().flat_map(|waiting| pieces_from(&self.pieces, waiting.pieces)).copied().collect()
    }

    /// Likewise, of those that something else names.
    pub(super) fn take_named(&mut self) -> Vec<Piece> {
        self.name_all();
        let (pieces, ids, mut named) = (&self.pieces, &self.named, Vec::new());
        self.all.retain(|of| {
            let is_named = ids.has_twice(of.env) || ids.has_twice(low(of.trace));
            if is_named {
                named.extend(pieces_from(pieces, of.pieces));
            }
            !is_named
        });
        self.are_named = self.all.len();
        named
    }

    /// Takes those of pages that are behind so many others.
    pub(super) fn append(&mut self, mut later: Self, pages: u32) {
        self.name_all();
        later.name_all();
        let before = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
        let now = |place: Place| Place::new(place.get() + before);
        let seen = |seen: Seen| Seen { newest: seen.newest + pages, ..seen };
        let pieces = later.pieces.into_iter();
        self.pieces.extend(pieces.map(|of| Piece { page: of.page + pages, before: of.before.map(now), ..of }));
        let all = later.all.into_iter();
        self.all.extend(all.map(|of| Whole { pieces: now(of.pieces), seen: seen(of.seen), ..of }));
        self.are_named = self.all.len();
        self.named.append(&later.named);
        let given_up = later.given_up.into_iter();
        self.given_up.extend(given_up.map(|of| Waiting { pieces: now(of.pieces), seen: seen(of.seen), ..of }));
        for (env, of) in in_order(later.waiting) {
            let waiting = Waiting { pieces: now(of.pieces), seen: seen(of.seen), ..of };
            if !self.add(env, waiting) {
                self.give_up(waiting);
            }
        }
    }

    /// The pieces of one.
    pub(super) fn pieces(&self, of: &Whole) -> impl Iterator<Item = &Piece> {
        pieces_from(&self.pieces, of.pieces)
    }
}

/// One after the other, from the last.
fn pieces_from(pieces: &[Piece], last: Place) -> impl Iterator<Item = &Piece> {
    let at = |place: Place| pieces.get(place_of(place.get()));
    successors(at(last), move |piece| at(piece.before?))
}

/// In the order in which the last of each was met.
fn in_order(waiting: HashMap<u64, Waiting, Spread>) -> Vec<(u64, Waiting)> {
    let mut all: Vec<_> = waiting.into_iter().collect();
    all.sort_unstable_by_key(|(_, waiting)| waiting.pieces.get());
    all
}

impl Piece {
    fn new(of: &Grown, number: u32, page: u32) -> Self {
        const { assert!(SLOTS < 256) };
        let slots = u8::try_from(of.slots.len()).unwrap_or(u8::MAX);
        let records = u16::try_from(of.to - of.from).unwrap_or(u16::MAX);
        Self { page, first: Slot::new(number, of.slots.start), slots, records, before: None }
    }
}

impl Plain {
    /// Steps of common calls.
    pub(super) const STEPS: Self = Self { is_so: true, trace: None, record: None, is_over: false };
    pub(super) const NOT: Self = Self { is_so: false, ..Self::STEPS };

    /// The first of a trace.
    pub(super) const fn record(trace: TraceId, record: Slot) -> Self {
        Self { trace: Some(trace), record: Some(record), ..Self::STEPS }
    }

    /// The last.
    pub(super) const fn over(trace: TraceId) -> Self {
        Self { trace: Some(trace), is_over: true, ..Self::STEPS }
    }

    /// What both say. `None`: they are of two traces.
    pub(super) fn and(&self, more: &Self) -> Option<Self> {
        let is_one = self.trace.is_none() || more.trace.is_none() || self.trace == more.trace;
        is_one.then_some(Self {
            is_so: self.is_so && more.is_so,
            trace: self.trace.or(more.trace),
            record: self.record.or(more.record),
            is_over: self.is_over || more.is_over,
        })
    }

    /// The trace and its first entry, if they are all of it.
    fn all(&self) -> Option<(TraceId, Slot)> {
        Some((self.trace?, self.record?)).filter(|_| self.is_so && self.is_over)
    }
}

impl Waiting {
    /// With other steps, from right before or behind these. `None`: they are not of one trace.
    fn and(&self, more: &Self) -> Option<Self> {
        let (first, last) = if self.to == more.from { (self, more) } else { (more, self) };
        let plain = first.plain.and(&last.plain)?;
        let count = self.count.saturating_add(more.count);
        let mut seen = first.seen;
        seen.add(&last.seen);
        let both = Self { plain, from: first.from, to: last.to, seen, pieces: more.pieces, count };
        (first.to == last.from && count <= PIECES_MAX).then_some(both)
    }
}

#[cfg(test)]
mod tests;
