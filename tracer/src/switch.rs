//! Recording on and off, for the whole process.

use std::sync::atomic::{AtomicBool, Ordering};

static ON: AtomicBool = AtomicBool::new(true);

/// Turns the recording of traced functions on or off, for the whole process. Calls in progress end as they began;
/// the manual API is not affected.
///
/// Nodes with `checkpoint` cannot keep what they return while it is off. In an attempt at an [execution](crate::execution)
/// they do not run then: [`run_attempt`](crate::execution::ExecutionManager::run_attempt) fails with `NOT_TRACED`, and a worker
/// tries again half a minute later, as long as the execution has attempts.
pub fn set_enabled(on: bool) {
    ON.store(on, Ordering::Relaxed);
}

/// Whether traced functions are recorded.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}
