//! Any bytes: the reader says what it finds, the same each time, and nothing else; and each trace can be drawn.
//!
//! Half of the inputs are changes to a real file: where the bytes differ, the checks refuse them, so what comes behind the
//! checks is only reached from there.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tracer::tree::{Span, Tree};
use tracer_blackbox::recover;

static REAL: OnceLock<Vec<u8>> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let real = REAL.get_or_init(|| std::fs::read("../tests/data/v2.1.tbx").expect("the file is where the target is run"));
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
            let records: Vec<_> = read.trace(trace.trace_id).collect();
            let tree = Tree::of_trace(trace.trace_id, &records, trace.is_active);
            // However many spans there are, each is drawn once.
            assert!(tree.spans.iter().flat_map(Span::walk).count() <= records.len());
            assert!(!format!("{tree}{tree:#}").is_empty());
        }
    }
}
