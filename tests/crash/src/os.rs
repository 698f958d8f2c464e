//! What a program can do to itself that the standard library has no word for.

#![expect(unsafe_code, reason = "forks, and dies in unusual ways")]

/// Forks; `child` runs in the child alone, and ends it.
pub(crate) fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the child runs what the test says; it takes no lock that another thread may hold but the allocator's,
    // which the system's fork looks after.
    match unsafe { libc::fork() } {
        0 => {
            child();
            exit_at_once();
        }
        pid => pid,
    }
}

/// Ends the process without any of what is done at an end in order.
pub(crate) fn exit_at_once() -> ! {
    // SAFETY: ends the process, whatever is open.
    unsafe { libc::_exit(0) }
}

/// Dies of it.
pub(crate) fn write_to_nowhere() {
    // SAFETY: none; there is no memory at 8. That is the point: the processor says so and the process dies.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) }
}
