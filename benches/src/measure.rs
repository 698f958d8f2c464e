//! Measures one case in this process.

use std::fs;
use std::time::{Duration, Instant};

use crate::cases::Case;

/// What a call costs, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// By the wall clock, in the thread that calls.
    pub wall: f64,
    /// On the processor, in all threads, up to the end of what they do for the calls.
    pub cpu: f64,
}

const PASSES: usize = 5;
const PASS: Duration = Duration::from_millis(5);

/// The median of some passes, in the steady state.
pub fn cost(case: &Case) -> Cost {
    (case.prepare)();
    (case.calls)(case.warm_up);
    let calls = calls_in_a_pass(case);
    (case.flush)();
    let cpu_before = cpu_ns();
    let mut walls: Vec<f64> = (0..PASSES).map(|_| time(case, calls).as_nanos() as f64 / calls as f64).collect();
    (case.flush)();
    let cpu = cpu_ns().saturating_sub(cpu_before) as f64 / (calls * PASSES as u64) as f64;
    Cost { wall: median(&mut walls), cpu }
}

/// Makes so many calls in the steady state, for a tool that watches [`WATCHED`].
pub fn only_call(case: &Case, calls: u64) {
    (case.prepare)();
    (case.calls)(case.warm_up);
    watched(case, calls);
}

/// The function that makes nothing but the calls.
pub const WATCHED: &str = "tracer_benches::measure::watched";

#[inline(never)]
fn watched(case: &Case, calls: u64) {
    (case.calls)(calls);
}

fn calls_in_a_pass(case: &Case) -> u64 {
    let mut calls = 1000;
    while time(case, calls) < PASS {
        calls *= 2;
    }
    calls
}

fn time(case: &Case, calls: u64) -> Duration {
    let start = now();
    (case.calls)(calls);
    start.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch, not a record")]
fn now() -> Instant {
    Instant::now()
}

/// What the threads of this process took so far.
fn cpu_ns() -> u64 {
    // The kernel brings the account of a thread up to date when it is scheduled.
    std::thread::yield_now();
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return 0 };
    let of_thread = |thread: fs::DirEntry| {
        fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    };
    threads.flatten().filter_map(of_thread).sum()
}

/// The middle one; 0 of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert!((median(&mut [9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
        assert!(median(&mut []).abs() < f64::EPSILON);
    }
}
