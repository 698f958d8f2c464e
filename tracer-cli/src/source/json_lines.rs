//! JSON lines: one record a line, as `tracer::JsonLines` and `tracer recover --out` write them.
//!
//! The former says nothing of its process: not whether it lives, nor how it ended. The latter has lines that tell what black
//! boxes said of theirs.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use tracer::{Record, SCHEMA, TraceId, TraceState};

use super::lines::{LINE_LEN_MAX, Line, Lines};
use super::{
    Contents, Counted, Follow, Format, Look, Missed, OpenNode, Outlines, Period, ReadError, Seen, Skipped, Source,
    Statement, Summary, Told, Writer, open,
};
use crate::traces::{each_once, is_inferred, summary};

/// The format.
pub(super) struct JsonLines;

/// Bytes that are read at once.
const BUFFER_LEN: usize = 64 * 1024;

impl Format for JsonLines {
    fn name(&self) -> &'static str {
        "JSON lines"
    }

    fn extension(&self) -> &'static str {
        "jsonl"
    }

    fn begins(&self, head: &[u8]) -> bool {
        // An empty file may become one.
        head.trim_ascii_start().first().is_none_or(|byte| *byte == b'{')
    }

    fn read(&self, path: &Path, file: File, _copied: bool, seen: Seen<'_>) -> Result<Source, ReadError> {
        let (mut records, mut told) = (Vec::new(), Told::default());
        let mut each = |item| match item {
            Item::Record(record) => records.push(record),
            Item::Statement(statement) => told.take(statement),
        };
        let reader = BufReader::with_capacity(BUFFER_LEN, Counted { reader: file, seen });
        let mut scan = scan(reader, &mut each).map_err(|error| ReadError::io(path, error))?;
        if let Some(item) = scan.unended.take() {
            each(*item);
        }
        if records.is_empty() {
            scan.check(path)?;
        }
        let count = records.iter().filter(|record| !is_inferred(record)).count();
        let writers = told.writers();
        Ok(Source {
            path: path.to_owned(),
            format: self.name(),
            size_bytes: scan.len,
            confidence: scan.confidence(count),
            contents: Box::new(Read::of(records, &writers)),
            writers,
            skipped: scan.skipped,
        })
    }

    fn follow(&self, path: &Path, _copied: bool) -> Box<dyn Follow> {
        Box::new(Following { path: path.to_owned(), read_len: 0, len: 0, unended: None })
    }
}

/// Records in memory: the file has no index.
struct Read {
    /// In the order of the file.
    records: Vec<Record>,
    /// In the order of their first records, with the places of all.
    traces: Vec<(TraceId, Vec<usize>)>,
    places: HashMap<TraceId, usize>,
    told: HashMap<TraceId, ToldOf>,
}

/// What is told of a trace beside its records.
#[derive(Debug, Default)]
struct ToldOf {
    /// How it stands, by each process that tells of it.
    states: Vec<TraceState>,
    /// When the first node was entered that is open.
    since_ns: Option<u64>,
}

impl Read {
    fn of(records: Vec<Record>, writers: &[Writer]) -> Self {
        let mut read = Self { records, traces: Vec::new(), places: HashMap::new(), told: HashMap::new() };
        for nth in 0..read.records.len() {
            let place = read.place(read.records[nth].trace_id());
            read.traces[place].1.push(nth);
        }
        for writer in writers {
            for (id, standing) in &writer.traces {
                read.told.entry(*id).or_default().states.push(standing.state);
            }
            for OpenNode { trace_id, since_ns, .. } in &writer.open {
                let of = read.told.entry(*trace_id).or_default();
                of.since_ns = [of.since_ns, Some(*since_ns)].into_iter().flatten().min();
            }
        }
        // Of some, a box knew no more than that they were.
        let mut others: Vec<_> = read.told.keys().filter(|id| !read.places.contains_key(id)).copied().collect();
        others.sort_unstable();
        for id in others {
            read.place(id);
        }
        read
    }

    fn place(&mut self, id: TraceId) -> usize {
        *self.places.entry(id).or_insert_with(|| {
            self.traces.push((id, Vec::new()));
            self.traces.len() - 1
        })
    }

    fn summary(&self, place: usize, id: TraceId) -> Summary {
        let mut summary = summary(place, id, &self.trace(id));
        if let Some(ToldOf { states, since_ns }) = self.told.get(&id) {
            summary.period = [summary.period, Period::of(*since_ns)].into_iter().flatten().reduce(Period::with);
            // One knew all of it; of several, each knew a part.
            if let [state] = states[..] {
                summary.state = state;
            }
        }
        summary
    }
}

impl Contents for Read {
    fn traces(&self) -> Vec<Summary> {
        self.traces.iter().enumerate().map(|(place, (id, _))| self.summary(place, *id)).collect()
    }

    fn trace(&self, id: TraceId) -> Vec<Record> {
        let of = self.places.get(&id).map_or(&[][..], |place| &self.traces[*place].1);
        let mut records = of.iter().map(|nth| self.records[*nth].clone()).collect();
        each_once(&mut records);
        records
    }

    fn newest(&self, id: TraceId, _at_least: u64) -> Vec<Record> {
        self.trace(id)
    }

    fn records(&self) -> Box<dyn Iterator<Item = Record> + '_> {
        Box::new(self.records.iter().cloned())
    }

    fn outlines(&self) -> Option<Outlines<'_>> {
        None
    }
}

/// What there was in a file beside its whole lines of records.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) skipped: Skipped,
    /// The first line that is no record: its number, and why.
    pub(crate) unreadable: Option<(u64, String)>,
    /// What a last line without its end says. The end may be all that is missing, or come later.
    pub(crate) unended: Option<Box<Item>>,
    /// The last line has its end, or there is none.
    pub(crate) is_ended: bool,
    /// The newest schema that is too new.
    newest: u32,
    /// Bytes of the file.
    len: u64,
    /// Bytes up to the end of the last line that has one.
    ended_len: u64,
}

impl Scan {
    /// Fails if what is there is no file of records, or one of a newer release.
    fn check(&self, path: &Path) -> Result<(), ReadError> {
        let path = path.to_owned();
        if self.skipped.newer > 0 {
            return Err(ReadError::Newer { path, found: format!("schema {}", self.newest) });
        }
        match &self.unreadable {
            Some((line, why)) if self.skipped.unknown == 0 => Err(ReadError::NoRecords {
                path,
                expected: "one record as a JSON object a line",
                found: format!("{why} in line {line}"),
            }),
            _ => Ok(()),
        }
    }

    fn confidence(&self, records: usize) -> String {
        let counts = [
            (self.skipped.torn, "torn"),
            (self.skipped.unknown, "of an unknown type"),
            (self.skipped.newer, "of a newer schema"),
            (self.skipped.unreadable, "unreadable"),
            (self.skipped.too_long, "too long"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| match self.skipped.total() {
            1 => (*what).to_owned(),
            _ => format!("{count} {what}"),
        });
        let skipped = counts.collect::<Vec<_>>().join(", ");
        let first = self.unreadable.as_ref().map(|(line, why)| format!(" (line {line}: {why})")).unwrap_or_default();
        match self.skipped.total() {
            0 => format!("{records} records, every line"),
            1 => format!("{records} records; one line is {skipped}{first}"),
            lines => format!("{records} records; {lines} lines are not: {skipped}{first}"),
        }
    }
}

/// What a line says.
#[derive(Debug)]
pub(crate) enum Item {
    Record(Record),
    Statement(Statement),
}

/// Reads lines, gives `each` what is known among them, and counts the rest.
///
/// # Errors
///
/// If `reader` fails.
pub(crate) fn scan(reader: impl BufRead, each: &mut dyn FnMut(Item)) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut lines = Lines::new(reader);
    while let Some(line) = lines.next()? {
        let unreadable = match line {
            Line::Whole(text) | Line::Torn(text) if text.trim_ascii().is_empty() => None,
            Line::Whole(text) => scan.sort(parse(text), each),
            Line::Torn(text) => match parse(text) {
                Ok(item) => {
                    scan.unended = Some(Box::new(item));
                    None
                }
                Err(_) if text.trim_ascii_start().starts_with(b"{") => {
                    scan.skipped.torn += 1;
                    None
                }
                skip => scan.sort(skip, each),
            },
            Line::TooLong => {
                scan.skipped.too_long += 1;
                Some(format!("more than {} MiB", LINE_LEN_MAX >> 20))
            }
        };
        if let (Some(why), None) = (unreadable, &scan.unreadable) {
            scan.unreadable = Some((lines.number, why));
        }
    }
    (scan.len, scan.ended_len, scan.is_ended) = (lines.len, lines.ended_len, lines.len == lines.ended_len);
    Ok(scan)
}

impl Scan {
    /// Gives away what a line says, or counts why it says nothing; returns why, if it ought to.
    fn sort(&mut self, parsed: Result<Item, Skip>, each: &mut dyn FnMut(Item)) -> Option<String> {
        match parsed {
            Ok(item) => each(item),
            Err(Skip::Unknown) => self.skipped.unknown += 1,
            Err(Skip::Newer(schema)) => {
                self.skipped.newer += 1;
                self.newest = self.newest.max(schema);
            }
            Err(Skip::Unreadable(why)) => {
                self.skipped.unreadable += 1;
                return Some(why);
            }
        }
        None
    }
}

/// Why a line became no record.
enum Skip {
    Unknown,
    Newer(u32),
    Unreadable(String),
}

fn parse(line: &[u8]) -> Result<Item, Skip> {
    /// What any version of a record has.
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(rename = "type", borrow)]
        kind: std::borrow::Cow<'a, str>,
        schema: u32,
    }

    let too_new = |schema: u32| if schema > SCHEMA { Err(Skip::Newer(schema)) } else { Ok(()) };
    let error = match serde_json::from_slice::<Record>(line) {
        Ok(record) => {
            too_new(match &record {
                Record::Env(env) => env.schema,
                Record::Step(step) => step.schema,
                Record::Note(note) => note.schema,
            })?;
            return Ok(Item::Record(record));
        }
        Err(error) => error,
    };
    if let Ok(head) = serde_json::from_slice::<Head<'_>>(line) {
        too_new(head.schema)?;
        if !matches!(&*head.kind, "env" | "step" | "note") {
            return serde_json::from_slice(line).map(Item::Statement).map_err(|_| Skip::Unknown);
        }
    }
    // Either it is no JSON, and where it ends being some matters, or it is no record.
    let why = match serde_json::from_slice::<IgnoredAny>(line) {
        Err(error) => format!("no JSON ({})", placed(&error)),
        Ok(_) => format!("no record ({})", placed(&error)),
    };
    Err(Skip::Unreadable(why))
}

/// The error with its column, without the line, which is always the first.
fn placed(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let said: String = text.split(" at line ").next().unwrap_or_default().chars().take(120).collect();
    if error.column() == 0 { said } else { format!("{said} at byte {}", error.column()) }
}

/// A file that grows, is cut off, or comes again under its name.
struct Following {
    path: PathBuf,
    /// Bytes of whole lines that were read.
    read_len: u64,
    /// Bytes of the file when it was last read.
    len: u64,
    unended: Option<Record>,
}

impl Follow for Following {
    fn poll(&mut self, look: Look<'_>, each: &mut dyn FnMut(Record)) -> Result<Missed, ReadError> {
        let failed = |error| ReadError::io(&self.path, error);
        let len = fs::metadata(&self.path).map_err(failed)?.len();
        if len == self.len {
            return Ok(Missed::default());
        }
        if len < self.read_len {
            self.read_len = 0;
        }
        let mut file = open(&self.path)?;
        file.seek(SeekFrom::Start(self.read_len)).map_err(failed)?;
        // A last line without its end is read again once it has one.
        let is_first = self.len == 0;
        let mut has_come = false;
        let mut records = |item| {
            if let Item::Record(record) = item {
                has_come = true;
                each(record);
            }
        };
        let reader = BufReader::with_capacity(BUFFER_LEN, Counted { reader: file, seen: look.seen });
        let mut scan = scan(reader, &mut records).map_err(failed)?;
        self.read_len += scan.ended_len;
        self.len = self.read_len.max(len);
        self.unended =
            scan.unended.take().and_then(|item| if let Item::Record(record) = *item { Some(record) } else { None });
        if is_first && !has_come && self.unended.is_none() {
            scan.check(&self.path)?;
        }
        // Nothing is ever written over.
        Ok(Missed::default())
    }

    fn unended(&mut self) -> Option<Record> {
        self.unended.take()
    }
}
