//! Which traces the box still has, for who asks often: it looks at what is new, not at everything.
//!
//! A trace that is not over is there, even if all that it recorded was written over: whoever holds a context of it may go
//! on. One that is over is there as long as the page is that says so.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};

use tracer::TraceId;
use tracer::recorder::IdMap;
use tracer::recorder::page::{Page, SLOT_WORDS};

use crate::map::Map;

#[derive(Debug)]
pub(crate) struct Index {
    /// By page: its birth, and how many slots were looked at.
    seen: Vec<(u64, usize)>,
    traces: IdMap<TraceId, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// Of the page that spoke of it last.
    birth: u64,
    /// The number of what was said there.
    seq: u64,
    is_over: bool,
}

const KIND_ENV: u64 = 2;
const KIND_OVER: u64 = 4;
const KIND_RESUMED: u64 = 5;
/// Has the number of the env that it says once more, so it says nothing of a trace that was over since.
const KIND_AGAIN: u64 = 11;
const SEQ_SHIFT: u32 = 16;

/// Traces that there is room for without asking the allocator.
const TRACES: usize = 1024;

impl Index {
    pub(crate) fn new(pages: usize) -> Self {
        Self {
            seen: vec![(0, 0); pages],
            traces: IdMap::with_capacity_and_hasher(TRACES, BuildHasherDefault::default()),
        }
    }

    /// Whether the trace is there. No page begins anew meanwhile.
    pub(crate) fn holds(&mut self, trace: TraceId, map: Map) -> bool {
        self.look(map);
        let is_there = |birth: u64| map.pages().iter().any(|page| page.birth() == birth);
        self.traces.get(&trace).is_some_and(|known| !known.is_over || is_there(known.birth))
    }

    /// Forgets all that there is.
    pub(crate) fn forget(&mut self, map: Map) {
        self.look(map);
        self.traces.clear();
    }

    /// In a forked child, which has no page of its parent: what was not over goes on, for who has a context of it.
    pub(crate) fn fork(&mut self) {
        self.seen.fill((0, 0));
        self.traces.retain(|_, known| !known.is_over);
    }

    /// Looks at what is new.
    pub(crate) fn look(&mut self, map: Map) {
        (0..self.seen.len()).for_each(|number| self.look_at(map, number));
    }

    /// Looks at a page, before it begins anew at the latest.
    pub(crate) fn look_at(&mut self, map: Map, number: usize) {
        let page: &Page = &map.pages()[number];
        let birth = page.birth();
        let (seen, from) = self.seen[number];
        let from = if seen == birth { from } else { 0 };
        let to = page.len() / SLOT_WORDS;
        let slots = map.slots(number).get(from * SLOT_WORDS..to * SLOT_WORDS).unwrap_or_default();
        for slot in slots.chunks_exact(SLOT_WORDS) {
            // Nearly all of them are steps.
            let kind = slot[0].load(Ordering::Relaxed) & 15;
            if matches!(kind, KIND_ENV | KIND_OVER | KIND_RESUMED | KIND_AGAIN) {
                self.take(slot, kind, birth, map.pages());
            }
        }
        self.seen[number] = (birth, to.max(from));
    }

    fn take(&mut self, slot: &[AtomicU64], kind: u64, birth: u64, pages: &[Page]) {
        let word = |nth: usize| slot[nth].load(Ordering::Relaxed);
        let Some(trace) = TraceId::new((u128::from(word(4)) << 64) | u128::from(word(5))) else { return };
        if self.traces.len() == self.traces.capacity() {
            let there: HashSet<u64> = pages.iter().map(Page::birth).collect();
            self.traces.retain(|_, known| !known.is_over || there.contains(&known.birth));
        }
        let now = Known { birth, seq: word(0) >> SEQ_SHIFT, is_over: kind == KIND_OVER };
        // Pages are looked at in no order.
        let known = self.traces.entry(trace).or_insert(now);
        if known.seq < now.seq {
            *known = now;
        }
    }
}
