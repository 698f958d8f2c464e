//! Reading a file: a pure function of its bytes and of what is known of the machine.
//!
//! It trusts no length, writes nothing and gives the same answer each time. What is in the file may be anything: bytes
//! of another process, of another time, or of somebody who means harm.

mod contents;
mod death;
mod entered;
mod gaps;
mod inherited;
mod merge;
mod missed;
mod named;
mod open;
mod page;
mod run;
mod scan;
mod spread;
mod table;
mod traces;
mod whole;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use tracer::recorder::block::NodeName;
use tracer::recorder::{Assembler, SiteInfo, Sites, Times};
use tracer::{EnvId, FrameId, Record, StepRecord, TraceId};

use contents::{KIND_NOTE, KIND_STEP};
pub use death::{Death, Observed};
pub use gaps::{Confidence, Gap};
use inherited::Inherited;
use merge::Merged;
pub use missed::PagesSeen;
pub use open::OpenNode;
use open::{Open, Running};
use scan::{Found, KIND_MASK, Scan, Slot, Valid, trace_in};
pub(crate) use scan::{Numbers, superblock};
pub use traces::TraceSummary;
use traces::{Listed, Traces};

use crate::clock::FileClock;
use crate::dictionary::Dictionary;
use crate::format::{MAJOR, MAJOR_MIN, PAIR_WORDS, PAIRS, PAIRS_AT};
use crate::status::{StatusRead, Word};

/// What a file says: all but the records, which are put into words when they are asked for.
///
/// It has the bytes of the file, and an index of what is where in them: some bytes for each env.
#[non_exhaustive]
pub struct Recovered<'a> {
    /// Who wrote it.
    pub process: Process,
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
    bytes: Cow<'a, [u8]>,
    valid: Valid,
    all: Traces,
    times: Times,
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
    /// When it was started, in clock ticks after boot, as it is outside of time namespaces; zero if unknown.
    pub start_time: u64,
    /// Which boot of the machine it ran in; zeroes if unknown.
    pub boot_id: [u8; 16],
    /// When the file was made, in Unix nanoseconds.
    pub opened_unix_ns: u64,
    /// When it last gave a sign of life, in Unix nanoseconds: when it recorded something, filled a page, or came near a
    /// deadline.
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
    #[error("a black box of format {found}, this reads formats {MAJOR_MIN} to {MAJOR}")]
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
pub fn recover<'a>(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Recovered<'a>, RecoverError> {
    recover_with(bytes, &Observed::default())
}

/// Reads a file, knowing the machine that its process ran on.
///
/// # Errors
///
/// If it is no file of this format. Everything else is said in what is returned.
pub fn recover_with<'a>(bytes: impl Into<Cow<'a, [u8]>>, observed: &Observed) -> Result<Recovered<'a>, RecoverError> {
    recover_watched(bytes, observed, &|_| ())
}

/// Likewise. `done` is told how many more bytes are done with, each time that some are, maybe by two threads: in the end,
/// of as many as there are.
///
/// # Errors
///
/// If it is no file of this format. Everything else is said in what is returned.
pub fn recover_watched<'a>(
    bytes: impl Into<Cow<'a, [u8]>>,
    observed: &Observed,
    done: Done<'_>,
) -> Result<Recovered<'a>, RecoverError> {
    recovered(bytes.into(), observed, done, false)
}

/// `follows_all`: even what is whole, for a test.
fn recovered<'a>(
    bytes: Cow<'a, [u8]>,
    observed: &Observed,
    done: Done<'_>,
    follows_all: bool,
) -> Result<Recovered<'a>, RecoverError> {
    let superblock = scan::superblock(&bytes)?;
    let dictionary = Arc::new(scan::dictionary(&bytes, &superblock));
    let mut clock = FileClock::read(pairs_of(&bytes), superblock.salt);
    let status = StatusRead(&bytes);
    if status.get(Word::Counter) == 1 {
        // Since 1.2.
        let raw = Some((status.get(Word::RawTicks), status.get(Word::RawNs)));
        let raw = raw.filter(|(ticks, _)| *ticks != 0 && observed.raw.is_some());
        clock.take_rate(raw, observed.pair(&superblock, raw.is_some()));
    }
    let times = Times::new(clock);
    let scan::Looked { valid, mut contents, mut gaps } =
        scan::look(&bytes, superblock, &dictionary, observed, done, follows_all);
    let scan = Scan { bytes: &bytes, dictionary, valid: &valid };
    let looked_at = valid.pages.len() as u64 * scan::LOOKED_AT;
    let running = Running::of(&scan, &mut contents, Share::new((bytes.len() as u64).saturating_sub(looked_at), done));
    let recorded = if contents.last_ticks == 0 { 0 } else { times.unix_ns(contents.last_ticks) };
    let last_sign = recorded.max(status.get(Word::AliveNs));
    let death = death::classify(&scan, observed, last_sign);
    let open = running.open();
    let inherited = Inherited::of(&scan, &contents, &running, &times, gaps.is_empty());
    // What is in no block is known by its entries, if all are there.
    let lines = if gaps.is_empty() { 0 } else { status.get(Word::LinesOutside).saturating_sub(1) };
    let frames = running.frames_missing();
    if lines > 0 || frames > 0 {
        gaps.push(Gap::Open { lines, frames });
    }
    let all = Traces::new(contents, running, inherited, &open);
    gaps.extend(all.gaps());
    let (records, orphans) = all.records();
    if orphans > 0 {
        gaps.push(Gap::Orphans { records: orphans });
    }
    let payloads = all.payloads_missing(&scan);
    if payloads > 0 {
        gaps.push(Gap::Payloads { envs: payloads });
    }
    let functions = status.get(Word::SitesMissing);
    if functions > 0 {
        gaps.push(Gap::Names { functions });
    }
    let dropped = status.get(Word::Dropped);
    Ok(Recovered {
        process: process(&valid, last_sign),
        open: open.iter().map(|open| described(open, &scan, &times, &all.inherited)).collect(),
        confidence: Confidence::new(records, &gaps, dropped),
        gaps,
        dropped,
        death,
        all,
        times,
        valid,
        bytes,
    })
}

/// Is told of bytes that are done with.
pub(super) type Done<'a> = &'a (dyn Fn(u64) + Sync);

/// Bytes that are done with as something else is, little by little.
pub(super) struct Share<'a> {
    bytes: u64,
    told: u64,
    done: Done<'a>,
}

impl<'a> Share<'a> {
    fn new(bytes: u64, done: Done<'a>) -> Self {
        Self { bytes, told: 0, done }
    }

    /// So many of all are done.
    fn upto(&mut self, count: u64, all: u64) {
        let part = u128::from(self.bytes) * u128::from(count.min(all)) / u128::from(all.max(1));
        let now = u64::try_from(part).unwrap_or(self.bytes);
        (self.done)(now.saturating_sub(self.told));
        self.told = now.max(self.told);
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.upto(1, 1);
    }
}

impl<'a> Recovered<'a> {
    /// The traces, in the order of their first records. They are put together when they are first asked for.
    pub fn traces(&self) -> &[TraceSummary] {
        &self.listed().all
    }

    fn listed(&self) -> &Listed {
        self.all.listed(&self.scan(), &self.times, &self.death)
    }

    /// The traces that were not over.
    pub fn active(&self) -> impl Iterator<Item = TraceId> + '_ {
        self.traces().iter().filter(|trace| trace.is_active).map(|trace| trace.trace_id)
    }

    /// All records, by [`Record::seq`]: read a page at a time.
    pub fn records(&self) -> Records<'_> {
        self.records_by(self.times.clone())
    }

    /// The records of one trace, by [`Record::seq`]: read from the pages that have any.
    pub fn trace(&self, trace: TraceId) -> Records<'_> {
        self.trace_by(trace, self.times.clone())
    }

    /// The newest records of one trace, at least so many if it has them: those of its last pages, so that a long trace
    /// can be looked at without reading all of it. What they say has ended may have begun before.
    pub fn newest(&self, trace: TraceId, at_least: u64) -> Records<'_> {
        let scan = self.scan();
        let pages = self.all.newest_pages(trace, at_least, &scan);
        let mut records = Records::new(self, self.times.clone(), Some((trace, pages)), &[]);
        for env in self.all.envs(trace).filter_map(EnvId::new) {
            records.assembler.know(trace, env);
        }
        records
    }

    /// What a line on a trace says, without the other records.
    pub fn outlines(&self) -> Outlines<'_> {
        Outlines { read: self, listed: self.listed(), scan: self.scan() }
    }

    fn scan(&self) -> Scan<'_> {
        let bytes = &*self.bytes;
        Scan { bytes, dictionary: Arc::new(scan::dictionary(bytes, &self.valid.superblock)), valid: &self.valid }
    }

    fn records_by(&self, times: Times) -> Records<'_> {
        Records::new(self, times, None, &self.all.again)
    }

    fn trace_by(&self, trace: TraceId, times: Times) -> Records<'_> {
        let pages = self.all.pages(trace, &self.scan());
        Records::new(self, times, Some((trace, pages)), &self.all.again)
    }

    /// The bytes of the file.
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        self.bytes
    }
}

/// Gives the records of traces that say most.
pub struct Outlines<'a> {
    read: &'a Recovered<'a>,
    listed: &'a Listed,
    scan: Scan<'a>,
}

impl fmt::Debug for Outlines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlines").field("read", self.read).finish_non_exhaustive()
    }
}

impl Outlines<'_> {
    /// What started a trace, by its place in [`Recovered::traces`]. Where its root env is not there, as in the file of a
    /// forked process, another of its envs says that.
    pub fn source(&self, place: usize) -> Option<String> {
        let record = self.record(place, self.listed.tells.get(place)?.source?)?;
        Some(record.as_env()?.source.clone())
    }

    /// Likewise, the step that says most about how it failed: the error that ended it, or else the first. Its key is
    /// that of a step whose callers are not known.
    pub fn failure(&self, place: usize) -> Option<StepRecord> {
        let record = self.record(place, self.listed.tells.get(place)?.failed?)?;
        record.as_step().cloned()
    }

    fn record(&self, place: usize, slot: Slot) -> Option<Record> {
        let found = self.scan.found(slot)?;
        let mut assembler = Assembler::new(Names(self.scan.dictionary.clone()));
        assembler.know(self.listed.all.get(place)?.trace_id, EnvId::new(found.words[2])?);
        let record = assembler.push(&found.entry(), self.scan.detail(&found).as_ref(), &self.read.times)?;
        Some(self.read.all.inherited.record(record))
    }
}

/// What it says; not the bytes that it says it by.
impl PartialEq for Recovered<'_> {
    fn eq(&self, other: &Self) -> bool {
        let said = |of: &Self| (of.process.clone(), of.traces().to_vec(), of.open.clone(), of.gaps.clone());
        said(self) == said(other)
            && (self.dropped, &self.death, &self.confidence) == (other.dropped, &other.death, &other.confidence)
    }
}

impl fmt::Debug for Recovered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovered")
            .field("process", &self.process)
            .field("traces", &self.traces())
            .field("open", &self.open)
            .field("gaps", &self.gaps)
            .field("death", &self.death)
            .finish_non_exhaustive()
    }
}

/// Records of a file, put into words one after the other.
pub struct Records<'a> {
    scan: Scan<'a>,
    entries: Merged<'a>,
    assembler: Assembler<Names<'a>>,
    times: Times,
    inherited: &'a Inherited,
    /// Of one trace, with its envs.
    of: Option<(TraceId, HashSet<u64>)>,
}

/// The dictionary of a file.
struct Names<'a>(Arc<Dictionary<'a>>);

impl Sites for Names<'_> {
    fn site(&self, number: u32) -> Option<SiteInfo<'_>> {
        self.0.site(number)
    }
}

impl<'a> Records<'a> {
    /// All, or those of a trace that stand in some pages; of those in `others`, too.
    fn new(read: &'a Recovered<'_>, times: Times, of: Option<(TraceId, Vec<u32>)>, others: &[Slot]) -> Self {
        let scan = read.scan();
        let (trace, entries) = match of {
            Some((trace, pages)) => (Some(trace), Merged::of(scan.clone(), pages, others)),
            None => (None, Merged::all(scan.clone(), others)),
        };
        let mut assembler = Assembler::new(Names(scan.dictionary.clone()));
        for (trace, env) in read.all.known.iter().copied() {
            assembler.know(trace, env);
        }
        let of = trace.map(|trace| (trace, read.all.envs(trace).collect()));
        Self { scan, entries, assembler, times, inherited: &read.all.inherited, of }
    }

    /// Whether an entry is of the trace that is wanted.
    fn is_wanted(&self, found: &Found) -> bool {
        let Some((trace, envs)) = &self.of else { return true };
        match found.words[0] & KIND_MASK {
            KIND_STEP | KIND_NOTE => envs.contains(&found.words[2]),
            _ => trace_in(&found.words) == Some(*trace),
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let found = self.entries.next()?;
            if !self.is_wanted(&found) {
                continue;
            }
            let detail = self.scan.detail(&found);
            if let Some(record) = self.assembler.push(&found.entry(), detail.as_ref(), &self.times) {
                return Some(self.inherited.record(record));
            }
        }
    }
}

impl fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("of", &self.of.as_ref().map(|(trace, _)| trace)).finish_non_exhaustive()
    }
}

/// The records alone, of a process that asks for its own; with its own clock.
pub(crate) fn records(bytes: Vec<u8>, times: &Times, of: Option<TraceId>) -> Vec<Record> {
    let Ok(mut read) = recover(bytes) else { return Vec::new() };
    // By the ids that it knows.
    read.all.inherited = Inherited::default();
    match of {
        Some(trace) => read.trace_by(trace, times.clone()).collect(),
        None => read.records_by(times.clone()).collect(),
    }
}

/// The traces of a process that asks for its own, of which something may still come.
pub(crate) fn active(bytes: Vec<u8>) -> Vec<TraceId> {
    recover(bytes).map_or_else(|_| Vec::new(), |read| read.active().collect())
}

fn pairs_of(bytes: &[u8]) -> &[u8] {
    let rest = bytes.get(PAIRS_AT..).unwrap_or(&[]);
    &rest[..rest.len().min(PAIRS * PAIR_WORDS * 8)]
}

fn described(open: &Open, scan: &Scan<'_>, times: &Times, inherited: &Inherited) -> OpenNode {
    let detail = open.enter.and_then(|enter| scan.detail_at(enter));
    let by_site = || scan.dictionary.site(open.site).map(|site| site.node.to_owned());
    let by_hand = || open.name.map(NodeName::to_text);
    let node = detail.as_ref().and_then(|detail| detail.node().map(str::to_owned));
    // What a step by hand was given, where that is one.
    let values = detail.and_then(|detail| if open.frame == 0 { detail.meta() } else { detail.values() });
    let values = values.or_else(|| Some(open.preview?.values()));
    let (arguments, truncated) = values.unwrap_or_default();
    OpenNode {
        trace_id: open.trace,
        env_id: inherited.env(open.env),
        frame: FrameId::from_number(open.frame),
        node: node.or_else(by_hand).or_else(by_site).unwrap_or_else(|| "?".to_owned()),
        since_unix_ns: times.unix_ns(open.ticks),
        arguments,
        truncated,
    }
}

fn process(valid: &Valid, last_sign_unix_ns: u64) -> Process {
    let block = &valid.superblock;
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
