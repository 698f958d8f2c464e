//! How often a traced call allocates.
//!
//! `allocations --out DIRECTORY`

use std::alloc::System;
use std::path::Path;
use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tracer_benches::children;
use tracer_benches::table::{Column, Row, Table};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLS: u64 = 100_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["count", nth] => {
            count(nth);
            ExitCode::SUCCESS
        }
        ["--out", out] => tracer_benches::exit(run(Path::new(out))),
        _ if children::obey(&arguments) => ExitCode::SUCCESS,
        _ => {
            eprintln!("usage: allocations --out DIRECTORY");
            ExitCode::FAILURE
        }
    }
}

fn count(nth: &str) {
    let case = children::case(nth);
    (case.prepare)();
    (case.calls)(case.warm_up.max(CALLS));
    (case.flush)();
    let region = Region::new(ALLOCATOR);
    (case.calls)(CALLS);
    (case.flush)();
    let change = region.change();
    let per_call = |count: usize| count as f64 / CALLS as f64;
    println!("{} {}", per_call(change.allocations + change.reallocations), per_call(change.bytes_allocated));
}

fn run(out: &Path) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let cases = children::of(&own)?;
    let rows = cases.into_iter().map(|case| {
        let [count, bytes] = case.figures("count")?;
        Ok(Row { group: case.group, name: case.name, figures: vec![Some(count), Some(bytes)] })
    });
    let table = Table {
        title: "Allocations of one traced call".to_owned(),
        columns: vec![Column { heading: "allocations", digits: 3 }, Column { heading: "bytes", digits: 1 }],
        rows: rows.collect::<Result<_, String>>()?,
        notes: vec![format!("Means of {CALLS} calls in the steady state, all threads, reallocations included.")],
    };
    table.publish(out, "allocations")
}
