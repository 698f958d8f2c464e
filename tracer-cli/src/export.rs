//! Records into a file of JSON lines, each once.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use tracer::Record;

use crate::exit::Exit;
use crate::source::scan;
use crate::traces::RecordKey;

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

/// Appends those of `records` that are not in the file at `path`, and has the disk take them. What is there stays as it
/// is, so that what was recovered earlier outlives the file that it came from.
///
/// # Errors
///
/// - [`ExportError::Foreign`] if something else is there. Nothing was written.
/// - [`ExportError::Io`] if it cannot be written. The next try goes on behind the last whole line.
pub(crate) fn export(path: &Path, records: impl Iterator<Item = Record>) -> Result<Export, ExportError> {
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

    let mut known = HashSet::new();
    let scan = scan(BufReader::new(&file), &mut |record| {
        known.insert(RecordKey::of(&record));
    });
    let scan = scan.map_err(failed)?;
    if let Some((line, why)) = &scan.unreadable {
        return Err(foreign(&format!("{why} in line {line}")));
    }
    known.extend(scan.unended.iter().map(|record| RecordKey::of(record)));
    append(&file, !scan.is_ended, records, &mut known).map_err(failed)
}

fn append(
    file: &File,
    is_torn: bool,
    records: impl Iterator<Item = Record>,
    known: &mut HashSet<RecordKey>,
) -> io::Result<Export> {
    let mut export = Export::default();
    let mut out = BufWriter::new(file);
    if is_torn {
        out.write_all(b"\n")?;
    }
    for record in records {
        if known.insert(RecordKey::of(&record)) {
            serde_json::to_writer(&mut out, &record)?;
            out.write_all(b"\n")?;
            export.added += 1;
        } else {
            export.present += 1;
        }
    }
    out.flush()?;
    file.sync_all()?;
    Ok(export)
}
