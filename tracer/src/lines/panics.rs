//! What panics say, and the frames that they end where nothing unwinds.

use std::any::Any;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

use super::scope;
use crate::outcome;

/// Puts a hook in front of the one there is, once. It prints nothing and calls the other.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    // Setting a hook panics while a panic is under way; the next trace will do it.
    if ONCE.is_completed() || std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            keep(info);
            before(info);
        }));
    });
}

/// What a panic says, if that is a text. `PanicHookInfo::payload_as_str` came with Rust 1.91.
pub fn panic_text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

fn keep(info: &PanicHookInfo<'_>) {
    let said = panic_text(info.payload()).unwrap_or_default();
    let text = outcome::text(format_args!("{said}")).unwrap_or_default();
    scope::with(|scope| {
        scope.keep_panic(text);
        // Nobody will come to end them.
        if cfg!(panic = "abort") {
            scope.end_all();
        }
    });
    if cfg!(panic = "abort") {
        // Outside of the scope: a recorder of the user's is called.
        for tracer in scope::with(|scope| scope.tracers()).unwrap_or_default() {
            tracer.flush();
        }
    }
}
