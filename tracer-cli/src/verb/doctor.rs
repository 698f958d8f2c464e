//! `tracer doctor`: what keeps traces from being written or read.

use std::io;
use std::path::Path;

use serde::Serialize;
use tracer::tree::Escaped;

use crate::exit::{Exit, Failure};
use crate::output::{Colours, Ink, text};
use crate::session::Session;
use crate::source::{Entry, EntryKind, ReadError, Source, entries};
use crate::system::{self, Access, FileSystem, FileSystemKind};

/// With less space, processes that start soon have nowhere to record to.
const FREE_BYTES_MIN: u64 = 64 << 20;

pub(crate) fn run(session: &mut Session<'_>) -> Result<Exit, Failure> {
    let mut exit = Exit::Done;
    for place in session.places.clone() {
        let found = entries(&place);
        let look_at = |entry| look_at(entry, entry.path == place, session.copied);
        let findings = found.iter().flat_map(look_at).collect::<Vec<_>>();
        if findings.iter().any(|finding| finding.level == Level::Trouble) {
            exit = Exit::Nothing;
        }
        for finding in findings {
            if session.json {
                session.json_line(&finding)?;
            } else {
                write_finding(session, &finding)?;
            }
        }
    }
    Ok(exit)
}

/// Something that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    path: String,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// To be changed.
    Trouble,
}

/// The findings about one path.
struct About<'a> {
    path: &'a Path,
    findings: Vec<Finding>,
}

impl About<'_> {
    fn ok(&mut self, found: impl Into<String>) {
        self.add(Level::Ok, found, None);
    }

    fn note(&mut self, found: impl Into<String>, help: impl Into<String>) {
        self.add(Level::Note, found, Some(help.into()));
    }

    fn trouble(&mut self, found: impl Into<String>, help: impl Into<String>) {
        self.add(Level::Trouble, found, Some(help.into()));
    }

    fn add(&mut self, level: Level, found: impl Into<String>, help: Option<String>) {
        let path = self.path.to_string_lossy().into_owned();
        self.findings.push(Finding { level, path, found: found.into(), help });
    }
}

fn look_at(entry: &Entry, is_place: bool, copied: bool) -> Vec<Finding> {
    let mut about = About { path: &entry.path, findings: Vec::new() };
    match &entry.kind {
        EntryKind::Directory => {
            if let Some(access) = system::access(&entry.path) {
                permissions(&mut about, access, 0o700);
            }
            if is_place && entry.path.is_symlink() {
                let help = "it is read, but programs make no files behind a link: set TRACER_DIR to what it leads to";
                about.trouble("a symbolic link to a directory", help);
            } else if is_place {
                place(&mut about, system::may_write(&entry.path), system::file_system(&entry.path).as_ref());
            }
        }
        EntryKind::Records(found) => {
            if let Some(access) = system::access(&entry.path) {
                permissions(&mut about, access, 0o600);
            }
            match found.read(copied, &|_| {}) {
                Ok(source) => readable(&mut about, &source),
                Err(error) if error.is_passing() => about.note(error.to_string(), error.help()),
                Err(error) => unreadable(&mut about, &error),
            }
        }
        EntryKind::Unreadable(error @ ReadError::Missing { .. }) => {
            let make =
                format!("run a traced program that records to files there, or `mkdir -m 700 {}`", quoted(&entry.path));
            about.trouble(error.to_string(), make);
        }
        EntryKind::Unreadable(error) => unreadable(&mut about, error),
        EntryKind::Link => {
            let help = "it is not followed; give what it leads to as `--dir`, and remove it if you did not make it";
            about.trouble("a symbolic link", help);
        }
        EntryKind::Special(what) => about.trouble(*what, "only regular files are read; remove it"),
        EntryKind::Foreign => about.note("no file of records by its name", "it is not read; keep it elsewhere"),
        EntryKind::TooDeep => {
            about.note("a directory that is too deep to be searched", "give it as `--dir` if there are records in it");
        }
    }
    about.findings
}

/// Recorded values are for the user that recorded them.
fn permissions(about: &mut About<'_>, access: Access, expected: u32) {
    let Access { mode, is_own, .. } = access;
    if mode & 0o077 != 0 {
        let help = format!("others may see what was recorded: `chmod {expected:o} {}`", quoted(about.path));
        about.trouble(format!("permissions {mode:04o}, expected {expected:04o}"), help);
    }
    if !is_own {
        let help = "run as its owner; a program that runs as this user cannot be expected to write there";
        about.note("it belongs to another user", help);
    }
}

fn place(about: &mut About<'_>, may_write: bool, file_system: Option<&FileSystem>) {
    if !may_write {
        let help = "programs that run as this user record nothing there: change its owner, or set TRACER_DIR";
        about.trouble("this user may not make files in it", help);
    }
    let Some(&FileSystem { name, kind, free_bytes }) = file_system else {
        return about.ok("a directory");
    };
    let free = text::size(free_bytes);
    if free_bytes < FREE_BYTES_MIN {
        about.trouble(format!("{free} free"), "make room, or set TRACER_DIR to a directory on another file system");
    }
    let found = format!("a directory on a file system {name}, {free} free");
    match kind {
        FileSystemKind::Disk | FileSystemKind::Other => about.ok(found),
        FileSystemKind::Memory => {
            about.note(found, "what is there survives the process, not the machine or container; it counts as memory");
        }
        FileSystemKind::CopyOnWrite => {
            about.note(found, "it copies on each write, so that space taken beforehand is no promise; keep some free");
        }
        FileSystemKind::Remote => {
            about.trouble(found, "mapped files are slow or lost there; set TRACER_DIR to a directory on a local disk");
        }
    }
}

fn readable(about: &mut About<'_>, source: &Source) {
    for writer in source.writers.iter().filter(|writer| writer.is_alive) {
        about.note(format!("{} is running", writer.process), "leave the file until it has ended");
    }
    let skipped = &source.skipped;
    if skipped.newer > 0 {
        about.trouble(
            format!("{} of a newer release", text::count(skipped.newer.try_into().unwrap_or(usize::MAX), "record")),
            "install the version of `tracer-cli` that fits the program that writes it",
        );
    }
    let is_whole = skipped.total() == 0 && source.gaps().is_empty() && source.dropped() == 0;
    if is_whole {
        about.ok(format!("{}: {}", source.format, source.confidence));
    } else {
        about.note(
            format!("{}: {}", source.format, source.confidence),
            "the rest is readable; `tracer recover` says what is missing",
        );
    }
}

fn unreadable(about: &mut About<'_>, error: &ReadError) {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let help = match error {
        ReadError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => refused(about.path),
        ReadError::Io { .. } => "is the disk, or the way to it, broken? `dmesg` has what the system noted".to_owned(),
        _ => error.help().to_owned(),
    };
    about.trouble(format!("{error}{cause}"), help);
}

/// Who may read what this user may not: the path, or else the directory that keeps it from being looked at.
fn refused(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let seen = path.ancestors().find_map(|above| Some((above, system::access(above)?)));
    let Some((above, access)) = seen else { return "run as the user that the traced program ran as".to_owned() };
    let named = if above == path { "it".to_owned() } else { format!("`{}`", above.display()) };
    let user = if access.is_own { None } else { system::user_name(access.owner) };
    who_may(access, &named, &user.unwrap_or_else(|| format!("#{}", access.owner)), above, &path)
}

/// `user`: whom `above` belongs to, which `named` says in a sentence.
fn who_may(access: Access, named: &str, user: &str, above: &Path, path: &Path) -> String {
    let Access { mode, is_own, is_directory, .. } = access;
    // What is in a directory has to be reached, too.
    let (needed, expected) = if is_directory { (5, 0o700) } else { (4, 0o600) };
    let may = |place: u32| (mode >> place) & needed == needed;
    let chmod = format!("chmod {expected:o} {}", quoted(above));
    if is_own {
        return format!("{named} has mode {mode:04o}, by which not even its owner may read it: `{chmod}`");
    }
    let run = format!("`sudo -u {} tracer doctor --dir {}`", quoted(Path::new(user)), quoted(path));
    match (may(6), may(3)) {
        (true, true) => {
            format!("{named} belongs to {user}, mode {mode:04o}: only {user} and its group may read it: {run}")
        }
        (true, false) => format!("{named} belongs to {user}, mode {mode:04o}: only {user} may read it: {run}"),
        _ => format!(
            "{named} belongs to {user}, mode {mode:04o}: not even {user} may read it: `sudo {chmod}`, then {run}"
        ),
    }
}

/// As a shell reads it.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let is_plain = path.chars().all(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_'));
    if is_plain { path.into_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

fn write_finding(session: &mut Session<'_>, finding: &Finding) -> io::Result<()> {
    let Finding { level, path, found, help } = finding;
    let mark = mark(*level, session.colours);
    writeln!(session.out, "{mark} {}: {}", Escaped(path), Escaped(found))?;
    if let Some(help) = help {
        writeln!(session.out, "  {}", Escaped(help))?;
    }
    Ok(())
}

fn mark(level: Level, colours: Colours) -> String {
    let (ink, mark) = match level {
        Level::Ok => (Ink::Good, '✓'),
        Level::Note => (Ink::Warn, '·'),
        Level::Trouble => (Ink::Bad, '✗'),
    };
    colours.paint(ink, mark).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(look: impl FnOnce(&mut About<'_>)) -> Vec<(Level, String)> {
        let mut about = About { path: Path::new("d"), findings: Vec::new() };
        look(&mut about);
        about.findings.into_iter().map(|finding| (finding.level, finding.found)).collect()
    }

    #[test]
    fn file_systems_are_told_apart() {
        let on = |kind, free_bytes| {
            let file_system = FileSystem { name: "xyz", kind, free_bytes };
            told(|about| place(about, true, Some(&file_system)))
        };
        let levels = |kind| on(kind, 1 << 30)[0].0;
        assert_eq!(levels(FileSystemKind::Disk), Level::Ok);
        assert_eq!(levels(FileSystemKind::Memory), Level::Note);
        assert_eq!(levels(FileSystemKind::CopyOnWrite), Level::Note);
        assert_eq!(levels(FileSystemKind::Remote), Level::Trouble);
        assert_eq!(on(FileSystemKind::Disk, 1 << 20)[0], (Level::Trouble, "1.00 MiB free".to_owned()));
        assert_eq!(told(|about| place(about, true, None)), [(Level::Ok, "a directory".to_owned())]);
        assert_eq!(told(|about| place(about, false, None))[0].0, Level::Trouble);
    }

    #[test]
    fn what_others_may_see_is_trouble() {
        let access = |mode, is_own| Access { mode, is_own, owner: 7, is_directory: false };
        let with = |mode, is_own| told(|about| permissions(about, access(mode, is_own), 0o600));
        assert_eq!(with(0o600, true), []);
        assert_eq!(with(0o644, true), [(Level::Trouble, "permissions 0644, expected 0600".to_owned())]);
        assert_eq!(with(0o400, false)[0].0, Level::Note);
    }

    #[test]
    fn who_may_read_is_told_to_who_may_not() {
        let with = |mode, is_own, is_directory| {
            let access = Access { mode, is_own, owner: 7, is_directory };
            who_may(access, "it", "jo", Path::new("/d/a"), Path::new("/d/a"))
        };
        let run = "`sudo -u jo tracer doctor --dir /d/a`";
        assert_eq!(with(0o600, false, false), format!("it belongs to jo, mode 0600: only jo may read it: {run}"));
        let group = format!("it belongs to jo, mode 0640: only jo and its group may read it: {run}");
        assert_eq!(with(0o640, false, false), group);
        let nobody = format!("it belongs to jo, mode 0000: not even jo may read it: `sudo chmod 600 /d/a`, then {run}");
        assert_eq!(with(0, false, false), nobody);
        let own = "it has mode 0000, by which not even its owner may read it: `chmod 600 /d/a`";
        assert_eq!(with(0, true, false), own);
        // To list a directory is not enough.
        assert!(with(0o600, false, true).contains("`sudo chmod 700 /d/a`"));
        assert!(with(0o700, false, true).contains("only jo may read it"));
    }

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quoted(Path::new("a/b-c.d")), "a/b-c.d");
        assert_eq!(quoted(Path::new("it's; rm")), r"'it'\''s; rm'");
    }
}
