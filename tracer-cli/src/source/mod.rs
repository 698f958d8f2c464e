//! Files of records: what they hold, and what is known of the process that wrote them.
//!
//! Each format is one file here, and one line in [`FORMATS`]. What is in a file is input from anybody: no length, name
//! or text in it is trusted.

#[cfg(all(target_os = "linux", target_endian = "little"))]
mod blackbox;
mod error;
mod find;
mod json_lines;
mod lines;
mod told;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use tracer::{ErrorRecord, FrameId, Record, TraceId, TraceState};

pub(crate) use error::ReadError;
pub(crate) use find::{Entry, EntryKind, entries};
use json_lines::JsonLines;
pub(crate) use json_lines::{Item, scan};
pub(crate) use told::{Ended, Standing, Statement, Told, Writer};

/// The formats that can be read. The first whose extension or beginning fits is taken.
const FORMATS: &[&dyn Format] = &[
    // Written, and so far read, only there.
    #[cfg(all(target_os = "linux", target_endian = "little"))]
    &blackbox::BlackBoxes,
    &JsonLines,
];

/// Is told of bytes that are done with.
pub(crate) type Seen<'a> = &'a (dyn Fn(u64) + Sync);

/// How files of one kind are told and read.
pub(crate) trait Format: Sync {
    /// As messages call it.
    fn name(&self) -> &'static str;

    /// How its files end, without the dot.
    fn extension(&self) -> &'static str;

    /// How the files end that its writers put beside them as marks, and that hold no records.
    fn mark(&self) -> Option<&'static str> {
        None
    }

    /// Whether a file that begins with these bytes (up to 512) is one, whatever its name.
    fn begins(&self, head: &[u8]) -> bool;

    /// How often it goes through the bytes of a file until that is read.
    fn passes(&self) -> u64 {
        1
    }

    /// Reads `file`, which was opened at `path` and is a regular file. `seen` is told of bytes as they are done with, in
    /// each of its [`passes`](Self::passes). `copied`: from a machine that stayed up.
    fn read(&self, path: &Path, file: File, copied: bool, seen: Seen<'_>) -> Result<Source, ReadError>;

    /// Follows the file at `path` from its beginning on.
    fn follow(&self, path: &Path, copied: bool) -> Box<dyn Follow>;
}

/// A file that may grow.
pub(crate) trait Follow {
    /// Gives `each` the records that have come since it was last asked, the first time as far as `look` wants them; says
    /// what had gone again before that.
    fn poll(&mut self, look: Look<'_>, each: &mut dyn FnMut(Record)) -> Result<Missed, ReadError>;

    /// The record that the end is missing of, when it was last asked: it may come, and then the record does.
    fn unended(&mut self) -> Option<Record> {
        None
    }
}

/// What is wanted of files that are followed.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    /// So many of the newest records, if it is the first.
    pub(crate) newest: usize,
    /// Of earlier ones, in Unix nanoseconds, there are enough.
    pub(crate) since_ns: u64,
    /// Another comes.
    pub(crate) goes_on: bool,
    /// Is told of bytes as they are done with, as in [`Format::read`].
    pub(crate) seen: Seen<'a>,
}

/// What was written over before it could be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Missed {
    /// Parts of the file.
    pub(crate) pages: u64,
    /// The numbers of records that were left over: as many were in these at most.
    pub(crate) records: u64,
}

/// The records of a file, which may be put into words only when they are asked for.
pub(crate) trait Contents {
    /// Its traces. What they are told to be made of is counted, not read, where that can be.
    fn traces(&self) -> Vec<Summary>;

    /// The records of one trace.
    fn trace(&self, id: TraceId) -> Vec<Record>;

    /// The newest records of one trace, at least so many, with what is open in it; more if the others are in memory.
    fn newest(&self, id: TraceId, at_least: u64) -> Vec<Record>;

    /// All records, in the order of the file or of their numbers, and behind them the enters that were inferred.
    fn records(&self) -> Box<dyn Iterator<Item = Record> + '_>;

    /// What a line on each trace says, without reading its records; `None`: there is no index, and all that is open
    /// follows from the records too.
    fn outlines(&self) -> Option<Outlines<'_>>;
}

/// Gives the outline of a trace.
pub(crate) type Outlines<'a> = Box<dyn Fn(&Summary) -> Outline + 'a>;

/// A trace in a file, without its records.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) id: TraceId,
    /// Its place among those of the file.
    pub(crate) place: usize,
    pub(crate) state: TraceState,
    pub(crate) records: u64,
    pub(crate) envs: u64,
    pub(crate) steps: u64,
    pub(crate) spans: u64,
    pub(crate) lost_steps: u64,
    /// When it was; `None`: nothing is left of it that has a time.
    pub(crate) period: Option<Period>,
}

/// From the first record of a trace to the last, in Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
}

impl Period {
    /// From the earliest of these times to the latest.
    pub(crate) fn of(times: impl IntoIterator<Item = u64>) -> Option<Self> {
        let instants = times.into_iter().map(|ns| Self { start_ns: ns, end_ns: ns });
        instants.reduce(Self::with)
    }

    /// Both, and what is between them.
    pub(crate) fn with(self, other: Self) -> Self {
        Self { start_ns: self.start_ns.min(other.start_ns), end_ns: self.end_ns.max(other.end_ns) }
    }

    pub(crate) fn duration_ns(self) -> u64 {
        self.end_ns - self.start_ns
    }
}

/// What a line says of a trace beside its summary.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    /// What started it.
    pub(crate) source: String,
    /// The node that says most about how it ended.
    pub(crate) telling: Option<Telling>,
}

/// A node that failed, or is open.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) node: String,
    pub(crate) arguments: Value,
    /// Part of the arguments was left out.
    pub(crate) truncated: bool,
    pub(crate) error: Option<ErrorRecord>,
}

/// What one file holds.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// [`Format::name`].
    pub(crate) format: &'static str,
    pub(crate) size_bytes: u64,
    /// Its records, and what is known of its traces without them.
    pub(crate) contents: Box<dyn Contents>,
    /// The processes that it says its records are of.
    pub(crate) writers: Vec<Writer>,
    /// How much of it could be read, in one line.
    pub(crate) confidence: String,
    /// What was passed over.
    pub(crate) skipped: Skipped,
}

impl Source {
    /// Nodes that it says are open. Those that only follow from the records are not among them.
    pub(crate) fn open(&self) -> impl Iterator<Item = &OpenNode> {
        self.writers.iter().flat_map(|writer| &writer.open)
    }

    /// Where records are known to be missing.
    pub(crate) fn gaps(&self) -> Vec<&Gap> {
        self.writers.iter().flat_map(|writer| &writer.gaps).collect()
    }

    /// Records that its processes counted as not kept.
    pub(crate) fn dropped(&self) -> u64 {
        self.writers.iter().map(|writer| writer.dropped).fold(0, u64::saturating_add)
    }

    /// The processes that it says have written of a trace.
    pub(crate) fn writers_of(&self, trace: TraceId) -> impl Iterator<Item = &Writer> {
        self.writers.iter().filter(move |writer| writer.traces.contains_key(&trace))
    }
}

/// A node that was entered and did not end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OpenNode {
    pub(crate) trace_id: TraceId,
    /// `None` for a step by hand.
    pub(crate) frame: Option<FrameId>,
    pub(crate) node: String,
    /// Unix time of its enter, in nanoseconds.
    pub(crate) since_ns: u64,
    pub(crate) arguments: Value,
    /// Part of the arguments was left out.
    pub(crate) truncated: bool,
}

/// A place where records are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub(crate) struct Gap {
    /// The trace that they are known to be of.
    pub(crate) of: Option<TraceId>,
    /// In one line.
    pub(crate) text: String,
}

impl From<Gap> for String {
    fn from(gap: Gap) -> Self {
        gap.text
    }
}

/// Lines of a file that became no record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    /// A last line without its end: its writer was stopped, or is still at it.
    pub(crate) torn: u64,
    /// Records of a type that this program does not know.
    pub(crate) unknown: u64,
    /// Records of a newer schema.
    pub(crate) newer: u64,
    /// Lines that are no records.
    pub(crate) unreadable: u64,
    /// Lines that are longer than any record.
    pub(crate) too_long: u64,
}

impl Skipped {
    pub(crate) fn total(&self) -> u64 {
        self.torn + self.unknown + self.newer + self.unreadable + self.too_long
    }
}

/// A file that is going to be read.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) format: &'static dyn Format,
    pub(crate) size_bytes: u64,
    /// It is a place itself, not one of the files in a directory.
    pub(crate) is_place: bool,
}

impl Found {
    pub(crate) fn read(&self, copied: bool, seen: Seen<'_>) -> Result<Source, ReadError> {
        self.format.read(&self.path, open(&self.path)?, copied, seen)
    }
}

/// What was read, and what could not be.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) sources: Vec<Source>,
    pub(crate) troubles: Vec<ReadError>,
}

/// The files of records in these places, each a directory or a file, and what could not be looked into.
pub(crate) fn find(places: &[PathBuf]) -> (Vec<Found>, Vec<ReadError>) {
    let mut files = Vec::new();
    let mut troubles = Vec::new();
    let mut paths = HashSet::new();
    for entry in places.iter().flat_map(|place| entries(place)) {
        match entry.kind {
            // A file may be in two of the places.
            EntryKind::Records(found) if paths.insert(found.path.clone()) => files.push(found),
            EntryKind::Unreadable(error) => troubles.push(error),
            _ => {}
        }
    }
    (files, troubles)
}

/// So many bytes there are to be done with until all of them are read.
pub(crate) fn total_bytes(files: &[Found]) -> u64 {
    files.iter().map(|file| file.size_bytes * file.format.passes()).sum()
}

/// Reads the files of records in these places. `begin` is told how many bytes there are to be done with, and returns what
/// is told of them.
pub(crate) fn read_all<S: Fn(u64) + Sync>(places: &[PathBuf], copied: bool, begin: impl FnOnce(u64) -> S) -> Reading {
    let (files, troubles) = find(places);
    let seen = begin(total_bytes(&files));
    let mut reading = Reading { sources: Vec::new(), troubles };
    for file in files {
        match file.read(copied, &seen) {
            Ok(source) => reading.sources.push(source),
            Err(error) if !file.is_place && error.is_passing() => {}
            Err(error) => reading.troubles.push(error),
        }
    }
    told::agree(&mut reading.sources);
    reading
}

/// Opens a regular file. Whatever else is there neither blocks nor is read.
fn open(path: &Path) -> Result<File, ReadError> {
    let mut options = File::options();
    options.read(true);
    // Between looking and opening, a pipe may have taken the file's place: opening one would wait for a writer.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().try_into().unwrap_or_default(),
    );
    let file = options.open(path).map_err(|error| ReadError::io(path, error))?;
    let kind = file.metadata().map_err(|error| ReadError::io(path, error))?.file_type();
    if kind.is_file() { Ok(file) } else { Err(ReadError::not_a_file(path, kind)) }
}

/// The format of the file at `path`: by its extension, or else by how it begins. `None`: it cannot be told.
fn format_of(path: &Path) -> Result<Option<&'static dyn Format>, ReadError> {
    if let Some(format) = format_named(path) {
        return Ok(Some(format));
    }
    let mut head = Vec::new();
    open(path)?.take(512).read_to_end(&mut head).map_err(|error| ReadError::io(path, error))?;
    Ok(FORMATS.iter().copied().find(|format| format.begins(&head)))
}

fn format_named(path: &Path) -> Option<&'static dyn Format> {
    let extension = path.extension()?;
    FORMATS.iter().copied().find(|format| extension == format.extension())
}

/// Whether the file at `path` is a mark beside a file of records.
fn is_mark(path: &Path) -> bool {
    let is_mark_of = |format: &&dyn Format| {
        let is_named = format.mark().is_some_and(|mark| path.extension().is_some_and(|extension| extension == mark));
        is_named && path.with_extension(format.extension()).is_file()
    };
    FORMATS.iter().any(is_mark_of)
}

/// The formats for a message: `black box (*.tbx) or JSON lines (*.jsonl)`.
pub(crate) fn formats() -> String {
    let formats = FORMATS.iter().map(|format| format!("{} (*.{})", format.name(), format.extension()));
    formats.collect::<Vec<_>>().join(" or ")
}

/// Tells of bytes as they are read.
struct Counted<'a, R> {
    reader: R,
    seen: Seen<'a>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        (self.seen)(count as u64);
        Ok(count)
    }
}
