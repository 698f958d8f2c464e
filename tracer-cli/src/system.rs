//! What the system says of a path. Where it says nothing (or is no Unix), `None`.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "elsewhere file systems are not told apart"))]

use std::path::Path;

/// A file system, as far as it matters to files of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileSystem {
    pub(crate) name: &'static str,
    pub(crate) kind: FileSystemKind,
    /// For users that are not root.
    pub(crate) free_bytes: u64,
}

/// What it does to files of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystemKind {
    /// On a disk of this machine.
    Disk,
    /// Likewise, but writes in place take new space.
    CopyOnWrite,
    /// In memory: gone when the machine or container is.
    Memory,
    /// Somewhere else: mapped files are slow there or not kept.
    Remote,
    /// Nothing is known of it.
    Other,
}

/// Who may do what, of a file or directory, or of what a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    /// The nine permission bits.
    pub(crate) mode: u32,
    /// It belongs to the user that asks.
    pub(crate) is_own: bool,
    /// The number of the user that it belongs to.
    pub(crate) owner: u32,
    pub(crate) is_directory: bool,
}

#[cfg(unix)]
pub(crate) fn access(path: &Path) -> Option<Access> {
    use std::os::unix::fs::MetadataExt;
    let metadata = path.metadata().ok()?;
    let owner = metadata.uid();
    Some(Access {
        mode: metadata.mode() & 0o777,
        is_own: owner == rustix::process::geteuid().as_raw(),
        owner,
        is_directory: metadata.is_dir(),
    })
}

#[cfg(not(unix))]
pub(crate) fn access(_: &Path) -> Option<Access> {
    None
}

/// The name of a user, where `/etc/passwd` has it.
pub(crate) fn user_name(number: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let user = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut named = user.filter(|fields| fields.get(2).is_some_and(|field| field.parse() == Ok(number)));
    named.next()?.first().filter(|name| !name.is_empty()).map(|name| (*name).to_owned())
}

/// Whether the user that asks may make files in a directory, as far as is known.
#[cfg(unix)]
pub(crate) fn may_write(directory: &Path) -> bool {
    use rustix::fs::Access;
    rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
pub(crate) fn may_write(_: &Path) -> bool {
    true
}

#[cfg(unix)]
pub(crate) fn file_system(path: &Path) -> Option<FileSystem> {
    let counts = rustix::fs::statvfs(path).ok()?;
    let (name, kind) = named(path);
    Some(FileSystem { name, kind, free_bytes: counts.f_bavail.saturating_mul(counts.f_frsize) })
}

#[cfg(not(unix))]
pub(crate) fn file_system(_: &Path) -> Option<FileSystem> {
    None
}

/// By the numbers in `statfs(2)` and `linux/magic.h`.
#[cfg(target_os = "linux")]
fn named(path: &Path) -> (&'static str, FileSystemKind) {
    use FileSystemKind as K;
    // Its sign and width depend on the platform; the numbers have 32 bits.
    let magic = rustix::fs::statfs(path).map_or(0, |found| i128::from(found.f_type) & 0xffff_ffff);
    match magic {
        0xef53 => ("ext", K::Disk),
        0x5846_5342 => ("xfs", K::Disk),
        0xf2f5_2010 => ("f2fs", K::Disk),
        0x794c_7630 => ("overlay", K::Disk),
        0x9123_683e => ("btrfs", K::CopyOnWrite),
        0x2fc1_2fc1 => ("zfs", K::CopyOnWrite),
        0xca45_1a4e => ("bcachefs", K::CopyOnWrite),
        0x0102_1994 => ("tmpfs", K::Memory),
        0x8584_58f6 => ("ramfs", K::Memory),
        0x6969 => ("nfs", K::Remote),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => ("smb", K::Remote),
        0x5346_414f | 0x6b41_4653 => ("afs", K::Remote),
        0x6573_5546 => ("fuse", K::Remote),
        0x0102_1997 => ("9p", K::Remote),
        0x00c3_6400 => ("ceph", K::Remote),
        _ => ("of an unknown kind", K::Other),
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn named(_: &Path) -> (&'static str, FileSystemKind) {
    ("of an unknown kind", FileSystemKind::Other)
}
