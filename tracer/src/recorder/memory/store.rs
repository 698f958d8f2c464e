//! What the threads share: full chunks in the order they came, and which trace each env belongs to.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::chunk::{self, Chunk};
use crate::id::{EnvId, FrameId, TraceId};
use crate::recorder::{Detail, Entry, Event};
use crate::status::Status;

/// What an env and a trace take in the tables below, roughly.
const ENV_BYTES: usize = 64;
const TRACE_BYTES: usize = 160;

/// Chunks kept for reuse.
const SPARE_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Store {
    bytes_max: usize,
    full: VecDeque<Arc<Chunk>>,
    /// Chunks that a thread writes to, or that a thread left and the next one goes on with.
    open: Vec<Open>,
    /// Entries of running traces out of evicted chunks.
    survivors: Option<(Arc<Chunk>, usize)>,
    spare: Vec<Arc<Chunk>>,
    traces: HashMap<TraceId, Trace>,
    envs: HashMap<EnvId, TraceId>,
    detail_bytes: usize,
}

#[derive(Debug)]
struct Open {
    chunk: Arc<Chunk>,
    /// Entries before this one are in the tables.
    indexed: usize,
    /// No thread writes to it.
    left: bool,
}

#[derive(Debug, Default)]
struct Trace {
    envs: Vec<EnvId>,
    /// The highest number of an env of it, and of its end: it runs while the first is higher.
    begun: u64,
    over: u64,
}

impl Trace {
    fn is_running(&self) -> bool {
        self.begun >= self.over
    }
}

/// What a reader takes along to read without the lock.
pub(super) struct Snapshot {
    chunks: Vec<Arc<Chunk>>,
    envs: HashSet<EnvId>,
    traces: HashSet<TraceId>,
}

impl Store {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            full: VecDeque::new(),
            open: Vec::new(),
            survivors: None,
            spare: Vec::new(),
            traces: HashMap::new(),
            envs: HashMap::new(),
            detail_bytes: 0,
        }
    }

    /// A chunk for one thread, with room.
    pub(super) fn open_chunk(&mut self) -> Arc<Chunk> {
        let left = self.open.iter_mut().find(|open| open.left && open.chunk.len() < chunk::ENTRIES);
        if let Some(open) = left {
            open.left = false;
            return open.chunk.clone();
        }
        let chunk = self.fresh();
        self.open.push(Open { chunk: chunk.clone(), indexed: 0, left: false });
        chunk
    }

    fn fresh(&mut self) -> Arc<Chunk> {
        while let Some(mut chunk) = self.spare.pop() {
            // A reader or the thread that just filled it may hold it still.
            if let Some(alone) = Arc::get_mut(&mut chunk) {
                alone.reset();
                return chunk;
            }
        }
        Arc::new(Chunk::new())
    }

    /// Takes a chunk over that is full.
    pub(super) fn seal(&mut self, chunk: &Arc<Chunk>) {
        self.index();
        self.open.retain(|open| !Arc::ptr_eq(&open.chunk, chunk));
        self.detail_bytes += chunk.detail_bytes();
        self.full.push_back(chunk.clone());
    }

    /// The thread that wrote to it is gone.
    pub(super) fn leave(&mut self, chunk: &Arc<Chunk>) {
        if let Some(open) = self.open.iter_mut().find(|open| Arc::ptr_eq(&open.chunk, chunk)) {
            open.left = true;
        }
    }

    /// Brings the tables up to date with what the threads have written.
    fn index(&mut self) {
        for open in &mut self.open {
            for (at, entry) in open.chunk.entries_from(open.indexed) {
                open.indexed = at + 1;
                if entry.is_step() {
                    continue;
                }
                match entry.event() {
                    Some(Event::Env(env)) => {
                        let trace = self.traces.entry(env.trace).or_default();
                        trace.envs.push(env.env);
                        trace.begun = trace.begun.max(env.seq);
                        self.envs.insert(env.env, env.trace);
                    }
                    Some(Event::Over { trace, seq }) => {
                        // A trace that was cleared while it ran is not known any more.
                        let Some(trace) = self.traces.get_mut(&trace) else { continue };
                        trace.over = trace.over.max(seq);
                    }
                    Some(Event::Resumed { trace, seq }) => {
                        if let Some(trace) = self.traces.get_mut(&trace) {
                            trace.begun = trace.begun.max(seq);
                        }
                    }
                    _ => {}
                }
            }
        }
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

    /// Evicts until the bound is kept, and gives the number of entries lost.
    pub(super) fn make_room(&mut self) -> u64 {
        let mut lost = 0;
        // Entries in `full` when nothing but running traces is left there: time to take from them.
        let mut kept = 0;
        while self.bytes() > self.bytes_max {
            let Some(chunk) = self.full.pop_front() else { break };
            let (evicted, survived) = self.evict(&chunk);
            lost += evicted;
            kept += survived;
            if kept * 64 > self.bytes_max / 2 {
                lost += self.trim();
                kept = 0;
                if self.bytes() > self.bytes_max {
                    lost += self.discard();
                }
            }
        }
        lost
    }

    /// Drops the finished traces in `chunk`, whole, and takes the rest along.
    fn evict(&mut self, chunk: &Arc<Chunk>) -> (u64, usize) {
        let (mut lost, mut kept) = (0, 0);
        self.detail_bytes -= chunk.detail_bytes();
        let mut details = std::mem::take(&mut *chunk.details()).into_iter().peekable();
        for (at, entry) in chunk.entries() {
            let mut detail = None;
            while let Some((_, found)) = details.next_if(|(place, _)| *place <= at) {
                detail = Some(found);
            }
            let Some(trace) = self.trace_of(&entry) else {
                lost += u64::from(is_record(&entry));
                continue;
            };
            if self.traces.get(&trace).is_some_and(Trace::is_running) {
                self.survive(&entry, detail);
                kept += 1;
            } else {
                self.forget_trace(trace);
                lost += u64::from(is_record(&entry));
            }
        }
        self.recycle(chunk.clone());
        (lost, kept)
    }

    fn trace_of(&self, entry: &Entry) -> Option<TraceId> {
        if entry.is_step() {
            return self.envs.get(&EnvId::new(entry.0[2])?).copied();
        }
        match entry.event()? {
            Event::Env(env) => self.envs.get(&env.env).copied(),
            Event::Note(note) => self.envs.get(&note.env).copied(),
            Event::Step(step) => self.envs.get(&step.env).copied(),
            Event::Over { trace, .. } | Event::Resumed { trace, .. } => {
                self.traces.contains_key(&trace).then_some(trace)
            }
        }
    }

    fn forget_trace(&mut self, trace: TraceId) {
        for env in self.traces.remove(&trace).unwrap_or_default().envs {
            self.envs.remove(&env);
        }
    }

    fn survive(&mut self, entry: &Entry, detail: Option<Box<Detail>>) {
        let (chunk, at) = match self.survivors.take() {
            Some((chunk, at)) if at < chunk::ENTRIES => (chunk, at),
            other => {
                self.full.extend(other.map(|(chunk, _)| chunk));
                (self.fresh(), 0)
            }
        };
        if let Some(detail) = detail {
            self.detail_bytes += detail.size();
            chunk.attach(at, detail);
        }
        chunk.put(at, entry);
        self.survivors = Some((chunk, at + 1));
    }

    /// Takes from each running trace all but its envs, its open frames, its errors, its notes and its newest steps:
    /// about half of what there is.
    fn trim(&mut self) -> u64 {
        self.full.extend(self.survivors.take().map(|(chunk, _)| chunk));
        let chunks: Vec<_> = self.full.drain(..).collect();
        let mut seqs = Vec::new();
        let mut open: HashSet<(TraceId, FrameId)> = HashSet::new();
        let mut entries = Vec::new();
        for chunk in &chunks {
            self.detail_bytes -= chunk.detail_bytes();
            let mut details = std::mem::take(&mut *chunk.details()).into_iter().peekable();
            for (at, entry) in chunk.entries() {
                let mut detail = None;
                while let Some((_, found)) = details.next_if(|(place, _)| *place <= at) {
                    detail = Some(found);
                }
                entries.push((entry, detail));
            }
        }
        chunks.into_iter().for_each(|chunk| self.recycle(chunk));
        // Ends are looked for in the open chunks too: their enters may be the only thing that is old.
        let written = self.open.iter().flat_map(|open| open.chunk.entries().map(|(_, entry)| entry));
        let mut ended: HashSet<(TraceId, FrameId)> = HashSet::new();
        for entry in entries.iter().map(|(entry, _)| *entry).chain(written) {
            if let (Some(Event::Step(step)), Some(trace)) = (entry.event(), self.trace_of(&entry)) {
                seqs.push(step.seq);
                if let Some(frame) = step.frame {
                    let known = if step.status == Status::Enter { &mut open } else { &mut ended };
                    known.insert((trace, frame));
                }
            }
        }
        open.retain(|frame| !ended.contains(frame));
        let middle = seqs.len() / 2;
        let newest = if seqs.is_empty() { 0 } else { *seqs.select_nth_unstable(middle).1 };
        let mut lost = 0;
        for (entry, detail) in entries {
            let Some(trace) = self.trace_of(&entry) else { continue };
            let keep = match entry.event() {
                Some(Event::Step(step)) => {
                    step.seq >= newest
                        || step.status == Status::Error
                        || step.frame.is_some_and(|frame| open.contains(&(trace, frame)))
                }
                Some(_) => true,
                None => false,
            };
            if keep {
                self.survive(&entry, detail);
            } else {
                lost += 1;
            }
        }
        lost
    }

    /// When envs, errors and open frames alone are over the bound, the oldest of them go after all.
    fn discard(&mut self) -> u64 {
        let mut lost = 0;
        while self.bytes() > self.bytes_max / 2 {
            let Some(chunk) = self.full.pop_front() else { break };
            self.detail_bytes -= chunk.detail_bytes();
            let mut gone: HashMap<TraceId, HashSet<EnvId>> = HashMap::new();
            for (_, entry) in chunk.entries() {
                if let Some(Event::Env(env)) = entry.event() {
                    self.envs.remove(&env.env);
                    gone.entry(env.trace).or_default().insert(env.env);
                }
                lost += 1;
            }
            for (trace, envs) in gone {
                if let Some(trace) = self.traces.get_mut(&trace) {
                    trace.envs.retain(|env| !envs.contains(env));
                }
            }
            self.recycle(chunk);
        }
        lost
    }

    fn recycle(&mut self, chunk: Arc<Chunk>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(chunk);
        }
    }

    pub(super) fn holds(&mut self, trace: TraceId) -> bool {
        self.index();
        self.traces.get(&trace).is_some_and(|trace| !trace.envs.is_empty())
    }

    pub(super) fn running(&mut self) -> Vec<TraceId> {
        self.index();
        let mut running: Vec<_> = self.traces.iter().filter(|(_, trace)| trace.is_running()).collect();
        running.sort_unstable_by_key(|(_, trace)| trace.begun);
        running.into_iter().map(|(id, _)| *id).collect()
    }

    pub(super) fn clear(&mut self) {
        self.index();
        self.full.clear();
        self.survivors = None;
        self.detail_bytes = 0;
        self.traces.clear();
        self.envs.clear();
        for open in &self.open {
            open.chunk.forget();
        }
    }

    pub(super) fn snapshot(&mut self, of: Option<TraceId>) -> Snapshot {
        self.index();
        let chunks = self.full.iter().chain(self.survivors.as_ref().map(|(chunk, _)| chunk));
        let chunks = chunks.chain(self.open.iter().map(|open| &open.chunk)).cloned().collect();
        match of {
            Some(trace) => Snapshot {
                chunks,
                envs: self.traces.get(&trace).into_iter().flat_map(|trace| trace.envs.iter().copied()).collect(),
                traces: HashSet::from([trace]),
            },
            None => Snapshot {
                chunks,
                envs: self.envs.keys().copied().collect(),
                traces: self.traces.keys().copied().collect(),
            },
        }
    }
}

fn is_record(entry: &Entry) -> bool {
    !matches!(entry.event(), Some(Event::Over { .. } | Event::Resumed { .. }) | None)
}

impl Snapshot {
    /// The entries, by number, with their details.
    pub(super) fn entries(&self) -> Vec<(Entry, Option<Detail>)> {
        let mut entries = Vec::new();
        for chunk in &self.chunks {
            let wanted = chunk.entries().filter(|(_, entry)| match entry.event() {
                Some(Event::Env(env)) => self.envs.contains(&env.env),
                Some(Event::Step(step)) => self.envs.contains(&step.env),
                Some(Event::Note(note)) => self.envs.contains(&note.env),
                Some(Event::Over { trace, .. } | Event::Resumed { trace, .. }) => self.traces.contains(&trace),
                None => false,
            });
            let wanted: Vec<_> = wanted.collect();
            let details = chunk.details();
            entries.extend(wanted.into_iter().map(|(at, entry)| {
                let place = details.binary_search_by_key(&at, |(place, _)| *place);
                (entry, place.ok().map(|place| (*details[place].1).clone()))
            }));
        }
        entries.sort_unstable_by_key(|(entry, _)| entry.0[1]);
        entries
    }
}
