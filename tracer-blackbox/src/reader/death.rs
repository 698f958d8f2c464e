//! How a process ended, from what it wrote and what is known of the machine. Pure: the facts are arguments.

use std::collections::BTreeSet;
use std::fmt;

use super::scan::Scan;
use crate::format::{PANIC_ABORTS, PANIC_TEXT_MAX, Superblock};
use crate::machine;
use crate::status::{self, ENDED, KILLS_ASKED, Lock, PANICKED, Panic, Word};

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Death {
    /// In order.
    Clean {
        /// What it returned to the system, if that is known.
        status: Option<u8>,
    },
    /// By a panic.
    Panic {
        /// Where, and what it said.
        text: String,
    },
    /// By a signal that it could still note.
    Signal {
        /// Its number.
        number: i32,
        /// The address that was accessed, or zero.
        address: u64,
    },
    /// Ended by its host, because an invocation took too long.
    DeadlineExceeded {
        /// When that was, in milliseconds since 1970.
        deadline_ms: u64,
    },
    /// Killed for want of memory.
    Memory {
        /// Bytes in use when it last looked; zero if nothing limits them.
        used: u64,
        /// The bytes that it was allowed; zero if nothing limits them but the machine.
        limit: u64,
    },
    /// Killed, and nothing says why: `SIGKILL`, or a signal that was not to be noted.
    Killed,
    /// It has not ended.
    StillRunning,
    /// The machine was restarted while it ran.
    HostLost,
    /// Killed, or still running: nothing is known of the machine it ran on.
    Unknown,
    /// Likewise: it runs, or ran, where processes have other numbers, such as in another container of this machine, and
    /// the file system says nothing of locks.
    OtherNamespace,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean { status: None } => f.write_str("ended in order"),
            Self::Clean { status: Some(status) } => write!(f, "ended in order, exit status {status}"),
            Self::Panic { text } => write!(f, "panicked: {text}"),
            Self::Signal { number, address: 0 } => write!(f, "died of {}", signal_name(*number)),
            Self::Signal { number, address } => write!(f, "died of {} at {address:#x}", signal_name(*number)),
            Self::DeadlineExceeded { .. } => f.write_str("ended by its host: the deadline was exceeded"),
            Self::Memory { limit: 0, .. } => f.write_str("killed for want of memory"),
            Self::Memory { used, limit } => {
                write!(f, "killed for want of memory: {} of {} MiB in use", used >> 20, limit >> 20)
            }
            Self::Killed => f.write_str("killed"),
            Self::StillRunning => f.write_str("still running"),
            Self::HostLost => f.write_str("lost with its host: the machine was restarted"),
            Self::Unknown => f.write_str("killed, or still running"),
            Self::OtherNamespace => f.write_str("unknown: another PID namespace"),
        }
    }
}

fn signal_name(number: i32) -> String {
    let name = match number {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGABRT => "SIGABRT",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGQUIT => "SIGQUIT",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

/// What is known of the machine that a file is read on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Which boot this is; `None`: the file is from a machine that nothing is known of.
    pub boot_id: Option<[u8; 16]>,
    /// The living processes: number, and start time in clock ticks after boot, as it is outside of time namespaces.
    pub living: BTreeSet<(u32, u64)>,
    /// In which namespace these numbers are, as the inode of `/proc/self/ns/pid`; zero if unknown.
    pub pid_namespace: u64,
    /// Unix nanoseconds.
    pub now_unix_ns: u64,
    /// What the machine's counter says at that time, if the tracer trusts it.
    pub counter: Option<u64>,
    /// What the counter and the raw clock (`CLOCK_MONOTONIC_RAW`, in nanoseconds, as it is outside of time namespaces) say
    /// at one time, if the tracer trusts the counter and the machine has not slept since it was started.
    pub raw: Option<(u64, u64)>,
}

impl Observed {
    /// This machine, now.
    pub fn here() -> Self {
        Self { living: machine::living(), ..Self::without_processes() }
    }

    /// The counter and a clock, if a file of this boot counts by the same: the raw one, or the time.
    pub(super) fn pair(&self, superblock: &Superblock, raw: bool) -> Option<(u64, u64)> {
        let is_same = self.boot_id.is_some_and(|boot| boot == superblock.boot_id);
        let pair = if raw { self.raw } else { self.counter.map(|ticks| (ticks, self.now_unix_ns)) };
        pair.filter(|_| is_same)
    }

    /// Whether the process has another number here, if it lives.
    fn is_elsewhere(&self, superblock: &Superblock) -> bool {
        self.pid_namespace != 0 && superblock.pid_namespace != 0 && self.pid_namespace != superblock.pid_namespace
    }

    /// Whether the machine went down while the process ran: then pages of the file may be of any age.
    pub(super) fn host_was_lost(&self, superblock: &Superblock) -> bool {
        self.boot_id.is_some_and(|boot| superblock.boot_id != [0; 16] && boot != superblock.boot_id)
    }

    pub(crate) fn without_processes() -> Self {
        let boot_id = Some(machine::boot_id()).filter(|id| *id != [0; 16]);
        let times = tracer::Times::default();
        let (ticks, now_unix_ns) = times.now();
        Self {
            boot_id,
            living: BTreeSet::new(),
            pid_namespace: machine::pid_namespace(),
            now_unix_ns,
            counter: times.is_counter().then_some(ticks),
            raw: machine::raw_pair().filter(|_| times.is_counter() && !machine::has_slept()),
        }
    }
}

/// A panic this long before the last thing that was recorded is not why the process ended.
const UNWINDING_MAX_NS: u64 = 1_000_000_000;
/// Who was alive this long before its deadline, or later, and is dead after it, was ended for it.
const BEFORE_DEADLINE_NS: u64 = 250_000_000;
/// A cgroup this full has no room, in 1/1000.
const FULL: u64 = 950;

/// `last_ns`: when something was last recorded.
pub(super) fn classify(scan: &Scan<'_>, observed: &Observed, last_ns: u64) -> Death {
    let (status, superblock) = (scan.status(), &scan.valid.superblock);
    if status.get(Word::State) == ENDED {
        let code = status.get(Word::Exit).checked_sub(1).and_then(|code| u8::try_from(code).ok());
        return Death::Clean { status: code };
    }
    let same_boot = observed.boot_id.is_some_and(|boot| boot == superblock.boot_id);
    let is_elsewhere = same_boot && observed.is_elsewhere(superblock);
    let lock = status.get(Word::Lock);
    let lives = if same_boot && !is_elsewhere {
        observed.living.contains(&(superblock.pid, superblock.start_time))
    } else {
        lock == Lock::Held as u64
    };
    if lives {
        return Death::StillRunning;
    }
    let is_gone = lock == Lock::Free as u64;
    let panic = Panic::read(scan.bytes, superblock.salt);
    // It said so when it ended, or no panic of it can be survived.
    let says_so = status.get(Word::Exit) == u64::from(PANICKED) + 1;
    let ends_by_panic = panic.filter(|_| says_so || superblock.flags & PANIC_ABORTS != 0);
    let death = status::DeathNote::read(scan.bytes, superblock.salt);
    let number = death.map_or(0, |death| i32::try_from(death.signal).unwrap_or(0));
    match (death, ends_by_panic, Panic::read(scan.bytes, superblock.salt)) {
        // A panic that cannot unwind ends in `abort`, in whichever thread. Where none unwinds it is the thread's own, however
        // long it took to tell of it.
        (Some(death), _, Some(panic))
            if number == libc::SIGABRT
                && (death.unix_ns.abs_diff(panic.unix_ns) < UNWINDING_MAX_NS
                    || (superblock.flags & PANIC_ABORTS != 0 && death.thread == panic.thread)) =>
        {
            return Death::Panic { text: panic_text(panic) };
        }
        (Some(death), ..) => return Death::Signal { number, address: address(death) },
        (None, Some(panic), _) => return Death::Panic { text: panic_text(panic) },
        (None, None, _) => {}
    }
    if observed.boot_id.is_none() && !is_gone {
        return Death::Unknown;
    }
    if observed.host_was_lost(superblock) {
        return Death::HostLost;
    }
    if is_elsewhere && !is_gone {
        return Death::OtherNamespace;
    }
    let (used, limit) = (status.get(Word::MemoryUsed), status.get(Word::MemoryLimit));
    let (first, last) = (status.get(Word::KillsAtFirst), status.get(Word::KillsLast));
    // Files that were read fill a cgroup, too: where the system could be asked, what it says counts alone.
    let was_asked = first > 0 && last & KILLS_ASKED != 0;
    let is_full = limit > 0 && used / 1000 >= limit / 1_000_000 * FULL;
    if last & !KILLS_ASKED > first || (is_full && !was_asked) {
        return Death::Memory { used, limit };
    }
    let deadline_ms = status.get(Word::DeadlineMs);
    let is_over = observed.now_unix_ns.max(last_ns) / 1_000_000 >= deadline_ms;
    // It may as well have died long before. Nearly until its deadline it gave signs of life.
    let was_alive = last_ns.saturating_add(BEFORE_DEADLINE_NS) / 1_000_000 >= deadline_ms;
    if deadline_ms > 0 && is_over && was_alive {
        return Death::DeadlineExceeded { deadline_ms };
    }
    Death::Killed
}

/// What it said. A text that fills its room may have been cut, at a character of up to four bytes.
fn panic_text(panic: Panic) -> String {
    let Panic { mut text, .. } = panic;
    if text.len() + 3 >= PANIC_TEXT_MAX && !text.ends_with('…') {
        text.push('…');
    }
    text
}

/// Raised by the processor, not by a process: then the field is an address.
fn address(death: status::Death) -> u64 {
    let by_processor =
        death.code != 0 && death.code >> 63 == 0 && death.signal != u64::from(libc::SIGABRT.unsigned_abs());
    if by_processor { death.address } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_fills_its_room_says_that_there_may_be_more() {
        let said = |text: String| panic_text(Panic { count: 1, thread: 1, in_main: true, unix_ns: 1, text });
        assert_eq!(said("x".repeat(100)), "x".repeat(100));
        assert_eq!(said("x".repeat(PANIC_TEXT_MAX)), "x".repeat(PANIC_TEXT_MAX) + "…");
        let marked = "x".repeat(PANIC_TEXT_MAX - 3) + "…";
        assert_eq!(said(marked.clone()), marked);
    }
}
