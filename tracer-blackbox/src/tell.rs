//! What is said on standard error, where somebody may read it.

#![expect(unsafe_code, reason = "writes without the lock of the standard library, which a forked child may never get")]

use std::fmt;

/// Says it. That the disk of a log is full, or nobody reads any more, is no matter of the program's.
pub(crate) fn tell(what: fmt::Arguments<'_>) {
    let line = format!("tracer: {what}\n");
    // SAFETY: the pointer and the length are those of `line`.
    let _read_or_not = unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
}
