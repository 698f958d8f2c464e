//! Making the file: its place and name, and that nobody is led elsewhere.
//!
//! Directories are the owner's alone (0700), files too (0600). A link is not followed, an existing file never opened.
//! The disk has to give every byte at once: a mapping of bytes that it does not have ends in a signal.

#![expect(unsafe_code, reason = "asks the system for blocks on the disk, and how many there may be")]

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::format::PAIRS_AT;
use crate::machine::{self, Identity};
use crate::place::Place;
use crate::shared::within_patience;
use crate::status::Lock;

/// What the name of a file ends with.
pub(crate) const EXTENSION: &str = "tbx";

/// What every process stores into at once, zeroes still. The system takes pages of the disk into memory at half the price
/// where they are written together, and not stored into one by one.
static FRONT: [u8; PAIRS_AT + 4096] = [0; PAIRS_AT + 4096];

/// A file that was made and has the bytes, all zero.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    /// Why it may not have them for ever.
    pub(crate) doubt: Option<String>,
    /// Others can see by a lock that the process lives, as long as it has the file open or mapped.
    is_locked: bool,
}

impl Created {
    /// What the file says of its lock; 0: nothing.
    pub(crate) fn lock(&self) -> u64 {
        let inode = self.file.metadata().ok().filter(|_| self.is_locked);
        inode.map_or(0, |file| Lock::taken(file.ino()))
    }
}

/// Makes a file of `len` bytes for this process: `<directory>/<app>/<boot>-<pid>-<start>-<n>.tbx`. `anywhere`: also
/// where the bytes are not on this machine.
pub(crate) fn create(
    directory: &Path,
    app: &str,
    identity: Identity,
    len: usize,
    anywhere: bool,
) -> io::Result<Created> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    is_directory(&found_or_made(directory, true)?, directory)?;
    let directory = directory.join(plain(app));
    make_own_directory(&directory)?;
    let doubt = judge(&File::open(&directory)?, anywhere)?;
    let Identity { boot_id, pid, start_time } = identity;
    let boot = named_boot(boot_id);
    // A process before this one may have had its number and its second, if the machine has no boot id or no `/proc`.
    for _ in 0..100 {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{boot:08x}-{pid}-{start_time}-{n}.{EXTENSION}"));
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&path);
        match options {
            Ok(file) => {
                let is_locked = lock_soon(&file);
                return match allocate(&file, len).and_then(|()| file.write_all_at(&FRONT, 0)) {
                    Ok(()) => Ok(Created { file, path, doubt, is_locked }),
                    Err(error) => {
                        // What is not whole is nobody's.
                        let _gone_or_not = fs::remove_file(&path);
                        Err(error)
                    }
                };
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What the names of files say of a boot.
fn named_boot(boot_id: [u8; 16]) -> u32 {
    u32::from_le_bytes([boot_id[3], boot_id[2], boot_id[1], boot_id[0]])
}

/// Whether the process that made a file of this name is gone; only of one that has its number here.
pub(crate) fn is_maker_gone(path: &Path) -> bool {
    let parts: Option<Vec<&str>> = path.file_stem().and_then(OsStr::to_str).map(|name| name.split('-').collect());
    let Some([boot, pid, start_time, _]) = parts.as_deref() else { return false };
    let (Ok(boot), Ok(pid), Ok(start_time)) = (u32::from_str_radix(boot, 16), pid.parse(), start_time.parse()) else {
        return false;
    };
    boot != named_boot(machine::boot_id()) || machine::start_time(pid) != Some(start_time)
}

/// What is there; a directory for the owner alone, if nothing was. Nearly always it is there, so that is asked first.
fn found_or_made(directory: &Path, with_parents: bool) -> io::Result<fs::Metadata> {
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match DirBuilder::new().recursive(with_parents).mode(0o700).create(directory) {
                // Somebody else was faster.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                made => {
                    if made.is_ok() && directory.ends_with(".tracer") {
                        keep_out_of_git(directory);
                    }
                    fs::symlink_metadata(directory)
                }
            }
        }
        found => found,
    }
}

/// Beside a program's sources, where values that were recorded are soon committed by mistake.
fn keep_out_of_git(directory: &Path) {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join(".gitignore"));
    let _kept_or_not = file.and_then(|file| file.write_all_at(b"*\n", 0));
}

/// Makes a directory for the owner alone. If it is there, it has to be ours.
fn make_own_directory(directory: &Path) -> io::Result<()> {
    let found = found_or_made(directory, false)?;
    is_directory(&found, directory)?;
    // SAFETY: takes nothing, and cannot fail.
    let user = unsafe { libc::geteuid() };
    if found.uid() != user {
        return Err(io::Error::other(format!("{} belongs to another user", directory.display())));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Not a link to one: where others can write, they could lead us anywhere.
fn is_directory(found: &fs::Metadata, directory: &Path) -> io::Result<()> {
    if found.is_dir() {
        return Ok(());
    }
    let is = if found.is_symlink() { "a link, which is not followed" } else { "not a directory" };
    Err(io::Error::other(format!("{} is {is}", directory.display())))
}

/// Refuses a directory of which the bytes are not on this machine, or gives what there is to say about it.
fn judge(directory: &File, anywhere: bool) -> io::Result<Option<String>> {
    match Place::of(directory)? {
        Place::Good => Ok(None),
        Place::CopiesOnWrite(name) => {
            Ok(Some(format!("{name} copies what is written, and may run out of room for it")))
        }
        Place::Elsewhere(name) if anywhere => Ok(Some(format!("{name} may lose what is mapped"))),
        Place::Elsewhere(name) => {
            Err(io::Error::other(format!("{name} may lose what is mapped (see Options::anywhere)")))
        }
    }
}

/// Takes a lock that goes with the open file, not with the process; never waits.
fn lock(file: &File, kind: libc::c_int) -> bool {
    // SAFETY: the descriptor is that of an open file.
    unsafe { libc::flock(file.as_raw_fd(), kind | libc::LOCK_NB) == 0 }
}

/// Locks a new file, which a reader may have for a moment, to see whether it can be had.
fn lock_soon(file: &File) -> bool {
    let locked = within_patience(|| {
        let is_locked = lock(file, libc::LOCK_EX);
        (is_locked || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock).then_some(is_locked)
    });
    locked.unwrap_or(false)
}

/// Whether somebody has [locked](Created::is_locked) it; `None` if the file system does not say.
pub(crate) fn is_locked(file: &File) -> Option<bool> {
    if lock(file, libc::LOCK_SH) {
        lock(file, libc::LOCK_UN);
        return Some(false);
    }
    (io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock).then_some(true)
}

fn allocate(file: &File, len: usize) -> io::Result<()> {
    if len as u64 > len_max() {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    loop {
        // SAFETY: the descriptor is that of an open file.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
            0 => return Ok(()),
            libc::EINTR => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// How long a file may become (`ulimit -f`). Whoever makes a longer one is not only refused, but sent `SIGXFSZ`, which ends
/// the program.
fn len_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the pointer is to a place for the answer, which stays as it is if there is none.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    limit.rlim_cur
}

/// A name as the name of a directory: no separator, no dot in front.
fn plain(app: &str) -> String {
    let safe = |char: char| if char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.') { char } else { '_' };
    let plain: String = app.chars().take(64).map(safe).collect();
    match plain.trim_start_matches('.') {
        "" => "app".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for (name, plain_name) in [("app", "app"), ("../x/y", "_x_y"), ("..", "app"), ("", "app"), ("ä b", "__b")] {
            assert_eq!(plain(name), plain_name);
        }
    }
}
