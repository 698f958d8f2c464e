//! What a program can do to itself that the standard library has no word for.

#![expect(unsafe_code, reason = "forks, and dies in unusual ways")]

use std::sync::Mutex;
use std::time::Duration;

/// Ends with the thread of the test that started it, also where that is killed.
pub(crate) fn end_with_the_test() {
    // SAFETY: asks for a signal, and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

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

/// Waits until a child has ended.
pub(crate) fn wait_for(child: i32) {
    // SAFETY: nobody asks how it ended.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
}

/// Ends the process without any of what is done at an end in order.
pub(crate) fn exit_at_once() -> ! {
    // SAFETY: ends the process, whatever is open.
    unsafe { libc::_exit(0) }
}

/// Lets the parent drive this process from here on.
pub(crate) fn stop_when_traced() {
    // SAFETY: asks for nothing but that.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    assert_eq!(traced, 0);
    stop();
}

/// Stops until the parent lets it go on.
pub(crate) fn stop() {
    // SAFETY: a signal that no handler can be for.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Waits until no other thread is there.
pub(crate) fn wait_for_threads() {
    while std::fs::read_dir("/proc/self/task").unwrap().count() > 1 {
        std::thread::yield_now();
    }
}

/// How many bytes this process has read so far.
pub(crate) fn bytes_read() -> u64 {
    let counts = std::fs::read_to_string("/proc/self/io").unwrap();
    let read = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
    read.unwrap().parse().unwrap()
}

/// Something was written out to the disk. Times are since some moment in the past.
#[derive(Clone, Copy)]
pub(crate) struct Synced {
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    pub(crate) bytes: usize,
}

static SYNCS: Mutex<Vec<Synced>> = Mutex::new(Vec::new());

/// All so far, in their order.
pub(crate) fn syncs() -> Vec<Synced> {
    SYNCS.lock().unwrap().clone()
}

/// Whoever asks for it calls this one, as the linker finds it before that of the C library.
#[unsafe(no_mangle)]
extern "C" fn msync(address: *mut libc::c_void, len: usize, flags: libc::c_int) -> libc::c_int {
    let begun = since_boot();
    // SAFETY: the arguments are those that the C library's own would give to the system.
    let result = unsafe { libc::syscall(libc::SYS_msync, address, len, flags) };
    assert_eq!(flags, libc::MS_SYNC, "it waits for the disk");
    SYNCS.lock().unwrap().push(Synced { begun, ended: since_boot(), bytes: len });
    -libc::c_int::from(result != 0)
}

fn since_boot() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is that of `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// Takes memory until there is none, and uses all of it.
pub(crate) fn take_memory() {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(std::hint::black_box(vec![1; 1 << 20]));
    }
}

/// Dies of it.
pub(crate) fn write_to_nowhere() {
    // SAFETY: none; there is no memory at 8. That is the point: the processor says so and the process dies.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) }
}

/// Runs `work` where the system kills the process for any call but `write` and `exit_group`; then says `done`.
pub(crate) fn with_nothing_but_writing(work: impl FnOnce()) {
    const fn load(at: u32) -> libc::sock_filter {
        libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: at }
    }
    fn skip_unless(value: libc::c_long, skip: u8) -> libc::sock_filter {
        libc::sock_filter { code: 0x15, jt: 0, jf: skip, k: u32::try_from(value).unwrap() }
    }
    const fn answer(with: u32) -> libc::sock_filter {
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: with }
    }
    let mut filter = [
        load(0),
        skip_unless(libc::SYS_write, 1),
        answer(libc::SECCOMP_RET_ALLOW),
        skip_unless(libc::SYS_exit_group, 1),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
    // SAFETY: numbers only.
    let alone = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program is the filter above, which is there while the system copies it.
    let limited = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!((alone, limited), (0, 0));
    work();
    let text = b"done\n";
    // SAFETY: the pointer and the length are those of `text`.
    unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
    exit_at_once();
}
