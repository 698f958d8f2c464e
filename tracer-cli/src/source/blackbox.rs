//! Black boxes: what `tracer_blackbox` writes while its process runs, whatever becomes of that.
//!
//! Such a file says which process wrote it, how that ended, and which nodes were open in the end.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::iter;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tracer::{EnvId, FrameId, Record, SCHEMA, Status, TraceId, TraceState};
use tracer_blackbox::{
    Death, Gap as BoxGap, Heads, Observed, OpenNode as BoxOpen, PagesSeen, Process, RecoverError, Recovered,
    TraceSummary, read_open, recover_watched,
};

use super::{
    Contents, Ended, Follow, Format, Gap, Look, Missed, OpenNode, Outline, Outlines, Period, ReadError, Seen, Skipped,
    Source, Standing, Summary, Telling, Writer, open,
};

/// The format.
pub(super) struct BlackBoxes;

/// How a file begins: of every version.
const MAGIC: &[u8] = b"TBX";

/// No black box can be longer; what claims to be is not read into memory.
const LEN_MAX: u64 = 1536 << 20;

impl Format for BlackBoxes {
    fn name(&self) -> &'static str {
        "black box"
    }

    fn extension(&self) -> &'static str {
        "tbx"
    }

    fn mark(&self) -> Option<&'static str> {
        // Beside a file that a later process has told of.
        Some("read")
    }

    fn begins(&self, head: &[u8]) -> bool {
        head.starts_with(MAGIC)
    }

    fn passes(&self) -> u64 {
        // They are copied, then searched.
        2
    }

    fn read(&self, path: &Path, file: File, copied: bool, seen: Seen<'_>) -> Result<Source, ReadError> {
        // Before the bytes, of all files: a process that is dead by now writes no more, so they say how it ended. The other
        // way round, one that ends in order in between would seem to be killed.
        static OBSERVED: OnceLock<Observed> = OnceLock::new();
        let observed = OBSERVED.get_or_init(|| observed(copied));
        let bytes = bytes(path, &file, seen)?;
        let len = bytes.len() as u64;
        let read = recover_watched(bytes, observed, seen).map_err(|error| refused(path, &file, error))?;
        Ok(source(self.name(), path, len, read))
    }

    fn follow(&self, path: &Path, copied: bool) -> Box<dyn Follow> {
        Box::new(Following::new(path, copied))
    }
}

/// What is known of the machine that a file comes from.
fn observed(copied: bool) -> Observed {
    if copied { Observed::default() } else { Observed::here() }
}

fn bytes(path: &Path, file: &File, seen: Seen<'_>) -> Result<Vec<u8>, ReadError> {
    let len = file.metadata().map_err(|error| ReadError::io(path, error))?.len();
    if len > LEN_MAX {
        return Err(no_black_box(path, format!("more than {} MiB", LEN_MAX >> 20)));
    }
    read_open(file, seen).map_err(|error| ReadError::io(path, error))
}

fn no_black_box(path: &Path, found: String) -> ReadError {
    ReadError::NoRecords { path: path.to_owned(), expected: "a black box", found }
}

fn refused(path: &Path, file: &File, error: RecoverError) -> ReadError {
    let found = match error {
        RecoverError::NotABlackBox | RecoverError::Empty if has_nothing(file) => {
            return ReadError::NotBegun { path: path.to_owned() };
        }
        RecoverError::Version { .. } => return ReadError::Version { path: path.to_owned(), source: error },
        RecoverError::Empty => "nothing: the file is empty".to_owned(),
        RecoverError::NotABlackBox => "neither the beginning of one nor the copy of it".to_owned(),
        RecoverError::ByteOrder => "one of the other byte order".to_owned(),
        RecoverError::Damaged => "one whose beginning is damaged, and so is the copy of it".to_owned(),
        other => other.to_string(),
    };
    no_black_box(path, found)
}

/// Whether nothing was ever written to it.
fn has_nothing(file: &File) -> bool {
    let mut part = [0; 8192];
    let mut at = 0;
    loop {
        match file.read_at(&mut part, at) {
            Ok(0) => return true,
            Ok(len) if at < LEN_MAX && part[..len].iter().all(|byte| *byte == 0) => at += len as u64,
            _ => return false,
        }
    }
}

fn source(format: &'static str, path: &Path, size_bytes: u64, read: Recovered<'static>) -> Source {
    let standing = |of: &TraceSummary| (of.trace_id, Standing { state: of.state, is_active: of.is_active });
    let writer = Writer {
        name: read.process.segment,
        process: process_text(&read.process),
        app: read.process.app.clone(),
        pid: read.process.pid,
        death: death_text(&read.death),
        ended: ended(&read.death),
        is_alive: read.death == Death::StillRunning,
        last_sign_ns: Some(read.process.last_sign_unix_ns).filter(|ns| *ns > 0),
        dropped: read.dropped,
        gaps: read.gaps.iter().map(gap).collect(),
        traces: read.traces().iter().map(standing).collect(),
        open: read.open.iter().map(open_node).collect(),
    };
    Source {
        path: path.to_owned(),
        format,
        size_bytes,
        writers: vec![writer],
        confidence: read.confidence.to_string(),
        skipped: Skipped::default(),
        contents: Box::new(Indexed(read)),
    }
}

/// A box, of which records are read when they are asked for.
struct Indexed(Recovered<'static>);

impl Indexed {
    fn with_open(&self, id: TraceId, mut records: Vec<Record>) -> Vec<Record> {
        let enters = records.iter().filter_map(entered);
        let entered: HashSet<_> = enters.collect();
        records.extend(forgotten_enters(self.0.open.iter().filter(|open| open.trace_id == id), &entered));
        records
    }
}

impl Contents for Indexed {
    fn traces(&self) -> Vec<Summary> {
        let mut since: HashMap<TraceId, u64> = HashMap::new();
        for open in &self.0.open {
            // The first that was entered.
            since.entry(open.trace_id).or_insert(open.since_unix_ns);
        }
        let traces = self.0.traces().iter().enumerate();
        let summaries = traces.map(|(place, trace)| {
            // What is open may have been entered before all that is left.
            let recorded = [trace.first_unix_ns, trace.last_unix_ns].into_iter().filter(|_| trace.records > 0);
            Summary {
                id: trace.trace_id,
                place,
                state: trace.state,
                records: trace.records,
                envs: trace.envs,
                steps: trace.steps,
                spans: trace.spans,
                lost_steps: trace.lost_steps,
                period: Period::of(recorded.chain(since.get(&trace.trace_id).copied())),
            }
        });
        summaries.collect()
    }

    fn trace(&self, id: TraceId) -> Vec<Record> {
        self.with_open(id, self.0.trace(id).collect())
    }

    fn newest(&self, id: TraceId, at_least: u64) -> Vec<Record> {
        self.with_open(id, self.0.newest(id, at_least).collect())
    }

    fn records(&self) -> Box<dyn Iterator<Item = Record> + '_> {
        let frames = self.0.open.iter().filter_map(|open| Some((open.trace_id, open.frame?)));
        let (open, mut records): (HashSet<_>, _) = (frames.collect(), self.0.records());
        let (mut there, mut forgotten) = (HashSet::new(), None);
        Box::new(iter::from_fn(move || {
            let Some(record) = records.next() else {
                let forgotten =
                    forgotten.get_or_insert_with(|| forgotten_enters(self.0.open.iter(), &there).into_iter());
                return forgotten.next();
            };
            there.extend(entered(&record).filter(|frame| open.contains(frame)));
            Some(record)
        }))
    }

    fn outlines(&self) -> Option<Outlines<'_>> {
        let mut innermost: HashMap<TraceId, &BoxOpen> = HashMap::new();
        for open in &self.0.open {
            // The last that was entered.
            innermost.insert(open.trace_id, open);
        }
        let outlines = self.0.outlines();
        Some(Box::new(move |trace: &Summary| {
            let source = outlines.source(trace.place).unwrap_or_default();
            let failed = || {
                let step = outlines.failure(trace.place)?;
                Some(Telling { node: step.node, arguments: Value::Null, truncated: false, error: step.error })
            };
            let open = || {
                let open = innermost.get(&trace.id)?;
                let (node, arguments) = (open.node.clone(), open.arguments.clone());
                Some(Telling { node, arguments, truncated: open.truncated, error: None })
            };
            let telling = match trace.state {
                TraceState::Running | TraceState::Lost => open(),
                _ => failed(),
            };
            Outline { source, telling }
        }))
    }
}

/// `orders 1.2.0, pid 4711`.
fn process_text(process: &Process) -> String {
    let Process { app, app_version, pid, parent_pid, .. } = process;
    let version = if app_version.is_empty() { String::new() } else { format!(" {app_version}") };
    let parent = parent_pid.map(|parent| format!(", forked from {parent}")).unwrap_or_default();
    format!("{app}{version}, pid {pid}{parent}")
}

fn death_text(death: &Death) -> String {
    match death {
        Death::Killed => format!("{death} (SIGKILL, or a signal that leaves no note)"),
        Death::HostLost => format!("{death} (or this is another machine: then add `--copied`)"),
        _ => death.to_string(),
    }
}

fn ended(death: &Death) -> Ended {
    match death.clone() {
        Death::Clean { status } => Ended::Clean { status },
        Death::Panic { text } => Ended::Panic { text },
        Death::Signal { number: signal, address } => Ended::Signal { signal, address },
        Death::DeadlineExceeded { deadline_ms } => Ended::Deadline { deadline_ms },
        Death::Memory { used: used_bytes, limit: limit_bytes } => Ended::Memory { used_bytes, limit_bytes },
        Death::Killed => Ended::Killed,
        Death::StillRunning => Ended::Running,
        Death::HostLost => Ended::HostLost,
        Death::OtherNamespace => Ended::OtherNamespace,
        _ => Ended::Unknown,
    }
}

fn gap(gap: &BoxGap) -> Gap {
    let of = match gap {
        BoxGap::Steps { trace_id, .. } => Some(*trace_id),
        _ => None,
    };
    Gap { of, text: gap.to_string() }
}

fn open_node(open: &BoxOpen) -> OpenNode {
    OpenNode {
        trace_id: open.trace_id,
        frame: open.frame,
        node: open.node.clone(),
        since_ns: open.since_unix_ns,
        arguments: open.arguments.clone(),
        truncated: open.truncated,
    }
}

/// The enters of open nodes that were written over since: what is open for long is what a person looks for, so it has
/// a place in the tree though only the table of open nodes knows it.
fn forgotten_enters<'a>(open: impl Iterator<Item = &'a BoxOpen>, entered: &HashSet<(TraceId, FrameId)>) -> Vec<Record> {
    let mut callers: HashMap<(TraceId, EnvId), FrameId> = HashMap::new();
    let mut forgotten = Vec::new();
    for node in open {
        let Some(frame) = node.frame else { continue };
        // The open frames of one env have called each other.
        let caller = callers.insert((node.trace_id, node.env_id), frame);
        if entered.contains(&(node.trace_id, frame)) {
            continue;
        }
        forgotten.extend(enter(node, frame, caller));
    }
    forgotten
}

/// The frame that a record enters.
fn entered(record: &Record) -> Option<(TraceId, FrameId)> {
    let step = record.as_step().filter(|step| step.status == Status::Enter)?;
    Some((step.trace_id, step.frame?))
}

fn enter(node: &BoxOpen, frame: FrameId, caller: Option<FrameId>) -> Option<Record> {
    // Before all that is recorded; the number is lost with the record.
    let mut record = json!({
        "type": "step", "schema": SCHEMA, "trace_id": node.trace_id, "env_id": node.env_id, "step_id": 0, "seq": 0,
        "ts": node.since_unix_ns.to_string(), "node": node.node, "status": Status::Enter, "frame": frame,
        "values": node.arguments, "truncated": node.truncated,
    });
    if let Some(caller) = caller {
        record["parent"] = json!(caller);
    }
    serde_json::from_value(record).ok()
}

/// A file whose process may be writing to it.
///
/// Nothing outside of the file says that something was written: the time of a mapped file lags behind. So the heads of its
/// pages are looked at each time, until its process is over; if they have changed its index is read again, and of its
/// records those of the traces that have.
struct Following {
    path: PathBuf,
    /// From a machine that stayed up.
    copied: bool,
    /// The traces that were there when it was last read.
    known: HashMap<TraceId, Known>,
    /// The pages that it had then.
    seen: PagesSeen,
    /// The highest number of a record that it had then.
    read_to: u64,
    /// The highest that has come, and how many did above that.
    newest: u64,
    come: u64,
    is_over: bool,
    /// What its pages said of themselves before it was last read.
    heads: Option<Heads>,
    /// The number of its process, if there was one here that has it.
    is_there: Option<u32>,
}

/// What was given of a trace.
struct Known {
    summary: TraceSummary,
    /// By env, along which numbers rise: that of its last record.
    last: HashMap<EnvId, u64>,
}

/// With more traces that have changed, or that are wanted, all records are gone through once instead.
const TRACES_MAX: usize = 64;

impl Follow for Following {
    fn poll(&mut self, look: Look<'_>, each: &mut dyn FnMut(Record)) -> Result<Missed, ReadError> {
        if self.is_over {
            return Ok(Missed::default());
        }
        let file = open(&self.path)?;
        // Before what they are the heads of.
        let heads = Heads::of(&file).map_err(|error| ReadError::io(&self.path, error))?;
        if self.is_as_before(&heads) {
            return Ok(Missed::default());
        }
        // As in `read`: what is read after the process was seen dead is the last of it.
        let observed = observed(self.copied);
        let bytes = bytes(&self.path, &file, look.seen)?;
        let read = recover_watched(bytes, &observed, look.seen).map_err(|error| refused(&self.path, &file, error))?;
        self.is_over = read.death != Death::StillRunning;
        let is_first = self.heads.replace(heads).is_none();
        self.is_there = is_there(read.process.pid).then_some(read.process.pid);
        if is_first && (self.is_over || !look.goes_on) {
            give_newest(&read, look, each);
            return Ok(Missed::default());
        }
        if self.read_to == 0 && read.process.parent_pid.is_some() {
            // A process that was forked goes on with the numbers of the other.
            self.newest = read.records().next().map_or(0, |first| first.seq().saturating_sub(1));
        }
        (self.read_to, self.come) = (self.newest, 0);
        let mut before = mem::take(&mut self.known);
        let mut changed = Vec::new();
        for summary in read.traces() {
            let known = before.remove(&summary.trace_id);
            if known.as_ref().is_none_or(|known| known.summary != *summary) {
                changed.push(summary.trace_id);
            }
            let last = known.map(|known| known.last).unwrap_or_default();
            self.known.insert(summary.trace_id, Known { summary: summary.clone(), last });
        }
        if changed.len() > TRACES_MAX {
            read.records().for_each(|record| self.give(record, each));
        } else {
            changed.into_iter().flat_map(|id| read.trace(id)).for_each(|record| self.give(record, each));
        }
        let pages = read.pages_missed(&mem::replace(&mut self.seen, read.pages_seen()));
        // Numbers are left out here and there though nothing was missed.
        let records = if pages > 0 { (self.newest - self.read_to).saturating_sub(self.come) } else { 0 };
        if self.is_over {
            (self.known, self.seen, self.heads) = (HashMap::new(), PagesSeen::default(), None);
        }
        Ok(Missed { pages, records })
    }
}

/// So many records of a trace are read to find its newest: in one that several threads write to, they need not be in the
/// last pages.
const WHOLE_MAX: u64 = 10_000;

/// Gives all records that may be among those that `look` wants, and some more.
fn give_newest(read: &Recovered<'_>, look: Look<'_>, each: &mut dyn FnMut(Record)) {
    let is_wanted = |trace: &&TraceSummary| trace.records > 0 && trace.last_unix_ns >= look.since_ns;
    let mut traces: Vec<_> = read.traces().iter().filter(is_wanted).collect();
    // Each of them has a record that is newer than all of those behind it.
    traces.sort_unstable_by_key(|trace| Reverse(trace.last_unix_ns));
    traces.truncate(look.newest);
    if traces.len() > TRACES_MAX {
        return read.records().for_each(each);
    }
    let at_least = u64::try_from(look.newest).unwrap_or(u64::MAX).max(WHOLE_MAX);
    for trace in traces {
        let id = trace.trace_id;
        let records = if trace.records <= WHOLE_MAX { read.trace(id) } else { read.newest(id, at_least) };
        records.for_each(&mut *each);
    }
}

/// Whether a process has this number here.
fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

impl Following {
    /// Nothing was recorded since it was last read, and its process has not gone, as far as can be seen from here.
    fn is_as_before(&self, heads: &Heads) -> bool {
        self.heads.as_ref() == Some(heads) && self.is_there.is_none_or(is_there)
    }

    fn new(path: &Path, copied: bool) -> Self {
        Self {
            path: path.to_owned(),
            copied,
            known: HashMap::new(),
            seen: PagesSeen::default(),
            read_to: 0,
            newest: 0,
            come: 0,
            is_over: false,
            heads: None,
            is_there: None,
        }
    }

    /// Gives a record unless that was done before.
    fn give(&mut self, record: Record, each: &mut dyn FnMut(Record)) {
        let Some(known) = self.known.get_mut(&record.trace_id()) else { return };
        let last = known.last.entry(record.env_id()).or_default();
        if record.seq() > *last {
            *last = record.seq();
            self.newest = self.newest.max(record.seq());
            self.come += u64::from(record.seq() > self.read_to);
            each(record);
        }
    }
}
