//! What is known of the traces of which there are records, found by their ids and by those of their envs.
//!
//! There are many, and each is looked at again long after it began, when nothing of it lies in a cache any more. So what
//! is found by an id, and lies anywhere, is small; what is known of a trace lies beside that of those around it in time,
//! which come and go together.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::chunk::Chunk;
use crate::id::{EnvId, IdMap, TraceId};
use crate::record::Cause;
use crate::recorder::EnvEvent;

/// What an env and a trace take here at most: when what holds them has just grown, and half of it is empty.
const ENV_BYTES: usize = 56;
const TRACE_BYTES: usize = 192;

#[derive(Debug, Default)]
pub(super) struct Traces {
    by_id: IdMap<Key, Place>,
    by_env: IdMap<EnvId, Place>,
    known: Vec<Known>,
    free: Vec<Place>,
}

/// A place in [`Traces::known`].
type Place = u32;

/// The two halves of an id, which is aligned to all of its bytes itself, and then takes more in a table.
#[derive(Debug, PartialEq, Eq)]
struct Key(u64, u64);

#[derive(Debug)]
struct Known {
    id: TraceId,
    trace: Trace,
}

#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Its first env. Nearly all have no other.
    env: Option<EnvId>,
    /// The highest number of an env of it, and of its end: it runs while the first is higher.
    pub(super) begun: u64,
    pub(super) over: u64,
    /// At its end, a step had been taken.
    pub(super) stepped: bool,
    seldom: Option<Box<Seldom>>,
}

/// What few traces have.
#[derive(Debug, Default)]
struct Seldom {
    /// The envs after the first.
    envs: Vec<EnvId>,
    /// Enters that were kept when the rest was trimmed, by [`Entry::run`](crate::recorder::Entry::run): all that is left
    /// where their ends will look.
    open: IdMap<u64, (Arc<Chunk>, usize)>,
}

impl Key {
    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    fn of(id: TraceId) -> Self {
        Self((id.get() >> 64) as u64, id.get() as u64)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.1);
    }
}

impl Trace {
    pub(super) fn is_running(&self) -> bool {
        self.begun >= self.over
    }

    pub(super) fn envs(&self) -> impl Iterator<Item = EnvId> + '_ {
        let others = self.seldom.iter().flat_map(|seldom| seldom.envs.iter().copied());
        self.env.into_iter().chain(others)
    }

    /// Where the enter of a run is that was kept.
    pub(super) fn open(&self, run: u64) -> Option<&(Arc<Chunk>, usize)> {
        self.seldom.as_ref()?.open.get(&run)
    }

    pub(super) fn open_mut(&mut self, run: u64) -> Option<&mut (Arc<Chunk>, usize)> {
        self.seldom.as_mut()?.open.get_mut(&run)
    }

    pub(super) fn add_open(&mut self, run: u64, place: (Arc<Chunk>, usize)) {
        self.seldom.get_or_insert_default().open.insert(run, place);
    }

    pub(super) fn remove_open(&mut self, run: u64) -> Option<(Arc<Chunk>, usize)> {
        self.seldom.as_mut()?.open.remove(&run)
    }

    /// Forgets the enters that were kept in a chunk.
    pub(super) fn remove_open_in(&mut self, chunk: &Arc<Chunk>) {
        if let Some(seldom) = &mut self.seldom {
            seldom.open.retain(|_, (place, _)| !Arc::ptr_eq(place, chunk));
        }
    }
}

impl Traces {
    /// Takes in an env, and its trace if that begins with it; `false` if the trace is not known.
    pub(super) fn add_env(&mut self, env: &EnvEvent) -> bool {
        let place = match self.by_id.get(&Key::of(env.trace)) {
            Some(place) => *place,
            None if env.cause == Cause::Root => self.add(env.trace),
            None => return false,
        };
        let trace = &mut self.known[place as usize].trace;
        if trace.env.is_none() {
            trace.env = Some(env.env);
        } else {
            trace.seldom.get_or_insert_default().envs.push(env.env);
        }
        trace.begun = trace.begun.max(env.seq);
        self.by_env.insert(env.env, place);
        true
    }

    fn add(&mut self, id: TraceId) -> Place {
        let known = Known { id, trace: Trace::default() };
        let place = if let Some(place) = self.free.pop() {
            self.known[place as usize] = known;
            place
        } else {
            self.known.push(known);
            Place::try_from(self.known.len() - 1).expect("as many traces do not fit into memory")
        };
        self.by_id.insert(Key::of(id), place);
        place
    }

    pub(super) fn get(&self, id: TraceId) -> Option<&Trace> {
        let place = *self.by_id.get(&Key::of(id))?;
        Some(&self.known[place as usize].trace)
    }

    pub(super) fn get_mut(&mut self, id: TraceId) -> Option<&mut Trace> {
        let place = *self.by_id.get(&Key::of(id))?;
        Some(&mut self.known[place as usize].trace)
    }

    /// The trace of an env.
    pub(super) fn of_env(&self, env: EnvId) -> Option<(TraceId, &Trace)> {
        let Known { id, trace } = &self.known[*self.by_env.get(&env)? as usize];
        Some((*id, trace))
    }

    /// Forgets a trace and its envs.
    pub(super) fn remove(&mut self, id: TraceId) {
        let Some(place) = self.by_id.remove(&Key::of(id)) else { return };
        let trace = std::mem::take(&mut self.known[place as usize].trace);
        for env in trace.envs() {
            self.by_env.remove(&env);
        }
        self.free.push(place);
    }

    pub(super) fn remove_env(&mut self, env: EnvId) {
        self.by_env.remove(&env);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// All of them, in any order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TraceId, &Trace)> {
        self.by_id.values().map(|place| &self.known[*place as usize]).map(|known| (known.id, &known.trace))
    }

    /// What there is of traces that are gone is nothing.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Trace> {
        self.known.iter_mut().map(|known| &mut known.trace)
    }

    /// All envs and their traces.
    pub(super) fn envs(&self) -> impl Iterator<Item = (EnvId, TraceId)> {
        self.by_env.iter().map(|(env, place)| (*env, self.known[*place as usize].id))
    }

    pub(super) fn bytes(&self) -> usize {
        self.by_env.len() * ENV_BYTES + self.by_id.len() * TRACE_BYTES
    }

    /// A table from which as much goes as comes grows all the same, for what is gone is only marked in it. What is left of
    /// it then is more than twice as much as is in it: with less, it would grow again at once, and allocate each time.
    pub(super) fn tidy(&mut self) {
        tidy(&mut self.by_id);
        tidy(&mut self.by_env);
        if self.by_id.len() * 6 < self.known.len() {
            self.move_together();
        }
    }

    /// Gives back the places that are free.
    fn move_together(&mut self) {
        let mut moved = Vec::with_capacity(self.by_id.len() * 3);
        for place in self.by_id.values_mut() {
            let Known { id, trace } = &mut self.known[*place as usize];
            *place = Place::try_from(moved.len()).expect("there are not more than before");
            for env in trace.envs() {
                self.by_env.entry(env).and_modify(|of| *of = *place);
            }
            moved.push(Known { id: *id, trace: std::mem::take(trace) });
        }
        (self.known, self.free) = (moved, Vec::new());
    }
}

fn tidy<K: Eq + Hash>(table: &mut IdMap<K, Place>) {
    if table.len() * 6 < table.capacity() {
        table.shrink_to(table.len() * 3);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn trace(number: u64) -> TraceId {
        // Both halves count.
        TraceId::new(u128::from(number) << 64 | 1).unwrap()
    }

    /// The env of a trace with this number in it.
    fn env(of: u64, number: u64) -> EnvEvent {
        let env = EnvId::new(of * 100 + number + 1).unwrap();
        let cause = if number == 0 { Cause::Root } else { Cause::Fork };
        EnvEvent { ticks: 0, seq: of, env, trace: trace(of), cause, parent: None, site: 0, fork: 0 }
    }

    fn check(traces: &Traces, known: &[u64], gone: &[u64]) {
        for (number, is_known) in known.iter().map(|number| (*number, true)).chain(gone.iter().map(|number| (*number, false))) {
            assert_eq!(traces.get(trace(number)).map(|trace| trace.begun), is_known.then_some(number), "{number}");
            for of_it in 0..3 {
                let found = traces.of_env(env(number, of_it).env).map(|(id, trace)| (id, trace.begun));
                assert_eq!(found, is_known.then_some((trace(number), number)), "{number}, {of_it}");
            }
        }
        assert_eq!(traces.iter().count(), known.len());
        assert_eq!(traces.envs().count(), known.len() * 3);
    }

    #[test]
    fn what_has_taken_the_place_of_another_is_found_and_the_other_is_not() {
        let mut traces = Traces::default();
        assert!(!traces.add_env(&env(1, 1)), "its trace is not known");
        let add = |traces: &mut Traces, number| (0..3).for_each(|of_it| assert!(traces.add_env(&env(number, of_it))));
        (1..=100).for_each(|number| add(&mut traces, number));
        (1..=50).for_each(|number| traces.remove(trace(number)));
        (101..=120).for_each(|number| add(&mut traces, number));
        assert_eq!(traces.known.len(), 100);
        check(&traces, &(51..=120).collect::<Vec<_>>(), &(1..=50).collect::<Vec<_>>());
        traces.tidy();
        assert_eq!(traces.known.len(), 100, "it is not worth it yet");

        (51..=110).for_each(|number| traces.remove(trace(number)));
        traces.tidy();
        assert_eq!(traces.known.len(), 10);
        check(&traces, &(111..=120).collect::<Vec<_>>(), &(1..=110).collect::<Vec<_>>());
        add(&mut traces, 1);
        check(&traces, &(111..=120).chain([1]).collect::<Vec<_>>(), &(2..=110).collect::<Vec<_>>());
    }
}
