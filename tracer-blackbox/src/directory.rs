//! Directories of files: finding them, reading them, keeping their size within bounds.
//!
//! `<directory>/<app>/*.tbx`. A file that somebody has looked at has a mark beside it, `*.read`; those are
//! deleted, the oldest first, and never one of a living process; others only where they would fill the disk.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::file::{EXTENSION, is_locked, is_maker_gone};
use crate::format::{DEATH_AT, Superblock};
use crate::live;
use crate::machine;
use crate::reader::{Observed, RecoverError, Recovered, recover_with, superblock};
use crate::status::{self, ENDED, Lock, StatusRead, Word};

/// Longer than with all options at their most.
const FILE_LEN_MAX: u64 = 1536 << 20;

/// Whoever makes a file writes its beginning within so long.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);

/// What the name of a mark ends with.
const MARK_EXTENSION: &str = "read";

/// A file of a directory, read.
#[derive(Debug)]
#[non_exhaustive]
pub struct FoundFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub recovered: Result<Recovered<'static>, ReadError>,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system gave no bytes.
    #[error("cannot read the file")]
    Io(#[from] io::Error),
    /// The bytes are no black box.
    #[error(transparent)]
    Recover(#[from] RecoverError),
}

/// How far reading a directory has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Files that were read.
    pub files: usize,
    /// Files that there are.
    pub files_total: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes that there are.
    pub bytes_total: u64,
}

/// The files below a directory, oldest first.
///
/// # Errors
///
/// If the directory cannot be read. What cannot be read inside it is left out.
pub fn files_in(directory: impl AsRef<Path>) -> io::Result<Vec<PathBuf>> {
    Ok(listed(directory.as_ref())?.into_iter().map(|file| file.path).collect())
}

/// A file of a directory, not read.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) path: PathBuf,
    pub(crate) is_marked: bool,
    len: u64,
}

/// The files below a directory, oldest first. Each is asked about once: a program that starts waits for this.
pub(crate) fn listed(directory: &Path) -> io::Result<Vec<ListedFile>> {
    let (mut paths, mut marks) = (Vec::new(), HashSet::new());
    let mut take = |path: PathBuf| match path.extension() {
        Some(end) if end == EXTENSION => paths.push(path),
        Some(end) if end == MARK_EXTENSION => _ = marks.insert(path),
        _ => {}
    };
    for entry in fs::read_dir(directory)?.flatten() {
        // Links are not followed: nobody of ours makes any.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            let files = fs::read_dir(entry.path()).into_iter().flatten().flatten();
            let files = files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file()));
            files.for_each(|file| take(file.path()));
        } else if kind.is_file() {
            take(entry.path());
        }
    }
    let mut found: Vec<_> = paths
        .into_iter()
        .map(|path| {
            let metadata = fs::metadata(&path).ok();
            let born = metadata.as_ref().and_then(|file| file.created().or_else(|_| file.modified()).ok());
            let len = metadata.map_or(0, |file| file.len());
            (born, ListedFile { is_marked: marks.contains(&mark_of(&path)), len, path })
        })
        .collect();
    found.sort_by(|(one, first), (other, second)| (one, &first.path).cmp(&(other, &second.path)));
    Ok(found.into_iter().map(|(_, file)| file).collect())
}

/// Reads the files below a directory one after the other, oldest first; says how far it is after each. No more than one
/// is in memory, unless they are kept.
///
/// # Errors
///
/// If the directory cannot be read. A file that cannot is among what is returned.
pub fn recover_dir(
    directory: impl AsRef<Path>,
    mut progress: impl FnMut(Progress),
) -> io::Result<impl Iterator<Item = FoundFile>> {
    let paths = files_in(directory)?;
    let len = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    let bytes_total = paths.iter().map(len).sum();
    let mut now = Progress { files: 0, files_total: paths.len(), bytes: 0, bytes_total };
    Ok(paths.into_iter().map(move |path| {
        now.files += 1;
        now.bytes += len(&path);
        let recovered = recover_file(&path);
        progress(now);
        FoundFile { path, recovered }
    }))
}

/// Reads one file, of this machine.
///
/// # Errors
///
/// If it cannot be read, or is no black box.
pub fn recover_file(path: impl AsRef<Path>) -> Result<Recovered<'static>, ReadError> {
    let file = opened(path.as_ref())?;
    // Before the bytes: a process that is dead by now writes no more, so they say how it ended. The other way round, one
    // that ends in order in between would seem to be killed.
    let observed = observed_for(&beginning(&file)?);
    Ok(recover_with(read_open(&file, |_| ())?, &observed)?)
}

/// What is known of this machine, as far as it matters for one file: whether its process lives.
fn observed_for(bytes: &[u8]) -> Observed {
    let pid = superblock(bytes).ok().map(|block| block.pid);
    let living = pid.and_then(|pid| Some((pid, machine::start_time(pid)?))).into_iter().collect();
    Observed { living, ..Observed::without_processes() }
}

/// The bytes of a file, also while its process writes to it.
///
/// # Errors
///
/// If the system gives none, or it is no file; a link is none.
pub fn read_file(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    read_open(&opened(path.as_ref())?, |_| ())
}

fn opened(path: &Path) -> io::Result<File> {
    // A pipe would never end, and opening it would wait for somebody to write.
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// The bytes of an open file, also while its process writes to it. `seen` is told how many more there are, each time that
/// some have been read.
///
/// If its process lives, entries that it writes meanwhile are left out, and so are pages that begin anew. If it is dead,
/// the bytes also say whether the system has killed anything in its cgroup for want of memory since it looked last.
///
/// # Errors
///
/// If the system gives none, it is no file, or it says that it is longer than any.
pub fn read_open(file: &File, mut seen: impl FnMut(u64)) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a file"));
    }
    // Before the others: who is dead by now writes no more.
    let beginning = beginning(file)?;
    let lock = lock_of(file, &beginning);
    // Of what is no black box, that says all that a reader would.
    let Ok(block) = superblock(&beginning) else { return Ok(beginning) };
    let len = block.file_len.min(metadata.len());
    if len > FILE_LEN_MAX {
        return Err(io::Error::other(format!("more than {} MiB", FILE_LEN_MAX >> 20)));
    }
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut bytes = if is_dead(&block, lock) {
        let mut bytes = live::plain(file, len, &mut seen)?;
        if let Some(kills) = kills_since(&bytes, &block) {
            status::set_kills(&mut bytes, kills);
        }
        bytes
    } else {
        live::copy(file, len, &block, &mut seen)?
    };
    match lock {
        Some(lock) => status::set_lock(&mut bytes, lock),
        // Of what was read once, and kept: by now it may be otherwise.
        None if StatusRead(&bytes).get(Word::Lock) == Lock::Held as u64 => status::forget_lock(&mut bytes),
        None => {}
    }
    Ok(bytes)
}

/// The beginning of a file, its copy and the status: enough to know whose it is, and whether that lives.
fn beginning(file: &File) -> io::Result<Vec<u8>> {
    live::plain(file, DEATH_AT, &mut |_| ())
}

/// Whether its process has its lock, if it has taken it.
fn lock_of(file: &File, beginning: &[u8]) -> Option<Lock> {
    let taken = Lock::taken(file.metadata().ok()?.ino());
    let is_taken = beginning.len() >= DEATH_AT && StatusRead(beginning).get(Word::Lock) == taken;
    let is_held = if is_taken { is_locked(file)? } else { return None };
    Some(if is_held { Lock::Held } else { Lock::Free })
}

/// What the process of a file is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It says that it ended in order.
    Ended,
    /// It is gone, and does not say so.
    Dead,
    /// It lives, or that cannot be known; or it is no file of ours.
    Other,
}

/// No more is read than says so: the next process waits for the answer.
pub(crate) fn standing(path: &Path) -> Standing {
    let Ok(file) = opened(path) else { return Standing::Other };
    let bytes = beginning(&file).unwrap_or_default();
    match superblock(&bytes) {
        Ok(_) if StatusRead(&bytes).get(Word::State) == ENDED => Standing::Ended,
        Ok(block) if is_dead(&block, lock_of(&file, &bytes)) => Standing::Dead,
        _ => Standing::Other,
    }
}

/// How often the system has killed for want of memory where a dead process was: it could not see its own end.
fn kills_since(bytes: &[u8], superblock: &Superblock) -> Option<u64> {
    let status = StatusRead(bytes);
    let (events, inode) = status.memory_events()?;
    // Groups are numbered anew when the machine starts.
    let is_same_boot = superblock.boot_id == machine::boot_id();
    if is_same_boot { machine::kills_at(events, inode) } else { None }
}

fn is_of_the_living(path: &Path) -> bool {
    // What cannot be asked may live.
    let Ok(file) = opened(path) else { return true };
    let Ok(bytes) = beginning(&file) else { return true };
    match superblock(&bytes) {
        Ok(block) => !is_dead(&block, lock_of(&file, &bytes)),
        Err(_) => !was_never_begun(path, &file, &bytes),
    }
}

/// Whether a process has made the file and died before it wrote anything to it: it says only by its name whose it is.
fn was_never_begun(path: &Path, file: &File, beginning: &[u8]) -> bool {
    let written = file.metadata().and_then(|file| file.modified());
    let is_old = written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > BEGINS_WITHIN));
    let is_empty = beginning.iter().all(|byte| *byte == 0);
    is_old && is_empty && is_maker_gone(path) && is_locked(file) == Some(false)
}

/// Whether the process that wrote this is gone for sure.
fn is_dead(block: &Superblock, lock: Option<Lock>) -> bool {
    let is_same_boot = block.boot_id == machine::boot_id();
    if is_same_boot && machine::shares_pids_with(block.pid_namespace) {
        return machine::start_time(block.pid) != Some(block.start_time);
    }
    lock.map_or(!is_same_boot, |lock| lock == Lock::Free)
}

fn mark_of(path: &Path) -> PathBuf {
    path.with_extension(MARK_EXTENSION)
}

/// Says that somebody has looked at a file; `true` for the first who does.
pub(crate) fn mark(path: &Path) -> bool {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(mark_of(path)).is_ok()
}

/// Says that what is in a file has arrived where it was to go, so that [`delete_read`] may delete it once its process is
/// gone. Saying so again changes nothing. Who sends files elsewhere names what they send by
/// [`Process::segment`](crate::Process::segment), since an answer may be lost: what is sent again is the same.
///
/// # Errors
///
/// If no mark can be made beside the file. It is sent once more then.
pub fn acknowledge(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    if mark(path) || is_marked(path) {
        Ok(())
    } else {
        Err(io::Error::other(format!("no mark beside {}", path.display())))
    }
}

fn is_marked(path: &Path) -> bool {
    mark_of(path).exists()
}

/// Deletes files that have been looked at, the oldest first, until those that are left take no more than `bytes_max`;
/// gives how many it deleted.
///
/// # Errors
///
/// If the directory cannot be read.
pub fn delete_read(directory: impl AsRef<Path>, bytes_max: u64) -> io::Result<usize> {
    let files = listed(directory.as_ref())?;
    Ok(files.len() - delete(files.iter().collect(), bytes_max, |file| file.is_marked).len())
}

/// What files may take together, unless something else is said.
pub(crate) const BYTES_MAX: u64 = 256 << 20;

/// So many times as much they may take where nobody has looked at them.
const UNREAD_TIMES: u64 = 4;

/// Deletes files that have been looked at, if all of processes that are gone take more than `bytes_max`, until they take
/// three quarters of that: not each program that starts has to delete some. If they take four times as much all the same,
/// 1 GiB at least, also others of them: where nobody is told of them, they would fill the disk. The newest that did not end
/// in order stays: it is what somebody will want to see.
pub(crate) fn make_room(files: &[ListedFile], bytes_max: u64) {
    if !is_too_much(files, bytes_max) {
        return;
    }
    let dead: Vec<ListedFile> = files.iter().filter(|file| !is_of_the_living(&file.path)).cloned().collect();
    if !is_too_much(&dead, bytes_max) {
        return;
    }
    let newest = dead.iter().rposition(|file| standing(&file.path) == Standing::Dead);
    let left = |bytes: u64| bytes.saturating_sub(newest.map_or(0, |at| dead[at].len));
    let others = dead.iter().enumerate().filter(|(at, _)| Some(*at) != newest).map(|(_, file)| file).collect();
    let others = delete(others, left(bytes_max / 4 * 3), |file| file.is_marked);
    delete(others, left(unread_max(bytes_max)), |_| true);
}

/// Whether files take so much that some have to go.
pub(crate) fn is_too_much(files: &[ListedFile], bytes_max: u64) -> bool {
    files.iter().map(|file| file.len).sum::<u64>() > bytes_max
}

/// How much files may take at which nobody has looked.
fn unread_max(bytes_max: u64) -> u64 {
    bytes_max.max(BYTES_MAX).saturating_mul(UNREAD_TIMES)
}

/// Whether files take so much that some have to go though nobody has looked at them.
pub(crate) fn is_far_too_much(files: &[ListedFile], bytes_max: u64) -> bool {
    is_too_much(files, unread_max(bytes_max))
}

/// Deletes such files, the oldest of which is first, until all take no more than `bytes_max`; gives those that are left.
fn delete(mut files: Vec<&ListedFile>, bytes_max: u64, is_such: impl Fn(&ListedFile) -> bool) -> Vec<&ListedFile> {
    let mut total: u64 = files.iter().map(|file| file.len).sum();
    files.retain(|file| {
        let goes =
            total > bytes_max && is_such(file) && !is_of_the_living(&file.path) && fs::remove_file(&file.path).is_ok();
        if goes {
            let _gone_or_not = fs::remove_file(mark_of(&file.path));
            total -= file.len;
        }
        !goes
    });
    files
}

/// Likewise, of all files below a directory.
pub(crate) fn make_room_in(directory: &Path, bytes_max: u64) {
    let Ok(mut files) = listed(directory) else { return };
    for file in files.iter_mut().filter(|file| !file.is_marked) {
        mark_ended(file, standing(&file.path));
    }
    make_room(&files, bytes_max);
}

/// What ended in order need not be looked at.
pub(crate) fn mark_ended(file: &mut ListedFile, standing: Standing) {
    file.is_marked |= standing == Standing::Ended && mark(&file.path);
}
