//! What lies below a directory: whether bytes that were given stay given.
//!
//! A file is written by storing into memory. That is no harm only where the system has the bytes: not where they are on
//! another machine, or in another process that can refuse them when they are stored.

#![expect(unsafe_code, reason = "asks the system what a file lies on")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

/// What a file system means for a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Good,
    /// It writes elsewhere what is written again, so that bytes which were given may still be missing.
    CopiesOnWrite(&'static str),
    /// Bytes are somewhere else.
    Elsewhere(&'static str),
}

impl Place {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let mut found = MaybeUninit::<libc::statfs>::zeroed();
        // SAFETY: the descriptor is that of an open file, and the pointer is to a place for the answer.
        if unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has succeeded, so it was filled in.
        let found = unsafe { found.assume_init() };
        Ok(Self::by_magic(i128::from(found.f_type) & 0xffff_ffff))
    }

    /// By the numbers in `statfs(2)` and `linux/magic.h`.
    const fn by_magic(magic: i128) -> Self {
        match magic {
            0x6969 => Self::Elsewhere("NFS"),
            0x6573_5546 => Self::Elsewhere("FUSE"),
            0x0102_1997 => Self::Elsewhere("9p"),
            0x517b | 0xff53_4d42 | 0xfe53_4d42 => Self::Elsewhere("SMB"),
            0x00c3_6400 => Self::Elsewhere("Ceph"),
            0x5346_414f | 0x6b41_4653 => Self::Elsewhere("AFS"),
            0x9123_683e => Self::CopiesOnWrite("btrfs"),
            0x2fc1_2fc1 => Self::CopiesOnWrite("ZFS"),
            0xca45_1a4e => Self::CopiesOnWrite("bcachefs"),
            _ => Self::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_known_by_their_numbers() {
        // Those of `linux/magic.h`, and ZFS, which is not in it.
        for (magic, place) in [
            (0x6969, Place::Elsewhere("NFS")),
            (0x6573_5546, Place::Elsewhere("FUSE")),
            (0x0102_1997, Place::Elsewhere("9p")),
            (0x517b, Place::Elsewhere("SMB")),
            (0xff53_4d42, Place::Elsewhere("SMB")),
            (0xfe53_4d42, Place::Elsewhere("SMB")),
            (0x00c3_6400, Place::Elsewhere("Ceph")),
            (0x5346_414f, Place::Elsewhere("AFS")),
            (0x6b41_4653, Place::Elsewhere("AFS")),
            (0x9123_683e, Place::CopiesOnWrite("btrfs")),
            (0x2fc1_2fc1, Place::CopiesOnWrite("ZFS")),
            (0xca45_1a4e, Place::CopiesOnWrite("bcachefs")),
            // tmpfs, ext4, XFS, overlayfs, and what nobody knows.
            (0x0102_1994, Place::Good),
            (0xef53, Place::Good),
            (0x5846_5342, Place::Good),
            (0x794c_7630, Place::Good),
            (0, Place::Good),
        ] {
            assert_eq!(Place::by_magic(magic), place, "{magic:#x}");
        }
    }
}
