//! What reading costs. Run with `cargo xtask crash speed`: in a build that is optimised, on a machine that is quiet.

use std::time::{Duration, Instant};

use tracer_blackbox::{Death, Observed, Survey};

use crate::child::{Directory, start};

#[test]
#[ignore = "measures time, so only an optimised build says anything"]
#[expect(clippy::disallowed_methods, reason = "times the reader; nothing is traced here")]
fn a_file_of_64_mib_is_read_in_100_ms() {
    let directory = Directory::new();
    // Two entries and a part each: more than fit.
    start("wrap-large", directory.path(), &["600000"]).ready().kill();
    let bytes = directory.bytes();
    assert!(bytes.len() >= 64 << 20);
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let begun = Instant::now();
        let survey = Survey::new(&bytes, &Observed::default()).unwrap();
        let (open, death, traces) = (survey.open(), survey.death(&Observed::default()), survey.traces());
        let surveyed = begun.elapsed();
        assert_eq!((open.len(), death, traces.len()), (2, Death::Unknown, 1));
        let records = survey.recovered(&Observed::default()).records.len();
        eprintln!(
            "{records} records of {} MiB found in {surveyed:?}, told in {:?}",
            bytes.len() >> 20,
            begun.elapsed()
        );
        best = best.min(surveyed);
    }
    assert!(best <= Duration::from_millis(100), "{best:?}");
}
