//! What the last panic said, in the file: it may be why the process ends.

use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracer::recorder::panic_text;

use crate::fork;
use crate::machine;
use crate::shared::soon;
use crate::status::Panic;

/// Panics so far; one is written at a time.
static COUNT: Mutex<u64> = Mutex::new(0);
/// When the main thread has panicked last, in Unix nanoseconds; 0: never.
static IN_MAIN: AtomicU64 = AtomicU64::new(0);

/// Unwinding takes no longer.
const UNWINDING_MAX_NS: u64 = 1_000_000_000;

/// Puts a hook in front of the one there is, once. It prints nothing and calls the other.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    // Setting a hook panics while a panic is under way; the next box will do it.
    if ONCE.is_completed() || std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
}

/// Whether the main thread has panicked.
pub(crate) fn in_main() -> bool {
    IN_MAIN.load(Ordering::Relaxed) != 0
}

/// Whether it did so as short a time ago as it takes to end for that.
pub(crate) fn was_just_in_main(now_unix_ns: u64) -> bool {
    in_main() && now_unix_ns.saturating_sub(IN_MAIN.load(Ordering::Relaxed)) < UNWINDING_MAX_NS
}

/// In a forked child: what its parent has had is not why it will end.
pub(crate) fn forget(count: &mut u64) {
    *count = 0;
    IN_MAIN.store(0, Ordering::Relaxed);
}

/// While a process is forked, no panic is being written.
pub(crate) fn hold() -> MutexGuard<'static, u64> {
    COUNT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(info: &PanicHookInfo<'_>) {
    let thread = machine::thread();
    let in_main = thread == u64::from(std::process::id());
    let place = info.location().map(|place| format!("{}:{}: ", place.file(), place.line())).unwrap_or_default();
    let text = place + panic_text(info.payload()).unwrap_or("(no text)");
    let boxes = fork::boxes_soon();
    if in_main {
        let now = boxes.first().map_or(1, |shared| shared.unix_ns());
        IN_MAIN.store(now.max(1), Ordering::Relaxed);
    }
    // Whoever forks has it for long, and may be waiting for what this thread has.
    let Some(mut count) = soon(&COUNT) else { return };
    *count += 1;
    for shared in boxes {
        let panic = Panic { count: *count, thread, in_main, unix_ns: shared.unix_ns(), text: text.clone() };
        panic.write(shared.map, shared.salt());
        shared.note_time();
    }
}
