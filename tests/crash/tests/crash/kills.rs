//! `SIGKILL` at a random moment: every call that had returned is there, with the right number, in the right order.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tracer::{Record, Status, StepRecord, TraceId};
use tracer_blackbox::Death;

use crate::child::{Directory, start};
use crate::deaths::now;

/// Few, unless `TRACER_KILLS` says how many: `cargo xtask crash` does.
fn kills() -> u32 {
    std::env::var("TRACER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(5)
}

pub(crate) fn acknowledged(directory: &Path) -> Vec<u64> {
    let bytes = fs::read(directory.join("acknowledged")).unwrap_or_default();
    bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// Waits until so many calls of each of so many threads have returned.
pub(crate) fn wait_for_calls(directory: &Path, threads: usize, count: u64) {
    let until = now() + Duration::from_mins(2);
    loop {
        let calls = acknowledged(directory);
        if calls.iter().filter(|calls| **calls >= count).count() >= threads {
            return;
        }
        assert!(now() < until, "{count} calls of {threads} threads are waited for; there are {calls:?}");
        std::thread::yield_now();
    }
}

/// What one thread recorded: its calls of `item`, by number.
#[derive(Default)]
struct Seen {
    thread: Option<u64>,
    entered: u64,
    ended: u64,
    plain: u64,
}

/// How many calls are missing that had been acknowledged; or what is wrong with those that are there.
pub(crate) fn lost(records: &[Record], acknowledged: &[u64]) -> Result<u64, String> {
    let mut traces: HashMap<TraceId, Seen> = HashMap::new();
    let mut steps: HashMap<_, u64> = HashMap::new();
    let mut before = 0;
    for record in records {
        if record.seq() <= before {
            return Err(format!("{} after {before}", record.seq()));
        }
        before = record.seq();
        let Record::Step(step) = record else { continue };
        let last = steps.entry(step.env_id).or_default();
        *last += 1;
        if step.step_id != *last {
            return Err(format!("step {} where {last} was to come", step.step_id));
        }
        see(traces.entry(step.trace_id).or_default(), step)?;
    }
    let mut counts: Vec<u64> = traces.values().map(|seen| seen.ended.min(seen.plain)).collect();
    counts.sort_unstable();
    // A thread that has not begun has no trace.
    let mut acknowledged: Vec<u64> = acknowledged.iter().copied().filter(|count| *count > 0).collect();
    acknowledged.sort_unstable();
    if counts.len() < acknowledged.len() {
        return Ok(acknowledged.iter().sum());
    }
    // Which trace is of which thread is not recorded; sorted, each has at least its own.
    let counts = &counts[counts.len() - acknowledged.len()..];
    let found_in = |(count, acknowledged): (&u64, &u64)| match count {
        more if *more > acknowledged + 1 => Err(format!("{count} calls, {acknowledged} acknowledged")),
        _ => Ok(acknowledged.saturating_sub(*count)),
    };
    counts.iter().zip(&acknowledged).map(found_in).sum()
}

fn see(seen: &mut Seen, step: &StepRecord) -> Result<(), String> {
    let is_enter = step.status == Status::Enter;
    match (&*step.node, is_enter) {
        ("item", true) => {
            if step.values["n"] != seen.entered {
                return Err(format!("item {} has {}", seen.entered, step.values));
            }
            seen.entered += 1;
        }
        ("item", false) => seen.ended += 1,
        ("plain", false) => seen.plain += 1,
        ("items", true) => seen.thread = Some(0),
        ("plain", true) => {}
        (node, _) => return Err(format!("{node} {:?}", step.status)),
    }
    let in_order = seen.entered >= seen.ended && seen.ended >= seen.plain && seen.entered - seen.plain <= 1;
    if in_order { Ok(()) } else { Err(format!("{} entered, {} ended", seen.entered, seen.ended)) }
}

fn kill_at_random(scenario: &str, threads: u64, how: &str) -> Directory {
    let directory = Directory::new();
    let running = start(scenario, directory.path(), &[&threads.to_string(), how]).ready();
    // In an emulator, or where others work, that may take longer than what follows.
    wait_for_calls(directory.path(), 1, 1);
    std::thread::sleep(Duration::from_millis(fastrand::u64(5..120)));
    running.kill();
    directory
}

fn nothing_is_lost(threads: u64, how: &str) {
    let mut total = 0;
    for kill in 0..kills() {
        let directory = kill_at_random("count", threads, how);
        let recovered = directory.recovered();
        let acknowledged = acknowledged(directory.path());
        total += acknowledged.iter().sum::<u64>();
        assert_eq!(lost(&recovered.records, &acknowledged), Ok(0), "kill {kill}: {}", recovered.confidence);
        assert_eq!(recovered.death, Death::Killed);
        assert_eq!(recovered.gaps, [], "kill {kill}");
        // Each thread was in `items`, and maybe in a call of it.
        let open = recovered.open.iter().filter(|node| node.node == "items").count();
        let begun = acknowledged.iter().filter(|count| **count > 0).count();
        assert!(open >= begun, "kill {kill}: {open} open of {begun}: {:?}", recovered.open);
        assert!(recovered.open.len() as u64 <= 2 * threads, "{:?}", recovered.open);
    }
    assert!(total > 0, "something was acknowledged");
    eprintln!("{} kills, {threads} threads, {how}: {total} calls acknowledged, none lost", kills());
}

#[test]
fn acknowledged_steps_of_one_thread_survive_sigkill() {
    nothing_is_lost(1, "sync");
}

#[test]
fn acknowledged_steps_of_eight_threads_survive_sigkill() {
    nothing_is_lost(8, "sync");
}

#[test]
fn acknowledged_steps_of_a_future_survive_sigkill() {
    nothing_is_lost(1, "async");
}

#[test]
fn acknowledged_steps_of_eight_futures_survive_sigkill() {
    nothing_is_lost(8, "async");
}

/// The control: the same check sees what a buffered recorder loses.
#[test]
fn control_a_buffered_recorder_loses_acknowledged_steps() {
    let losses = (0..5).filter(|_| {
        let directory = kill_at_random("count-buffered", 1, "sync");
        let text = fs::read_to_string(directory.path().join("lines.jsonl")).unwrap_or_default();
        let records: Vec<Record> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lost(&records, &acknowledged(directory.path())) != Ok(0)
    });
    assert!(losses.count() > 0);
}
