//! In steady state a traced call asks the system for nothing and allocates nothing.
//!
//! One test a question, in a process of its own each: what is counted is counted for the whole process.

use std::alloc::System;
use std::hint::black_box;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tracer::{Tracer, traced_node};
use tracer_blackbox::BlackBox;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[traced_node]
fn outer(calls: u64) -> u64 {
    (0..calls).map(inner).sum()
}

#[traced_node]
fn inner(x: u64) -> u64 {
    black_box(x)
}

#[traced_node(record)]
fn recorded(x: u64) -> u64 {
    black_box(x)
}

#[test]
fn calls_do_not_allocate() {
    let directory = std::env::temp_dir().join(format!("tracer-steady-{}", std::process::id()));
    let box_ = BlackBox::options().bytes(128 << 10).open(&directory).unwrap();
    Tracer::builder().recorder(box_).install();
    let work = || {
        for _ in 0..1000 {
            black_box(outer(10));
        }
    };
    work();
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
    // The control: a value has to be put somewhere on its way.
    let region = Region::new(ALLOCATOR);
    recorded(1);
    assert!(region.change().allocations > 0);
    std::fs::remove_dir_all(&directory).unwrap();
}
