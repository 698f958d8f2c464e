//! Reading a file: a pure function of its bytes and of what is known of the machine.
//!
//! It trusts no length, writes nothing and gives the same answer each time. What is in the file may be anything: bytes
//! of another process, of another time, or of somebody who means harm.

mod death;
mod gaps;
mod open;
mod scan;

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tracer::recorder::{Assembler, Sites, Times};
use tracer::{EnvId, FrameId, Record, TraceId};

pub use death::{Death, Observed};
pub use gaps::{Confidence, Gap};
pub use open::OpenNode;
use open::{Open, Running, Shown};
use scan::Scan;
pub(crate) use scan::{Numbers, drop_changed};

use crate::clock::FileClock;
use crate::dictionary::Dictionary;
use crate::format::{MAJOR, PAIR_WORDS, PAIRS, PAIRS_AT};
use crate::status::Word;

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Recovered {
    /// Who wrote it.
    pub process: Process,
    /// What it recorded, by [`Record::seq`].
    pub records: Vec<Record>,
    /// The traces that were not over.
    pub active: Vec<TraceId>,
    /// The nodes that were running, in the order in which they were entered.
    pub open: Vec<OpenNode>,
    /// What is not there.
    pub gaps: Vec<Gap>,
    /// Records that were dropped while it ran.
    pub dropped: u64,
    /// How it ended.
    pub death: Death,
    /// One line on all this.
    pub confidence: Confidence,
}

/// The process that wrote a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// The name of this file, inside it: random, and another for each.
    pub segment: u64,
    /// That of the file of the process that it was forked from.
    pub parent_segment: Option<u64>,
    /// The application.
    pub app: String,
    /// Its version; may be empty.
    pub app_version: String,
    /// Its number.
    pub pid: u32,
    /// The number of the process that it was forked from.
    pub parent_pid: Option<u32>,
    /// When it was started, in clock ticks after boot; zero if unknown.
    pub start_time: u64,
    /// Which boot of the machine it ran in; zeroes if unknown.
    pub boot_id: [u8; 16],
    /// When the file was made, in Unix nanoseconds.
    pub opened_unix_ns: u64,
    /// When it last gave a sign of life, in Unix nanoseconds: when it recorded something, or filled a page.
    pub last_sign_unix_ns: u64,
}

/// Why bytes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// There are none.
    #[error("the file is empty")]
    Empty,
    /// They are something else.
    #[error("not a black box: neither its beginning nor the copy of it is there")]
    NotABlackBox,
    /// They are of a machine with the other byte order.
    #[error("a black box of the other byte order")]
    ByteOrder,
    /// They are of a version that came later, or never was.
    #[error("a black box of format {found}, this reads format {MAJOR}")]
    Version {
        /// The major version.
        found: u16,
    },
    /// The beginning and its copy are both damaged.
    #[error("the beginning of the black box is damaged, and so is the copy of it")]
    Damaged,
}

/// Reads a file of which nothing else is known.
///
/// The bytes of a file that is being written to are to come from [`read_file`](crate::read_file): a plain copy may have
/// parts of two lives of a page.
///
/// # Errors
///
/// If it is no file of this format. Everything else is said in what is returned.
pub fn recover(bytes: &[u8]) -> Result<Recovered, RecoverError> {
    recover_with(bytes, &Observed::default())
}

/// Reads a file, knowing the machine that its process ran on.
///
/// # Errors
///
/// If it is no file of this format. Everything else is said in what is returned.
pub fn recover_with(bytes: &[u8], observed: &Observed) -> Result<Recovered, RecoverError> {
    Survey::new(bytes, observed).map(|survey| survey.recovered(observed))
}

/// A file of which everything has been found and checked, and nothing is put into words yet: for who wants to know how
/// a process ended, or wants one trace of thousands.
#[derive(Debug)]
pub struct Survey<'a> {
    scan: Scan<'a>,
    times: Times,
    shown: Vec<Shown>,
    running: Running,
}

impl<'a> Survey<'a> {
    /// Looks at every byte of a file.
    ///
    /// # Errors
    ///
    /// If it is no file of this format.
    pub fn new(bytes: &'a [u8], observed: &Observed) -> Result<Self, RecoverError> {
        let scan = Scan::new(bytes, observed)?;
        let salt = scan.superblock.salt;
        let mut clock = FileClock::read(pairs_of(bytes), salt);
        if scan.status().get(Word::Counter) == 1 {
            clock.take_rate(observed.pair(&scan.superblock));
        }
        let times = Times::new(clock);
        let shown = open::shown(&scan);
        let running = Running::of(&scan, &shown);
        Ok(Self { scan, times, shown, running })
    }

    /// Who wrote it.
    pub fn process(&self) -> Process {
        process(&self.scan, self.last_sign_unix_ns())
    }

    /// How it ended.
    pub fn death(&self, observed: &Observed) -> Death {
        death::classify(&self.scan, observed, self.last_sign_unix_ns())
    }

    /// The nodes that were running, in the order in which they were entered.
    pub fn open(&self) -> Vec<OpenNode> {
        let open = self.running.open(&self.shown);
        open.iter().map(|open| described(open, &self.scan, &self.scan.dictionary, &self.times)).collect()
    }

    /// The traces, in the order of their first records, and whether each was not over.
    pub fn traces(&self) -> Vec<(TraceId, bool)> {
        traces_of(&self.scan, &self.running)
    }

    /// The records of one trace or of all, by [`Record::seq`].
    pub fn records(&self, of: Option<TraceId>) -> Vec<Record> {
        self.assemble(&self.times, of).records
    }

    /// All that there is.
    pub fn recovered(&self, observed: &Observed) -> Recovered {
        let Assembled { records, gaps: steps } = self.assemble(&self.times, None);
        let status = self.scan.status();
        let mut gaps = self.scan.gaps.clone();
        gaps.extend(steps);
        let functions = status.get(Word::SitesMissing);
        if functions > 0 {
            gaps.push(Gap::Names { functions });
        }
        let dropped = status.get(Word::Dropped);
        Recovered {
            process: self.process(),
            active: self.traces().into_iter().filter_map(|(trace, active)| active.then_some(trace)).collect(),
            open: self.open(),
            death: self.death(observed),
            confidence: Confidence::new(records.len(), &gaps, dropped),
            records,
            gaps,
            dropped,
        }
    }

    fn last_sign_unix_ns(&self) -> u64 {
        let last = self.scan.last_ticks;
        let recorded = if last == 0 { 0 } else { self.times.unix_ns(last) };
        recorded.max(self.scan.status().get(Word::AliveNs))
    }

    fn assemble(&self, times: &Times, of: Option<TraceId>) -> Assembled {
        let mut assembler = Assembler::new(&self.scan.dictionary);
        for shown in &self.shown {
            assembler.know(shown.trace, shown.env);
        }
        let entries = self.scan.entries();
        let mut records = Vec::with_capacity(if of.is_none() { entries.len() } else { 0 });
        let mut gaps = Vec::new();
        let mut orphans = 0;
        let mut steps: HashMap<EnvId, u64> = HashMap::new();
        for found in &entries {
            if of.is_some_and(|trace| self.running.trace_of_words(&found.words) != Some(trace)) {
                continue;
            }
            let (entry, detail) = (found.entry(), self.scan.detail(found));
            let Some(record) = assembler.push(&entry, detail.as_ref(), times) else {
                orphans += u64::from(matches!(found.words[0] & 15, 1..=3));
                continue;
            };
            if let Record::Step(step) = &record {
                let last = steps.entry(step.env_id).or_default();
                if step.step_id > *last + 1 && gaps.len() < STEP_GAPS_MAX {
                    let (from, to) = (*last + 1, step.step_id - 1);
                    gaps.push(Gap::Steps { trace_id: step.trace_id, env_id: step.env_id, from, to });
                }
                *last = step.step_id.max(*last);
            }
            records.push(record);
        }
        if orphans > 0 {
            gaps.push(Gap::Orphans { records: orphans });
        }
        Assembled { records, gaps }
    }
}

/// The records alone, of a process that asks for its own; with its own clock.
pub(crate) fn records(bytes: &[u8], times: &Times, of: Option<TraceId>) -> Vec<Record> {
    Survey::new(bytes, &Observed::default()).map_or_else(|_| Vec::new(), |survey| survey.assemble(times, of).records)
}

/// The traces of a process that asks for its own.
pub(crate) fn traces(bytes: &[u8]) -> Vec<(TraceId, bool)> {
    Survey::new(bytes, &Observed::default()).map_or_else(|_| Vec::new(), |survey| survey.traces())
}

fn traces_of(scan: &Scan<'_>, running: &Running) -> Vec<(TraceId, bool)> {
    let active: HashMap<TraceId, bool> = running.traces().collect();
    let mut traces: Vec<TraceId> = Vec::new();
    let mut seen = HashSet::new();
    let mut before = 0;
    for found in &scan.full {
        // Most entries are of the env of the one before.
        if found.words[2] != std::mem::replace(&mut before, found.words[2]) {
            traces.extend(running.trace_of_words(&found.words).filter(|trace| seen.insert(*trace)));
        }
    }
    // Those of which only blocks know have lost their records: they are the oldest.
    let mut older: Vec<TraceId> = active.keys().filter(|trace| !seen.contains(trace)).copied().collect();
    older.sort_unstable();
    let all = older.into_iter().chain(traces);
    all.map(|trace| (trace, active.get(&trace) == Some(&true))).collect()
}

fn pairs_of(bytes: &[u8]) -> &[u8] {
    let rest = bytes.get(PAIRS_AT..).unwrap_or(&[]);
    &rest[..rest.len().min(PAIRS * PAIR_WORDS * 8)]
}

struct Assembled {
    records: Vec<Record>,
    gaps: Vec<Gap>,
}

/// Gaps in steps that are told one by one.
const STEP_GAPS_MAX: usize = 10_000;

fn described(open: &Open, scan: &Scan<'_>, dictionary: &Dictionary<'_>, times: &Times) -> OpenNode {
    let detail = open.enter.and_then(|enter| scan.detail(&enter));
    let by_site = || dictionary.site(open.site).map(|site| site.node.to_owned());
    let node = detail.as_ref().and_then(|detail| detail.node().map(str::to_owned));
    OpenNode {
        trace_id: open.trace,
        env_id: open.env,
        frame: FrameId::from_number(open.frame),
        node: node.or_else(by_site).unwrap_or_else(|| "?".to_owned()),
        since_unix_ns: times.unix_ns(open.ticks),
        arguments: detail.and_then(|detail| detail.values()).map_or(Value::Null, |(values, _)| values),
    }
}

fn process(scan: &Scan<'_>, last_sign_unix_ns: u64) -> Process {
    let block = &scan.superblock;
    Process {
        segment: block.salt,
        parent_segment: Some(block.parent_salt).filter(|salt| *salt != 0),
        app: block.app.clone(),
        app_version: block.app_version.clone(),
        pid: block.pid,
        parent_pid: Some(block.parent_pid).filter(|pid| *pid != 0),
        start_time: block.start_time,
        boot_id: block.boot_id,
        opened_unix_ns: block.created_unix_ns,
        last_sign_unix_ns,
    }
}
