//! Any bytes: the reader says what it finds, the same each time, and nothing else.
//!
//! Half of the inputs are changes to a real file: where the bytes differ, the checks refuse them, so what comes behind the
//! checks is only reached from there.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tracer_blackbox::recover;

static REAL: OnceLock<Vec<u8>> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let real = REAL.get_or_init(|| std::fs::read("../tests/data/v2.0.tbx").unwrap_or_default());
    read(bytes);
    // Pairs of a place and what is written there.
    let mut changed = real.clone();
    for change in bytes.chunks_exact(12) {
        let at = u32::from_le_bytes(change[..4].try_into().unwrap()) as usize % changed.len().max(1);
        let room = changed.len().min(at + 8) - at;
        changed[at..at + room].copy_from_slice(&change[4..4 + room]);
    }
    read(&changed);
});

fn read(bytes: &[u8]) {
    let first = recover(bytes);
    assert_eq!(first, recover(bytes));
    if let Ok(read) = &first {
        read.records().for_each(drop);
        for trace in read.traces() {
            read.trace(trace.trace_id).for_each(drop);
        }
    }
}
