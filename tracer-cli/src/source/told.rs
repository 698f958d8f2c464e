//! What is known of processes and of their traces beside the records: a black box says it, and `tracer recover --out`
//! writes it into lines of its own, so that it outlives the box.
//!
//! The same process may be told of in several files, and twice in one: what was seen last counts.

use std::collections::{HashMap, HashSet};
use std::mem;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracer::{FrameId, SCHEMA, TraceId, TraceState};

use super::{Gap, OpenNode, Source};

/// A process, as a file tells of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Writer {
    /// The name of its black box, wherever it is told of: random, and another for each.
    pub(crate) name: u64,
    /// Its name, version, number.
    pub(crate) process: String,
    pub(crate) app: String,
    pub(crate) pid: u32,
    /// How it ended; and that for programs.
    pub(crate) death: String,
    pub(crate) ended: Ended,
    /// It is known to be running.
    pub(crate) is_alive: bool,
    /// Unix time in nanoseconds at which it last gave a sign of life, where that is known.
    pub(crate) last_sign_ns: Option<u64>,
    /// Records that it counted as not kept.
    pub(crate) dropped: u64,
    /// Where records are known to be missing.
    pub(crate) gaps: Vec<Gap>,
    /// How its traces stand.
    pub(crate) traces: HashMap<TraceId, Standing>,
    /// Its open nodes, in the order in which they were entered.
    pub(crate) open: Vec<OpenNode>,
}

/// How a process ended, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Ended {
    Clean {
        status: Option<u8>,
    },
    Panic {
        text: String,
    },
    Signal {
        signal: i32,
        address: u64,
    },
    Deadline {
        deadline_ms: u64,
    },
    Memory {
        used_bytes: u64,
        limit_bytes: u64,
    },
    Killed,
    Running,
    HostLost,
    OtherNamespace,
    #[serde(other)]
    Unknown,
}

/// How a trace stands, by what one process knew of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: TraceState,
    /// No record says that it is over.
    pub(crate) is_active: bool,
}

impl Writer {
    /// It writes no more, and that is known.
    fn is_over(&self) -> bool {
        !matches!(self.ended, Ended::Running | Ended::OtherNamespace | Ended::Unknown)
    }

    /// By what is told later of the same process, this is more.
    fn seen(&self) -> (bool, u64) {
        // What has ended gives no more signs. When it gave the last may differ by some nanoseconds from reading to reading.
        let last_sign_ns = self.last_sign_ns.filter(|_| !self.is_over()).unwrap_or(0);
        (self.is_over(), last_sign_ns / 1_000_000)
    }

    /// Traces of which a step may still come.
    pub(crate) fn active(&self) -> impl Iterator<Item = TraceId> {
        self.unfinished().filter(|_| self.ended == Ended::Running)
    }

    /// Traces that were not over when it died.
    pub(crate) fn cut_off(&self) -> impl Iterator<Item = TraceId> {
        // Whoever holds a context until the end has nothing more to say with it.
        self.unfinished().filter(|_| !matches!(self.ended, Ended::Running | Ended::Clean { .. }))
    }

    fn unfinished(&self) -> impl Iterator<Item = TraceId> {
        self.traces.iter().filter(|(_, standing)| standing.is_active).map(|(id, _)| *id)
    }

    /// What it was told to be at while it ran says nothing once it is over.
    fn forget_what_ran(&mut self) {
        if self.is_over() {
            self.forget(|_, standing| standing.state == TraceState::Running);
        }
    }

    fn forget(&mut self, which: impl Fn(TraceId, Standing) -> bool) {
        let Self { traces, open, .. } = self;
        let forgotten: HashSet<_> = traces.iter().filter(|(id, of)| which(**id, **of)).map(|(id, _)| *id).collect();
        traces.retain(|id, _| !forgotten.contains(id));
        open.retain(|open| !forgotten.contains(&open.trace_id));
    }
}

/// Makes files tell the same of a process: of its end what was seen last, of each trace likewise.
pub(super) fn agree(sources: &mut [Source]) {
    let mut told: HashMap<u64, Vec<(usize, usize)>> = HashMap::new();
    for (nth, source) in sources.iter().enumerate() {
        for (place, writer) in source.writers.iter().enumerate() {
            told.entry(writer.name).or_default().push((nth, place));
        }
    }
    for places in told.into_values().filter(|places| places.len() > 1) {
        let at = |(nth, place): (usize, usize)| &sources[nth].writers[place];
        let Some(last) = places.iter().copied().max_by_key(|place| at(*place).seen()) else { continue };
        let best = Writer { open: Vec::new(), ..at(last).clone() };
        for (nth, place) in places.into_iter().filter(|place| *place != last) {
            let other = &mut sources[nth].writers[place];
            other.forget(|id, _| best.traces.contains_key(&id));
            let (traces, open) = (mem::take(&mut other.traces), mem::take(&mut other.open));
            *other = Writer { traces, open, ..best.clone() };
            other.forget_what_ran();
        }
    }
}

/// A line that tells of a process, or of a trace as that knew it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Statement {
    Process(ProcessLine),
    Trace(TraceLine),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProcessLine {
    schema: u32,
    name: String,
    process: String,
    app: String,
    pid: u32,
    death: String,
    ended: Ended,
    #[serde(default)]
    last_sign_ns: Option<String>,
    #[serde(default)]
    dropped: u64,
    #[serde(default)]
    gaps: Vec<GapLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct GapLine {
    trace_id: Option<TraceId>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TraceLine {
    schema: u32,
    trace_id: TraceId,
    /// The name in the line of its process.
    process: String,
    state: TraceState,
    /// It was not over.
    #[serde(default)]
    active: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    open: Vec<OpenLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OpenLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame: Option<FrameId>,
    node: String,
    since_ns: String,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    truncated: bool,
}

impl ProcessLine {
    fn of(writer: &Writer) -> Self {
        let gaps = writer.gaps.iter().map(|gap| GapLine { trace_id: gap.of, text: gap.text.clone() });
        Self {
            schema: SCHEMA,
            name: name_text(writer.name),
            process: writer.process.clone(),
            app: writer.app.clone(),
            pid: writer.pid,
            death: writer.death.clone(),
            ended: writer.ended.clone(),
            last_sign_ns: writer.last_sign_ns.map(|ns| ns.to_string()),
            dropped: writer.dropped,
            gaps: gaps.collect(),
        }
    }

    fn writer(self, traces: HashMap<TraceId, Standing>, open: Vec<OpenNode>) -> Option<Writer> {
        let gaps = self.gaps.into_iter().map(|GapLine { trace_id: of, text }| Gap { of, text });
        let mut writer = Writer {
            name: name_of(&self.name)?,
            process: self.process,
            app: self.app,
            pid: self.pid,
            death: self.death,
            ended: self.ended,
            // It was, when that was written.
            is_alive: false,
            last_sign_ns: self.last_sign_ns.and_then(|ns| ns.parse().ok()),
            dropped: self.dropped,
            gaps: gaps.collect(),
            traces,
            open,
        };
        writer.forget_what_ran();
        Some(writer)
    }
}

impl OpenLine {
    fn of(open: &OpenNode) -> Self {
        let OpenNode { frame, node, since_ns, arguments, truncated, .. } = open.clone();
        Self { frame, node, since_ns: since_ns.to_string(), arguments, truncated }
    }

    fn node(self, trace_id: TraceId) -> Option<OpenNode> {
        let Self { frame, node, since_ns, arguments, truncated } = self;
        Some(OpenNode { trace_id, frame, node, since_ns: since_ns.parse().ok()?, arguments, truncated })
    }
}

fn name_text(name: u64) -> String {
    format!("{name:016x}")
}

fn name_of(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// Instead of what is at its place, or behind the last.
fn put<T>(list: &mut Vec<T>, place: usize, item: T) {
    match list.get_mut(place) {
        Some(there) => *there = item,
        None => list.push(item),
    }
}

/// What lines tell, the later of one thing instead of the earlier.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// In the order of their first lines.
    processes: Vec<ProcessLine>,
    places: HashMap<String, usize>,
    /// By process, in the order of their first lines.
    traces: HashMap<String, Vec<TraceLine>>,
    trace_places: HashMap<(String, TraceId), usize>,
}

impl Told {
    pub(crate) fn take(&mut self, statement: Statement) {
        match statement {
            Statement::Process(line) => {
                let place = *self.places.entry(line.name.clone()).or_insert(self.processes.len());
                put(&mut self.processes, place, line);
            }
            Statement::Trace(line) => {
                let of = self.traces.entry(line.process.clone()).or_default();
                let key = (line.process.clone(), line.trace_id);
                put(of, *self.trace_places.entry(key).or_insert(of.len()), line);
            }
        }
    }

    /// The processes that they tell of.
    pub(super) fn writers(mut self) -> Vec<Writer> {
        let writers = self.processes.into_iter().filter_map(|line| {
            let (mut traces, mut open) = (HashMap::new(), Vec::new());
            for of in self.traces.remove(&line.name).unwrap_or_default() {
                traces.insert(of.trace_id, Standing { state: of.state, is_active: of.active });
                open.extend(of.open.into_iter().filter_map(|open| open.node(of.trace_id)));
            }
            open.sort_by_key(|open: &OpenNode| open.since_ns);
            line.writer(traces, open)
        });
        writers.collect()
    }

    /// Whether more is known of a process than they tell.
    pub(crate) fn is_behind(&self, writer: &Writer) -> bool {
        let there = self.places.get(&name_text(writer.name)).map(|place| self.processes[*place].clone());
        let told = there.and_then(|line| line.writer(HashMap::new(), Vec::new()));
        told.is_none_or(|told| told.seen() < writer.seen())
    }

    /// The lines that are missing of what is known of a process. `is_behind`: what is told of it is of before. The line of
    /// itself is the last, so that what was not written whole is written again.
    pub(crate) fn missing(&self, writer: &Writer, is_behind: bool) -> Vec<Statement> {
        let line = ProcessLine::of(writer);
        let there = self.places.get(&line.name).map(|place| &self.processes[*place]);
        let is_missing = is_behind && there.is_none_or(|there| *there != line);
        let mut open: HashMap<TraceId, Vec<OpenLine>> = HashMap::new();
        for node in &writer.open {
            open.entry(node.trace_id).or_default().push(OpenLine::of(node));
        }
        let mut ids: Vec<_> = writer.traces.iter().collect();
        ids.sort_unstable_by_key(|(id, _)| **id);
        let traces = ids.into_iter().filter_map(|(id, standing)| {
            let line = TraceLine {
                schema: SCHEMA,
                trace_id: *id,
                process: line.name.clone(),
                state: standing.state,
                active: standing.is_active,
                open: open.remove(id).unwrap_or_default(),
            };
            let place = self.trace_places.get(&(line.process.clone(), *id));
            let there = place.and_then(|place| self.traces.get(&line.process)?.get(*place));
            let is_missing = there.is_none_or(|there| is_behind && *there != line);
            is_missing.then_some(Statement::Trace(line))
        });
        let mut missing: Vec<_> = traces.collect();
        missing.extend(is_missing.then_some(Statement::Process(line)));
        missing
    }
}
