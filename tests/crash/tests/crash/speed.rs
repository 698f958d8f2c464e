//! What reading costs. Run with `cargo xtask crash speed`: in a build that is optimised, on a machine that is quiet.

use std::time::{Duration, Instant};

use tracer_blackbox::{Death, Observed, recover_with};

use crate::child::{Directory, start};

#[test]
#[ignore = "measures time, so only an optimised build says anything"]
fn a_file_of_64_mib_is_read_in_100_ms() {
    // Two entries and a part each: more than fit.
    let values = read("wrap-large", "600000", 2);
    // Two events each.
    let events = read("wrap-events", "6000000", 2);
    // Four entries each.
    let [traces, interleaved] =
        [("wrap-traces", "400000"), ("wrap-traces-threads", "100000")].map(|(of, n)| read(of, n, 0));
    // Six entries each, in pages of two threads.
    let moving = read("wrap-traces-moving", "400000", 0);
    // Likewise, in a line that has no block.
    let outside = read("wrap-outside", "6000000", 3);
    for best in [values, events, traces, interleaved, moving, outside] {
        assert!(best <= Duration::from_millis(100), "{best:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "times the reader; nothing is traced here")]
fn read(scenario: &str, calls: &str, open: usize) -> Duration {
    let directory = Directory::new();
    start(scenario, directory.path(), &[calls]).ready().kill();
    let bytes = directory.bytes();
    assert!(bytes.len() >= 64 << 20);
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let begun = Instant::now();
        let read = recover_with(&bytes, &Observed::default()).unwrap();
        best = best.min(begun.elapsed());
        assert_eq!((read.open.len(), &read.death), (open, &Death::Unknown), "{}", read.confidence);
    }
    let read = recover_with(&bytes, &Observed::default()).unwrap();
    let begun = Instant::now();
    read.traces();
    let listed = begun.elapsed();
    let (traces, steps) = (read.traces().len(), read.traces().iter().map(|trace| trace.steps).sum::<u64>());
    eprintln!("{scenario}, {} MiB: {steps} steps of {traces} traces found in {best:?}", bytes.len() >> 20);
    eprintln!("  these put together in {listed:?}");
    let last = read.traces().last().unwrap();
    let begun = Instant::now();
    let records = read.trace(last.trace_id).count() as u64;
    eprintln!("  the {records} records of the last trace in {:?}", begun.elapsed());
    assert_eq!(records, last.records);
    let begun = Instant::now();
    let records = read.records().count() as u64;
    eprintln!("  all {records} records in {:?}", begun.elapsed());
    assert_eq!(records, read.confidence.records);
    best
}
