//! What is said on standard error, where somebody may read it.

use std::fmt;
use std::io::{self, Write};

/// Says it. That the disk of a log is full, or nobody reads any more, is no matter of the program's.
pub(crate) fn tell(what: fmt::Arguments<'_>) {
    let line = format!("tracer: {what}\n");
    let _read_or_not = io::stderr().write_all(line.as_bytes());
}
