//! What keeps a file from being read, and what to do about it.

use std::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};

use tracer::SCHEMA;

use super::formats;

/// A place or file that could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// There is nothing.
    #[error("expected a directory or a file of records at `{path}`, found nothing", path = path.display())]
    Missing { path: PathBuf },
    /// The system refused.
    #[error("`{path}` cannot be read", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Neither a file nor a directory.
    #[error("expected a regular file at `{path}`, found {found}", path = path.display())]
    NotAFile { path: PathBuf, found: &'static str },
    /// Asked for by name, and of no format that is known.
    #[error("expected {expected} in `{path}`, found neither its name nor its beginning to be one", path = path.display())]
    Foreign { path: PathBuf, expected: String },
    /// It has the name of a format, and is not of it.
    #[error("expected {expected} in `{path}`, found {found}", path = path.display())]
    NoRecords { path: PathBuf, expected: &'static str, found: String },
    /// It is as its process has made it.
    #[error("expected records in `{path}`, found that nothing was written to it yet", path = path.display())]
    NotBegun { path: PathBuf },
    /// All of it is from a later release.
    #[error("expected records of schema {SCHEMA} or less in `{path}`, found {found}", path = path.display())]
    Newer { path: PathBuf, found: String },
    /// Of a version that this program does not read.
    #[cfg(all(target_os = "linux", target_endian = "little"))]
    #[error("`{path}` is of another version", path = path.display())]
    Version { path: PathBuf, source: tracer_blackbox::RecoverError },
}

impl ReadError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound { Self::Missing { path } } else { Self::Io { path, source } }
    }

    pub(super) fn not_a_file(path: &Path, kind: FileType) -> Self {
        Self::NotAFile { path: path.to_owned(), found: kind_name(kind) }
    }

    pub(super) fn foreign(path: &Path) -> Self {
        Self::Foreign { path: path.to_owned(), expected: formats() }
    }

    /// Whether it is no trouble in a directory, where files come and go: one that is gone since it was listed, or new.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::NotBegun { .. })
    }

    /// What to do about it.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "run a traced program that records to files, or say where the files are: `--dir PATH` or TRACER_DIR"
            }
            Self::Io { .. } => "`tracer doctor` says more; the files belong to the user that the traced program ran as",
            Self::NotAFile { .. } => "only regular files are read; remove it, or give the path of a file",
            Self::Foreign { .. } => "give a file of records, or the directory that they are in",
            Self::NoRecords { .. } => {
                "it is no file of records, or was overwritten; remove it from the directory, or give another file"
            }
            Self::NotBegun { .. } => {
                "its process is about to write to it; if it has died before, the next one that starts removes the file"
            }
            #[cfg(all(target_os = "linux", target_endian = "little"))]
            Self::Version { .. } => {
                "it was written by another release of tracer: install the version of `tracer-cli` that fits the program"
            }
            Self::Newer { .. } => "it was written by a newer tracer: install that version of `tracer-cli`",
        }
    }
}

/// `a directory`, `a named pipe`, …
pub(super) fn kind_name(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_file() {
        "a file"
    } else {
        "something that is no file"
    }
}
