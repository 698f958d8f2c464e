//! Threads by number.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// A number that no other thread has, alive or not: from 1 on. A forked process keeps that of the thread that has forked.
pub fn this_thread() -> u64 {
    // Not one of the model checker's, which would find it changed in the next execution.
    static THREADS: AtomicU64 = AtomicU64::new(0);
    NUMBER.with(|number| {
        if number.get() == 0 {
            number.set(THREADS.fetch_add(1, Ordering::Relaxed) + 1);
        }
        number.get()
    })
}
