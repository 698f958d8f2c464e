//! Futures that wait for their first poll hold their values, and nothing of what it takes to write them.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tracer::traced_node;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[traced_node(record(order))]
async fn place(order: &str) -> usize {
    order.len()
}

#[test]
fn a_future_that_waits_takes_little() {
    const FUTURES: usize = 1000;
    drop(place("tea"));
    let mut waiting = Vec::with_capacity(FUTURES);
    let region = Region::new(ALLOCATOR);
    waiting.extend((0..FUTURES).map(|_| place("tea")));
    let bytes = region.change().bytes_allocated;
    assert!(bytes < FUTURES * 512, "{} bytes each", bytes / FUTURES);
    assert!(bytes > FUTURES * 64, "the control: their values are there, in {} bytes each", bytes / FUTURES);
}
