//! Looks into places: what is a file of records there, and what is something else.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::kind_name;
use super::{Found, ReadError, format_named, format_of, is_mark};

/// A directory of records has one directory an application in it. What is deeper is not looked into: a mistaken
/// `--dir /` is to end.
const DEPTH_MAX: usize = 2;

/// Something in a place, or the place itself.
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) kind: EntryKind,
}

pub(crate) enum EntryKind {
    /// A file of records.
    Records(Found),
    /// A directory; what is in it follows.
    Directory,
    /// A directory too deep to be looked into.
    TooDeep,
    /// A regular file that has none of the names that files of records have.
    Foreign,
    /// A symbolic link. It is not followed: it may lead out of the directory.
    Link,
    /// A pipe, socket or device.
    Special(&'static str),
    /// It cannot be looked at.
    Unreadable(ReadError),
}

/// Everything in `place`, a directory or a file: directories before what is in them, otherwise by name. A place that is
/// a symbolic link is followed, since it was asked for.
pub(crate) fn entries(place: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    let path = place.to_owned();
    match fs::metadata(place) {
        Err(error) => found.push(Entry { kind: EntryKind::Unreadable(ReadError::io(place, error)), path }),
        Ok(metadata) if metadata.is_dir() => walk(place, 0, &mut found),
        Ok(metadata) if metadata.is_file() => {
            let kind = match format_of(place) {
                Ok(Some(format)) => {
                    EntryKind::Records(Found { path: path.clone(), format, size_bytes: metadata.len(), is_place: true })
                }
                Ok(None) => EntryKind::Unreadable(ReadError::foreign(place)),
                Err(error) => EntryKind::Unreadable(error),
            };
            found.push(Entry { path, kind });
        }
        Ok(metadata) => {
            let error = ReadError::not_a_file(place, metadata.file_type());
            found.push(Entry { path, kind: EntryKind::Unreadable(error) });
        }
    }
    found
}

fn walk(directory: &Path, depth: usize, found: &mut Vec<Entry>) {
    let path = directory.to_owned();
    if depth == DEPTH_MAX {
        return found.push(Entry { path, kind: EntryKind::TooDeep });
    }
    let listed = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut listed = match listed {
        Ok(listed) => listed,
        Err(error) => {
            return found.push(Entry { kind: EntryKind::Unreadable(ReadError::io(directory, error)), path });
        }
    };
    found.push(Entry { path, kind: EntryKind::Directory });
    listed.sort_by_key(fs::DirEntry::file_name);
    for entry in listed {
        let path = entry.path();
        // Of a link, not of what it leads to.
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // A file that went away since the directory was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                found.push(Entry { kind: EntryKind::Unreadable(ReadError::io(&path, error)), path });
                continue;
            }
        };
        if metadata.is_dir() {
            walk(&path, depth + 1, found);
            continue;
        }
        if metadata.is_file() && (is_mark(&path) || path.ends_with(".gitignore")) {
            continue;
        }
        let kind = if metadata.is_symlink() {
            EntryKind::Link
        } else if !metadata.is_file() {
            EntryKind::Special(kind_name(metadata.file_type()))
        } else if let Some(format) = format_named(&path) {
            EntryKind::Records(Found { path: path.clone(), format, size_bytes: metadata.len(), is_place: false })
        } else {
            EntryKind::Foreign
        };
        found.push(Entry { path, kind });
    }
}
