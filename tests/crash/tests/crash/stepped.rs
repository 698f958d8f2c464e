//! A process that executes one instruction at a time, and is looked at between any two.

#![expect(unsafe_code, reason = "drives another process")]

use std::path::Path;

use crate::child::{Running, start};

/// A process that stops where its tracer says.
pub(crate) struct Stepped {
    running: Running,
    has_ended: bool,
}

/// Why it does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// It has executed what it was to.
    Done,
    /// It has stopped by itself: what is looked at ends there.
    Stopped,
    Ended,
}

impl Stepped {
    /// Starts it, and waits for the first place where it stops by itself.
    pub(crate) fn start(scenario: &str, directory: &Path, arguments: &[&str]) -> Self {
        stay_on_one_processor();
        let mut stepped = Self { running: start(scenario, directory, arguments), has_ended: false };
        assert_eq!(stepped.wait(), Halt::Stopped);
        stepped
    }

    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }

    /// Lets it execute one instruction.
    pub(crate) fn step(&mut self) -> Halt {
        self.go_on(libc::PTRACE_SINGLESTEP)
    }

    /// Lets it run to the next place where it stops by itself.
    pub(crate) fn run(&mut self) {
        assert_eq!(self.go_on(libc::PTRACE_CONT), Halt::Stopped);
    }

    fn pid(&self) -> libc::pid_t {
        libc::pid_t::try_from(self.id()).unwrap()
    }

    fn go_on(&mut self, how: libc::c_uint) -> Halt {
        // SAFETY: takes numbers; the process was started here, and asked for it.
        let done = unsafe { libc::ptrace(how, self.pid(), 0, 0) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        self.wait()
    }

    fn wait(&mut self) -> Halt {
        let mut status = 0;
        // SAFETY: the pointer is that of `status`.
        let waited = unsafe { libc::waitpid(self.pid(), &raw mut status, libc::__WALL) };
        assert_eq!(waited, self.pid());
        self.has_ended = !libc::WIFSTOPPED(status);
        match libc::WSTOPSIG(status) {
            _ if self.has_ended => Halt::Ended,
            libc::SIGTRAP => Halt::Done,
            libc::SIGSTOP => Halt::Stopped,
            other => panic!("signal {other}"),
        }
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        if !self.has_ended {
            // SAFETY: a signal to a process that was started here and was not waited for.
            unsafe { libc::kill(self.pid(), libc::SIGKILL) };
            // SAFETY: nobody asks how it ended.
            unsafe { libc::waitpid(self.pid(), std::ptr::null_mut(), libc::__WALL) };
        }
    }
}

/// Where two processes take turns, going from one processor to the other takes most of the time.
fn stay_on_one_processor() {
    // SAFETY: a set of processors is numbers, and none is a valid one.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: takes nothing.
    let here = usize::try_from(unsafe { libc::sched_getcpu() }).unwrap();
    // SAFETY: the number is that of a processor, for which there is room.
    unsafe { libc::CPU_SET(here, &mut one) };
    // SAFETY: the pointer and the length are those of the set.
    unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) };
}
