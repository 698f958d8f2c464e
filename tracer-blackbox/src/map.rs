//! Memory that others can see: mapped files, and the same without a file.
//!
//! A mapping of which anything was lent out is never unmapped, so that can be lent out for ever, and all of it is atomic
//! words: whatever another process does to the file, no reference here is broken by it. It is zero at first.

#![expect(unsafe_code, reason = "maps memory, and says that it is words")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use tracer::recorder::block::{BLOCK_BYTES, Block};
use tracer::recorder::page::{PAGE_BYTES, Page, SLOT_WORDS, SLOTS};

use crate::format::Layout;

/// A mapping of as many bytes as a [`Layout`] has. It stays until the process ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Map {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it is an address and a number. All access to what lies there is through atomic words.
unsafe impl Send for Map {}
// SAFETY: likewise.
unsafe impl Sync for Map {}

/// 64 KiB: a process may have little memory left.
const PIECE_WORDS: usize = 8192;
const PROTECTION: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;

impl Map {
    /// Maps a file, whose bytes up to the length of the layout exist on the disk.
    pub(crate) fn file(file: &File, layout: Layout) -> io::Result<Self> {
        Self::made(layout, libc::MAP_SHARED, file.as_raw_fd())
    }

    /// Memory of this process alone.
    pub(crate) fn anonymous(layout: Layout) -> io::Result<Self> {
        Self::made(layout, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1)
    }

    /// Lays a file over what is mapped here, at the same addresses.
    pub(crate) fn replace_by_file(self, file: &File) -> io::Result<()> {
        self.replace_by(Self::file(file, self.layout)?)
    }

    /// Lays zeroes over what is mapped here, which a process shares with those that it forks until these do the same.
    pub(crate) fn replace_by_zeroes(self) -> io::Result<()> {
        // What is shared counts for no limit of data (`ulimit -d`).
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // Where there is no room for a second mapping (`ulimit -v`), at once in place of the first.
        Self::made(self.layout, flags, -1).and_then(|other| self.replace_by(other)).or_else(|_| self.overlay())
    }

    fn overlay(self) -> io::Result<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
        // SAFETY: replaces all of this mapping, of which all that refers to it are atomic words.
        let laid = unsafe { libc::mmap(self.base.as_ptr().cast(), self.layout.file_len(), PROTECTION, flags, -1, 0) };
        if laid == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Moves another mapping of the same layout here. If that fails, this stays as it was: mapping anew at an address in use
    /// may leave nothing there.
    fn replace_by(self, other: Self) -> io::Result<()> {
        let (len, [here, there]) = (self.layout.file_len(), [self, other].map(|map| map.base.as_ptr().cast()));
        // SAFETY: both are mappings of so many bytes. Nothing refers to the other, which is gone then; those who hold
        // references into this one, which is replaced whole, go on with atomic words.
        let moved = unsafe { libc::mremap(there, len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, here) };
        if moved != libc::MAP_FAILED {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        // SAFETY: it was not moved, and nothing refers to it.
        unsafe { libc::munmap(there, len) };
        Err(error)
    }

    /// Lays zeroes of this process alone over the system's page that `address` lies in. `false`: it is none of this
    /// mapping, or the system refuses. Safe to call from a signal handler.
    pub(crate) fn replace_page(self, address: usize) -> bool {
        let offset = address.checked_sub(self.base.as_ptr().addr()).filter(|offset| *offset < self.layout.file_len());
        // SAFETY: takes a number; POSIX lists it among what handlers may call.
        let page_len = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) });
        let (Some(offset), Ok(page_len)) = (offset, page_len) else { return false };
        // SAFETY: the offset lies within the mapping, whose base is at the beginning of a page.
        let page = unsafe { self.base.add(offset - offset % page_len) };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
        // SAFETY: replaces one page of the mapping, of which all that refers to it are atomic words.
        let replaced = unsafe { libc::mmap(page.as_ptr().cast(), page_len, PROTECTION, flags, -1, 0) };
        replaced != libc::MAP_FAILED
    }

    fn made(layout: Layout, flags: libc::c_int, file: libc::c_int) -> io::Result<Self> {
        // SAFETY: without MAP_FIXED, which nobody asks for, the kernel chooses unused addresses.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), layout.file_len(), PROTECTION, flags, file, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // The first store would otherwise read ahead, and clear megabytes of the page cache at once: milliseconds for a
        // program that has just begun. A system that does not take the advice is only slower.
        // SAFETY: the range is that of the mapping made above; what it holds stays as it is.
        unsafe { libc::madvise(base, layout.file_len(), libc::MADV_RANDOM) };
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { base, layout })
    }

    /// Writes what was changed to the disk, and waits for it.
    pub(crate) fn sync(self) -> io::Result<()> {
        // SAFETY: the range is that of the mapping, whose base is at the beginning of a page.
        match unsafe { libc::msync(self.base.as_ptr().cast(), self.layout.file_len(), libc::MS_SYNC) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether not even the beginning is there any more.
    pub(crate) fn is_emptied(self) -> bool {
        self.words(0, 1)[0].load(Ordering::Relaxed) == 0
    }

    pub(crate) const fn layout(self) -> Layout {
        self.layout
    }

    /// The words from `at` on.
    pub(crate) fn words(self, at: usize, count: usize) -> &'static [AtomicU64] {
        assert!(at % 8 == 0 && at + count * 8 <= self.layout.file_len(), "words of the file");
        // SAFETY: the offset lies within the mapping, as asserted.
        let first = unsafe { self.base.add(at) };
        // SAFETY: so many words lie within the mapping, as asserted, and are aligned, as the base is to a page. The
        // mapping is never taken away. Every bit pattern is an AtomicU64, and nothing here is anything but one.
        unsafe { slice::from_raw_parts(first.cast::<AtomicU64>().as_ptr(), count) }
    }

    pub(crate) fn blocks(self) -> &'static [Block] {
        const { assert!(size_of::<Block>() == BLOCK_BYTES && align_of::<Block>() <= 4096) };
        // SAFETY: the region lies within the mapping: the layout has both from the same function.
        let first = unsafe { self.base.add(self.layout.blocks_at()) };
        // SAFETY: so many blocks lie in the region. It begins at a multiple of 4096, so they are aligned. A Block is an
        // array of AtomicU64 (`repr(C)`, and of just that size), for which every bit pattern is good.
        unsafe { slice::from_raw_parts(first.cast::<Block>().as_ptr(), self.layout.blocks) }
    }

    pub(crate) fn pages(self) -> &'static [Page] {
        const { assert!(size_of::<Page>() == PAGE_BYTES && align_of::<Page>() <= 4096) };
        // SAFETY: as in `blocks`.
        let first = unsafe { self.base.add(self.layout.pages_at()) };
        // SAFETY: as in `blocks`; a Page is an array of AtomicU64 likewise.
        unsafe { slice::from_raw_parts(first.cast::<Page>().as_ptr(), self.layout.pages) }
    }

    /// The words of all slots of a page.
    pub(crate) fn slots(self, page: usize) -> &'static [AtomicU64] {
        self.words(self.layout.pages_at() + page * PAGE_BYTES + 64, SLOTS * SLOT_WORDS)
    }

    /// The place of a block among [`blocks`](Self::blocks); `None` if it is not one of them.
    pub(crate) fn block_index(self, block: &Block) -> Option<usize> {
        let offset = std::ptr::from_ref(block).addr().checked_sub(self.base.as_ptr().addr())?;
        let index = offset.checked_sub(self.layout.blocks_at())? / BLOCK_BYTES;
        (index < self.layout.blocks).then_some(index)
    }

    /// The first `len` bytes, as they are now.
    pub(crate) fn copy_until(self, len: usize) -> Vec<u8> {
        bytes_of(self.words(0, len / 8))
    }

    /// Likewise piece by piece, with their places.
    pub(crate) fn pieces_until(self, len: usize) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let pieces = self.words(0, len / 8).chunks(PIECE_WORDS).enumerate();
        pieces.map(|(nth, words)| ((nth * PIECE_WORDS * 8) as u64, bytes_of(words)))
    }

    /// The heads of pages that are not zero, with their places.
    pub(crate) fn page_heads(self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let places = (0..self.layout.pages).map(move |page| self.layout.pages_at() + page * PAGE_BYTES);
        let heads = places.map(move |at| (at as u64, bytes_of(self.words(at, 8))));
        heads.filter(|(_, head)| head.iter().any(|byte| *byte != 0))
    }
}

fn bytes_of(words: &[AtomicU64]) -> Vec<u8> {
    // Acquire: a slot whose head says that it is complete is complete.
    words.iter().flat_map(|word| word.load(Ordering::Acquire).to_le_bytes()).collect()
}
