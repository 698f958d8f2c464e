//! The wall clock is set while a program runs: its records stay in order, and nothing seems to have taken longer.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;
use tracer::Record;
use tracer_blackbox::Observed;

use crate::child::{Directory, start, start_command};

const HOUR: i64 = 3600;

/// What is recorded by a program whose clock jumps so; that it does jump is the control.
fn recorded(jumps: &[i64]) -> Vec<Record> {
    let directory = Directory::new();
    let mut program = Command::new(env!("CARGO_BIN_EXE_crash-jumping-clock"));
    program.arg(directory.path()).args(jumps.iter().map(i64::to_string));
    let mut running = start_command(program);
    for jump in jumps {
        let line = running.line();
        let (before, after) = line.split_once(' ').unwrap();
        let seen = after.parse::<i64>().unwrap() - before.parse::<i64>().unwrap();
        assert!((seen - jump).abs() <= 1, "the control: the clock jumped by {seen} s");
    }
    running.ready().kill();
    let recovered = directory.recovered();
    assert_eq!(recovered.gaps, []);
    recovered.records
}

fn stay_in_order(jumps: &[i64]) {
    let records = recorded(jumps);
    let steps: Vec<_> = records.iter().filter_map(Record::as_step).collect();
    let numbers: Vec<_> = steps.iter().filter_map(|step| step.values.get("n")).collect();
    let expected: Vec<_> = (0..2000 * (jumps.len() + 1)).map(|n| json!(n)).collect();
    assert!(numbers.iter().copied().eq(&expected), "in the order of the calls");
    for pair in records.windows(2) {
        assert!(pair[0].seq() < pair[1].seq());
    }
    for pair in steps.windows(2) {
        assert!(pair[0].ts <= pair[1].ts, "{} before {}", pair[0].ts, pair[1].ts);
    }
    let all_ns = steps[steps.len() - 1].ts - steps[0].ts;
    assert!(all_ns < 60_000_000_000, "it took {all_ns} ns in all");
}

/// A process that has paired ticks with the time once only. A second later, a reader that is off by 20 ns when it looks at
/// two clocks sees the rate of the counter to 0.05 kHz: as whole kHz, all see the same.
#[test]
fn times_are_the_same_whenever_a_file_is_read_a_second_after() {
    let directory = Directory::new();
    start("open", directory.path(), &[]).ready().kill();
    sleep(Duration::from_secs(1));
    let times = || {
        let read = directory.recovered_by(&Observed::here());
        read.records.iter().filter_map(Record::as_step).map(|step| step.ts).collect::<Vec<_>>()
    };
    let first = times();
    assert!(first.len() > 2);
    for nth in 0..50 {
        assert_eq!(times(), first, "reading {nth}");
    }
}

/// What the raw clock says is of no use then: it did not run, and the counter may have.
#[test]
fn after_a_sleep_of_the_machine_the_time_says_how_fast_the_counter_is() {
    let directory = Directory::new();
    let mut running = start("uptime", directory.path(), &[]);
    running.line();
    running.ready().kill();
    sleep(Duration::from_secs(1));
    let here = Observed::here();
    let took = |observed: &Observed| {
        let read = directory.recovered_by(observed);
        let times: Vec<_> = read.records.iter().filter_map(Record::as_step).map(|step| step.ts).collect();
        times[times.len() - 1] - times[0]
    };
    let by_raw = took(&here);
    // It sleeps so long between two calls.
    assert!(by_raw >= 50_000_000, "{by_raw} ns");
    let slept = Observed { raw: None, ..here.clone() };
    let by_time = took(&slept);
    assert!(by_raw.abs_diff(by_time) < by_raw / 1000, "{by_raw} and {by_time} ns");
    // The control: a raw clock that stood still while the counter ran on.
    let stood_still = here.raw.map(|(ticks, raw_ns)| (ticks, raw_ns - 500_000_000));
    let wrong = took(&Observed { raw: stood_still, ..here });
    assert!(by_raw.abs_diff(wrong) > by_raw / 10, "{by_raw} and {wrong} ns");
}

#[test]
fn a_clock_that_is_set_back_changes_neither_order_nor_durations() {
    stay_in_order(&[-HOUR]);
}

#[test]
fn a_clock_that_is_set_forward_and_back_does_neither() {
    stay_in_order(&[24 * HOUR, -48 * HOUR, 25 * HOUR]);
}
