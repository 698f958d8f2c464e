//! JSON lines: one record a line, as `tracer::JsonLines` and `tracer recover --out` write them.
//!
//! Such a file says nothing of its process: not whether it lives, nor how it ended.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use tracer::{Record, SCHEMA, TraceId};

use super::lines::{LINE_LEN_MAX, Line, Lines};
use super::{Contents, Counted, Follow, Format, Missed, Outlines, ReadError, Seen, Skipped, Source, Summary, open};
use crate::traces::summary;

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
        let mut records = Vec::new();
        let reader = BufReader::with_capacity(BUFFER_LEN, Counted { reader: file, seen });
        let mut scan = scan(reader, &mut |record| records.push(record)).map_err(|error| ReadError::io(path, error))?;
        records.extend(scan.unended.take().map(|record| *record));
        if records.is_empty() {
            scan.check(path)?;
        }
        Ok(Source {
            path: path.to_owned(),
            format: self.name(),
            size_bytes: scan.len,
            process: None,
            confidence: scan.confidence(records.len()),
            contents: Box::new(Read::of(records)),
            active: Vec::new(),
            cut_off: Vec::new(),
            open: Vec::new(),
            app: None,
            pid: None,
            death: None,
            ended: None,
            is_alive: false,
            last_sign_ns: None,
            gaps: Vec::new(),
            dropped: 0,
            skipped: scan.skipped,
        })
    }

    fn follow(&self, path: &Path, _copied: bool) -> Box<dyn Follow> {
        Box::new(Following { path: path.to_owned(), read_len: 0, len: 0 })
    }
}

/// Records in memory: the file has no index.
struct Read {
    /// In the order of the file.
    records: Vec<Record>,
    /// In the order of their first records, with the places of all.
    traces: Vec<(TraceId, Vec<usize>)>,
    places: HashMap<TraceId, usize>,
}

impl Read {
    fn of(records: Vec<Record>) -> Self {
        let mut read = Self { records, traces: Vec::new(), places: HashMap::new() };
        for (nth, record) in read.records.iter().enumerate() {
            let id = record.trace_id();
            let place = *read.places.entry(id).or_insert_with(|| {
                read.traces.push((id, Vec::new()));
                read.traces.len() - 1
            });
            read.traces[place].1.push(nth);
        }
        read
    }
}

impl Contents for Read {
    fn traces(&self) -> Vec<Summary> {
        self.traces.iter().enumerate().filter_map(|(place, (id, _))| summary(place, &self.trace(*id))).collect()
    }

    fn trace(&self, id: TraceId) -> Vec<Record> {
        let of = self.places.get(&id).map_or(&[][..], |place| &self.traces[*place].1);
        of.iter().map(|nth| self.records[*nth].clone()).collect()
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
    /// A record in a last line without its end. The end may be all that is missing, or come later.
    pub(crate) unended: Option<Box<Record>>,
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

/// Reads lines, gives `each` the records among them, and counts the rest.
///
/// # Errors
///
/// If `reader` fails.
pub(crate) fn scan(reader: impl BufRead, each: &mut dyn FnMut(Record)) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut lines = Lines::new(reader);
    while let Some(line) = lines.next()? {
        let unreadable = match line {
            Line::Whole(text) | Line::Torn(text) if text.trim_ascii().is_empty() => None,
            Line::Whole(text) => scan.sort(parse(text), each),
            Line::Torn(text) => match parse(text) {
                Ok(record) => {
                    scan.unended = Some(Box::new(record));
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
    /// Gives away a record, or counts why there is none; returns why, if it ought to be one.
    fn sort(&mut self, parsed: Result<Record, Skip>, each: &mut dyn FnMut(Record)) -> Option<String> {
        match parsed {
            Ok(record) => each(record),
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

fn parse(line: &[u8]) -> Result<Record, Skip> {
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
            return Ok(record);
        }
        Err(error) => error,
    };
    if let Ok(head) = serde_json::from_slice::<Head<'_>>(line) {
        too_new(head.schema)?;
        if !matches!(&*head.kind, "env" | "step" | "note") {
            return Err(Skip::Unknown);
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
}

impl Follow for Following {
    fn poll(&mut self, each: &mut dyn FnMut(Record)) -> Result<Missed, ReadError> {
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
        let scan = scan(BufReader::with_capacity(BUFFER_LEN, file), each).map_err(failed)?;
        self.read_len += scan.ended_len;
        self.len = self.read_len.max(len);
        // Nothing is ever written over.
        Ok(Missed::default())
    }
}
