//! What the threads share: full chunks in the order they came, and which trace each env belongs to.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunk::{self, Chunk};
use crate::id::{EnvId, IdMap, IdSet, TraceId};
use crate::recorder::{Detail, Entry, Event};
use crate::status::Status;

/// What an env and a trace take in the tables below, roughly.
const ENV_BYTES: usize = 64;
const TRACE_BYTES: usize = 160;

/// Chunks with room that wait for a thread to go on with them.
const LEFT_MAX: usize = 16;

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
    traces: IdMap<TraceId, Trace>,
    envs: IdMap<EnvId, TraceId>,
    detail_bytes: usize,
    /// Running traces take most of the memory: those that come up are trimmed.
    trimming: bool,
}

#[derive(Debug)]
struct Open {
    chunk: Arc<Chunk>,
    /// Entries before this one are in the tables, as far as they begin an env.
    begun: usize,
    /// Likewise, as far as they say that a trace is over or goes on.
    ended: usize,
    /// Its length when they were last brought up to date.
    len: usize,
    /// No thread writes to it.
    left: bool,
}

#[derive(Debug, Default)]
struct Trace {
    envs: Envs,
    /// Enters that were kept when the rest was trimmed, by frame: all that is left where their ends will look.
    open: IdMap<u64, (Arc<Chunk>, usize)>,
    /// The highest number of an env of it, and of its end: it runs while the first is higher.
    begun: u64,
    over: u64,
    /// At its end, a step had been taken.
    stepped: bool,
}

/// The envs of a trace. Nearly all have one, which is kept without an allocation.
#[derive(Debug, Default)]
struct Envs {
    first: Option<EnvId>,
    more: Vec<EnvId>,
}

impl Envs {
    fn push(&mut self, env: EnvId) {
        if self.first.is_none() {
            self.first = Some(env);
        } else {
            self.more.push(env);
        }
    }

    fn iter(&self) -> impl Iterator<Item = EnvId> + '_ {
        self.first.into_iter().chain(self.more.iter().copied())
    }
}

impl Trace {
    fn is_running(&self) -> bool {
        self.begun >= self.over
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
    /// Entries.
    kept: u64,
}

/// What a reader takes along to read without the lock.
pub(super) struct Snapshot {
    chunks: Vec<Arc<Chunk>>,
    envs: IdSet<EnvId>,
    traces: IdSet<TraceId>,
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
        self.open.push(Open { chunk: chunk.clone(), begun: 0, ended: 0, len: 0, left: false });
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

    /// The thread that wrote to it is gone. What nobody would go on with soon is sealed, so that it can be evicted.
    pub(super) fn leave(&mut self, chunk: &Arc<Chunk>) {
        if chunk.len() == chunk::ENTRIES || self.open.iter().filter(|open| open.left).count() >= LEFT_MAX {
            self.seal(chunk);
        } else if let Some(open) = self.open.iter_mut().find(|open| Arc::ptr_eq(&open.chunk, chunk)) {
            open.left = true;
        }
    }

    /// Brings the tables up to date with what the threads have written.
    ///
    /// The end of a trace may lie in the chunk of another thread than its beginning. So all lengths are read first: what
    /// ends before them began before they were read, and is among the beginnings found after.
    fn index(&mut self) {
        self.open.iter_mut().for_each(|open| open.len = open.chunk.len());
        for open in &mut self.open {
            let len = open.chunk.len();
            for entry in open.chunk.others(std::mem::replace(&mut open.begun, len)..len) {
                if let Some(Event::Env(env)) = entry.event() {
                    let trace = self.traces.entry(env.trace).or_default();
                    trace.envs.push(env.env);
                    trace.begun = trace.begun.max(env.seq);
                    self.envs.insert(env.env, env.trace);
                }
            }
        }
        for open in &mut self.open {
            for entry in open.chunk.others(std::mem::replace(&mut open.ended, open.len)..open.len) {
                // A trace that was cleared while it ran is not known any more.
                match entry.event() {
                    Some(Event::Over { trace, stepped, seq }) => {
                        let Some(trace) = self.traces.get_mut(&trace) else { continue };
                        trace.over = trace.over.max(seq);
                        trace.stepped = stepped;
                    }
                    Some(Event::Resumed { trace, seq, .. }) => {
                        let Some(trace) = self.traces.get_mut(&trace) else { continue };
                        trace.begun = trace.begun.max(seq);
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

    /// Evicts until the bound is kept, and gives the number of records lost.
    pub(super) fn make_room(&mut self) -> u64 {
        let mut lost = 0;
        // Entries kept since the last chunk that gave room.
        let mut kept = 0;
        while self.bytes() > self.bytes_max {
            let Some(chunk) = self.full.pop_front() else { break };
            let held = (self.full.len() + 1) * chunk::ENTRIES;
            let running = match self.trimming {
                _ if kept > 2 * held => Running::Drop,
                true => Running::Trim,
                false => Running::Keep,
            };
            let evicted = self.evict(&chunk, running);
            lost += evicted.finished + evicted.trimmed;
            if evicted.finished > evicted.trimmed + evicted.kept {
                self.trimming = false;
            }
            kept = if evicted.finished + evicted.trimmed > evicted.kept { 0 } else { kept + chunk::ENTRIES };
            if kept > held / 2 {
                self.trimming = true;
            }
        }
        lost
    }

    /// Drops the finished traces in `chunk`, whole; takes the running ones along, or what `running` leaves of them.
    fn evict(&mut self, chunk: &Arc<Chunk>, running: Running) -> Evicted {
        let mut evicted = Evicted::default();
        self.detail_bytes -= chunk.detail_bytes();
        let mut details = std::mem::take(&mut *chunk.details()).into_iter().peekable();
        // Enters of trimmed traces whose ends have not come yet.
        let mut open: Vec<(TraceId, Entry, Option<Box<Detail>>)> = Vec::new();
        let mut last = None;
        let mut places = chunk.places();
        while let Some(at) = places.next() {
            let env = chunk.step_env(at);
            let known = last.filter(|(of, _)| Some(*of) == env).map(|(_, verdict)| verdict);
            if let Some(Verdict::Lost) = known {
                // Nearly all of a chunk is steps of a few envs.
                let more = chunk.steps_like(at, places.end);
                places.start += more;
                evicted.finished += 1 + more as u64;
                continue;
            }
            let Some(entry) = chunk.get(at) else { continue };
            let verdict = known.unwrap_or_else(|| self.verdict(&entry, running));
            last = env.map(|env| (env, verdict));
            let mut detail = None;
            while let Some((place, found)) = details.next_if(|(place, _)| *place <= at) {
                detail = (place == at).then_some(found);
            }
            match verdict {
                Verdict::Lost => evicted.finished += u64::from(entry.is_record()),
                Verdict::Keep => self.survive(&entry, detail, &mut evicted),
                Verdict::Trim(trace) => self.trim(trace, &entry, detail, &mut open, &mut evicted),
            }
        }
        for (trace, entry, detail) in open {
            self.survive(&entry, detail, &mut evicted);
            self.remember_open(trace, &entry, &mut evicted);
        }
        self.recycle(chunk.clone());
        evicted
    }

    /// What becomes of an entry; evicts its trace if that is to go.
    fn verdict(&mut self, entry: &Entry, running: Running) -> Verdict {
        let Some((id, trace)) = self.trace_of(entry).and_then(|id| Some((id, self.traces.get(&id)?))) else {
            return Verdict::Lost;
        };
        if !trace.is_running() {
            self.forget_trace(id);
            return Verdict::Lost;
        }
        match running {
            Running::Keep => Verdict::Keep,
            Running::Trim => Verdict::Trim(id),
            Running::Drop => {
                if let Some(Event::Env(env)) = entry.event() {
                    self.envs.remove(&env.env);
                }
                Verdict::Lost
            }
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
            Some(Status::Enter) => open.push((trace, *entry, detail)),
            Some(Status::Exit) => {
                let enter = open.iter().rposition(|(of, enter, _)| *of == trace && enter.0[4] == entry.0[4]);
                if let Some(enter) = enter {
                    open.remove(enter);
                } else if !self.forget_open(trace, entry) {
                    // Its enter is somewhere else, and without this one would seem to be open.
                    self.survive(entry, detail, evicted);
                    return;
                }
                evicted.trimmed += 2;
            }
            Some(Status::Error) | None => self.survive(entry, detail, evicted),
        }
    }

    /// Remembers where the enter that was just kept is, and drops an older one of the same frame.
    fn remember_open(&mut self, trace: TraceId, entry: &Entry, evicted: &mut Evicted) {
        if self.forget_open(trace, entry) {
            evicted.trimmed += 1;
        }
        if let (Some((chunk, next)), Some(trace)) = (&self.survivors, self.traces.get_mut(&trace)) {
            trace.open.insert(entry.0[4], (chunk.clone(), next - 1));
        }
    }

    /// Drops the kept enter of the frame of `entry`.
    fn forget_open(&mut self, trace: TraceId, entry: &Entry) -> bool {
        let kept = self.traces.get_mut(&trace).and_then(|trace| trace.open.remove(&entry.0[4]));
        // The place may have been used again since.
        let Some((chunk, at)) = kept else { return false };
        let same = chunk.get(at).is_some_and(|enter| {
            enter.step_status() == Some(Status::Enter)
                && enter.0[4] == entry.0[4]
                && self.trace_of(&enter) == Some(trace)
        });
        if same {
            chunk.erase(at);
        }
        same
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
        for env in self.traces.remove(&trace).unwrap_or_default().envs.iter() {
            self.envs.remove(&env);
        }
    }

    fn survive(&mut self, entry: &Entry, detail: Option<Box<Detail>>, evicted: &mut Evicted) {
        evicted.kept += 1;
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

    fn recycle(&mut self, chunk: Arc<Chunk>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(chunk);
        }
    }

    pub(super) fn holds(&mut self, trace: TraceId) -> bool {
        self.index();
        self.traces.get(&trace).is_some_and(|trace| trace.envs.first.is_some())
    }

    pub(super) fn running(&mut self) -> Vec<TraceId> {
        self.index();
        let mut running: Vec<_> =
            self.traces.iter().filter(|(_, trace)| trace.is_running() || !trace.stepped).collect();
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
                envs: self.traces.get(&trace).into_iter().flat_map(|trace| trace.envs.iter()).collect(),
                traces: IdSet::from_iter([trace]),
            },
            None => Snapshot {
                chunks,
                envs: self.envs.keys().copied().collect(),
                traces: self.traces.keys().copied().collect(),
            },
        }
    }
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
