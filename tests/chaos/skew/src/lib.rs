//! Loaded into a process by `LD_PRELOAD`, sets its clock wrong, by as many seconds as `TRACER_SKEW_S` says. Only the time
//! of day: what measures durations goes on as it does.

use std::sync::OnceLock;

/// In the place of the C library's.
///
/// # Safety
///
/// As the C library's: `into` can be written.
#[expect(unsafe_code, reason = "it stands for a function of the C library")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, into: *mut libc::timespec) -> libc::c_int {
    static SKEW: OnceLock<i64> = OnceLock::new();
    // SAFETY: the arguments are as the caller of the C library has promised.
    let answer = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, into) };
    if answer == 0 && clock == libc::CLOCK_REALTIME {
        let set = || std::env::var("TRACER_SKEW_S").ok()?.parse().ok();
        let skew = *SKEW.get_or_init(|| set().unwrap_or(0));
        // SAFETY: the call has just written there.
        unsafe { (*into).tv_sec += skew };
    }
    if answer == 0 { 0 } else { -1 }
}
