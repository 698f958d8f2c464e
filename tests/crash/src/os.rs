//! What a program can do to itself that the standard library has no word for.

#![expect(unsafe_code, reason = "forks, and dies in unusual ways")]

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
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

/// Waits until a child has ended; whether of itself.
pub(crate) fn wait_for(child: i32) -> bool {
    let mut status = 0;
    // SAFETY: `status` is a place for how it ended.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    waited == child && libc::WIFEXITED(status)
}

/// A signal kills the process in so many seconds.
pub(crate) fn die_in(seconds: u32) {
    // SAFETY: asks for a signal, and touches no memory.
    unsafe { libc::alarm(seconds) };
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

/// Has a handler of its own for faults: what it makes of one.
pub(crate) fn handle_faults(how: Handling) {
    let (action, flags): (usize, libc::c_int) = match how {
        Handling::Ignore => (libc::SIG_IGN, 0),
        Handling::Mend => (mend as extern "C" fn(_, _, _) as usize, libc::SA_SIGINFO),
        Handling::Once => (nothing as extern "C" fn(_) as usize, libc::SA_RESETHAND),
        Handling::Restore => (restore as extern "C" fn(_) as usize, 0),
    };
    // SAFETY: zeroes are an action; what is set is a function of the type that the flags ask for.
    unsafe {
        let mut own: libc::sigaction = std::mem::zeroed();
        (own.sa_sigaction, own.sa_flags) = (action, flags | libc::SA_ONSTACK);
        let before: *mut libc::sigaction = Box::leak(Box::new(std::mem::zeroed()));
        libc::sigaction(libc::SIGSEGV, &raw const own, before);
        BEFORE.store(before, Ordering::Relaxed);
    }
}

/// Leaves what ends a program to the system.
pub(crate) fn end_by_default() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: the default action is good for each of them.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Has a handler for `SIGTERM` that goes on; as some libraries do, it calls what was there before.
pub(crate) fn handle_ends() {
    static BEFORE: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn go_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
        let before = BEFORE.load(Ordering::Relaxed);
        if before != libc::SIG_DFL {
            // SAFETY: a handler of the black box, which asks for all three.
            let before = unsafe { std::mem::transmute::<usize, Handler>(before) };
            before(signal, info, context);
        }
    }
    // SAFETY: zeroes are an action; the function is of the type that the flag asks for.
    unsafe {
        let (mut own, mut before): (libc::sigaction, libc::sigaction) = (std::mem::zeroed(), std::mem::zeroed());
        (own.sa_sigaction, own.sa_flags) = (go_on as extern "C" fn(_, _, _) as usize, libc::SA_SIGINFO);
        libc::sigaction(libc::SIGTERM, ptr::null(), &raw mut before);
        BEFORE.store(before.sa_sigaction, Ordering::Relaxed);
        libc::sigaction(libc::SIGTERM, &raw const own, ptr::null_mut());
    }
}

/// Has a handler for the signal of `abort` that does nothing. Of `abort` itself nobody survives; of its signal, who has that.
pub(crate) fn handle_aborts_by_nothing() {
    // SAFETY: zeroes are an action; the function is of the type that an action without flags has.
    unsafe {
        let mut own: libc::sigaction = std::mem::zeroed();
        own.sa_sigaction = nothing as extern "C" fn(_) as usize;
        libc::sigaction(libc::SIGABRT, &raw const own, ptr::null_mut());
    }
}

pub(crate) fn raise_abort() {
    // SAFETY: any signal may be raised.
    unsafe { libc::raise(libc::SIGABRT) };
}

#[derive(Clone, Copy)]
pub(crate) enum Handling {
    Ignore,
    /// What is at [`closed_page`] is opened; anything else is left to the default.
    Mend,
    /// Nothing, and the default afterwards.
    Once,
    /// As one who reports it: whoever was there before is to have it next.
    Restore,
}

static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

extern "C" fn restore(signal: libc::c_int) {
    // SAFETY: what was there before, which is leaked.
    unsafe { libc::sigaction(signal, BEFORE.load(Ordering::Relaxed), ptr::null_mut()) };
}

static CLOSED: AtomicUsize = AtomicUsize::new(0);
const PAGE_BYTES: usize = 4096;

/// Memory that is opened when it is written to, as runtimes of other languages do it.
pub(crate) fn closed_page() -> *mut u64 {
    // SAFETY: new memory, of nobody else.
    let page = unsafe {
        libc::mmap(ptr::null_mut(), PAGE_BYTES, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    assert_ne!(page, libc::MAP_FAILED);
    CLOSED.store(page as usize, Ordering::Relaxed);
    page.cast()
}

/// Writes to it.
pub(crate) fn write_to(page: *mut u64) {
    // SAFETY: of `closed_page`: the handler makes it memory that may be written to.
    unsafe { page.write_volatile(1) };
}

extern "C" fn mend(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid one, which has the field where the processor has raised the signal.
    let address = unsafe { (*info).si_addr() } as usize;
    if address == CLOSED.load(Ordering::Relaxed) && address != 0 {
        // SAFETY: memory of `closed_page`.
        unsafe { libc::mprotect(address as *mut _, PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE) };
    } else {
        // SAFETY: the default is good for the signal.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

extern "C" fn nothing(_: libc::c_int) {}

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

/// Where this process has mapped a file.
pub(crate) struct Mapping {
    base: usize,
    len: usize,
}

impl Mapping {
    pub(crate) fn of(file: &Path) -> Self {
        let all = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = all.lines().find(|line| line.ends_with(file.to_str().unwrap())).unwrap();
        let (base, end) = line.split(' ').next().and_then(|range| range.split_once('-')).unwrap();
        let [base, end] = [base, end].map(|address| usize::from_str_radix(address, 16).unwrap());
        Self { base, len: end - base }
    }

    pub(crate) fn pages(&self) -> usize {
        self.len / PAGE_BYTES
    }

    /// Takes away what is in a page of memory that was given in place of a file: it is zeroes then.
    pub(crate) fn clear(&self, page: usize) {
        let at = ptr::with_exposed_provenance_mut(self.base + page % self.pages() * PAGE_BYTES);
        // SAFETY: it lies within the mapping, all of whose words may be anything at any time.
        let cleared = unsafe { libc::madvise(at, PAGE_BYTES, libc::MADV_DONTNEED) };
        assert_eq!(cleared, 0);
    }
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
    unsafe { ptr::without_provenance_mut::<u8>(8).write_volatile(1) }
}

/// Runs `work` where the system kills the process for any call but `write` and `exit_group`; then says `done`.
pub(crate) fn with_nothing_but_writing(work: impl FnOnce()) {
    limit_to(&mut [
        load(NUMBER),
        skip_unless(number(libc::SYS_write), 1),
        answer(libc::SECCOMP_RET_ALLOW),
        skip_unless(number(libc::SYS_exit_group), 1),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
    ]);
    work();
    let text = b"done\n";
    // SAFETY: the pointer and the length are those of `text`.
    unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
    exit_at_once();
}

/// As whoever kills it from outside.
pub(crate) fn kill() {
    // SAFETY: a signal that no handler can be for.
    unsafe { libc::raise(libc::SIGKILL) };
}

/// Lets this process have so many bytes more of memory of its own.
pub(crate) fn limit_data(more: u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let used = status.lines().find_map(|line| line.strip_prefix("VmData:")?.trim().strip_suffix(" kB")).unwrap();
    let most = used.parse::<u64>().unwrap() * 1024 + more;
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the pointer is that of `limit`.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) };
    assert_eq!(limited, 0);
}

/// From here on the system refuses a call, with this error. `mmap`: of what is shared with a file alone; `second`: of what
/// is shared without one; `overlay`: of what is laid over another.
pub(crate) fn refuse(call: &str, error: u32) {
    let refused = answer(libc::SECCOMP_RET_ERRNO | error);
    let allowed = answer(libc::SECCOMP_RET_ALLOW);
    let only = |call| limit_to(&mut [load(NUMBER), skip_unless(number(call), 1), refused, allowed]);
    let mapped = |flags: libc::c_int| {
        limit_to(&mut [
            load(NUMBER),
            skip_unless(number(libc::SYS_mmap), 3),
            load(FLAGS_OF_MMAP),
            skip_unless(flags.unsigned_abs(), 1),
            refused,
            allowed,
        ]);
    };
    match call {
        "fallocate" => only(libc::SYS_fallocate),
        "pwrite" => only(libc::SYS_pwrite64),
        "openat" => only(libc::SYS_openat),
        "fstatfs" => only(libc::SYS_fstatfs),
        #[cfg(target_arch = "x86_64")]
        "mkdir" => only(libc::SYS_mkdir),
        #[cfg(not(target_arch = "x86_64"))]
        "mkdir" => only(libc::SYS_mkdirat),
        "mmap" => mapped(libc::MAP_SHARED),
        "second" => mapped(libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE),
        "overlay" => mapped(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED),
        "nothing" => {}
        other => panic!("no call {other}"),
    }
}

/// Places in `seccomp_data` (`linux/seccomp.h`): the number of the call, and the low half of its fourth argument.
const NUMBER: u32 = 0;
const FLAGS_OF_MMAP: u32 = 16 + 3 * 8;

const fn load(at: u32) -> libc::sock_filter {
    libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: at }
}

const fn skip_unless(value: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter { code: 0x15, jt: 0, jf: skip, k: value }
}

const fn answer(with: u32) -> libc::sock_filter {
    libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: with }
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap()
}

/// The system asks this program at each call from here on.
fn limit_to(filter: &mut [libc::sock_filter]) {
    let program = libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: numbers only.
    let alone = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program is the filter above, which is there while the system copies it.
    let limited = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!((alone, limited), (0, 0));
}

/// Maps a file that has a length and no bytes on the disk, and stores to all of it.
pub(crate) fn write_to_what_is_not_there(path: &str) {
    const LEN: usize = 8 << 20;
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(LEN as u64).unwrap();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the system chooses unused addresses.
    let base = unsafe { libc::mmap(ptr::null_mut(), LEN, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_ne!(base, libc::MAP_FAILED);
    for at in (0..LEN).step_by(4096) {
        // SAFETY: it lies within the mapping. That the system has nowhere to put it is the point.
        unsafe { base.cast::<u8>().add(at).write_volatile(1) };
    }
}
