//! The end of a process that ends in order.

#![expect(unsafe_code, reason = "asks to be called when the process ends")]

use std::sync::Once;

use crate::aside;
use crate::fork;
use crate::panics;
use crate::status::PANICKED;

/// Says in every box that the process has ended, when it does. `_exit`, `abort` and signals end it otherwise.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(register);
}

#[cfg(target_env = "gnu")]
fn register() {
    use std::ffi::{c_int, c_void};

    unsafe extern "C" {
        // glibc, `man 3 on_exit`; the libc crate leaves it out.
        fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }

    extern "C" fn ended(status: c_int, _: *mut c_void) {
        end(Some(u32::from(status.to_le_bytes()[0])));
    }

    // SAFETY: the function has the type that is asked for, lives as long as the program, and does not look at its
    // argument.
    unsafe {
        on_exit(ended, std::ptr::null_mut());
    }
}

#[cfg(not(target_env = "gnu"))]
fn register() {
    extern "C" fn ended() {
        end(None);
    }

    // SAFETY: the function has the type that is asked for, and lives as long as the program.
    unsafe {
        libc::atexit(ended);
    }
}

fn end(status: Option<u32>) {
    aside::wait();
    for shared in fork::boxes_soon() {
        match status {
            // A main that panics returns 101; that is no end in order.
            Some(PANICKED) if panics::in_main() => shared.end_by_panic(),
            // Where nobody says what it returns.
            None if panics::was_just_in_main(shared.unix_ns()) => shared.end_by_panic(),
            status => shared.end(status),
        }
    }
}
