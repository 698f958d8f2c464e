//! What the threads share: full chunks in the order they came, and which trace each env belongs to.

use std::collections::VecDeque;
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use super::chunk::{self, Chunk};
use crate::id::{EnvId, IdMap, IdSet, TraceId};
use crate::record::Cause;
use crate::recorder::page::SLOTS;
use crate::recorder::{Detail, Entry, Event, Found};
use crate::status::Status;

/// What an env and a trace take in the tables below, roughly.
const ENV_BYTES: usize = 64;
const TRACE_BYTES: usize = 256;

/// Chunks kept for reuse.
const SPARE_MAX: usize = 4;

/// Chunks that wait for another thread to go on with them, half full. Those of more threads that are gone are taken
/// for full.
const LEFT_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Store {
    bytes_max: usize,
    full: VecDeque<Arc<Chunk>>,
    /// Chunks that a thread writes to, or that a thread left and the next one goes on with.
    open: Vec<Open>,
    /// Entries of running traces out of evicted chunks.
    survivors: Option<Arc<Chunk>>,
    spare: Vec<Arc<Chunk>>,
    traces: IdMap<TraceId, Trace>,
    envs: IdMap<EnvId, TraceId>,
    detail_bytes: usize,
    /// Running traces take most of the memory: those that come up are trimmed.
    trimming: bool,
    /// Records that went with an evicted chunk.
    evicted: u64,
    /// How often everything was forgotten.
    cleared: u64,
}

#[derive(Debug)]
struct Open {
    chunk: Arc<Chunk>,
    /// What stands before this place is in the tables.
    indexed: usize,
    /// No thread writes to it.
    left: bool,
}

#[derive(Debug, Default)]
struct Trace {
    /// Its first env. Nearly all have no other.
    env: Option<EnvId>,
    /// The highest number of an env of it, and of its end: it runs while the first is higher.
    begun: u64,
    over: u64,
    /// At its end, a step had been taken.
    stepped: bool,
    /// Elsewhere, for there are many traces: what a table takes that does not lie in a cache costs more than all work on it.
    seldom: Option<Box<Seldom>>,
}

/// What few traces have.
#[derive(Debug, Default)]
struct Seldom {
    /// The envs after the first.
    envs: Vec<EnvId>,
    /// Enters that were kept when the rest was trimmed, by [`Entry::run`]: all that is left where their ends will look.
    open: IdMap<u64, (Arc<Chunk>, usize)>,
}

impl Trace {
    fn is_running(&self) -> bool {
        self.begun >= self.over
    }

    fn add_env(&mut self, env: EnvId) {
        if self.env.is_none() {
            self.env = Some(env);
        } else {
            self.seldom.get_or_insert_default().envs.push(env);
        }
    }

    fn envs(&self) -> impl Iterator<Item = EnvId> + '_ {
        let others = self.seldom.iter().flat_map(|seldom| seldom.envs.iter().copied());
        self.env.into_iter().chain(others)
    }

    fn open(&self, run: u64) -> Option<&(Arc<Chunk>, usize)> {
        self.seldom.as_ref()?.open.get(&run)
    }

    fn open_mut(&mut self, run: u64) -> Option<&mut (Arc<Chunk>, usize)> {
        self.seldom.as_mut()?.open.get_mut(&run)
    }

    fn remove_open(&mut self, run: u64) -> Option<(Arc<Chunk>, usize)> {
        self.seldom.as_mut()?.open.remove(&run)
    }
}

/// What becomes of the running traces in a chunk that has to go.
#[derive(Debug, Clone, Copy)]
enum Running {
    Keep,
    /// Only what a running trace is to keep.
    Trim,
    /// They go too: even trimmed they are over the bound.
    Drop,
}

#[derive(Debug, Clone, Copy)]
enum Verdict {
    Lost,
    Keep,
    Trim(TraceId),
}

#[derive(Debug, Default)]
struct Evicted {
    /// Records of finished traces.
    finished: u64,
    /// Records of running ones.
    trimmed: u64,
    /// Slots.
    kept: u64,
}

/// What a reader takes along to read without the lock.
pub(super) struct Snapshot {
    parts: Vec<Part>,
    envs: IdMap<EnvId, TraceId>,
    traces: IdSet<TraceId>,
    /// [`Store::cleared`] then.
    cleared: u64,
}

/// A chunk as it was: it may be written to, or its entries taken elsewhere, while it is read.
struct Part {
    chunk: Arc<Chunk>,
    places: Range<usize>,
    /// Entries from the end of `places` up to this one came while the other chunks were looked at.
    late: usize,
}

impl Store {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            full: VecDeque::new(),
            open: Vec::new(),
            survivors: None,
            spare: Vec::new(),
            traces: IdMap::default(),
            envs: IdMap::default(),
            detail_bytes: 0,
            trimming: false,
            evicted: 0,
            cleared: 0,
        }
    }

    /// With so many bytes of details, a chunk counts as full.
    pub(super) fn detail_bytes_max(&self) -> usize {
        (self.bytes_max / 16).max(chunk::BYTES)
    }

    /// A chunk for one thread, with room.
    pub(super) fn open_chunk(&mut self) -> Arc<Chunk> {
        let left = self.open.iter_mut().find(|open| open.left);
        let chunk = if let Some(open) = left {
            open.left = false;
            open.chunk.clone()
        } else {
            let chunk = self.fresh();
            self.open.push(Open { chunk: chunk.clone(), indexed: 0, left: false });
            chunk
        };
        self.make_room();
        chunk
    }

    fn fresh(&mut self) -> Arc<Chunk> {
        self.spare.pop().unwrap_or_else(|| Arc::new(Chunk::new()))
    }

    /// Takes a chunk over that is full, or that nobody goes on with.
    pub(super) fn seal(&mut self, chunk: &Arc<Chunk>) {
        self.index();
        self.open.retain(|open| !Arc::ptr_eq(&open.chunk, chunk));
        self.detail_bytes += chunk.detail_bytes();
        self.full.push_back(chunk.clone());
    }

    /// The thread that wrote to it is gone. What nobody would go on with soon is sealed, so that it can be evicted.
    pub(super) fn leave(&mut self, chunk: &Arc<Chunk>) {
        if chunk.page().free_slots() == 0 {
            self.seal(chunk);
        } else if let Some(open) = self.open.iter_mut().find(|open| Arc::ptr_eq(&open.chunk, chunk)) {
            open.left = true;
        }
        let mut left = self.open.iter().filter(|open| open.left);
        if let (Some(oldest), LEFT_MAX..) = (left.next().map(|open| open.chunk.clone()), left.count()) {
            self.seal(&oldest);
        }
        self.make_room();
    }

    /// Brings the tables up to date with what the threads have written.
    fn index(&mut self) {
        let mut unknown = self.index_new();
        // What refers to a trace that is not known may have been read before the beginning of that trace, which
        // another thread wrote. After one more look it refers to one that was forgotten.
        while !unknown.is_empty() {
            let newer = self.index_new();
            for event in unknown {
                self.learn(&event);
            }
            unknown = newer;
        }
    }

    /// Takes in what was not read yet; gives back what could not be placed.
    fn index_new(&mut self) -> Vec<Event> {
        let mut unknown = Vec::new();
        for open in 0..self.open.len() {
            let Open { chunk, indexed, .. } = &mut self.open[open];
            let len = chunk.len();
            let places = std::mem::replace(indexed, len)..len;
            if places.is_empty() {
                continue;
            }
            let chunk = chunk.clone();
            let events = chunk.others(places).filter_map(|entry| entry.event());
            unknown.extend(events.filter(|event| !self.learn(event)));
        }
        unknown
    }

    /// `false`: it is of a trace that is not known.
    fn learn(&mut self, event: &Event) -> bool {
        match event {
            Event::Env(env) => {
                let trace = match env.cause {
                    Cause::Root => self.traces.entry(env.trace).or_default(),
                    _ => match self.traces.get_mut(&env.trace) {
                        Some(trace) => trace,
                        None => return false,
                    },
                };
                trace.add_env(env.env);
                trace.begun = trace.begun.max(env.seq);
                self.envs.insert(env.env, env.trace);
            }
            Event::Over { trace, stepped, seq } => {
                let Some(trace) = self.traces.get_mut(trace) else { return false };
                trace.over = trace.over.max(*seq);
                trace.stepped = *stepped;
            }
            Event::Resumed { trace, seq, .. } => {
                let Some(trace) = self.traces.get_mut(trace) else { return false };
                trace.begun = trace.begun.max(*seq);
            }
            Event::Step(_) | Event::Note(_) => {}
        }
        true
    }

    fn bytes(&self) -> usize {
        let chunks = self.full.len() + self.open.len() + usize::from(self.survivors.is_some());
        let open_details: usize = self.open.iter().map(|open| open.chunk.detail_bytes()).sum();
        chunks * chunk::BYTES
            + self.detail_bytes
            + open_details
            + self.envs.len() * ENV_BYTES
            + self.traces.len() * TRACE_BYTES
    }

    /// Evicts until the bound is kept.
    fn make_room(&mut self) {
        // Slots kept since the last chunk that gave room.
        let mut kept = 0;
        let mut goal = self.bytes_max;
        while self.bytes() > goal {
            let Some(chunk) = self.full.pop_front() else { break };
            let held = (self.full.len() + 1) * SLOTS;
            let running = match self.trimming {
                _ if kept > 2 * held => Running::Drop,
                true => Running::Trim,
                false => Running::Keep,
            };
            if let Running::Drop = running {
                // Finding out that nothing else helps took a look at everything: not again for each chunk.
                goal = self.bytes_max / 4 * 3;
            }
            let evicted = self.evict(chunk, running);
            self.evicted += evicted.finished + evicted.trimmed;
            if evicted.finished > evicted.trimmed + evicted.kept {
                self.trimming = false;
            }
            kept = if evicted.finished + evicted.trimmed > evicted.kept { 0 } else { kept + SLOTS };
            if kept > held / 2 {
                self.trimming = true;
            }
            tidy(&mut self.traces);
            tidy(&mut self.envs);
        }
    }

    /// Records that are lost: evicted, or of a trace that is not known any more.
    pub(super) fn dropped(&mut self) -> u64 {
        // Read before the tables are brought up to date: then they know the env of each of these.
        let open: Vec<_> = self.open.iter().map(|open| (open.chunk.clone(), open.chunk.places())).collect();
        self.index();
        let closed = self.full.iter().chain(&self.survivors);
        let closed = closed.map(|chunk| (chunk, chunk.places()));
        let chunks = closed.chain(open.iter().map(|(chunk, places)| (chunk, places.clone())));
        let entries = chunks.flat_map(|(chunk, places)| chunk.entries(places));
        let orphans = entries.filter(|found| found.entry.is_record() && self.trace_of(&found.entry).is_none());
        self.evicted + orphans.count() as u64
    }

    /// Drops the finished traces in `chunk`, whole; takes the running ones along, or what `running` leaves of them.
    fn evict(&mut self, chunk: Arc<Chunk>, running: Running) -> Evicted {
        match self.all_finished(&chunk).filter(|_| !matches!(running, Running::Drop)) {
            Some(finished) => {
                self.release(chunk);
                Evicted { finished, ..Evicted::default() }
            }
            None => self.evict_some(chunk, running),
        }
    }

    fn evict_some(&mut self, mut chunk: Arc<Chunk>, running: Running) -> Evicted {
        let mut evicted = Evicted::default();
        let entries = chunk.entries(chunk.places());
        let verdicts: Vec<_> = entries.iter().map(|found| self.verdict(&found.entry, running)).collect();
        if verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Keep)).count() > SLOTS {
            // Written in full they would take more than they take now.
            evicted.kept = SLOTS as u64;
            self.full.push_back(chunk);
            return evicted;
        }
        self.detail_bytes -= chunk.detail_bytes();
        let details = match Arc::get_mut(&mut chunk) {
            Some(alone) => std::mem::take(&mut *alone.details()),
            // A reader is still at it.
            None => chunk.details().clone(),
        };
        let mut details = details.into_iter().peekable();
        // Enters of trimmed traces whose ends have not come yet.
        let mut open: Vec<(TraceId, Entry, Option<Box<Detail>>)> = Vec::new();
        for (Found { at, entry, detail: parts }, verdict) in entries.into_iter().zip(verdicts) {
            if chunk.is_erased(at) {
                // By the end of its run, which stands before it.
                continue;
            }
            let mut detail = Detail::read(&parts).map(Box::new);
            while let Some((place, found)) = details.next_if(|(place, _)| *place <= at) {
                detail = (place == at).then_some(found);
            }
            match verdict {
                Verdict::Lost => evicted.finished += u64::from(entry.is_record()),
                Verdict::Keep => {
                    let place = self.survive(&entry, detail, &mut evicted);
                    self.move_open(&entry, (&chunk, at), place);
                }
                Verdict::Trim(trace) => self.trim(trace, &entry, detail, &mut open, &mut evicted),
            }
        }
        for (trace, entry, detail) in open {
            self.keep_open(trace, &entry, detail, &mut evicted);
        }
        if let Running::Drop = running {
            // Gone are also the enters that were remembered in it.
            for seldom in self.traces.values_mut().filter_map(|trace| trace.seldom.as_mut()) {
                seldom.open.retain(|_, (place, _)| !Arc::ptr_eq(place, &chunk));
            }
        }
        self.recycle(chunk);
        evicted
    }

    /// Lets go of a chunk of which nothing is kept.
    fn release(&mut self, mut chunk: Arc<Chunk>) {
        self.detail_bytes -= chunk.detail_bytes();
        if let Some(alone) = Arc::get_mut(&mut chunk) {
            alone.details().clear();
        }
        self.recycle(chunk);
    }

    /// The records in a chunk of finished traces alone, as nearly all are; evicts these.
    fn all_finished(&mut self, chunk: &Chunk) -> Option<u64> {
        let places = chunk.places();
        let is_kept = |env| !matches!(self.verdict_of(env), Verdict::Lost);
        let records = chunk.records_if(places.clone(), is_kept)?;
        if chunk.others(places.clone()).any(|entry| entry.is_resumed()) {
            return None;
        }
        // Of some there may be nothing but the end.
        for trace in chunk.others(places).filter_map(|entry| entry.trace()) {
            self.verdict_in(trace, Running::Keep);
        }
        Some(records)
    }

    /// What becomes of the steps of an env.
    fn verdict_of(&mut self, env: EnvId) -> Verdict {
        let trace = self.envs.get(&env).copied();
        trace.map_or(Verdict::Lost, |trace| self.verdict_in(trace, Running::Keep))
    }

    /// What becomes of an entry; evicts its trace if that is to go.
    fn verdict(&mut self, entry: &Entry, running: Running) -> Verdict {
        let Some(id) = self.trace_of(entry) else { return Verdict::Lost };
        let verdict = self.verdict_in(id, running);
        if let (Verdict::Lost, Some(Event::Env(env))) = (verdict, entry.event()) {
            self.envs.remove(&env.env);
        }
        verdict
    }

    /// What becomes of the entries of a trace; evicts it if it is finished.
    fn verdict_in(&mut self, id: TraceId, running: Running) -> Verdict {
        let Some(trace) = self.traces.get(&id) else { return Verdict::Lost };
        if !trace.is_running() {
            self.forget_trace(id);
            return Verdict::Lost;
        }
        match running {
            Running::Keep => Verdict::Keep,
            Running::Trim => Verdict::Trim(id),
            Running::Drop => Verdict::Lost,
        }
    }

    /// Keeps what a running trace is to keep: its envs, its notes, its errors, and enters without an end.
    fn trim(
        &mut self,
        trace: TraceId,
        entry: &Entry,
        detail: Option<Box<Detail>>,
        open: &mut Vec<(TraceId, Entry, Option<Box<Detail>>)>,
        evicted: &mut Evicted,
    ) {
        match entry.step_status() {
            Some(Status::Enter) => {
                if self.open_seq(trace, entry.run()) == Some(entry.seq()) {
                    // It leaves the place where it was remembered.
                    self.traces.get_mut(&trace).and_then(|trace| trace.remove_open(entry.run()));
                }
                open.push((trace, *entry, detail));
            }
            Some(Status::Exit) => {
                // All its enters: a frame may have been resumed.
                let before = open.len();
                open.retain(|(of, enter, _)| *of != trace || enter.run() != entry.run());
                let enters = (before - open.len()) as u64 + u64::from(self.forget_open(trace, entry.run()));
                if enters == 0 {
                    // Its enter is somewhere else, and without this one would seem to be open.
                    self.survive(entry, detail, evicted);
                    return;
                }
                evicted.trimmed += enters + 1;
            }
            Some(Status::Error) | None => {
                self.survive(entry, detail, evicted);
            }
        }
    }

    /// Keeps an enter whose end did not come, and remembers where.
    fn keep_open(&mut self, trace: TraceId, enter: &Entry, detail: Option<Box<Detail>>, evicted: &mut Evicted) {
        let run = enter.run();
        match self.open_seq(trace, run) {
            // The frame was resumed since: chunks do not come in the order in which they were written.
            Some(newer) if newer > enter.seq() => {
                evicted.trimmed += 1;
                return;
            }
            Some(older) if older < enter.seq() => {
                self.forget_open(trace, run);
                evicted.trimmed += 1;
            }
            _ => {}
        }
        let place = self.survive(enter, detail, evicted);
        if let Some(trace) = self.traces.get_mut(&trace) {
            trace.seldom.get_or_insert_default().open.insert(run, place);
        }
    }

    /// The number of the enter that is remembered for a run.
    fn open_seq(&self, trace: TraceId, run: u64) -> Option<u64> {
        let (chunk, at) = self.traces.get(&trace)?.open(run)?;
        chunk.get(*at).map(|enter| enter.seq())
    }

    /// Remembers the new place of an enter that was kept with all the others, if it was remembered at the old one.
    fn move_open(&mut self, entry: &Entry, (chunk, at): (&Arc<Chunk>, usize), to: (Arc<Chunk>, usize)) {
        let trace = self.trace_of(entry).and_then(|trace| self.traces.get_mut(&trace));
        let open = trace.and_then(|trace| trace.open_mut(entry.run()));
        if let Some(place) = open.filter(|(old, place)| Arc::ptr_eq(old, chunk) && *place == at) {
            *place = to;
        }
    }

    /// Drops the kept enter of a run. It is still in its place: nobody else writes to a chunk while it is held here.
    fn forget_open(&mut self, trace: TraceId, run: u64) -> bool {
        let Some((chunk, at)) = self.traces.get_mut(&trace).and_then(|trace| trace.remove_open(run)) else {
            return false;
        };
        let held = chunk.get(at).is_some_and(|enter| enter.is_step());
        chunk.erase(at);
        held
    }

    fn trace_of(&self, entry: &Entry) -> Option<TraceId> {
        if entry.is_step() {
            return self.envs.get(&EnvId::new(entry.0[2])?).copied();
        }
        match entry.event()? {
            Event::Env(env) => self.envs.get(&env.env).copied(),
            Event::Note(note) => self.envs.get(&note.env).copied(),
            Event::Step(step) => self.envs.get(&step.env).copied(),
            Event::Over { trace, .. } | Event::Resumed { trace, .. } => Some(trace),
        }
    }

    fn forget_trace(&mut self, trace: TraceId) {
        for env in self.traces.remove(&trace).unwrap_or_default().envs() {
            self.envs.remove(&env);
        }
    }

    /// Keeps an entry; gives its place.
    fn survive(&mut self, entry: &Entry, detail: Option<Box<Detail>>, evicted: &mut Evicted) -> (Arc<Chunk>, usize) {
        evicted.kept += 1;
        let chunk = match self.survivors.take() {
            Some(chunk) if chunk.page().free_slots() > 0 => chunk,
            other => {
                self.full.extend(other);
                self.fresh()
            }
        };
        self.detail_bytes += detail.as_ref().map_or(0, |detail| detail.size());
        self.survivors = Some(chunk.clone());
        let at = chunk.put(entry, detail).unwrap_or_default();
        (chunk, at)
    }

    fn recycle(&mut self, mut chunk: Arc<Chunk>) {
        // Unless a reader holds it, or a trace looks for its open frames there.
        if let (Some(alone), ..SPARE_MAX) = (Arc::get_mut(&mut chunk), self.spare.len()) {
            alone.reset();
            self.spare.push(chunk);
        }
    }

    pub(super) fn holds(&mut self, trace: TraceId) -> bool {
        self.index();
        self.traces.get(&trace).is_some_and(|trace| trace.env.is_some())
    }

    pub(super) fn running(&mut self) -> Vec<TraceId> {
        self.index();
        let mut running: Vec<_> =
            self.traces.iter().filter(|(_, trace)| trace.is_running() || !trace.stepped).collect();
        running.sort_unstable_by_key(|(_, trace)| trace.begun);
        running.into_iter().map(|(id, _)| *id).collect()
    }

    pub(super) fn clear(&mut self) {
        self.cleared += 1;
        self.full.clear();
        self.survivors = None;
        self.detail_bytes = 0;
        self.traces.clear();
        self.envs.clear();
        for open in &mut self.open {
            open.indexed = open.chunk.len();
            open.chunk.forget(open.indexed);
        }
    }

    pub(super) fn snapshot(&mut self, of: Option<TraceId>) -> Snapshot {
        self.index();
        let closed = self.full.iter().chain(&self.survivors);
        let chunks = closed.chain(self.open.iter().map(|open| &open.chunk));
        let mut parts: Vec<_> =
            chunks.map(|chunk| Part { places: chunk.places(), late: 0, chunk: chunk.clone() }).collect();
        // Only now: each of these was written before what is in `places`, or is none of its causes.
        for part in &mut parts {
            part.late = part.chunk.len();
        }
        let (envs, traces) = match of {
            Some(id) => {
                let trace = self.traces.get(&id);
                let envs = trace.into_iter().flat_map(|trace| trace.envs().map(|env| (env, id)));
                (envs.collect(), IdSet::from_iter([id]))
            }
            None => (self.envs.clone(), self.traces.keys().copied().collect()),
        };
        Snapshot { parts, envs, traces, cleared: self.cleared }
    }

    /// Whether nothing was cleared since.
    pub(super) fn is_current(&self, snapshot: &Snapshot) -> bool {
        self.cleared == snapshot.cleared
    }
}

impl Snapshot {
    /// The entries, by number, with their details: of each env all that came before the last one of it.
    pub(super) fn entries(&self) -> Vec<(Entry, Option<Detail>)> {
        let mut entries = Vec::new();
        let mut late = Vec::new();
        for part in &self.parts {
            let details = part.chunk.details();
            for Found { at, entry, detail: parts } in part.chunk.entries(part.places.start..part.late) {
                if !self.wants(&entry) {
                    continue;
                }
                let place = details.binary_search_by_key(&at, |(place, _)| *place);
                let attached = place.ok().map(|place| (*details[place].1).clone());
                let detail = attached.or_else(|| Detail::read(&parts));
                if at < part.places.end { &mut entries } else { &mut late }.push((entry, detail));
            }
        }
        self.add_causes(&mut entries, late);
        entries.sort_unstable_by_key(|(entry, _)| entry.seq());
        entries
    }

    /// Of what came while the chunks were looked at one after the other, takes what lies before something that is
    /// there already: an env that went from one thread to another has no gap.
    fn add_causes(&self, entries: &mut Vec<(Entry, Option<Detail>)>, late: Vec<(Entry, Option<Detail>)>) {
        if late.is_empty() {
            return;
        }
        let (mut of_env, mut of_trace): (IdMap<EnvId, u64>, IdMap<TraceId, u64>) = Default::default();
        for (entry, _) in &*entries {
            let seq = entry.seq();
            if let Some(Event::Over { trace, .. }) = entry.event() {
                let newest = of_trace.entry(trace).or_default();
                *newest = seq.max(*newest);
            } else if let Some(env) = EnvId::new(entry.0[2]) {
                let newest = of_env.entry(env).or_default();
                *newest = seq.max(*newest);
            }
        }
        let over: IdMap<EnvId, u64> =
            self.envs.iter().filter_map(|(env, trace)| Some((*env, *of_trace.get(trace)?))).collect();
        entries.extend(late.into_iter().filter(|(entry, _)| {
            let newest = |of: &IdMap<EnvId, u64>| of.get(&EnvId::new(entry.0[2])?).copied();
            entry.seq() < newest(&of_env).max(newest(&over)).unwrap_or(0)
        }));
    }

    fn wants(&self, entry: &Entry) -> bool {
        match entry.event() {
            Some(Event::Env(env)) => self.envs.contains_key(&env.env),
            Some(Event::Step(step)) => self.envs.contains_key(&step.env),
            Some(Event::Note(note)) => self.envs.contains_key(&note.env),
            Some(Event::Over { trace, .. } | Event::Resumed { trace, .. }) => self.traces.contains(&trace),
            None => false,
        }
    }
}

/// A table from which as much goes as comes grows all the same, for what is gone is only marked in it. What is left of
/// it then is more than twice as much as is in it: with less, it would grow again at once, and allocate each time.
fn tidy<K: Eq + Hash, V>(table: &mut IdMap<K, V>) {
    if table.len() * 6 < table.capacity() {
        table.shrink_to(table.len() * 3);
    }
}
