//! Records into a file of JSON lines, each once, and what is known of their processes.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tracer::{FrameId, Record, Status, TraceId};

use crate::exit::Exit;
use crate::source::{Item, Source, Told, Writer, scan};
use crate::traces::{RecordKey, is_inferred};

/// What became of the records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Export {
    pub(crate) added: usize,
    /// There already.
    pub(crate) present: usize,
}

/// Why nothing was written, or not all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// It is not what it would become.
    #[error("expected JSON lines of records or nothing in `{path}`, found {found}", path = path.display())]
    Foreign { path: PathBuf, found: String },
    /// The system refused.
    #[error("`{path}` cannot be written", path = path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl ExportError {
    /// What to do about it.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::Foreign { .. } => "nothing was written; give another file",
            Self::Io { .. } => "give a file in a directory that you may write to; doing it again adds what is missing",
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Foreign { .. } => Exit::Usage,
            Self::Io { .. } => Exit::Output,
        }
    }
}

/// Appends those records of `sources` that are not in the file at `path`, and what they tell of processes, and has the disk
/// take it. What is there stays as it is, so that what was recovered earlier outlives the file that it came from. `each` is
/// told of each record.
///
/// # Errors
///
/// - [`ExportError::Foreign`] if something else is there. Nothing was written.
/// - [`ExportError::Io`] if it cannot be written. The next try goes on behind the last whole line.
pub(crate) fn export(path: &Path, sources: &[Source], each: impl Fn(&Record)) -> Result<Export, ExportError> {
    let failed = |source| ExportError::Io { path: path.to_owned(), source };
    let foreign = |found: &str| ExportError::Foreign { path: path.to_owned(), found: found.to_owned() };
    // Opening a pipe would wait for a reader.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(foreign("something that is no regular file"));
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(failed)?;

    let mut known = Known::default();
    let mut scan = scan(BufReader::new(&file), &mut |item| known.take(item)).map_err(failed)?;
    if let Some((line, why)) = &scan.unreadable {
        return Err(foreign(&format!("{why} in line {line}")));
    }
    if let Some(item) = scan.unended.take() {
        known.take(*item);
    }
    let records = sources.iter().flat_map(|source| source.contents.records()).inspect(each);
    let writers = sources.iter().flat_map(|source| &source.writers);
    append(&file, !scan.is_ended, records, writers, &mut known).map_err(failed)
}

/// What is in the file.
#[derive(Default)]
struct Known {
    records: HashSet<RecordKey>,
    /// Frames whose enters were recorded.
    entered: HashSet<(TraceId, FrameId)>,
    told: Told,
}

impl Known {
    fn take(&mut self, item: Item) {
        match item {
            Item::Record(record) => _ = self.add(&record),
            Item::Statement(statement) => self.told.take(statement),
        }
    }

    /// Whether it was not there.
    fn add(&mut self, record: &Record) -> bool {
        if !is_inferred(record) {
            self.entered.extend(entered(record));
        }
        self.records.insert(RecordKey::of(record))
    }
}

fn entered(record: &Record) -> Option<(TraceId, FrameId)> {
    let step = record.as_step().filter(|step| step.status == Status::Enter)?;
    Some((step.trace_id, step.frame?))
}

fn append<'a>(
    file: &File,
    is_torn: bool,
    records: impl Iterator<Item = Record>,
    writers: impl Iterator<Item = &'a Writer> + Clone,
    known: &mut Known,
) -> io::Result<Export> {
    let mut export = Export::default();
    let mut out = BufWriter::new(file);
    if is_torn {
        out.write_all(b"\n")?;
    }
    // What was inferred of one file may be recorded in one that comes later.
    let mut inferred = Vec::new();
    for record in records {
        if is_inferred(&record) {
            inferred.push(record);
        } else if known.add(&record) {
            write_line(&mut out, &record)?;
            export.added += 1;
        } else {
            export.present += 1;
        }
    }
    for record in inferred {
        let is_recorded = entered(&record).is_some_and(|frame| known.entered.contains(&frame));
        if !is_recorded && known.add(&record) {
            write_line(&mut out, &record)?;
        }
    }
    // A process may be told of in several files, each of which has some of its traces.
    let behind: HashSet<_> = writers.clone().filter(|writer| known.told.is_behind(writer)).map(|of| of.name).collect();
    for writer in writers {
        for statement in known.told.missing(writer, behind.contains(&writer.name)) {
            write_line(&mut out, &statement)?;
            known.told.take(statement);
        }
    }
    out.flush()?;
    file.sync_all()?;
    Ok(export)
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
