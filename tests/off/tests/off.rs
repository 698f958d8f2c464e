//! With the feature `off`, annotated functions are the functions themselves.

use tracer_off::{Counter, check, parse, plain_future, traced_future};

#[test]
fn nothing_is_recorded_and_everything_works() {
    assert_eq!(parse("7").map(check), Ok(true));
    assert!(parse("seven").is_err());
    assert_eq!(Counter(1).add(2).add(3).0, 6);
    let stats = tracer::stats();
    assert_eq!((stats.total_records, stats.dropped), (0, 0));
    assert_eq!(tracer::current_trace_id(), None);
}

#[test]
fn a_future_is_as_small_as_it_was() {
    let (traced, plain) = (traced_future([0; 256]), plain_future([0; 256]));
    assert_eq!(size_of_val(&traced), size_of_val(&plain));
}

#[test]
fn the_manual_api_still_works() {
    let ctx = tracer::Tracer::builder().build().create_env((), "manual");
    assert_eq!(ctx.step("parse", tracer::Status::Enter, ()).unwrap().step_id(), 1);
}
