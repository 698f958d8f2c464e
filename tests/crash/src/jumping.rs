//! A program whose wall clock jumps: `crash-jumping-clock DIRECTORY SECONDS...`. Records some calls, jumps by so many
//! seconds, records some more, and so on; then says what the clock showed before and after each jump, and `ready`.
//!
//! It is a program of its own because its clock is asked by a system call, which others must not make.

#![expect(unsafe_code, reason = "stands before the system's clock")]

use std::io::{Read, Write};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tracer::{Tracer, traced_node};
use tracer_blackbox::BlackBox;

static JUMPED: AtomicI64 = AtomicI64::new(0);

/// The standard library asks this one, as the linker finds it before that of the C library.
#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the arguments are those that the C library's own would give to the system.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if clock == libc::CLOCK_REALTIME {
        // SAFETY: null, or what the system has just written to.
        if let Some(time) = unsafe { time.as_mut() } {
            time.tv_sec += JUMPED.load(Ordering::Relaxed);
        }
    }
    -libc::c_int::from(result != 0)
}

#[traced_node(record(n))]
fn item(n: u64) -> u64 {
    std::hint::black_box(n)
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that jumps")]
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Calls enough to fill pages, and so to look at the clock.
#[traced_node]
fn items(from: u64) {
    for n in from..from + 2000 {
        item(n);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let black_box = BlackBox::options().app("child", "").open(&arguments[0]).unwrap();
    Tracer::builder().recorder(black_box).install();
    items(0);
    for (jump, from) in arguments[1..].iter().zip((2000..).step_by(2000)) {
        let before = seconds();
        JUMPED.fetch_add(jump.parse().unwrap(), Ordering::Relaxed);
        println!("{before} {}", seconds());
        // So long that the clock is paired with the counter again.
        std::thread::sleep(std::time::Duration::from_millis(150));
        items(from);
    }
    println!("ready");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
