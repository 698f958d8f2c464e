//! Which signal killed the process: faults are noted, if asked for, and then left to whoever had them before. So are those
//! by which somebody ends a program, where that leaves them to the system; of these, whoever handles them has them alone.
//! One is not: where somebody has truncated the file of a box, what was mapped is made memory, and the program goes on.
//!
//! What runs in a handler only loads and stores words, tries a lock for a moment, reads the time, maps a page and hands the
//! signal on: all of it may run wherever the program was.

#![expect(unsafe_code, reason = "handles signals")]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::shared::Shared;
use crate::status::{Death, DeathNote};

const SIGNALS: [libc::c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGILL, libc::SIGFPE];

/// By which somebody ends a program.
const ENDS: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// What was there before, by place in [`SIGNALS`]; leaked.
static BEFORE: [AtomicPtr<libc::sigaction>; SIGNALS.len()] = [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS.len()];

/// Boxes that want to know. A program has one, tests have a few.
static BOXES: [AtomicPtr<Shared>; 8] = [const { AtomicPtr::new(ptr::null_mut()) }; 8];

/// Enough for what a handler of the standard library needs.
const STACK_BYTES: usize = 64 << 10;

pub(crate) fn watch(shared: &'static Shared) {
    static ONCE: Once = Once::new();
    let shared = ptr::from_ref(shared).cast_mut();
    let is_placed = |place: &AtomicPtr<Shared>| {
        place.compare_exchange(ptr::null_mut(), shared, Ordering::Release, Ordering::Relaxed).is_ok()
    };
    if !BOXES.iter().any(is_placed) {
        BOXES[0].store(shared, Ordering::Release);
    }
    ONCE.call_once(|| {
        give_stack();
        for (signal, before) in SIGNALS.into_iter().zip(&BEFORE) {
            install(signal, before);
        }
        watch_ends();
    });
}

/// Whoever handles or ignores one keeps it.
fn watch_ends() {
    // The first process of a container is not ended by a signal that it leaves to the system.
    if std::process::id() == 1 {
        return;
    }
    for signal in ENDS {
        if handler_now(signal) == libc::SIG_DFL {
            handle_by(signal, ours_for_ends(), ptr::null_mut());
        }
    }
}

/// A stack for handlers on this thread, if it has none: its own may be what has overflowed. Threads of the standard
/// library have one.
fn give_stack() {
    let mut now = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: the second argument is a place for a `stack_t`; the first asks for no change.
    if unsafe { libc::sigaltstack(ptr::null(), now.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: the call has succeeded, so it was filled in.
    let now = unsafe { now.assume_init() };
    if now.ss_flags & libc::SS_DISABLE == 0 {
        return;
    }
    let memory: &'static mut [u8] = Box::leak(vec![0; STACK_BYTES].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_BYTES };
    // SAFETY: the memory is leaked, so it is there as long as the thread, and nobody else uses it.
    unsafe {
        libc::sigaltstack(&raw const stack, ptr::null_mut());
    }
}

fn install(signal: libc::c_int, before: &AtomicPtr<libc::sigaction>) {
    let old: *mut libc::sigaction = Box::leak(Box::new(default_action()));
    // Before the handler can run.
    before.store(old, Ordering::Release);
    handle_by(signal, ours(), old);
}

/// `handler`: one of ours. `old`: where to put what was there before, or null.
fn handle_by(signal: libc::c_int, handler: libc::sighandler_t, old: *mut libc::sigaction) {
    let mut action = default_action();
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `action` names a function of the type that SA_SIGINFO asks for; `old` is null or a place for an action.
    unsafe {
        libc::sigaction(signal, &raw const action, old);
    }
}

fn default_action() -> libc::sigaction {
    // SAFETY: numbers, a set of bits and an optional function; zeroes are the default action with no flags.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if signal == libc::SIGBUS && is_mended(info) {
        return;
    }
    // SAFETY: with SA_SIGINFO the kernel gives a valid one, and nobody changes it meanwhile.
    let code = unsafe { info.as_ref() }.map_or(0, |info| info.si_code);
    // Else somebody has sent it, and the program may go on. After an `abort` it does not.
    let is_fault = code > 0 || (signal == libc::SIGABRT && code == libc::SI_TKILL);
    let place = SIGNALS.iter().position(|known| *known == signal).unwrap_or(0);
    let (action, flags) = before(place);
    if action == libc::SIG_IGN && !is_fault {
        return;
    }
    let has_noted = note(signal, info);
    if action == libc::SIG_IGN && signal == libc::SIGABRT {
        // Raised, it is ignored; `abort` itself sees to the rest.
        return;
    }
    if action == libc::SIG_DFL || action == libc::SIG_IGN {
        // The kernel does not ignore faults, either: they would come again for ever.
        die_of(signal);
        return;
    }
    if flags & libc::SA_RESETHAND != 0 {
        BEFORE[place].store(ptr::null_mut(), Ordering::Release);
    }
    let handling = Handling::begin();
    if flags & libc::SA_SIGINFO != 0 {
        type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
        // SAFETY: an action with SA_SIGINFO that is neither default nor ignore is a function of this type.
        let function = unsafe { std::mem::transmute::<usize, Handler>(action) };
        function(signal, info, context);
    } else {
        // SAFETY: an action without SA_SIGINFO that is neither default nor ignore is a function of this type.
        let function = unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(action) };
        function(signal);
    }
    drop(handling);
    let now = handler_now(signal);
    let is_left = now == libc::SIG_DFL && !is_fault;
    let is_given_up = now != ours() || before(place).0 == libc::SIG_DFL || signal == libc::SIGABRT;
    if !is_left && is_given_up && (is_fault || now != ours()) {
        // It comes again, to whoever is to have it now, and kills.
        return;
    }
    if has_noted {
        withdraw();
    }
    if is_left {
        // As the standard library leaves it, which takes what was sent for such a fault.
        BEFORE[place].store(ptr::null_mut(), Ordering::Release);
        handle_by(signal, ours(), ptr::null_mut());
    }
}

extern "C" fn handle_end(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // Somebody else has it by now, and calls this as what was there before: to go on, or to end in order.
    if handler_now(signal) != ours_for_ends() {
        return;
    }
    note(signal, info);
    die_of(signal);
}

thread_local! {
    /// How many handlers of others run on this thread, one inside the other, and those that have left by `longjmp`.
    static HANDLERS: Cell<usize> = const { Cell::new(0) };
}

/// Whether this thread is in a handler that ours has called: then it has survived nothing yet.
pub(crate) fn is_handling() -> bool {
    let are_there = HANDLERS.try_with(|handlers| handlers.get() > 0).unwrap_or(false);
    if are_there && !is_on_stack_of_handlers() {
        // It has left them by `longjmp`.
        let _torn_down = HANDLERS.try_with(|handlers| handlers.set(0));
        return false;
    }
    are_there
}

/// Handlers have a stack of their own, if the thread has one for them.
fn is_on_stack_of_handlers() -> bool {
    let mut now = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: asks for no change; `now` is a place for the answer, and zeroes are one.
    let flags = unsafe {
        libc::sigaltstack(ptr::null(), now.as_mut_ptr());
        now.assume_init().ss_flags
    };
    flags & (libc::SS_ONSTACK | libc::SS_DISABLE) != 0
}

struct Handling;

impl Handling {
    fn begin() -> Self {
        let _torn_down = HANDLERS.try_with(|handlers| handlers.set(handlers.get() + 1));
        Self
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        let _torn_down = HANDLERS.try_with(|handlers| handlers.set(handlers.get().saturating_sub(1)));
    }
}

/// What was there before, and its flags.
fn before(place: usize) -> (libc::sighandler_t, libc::c_int) {
    // SAFETY: null, which stands for the default, or leaked in `install` and not changed since the handler is installed.
    let before = unsafe { BEFORE[place].load(Ordering::Acquire).as_ref() };
    before.map_or((libc::SIG_DFL, 0), |action| (action.sa_sigaction, action.sa_flags))
}

/// What handles the signal now: others may have taken our handler away.
fn handler_now(signal: libc::c_int) -> libc::sighandler_t {
    let mut now = default_action();
    // SAFETY: asks for no change; `now` is a place for an action.
    unsafe { libc::sigaction(signal, ptr::null(), &raw mut now) };
    now.sa_sigaction
}

fn ours() -> libc::sighandler_t {
    handle as extern "C" fn(_, _, _) as usize
}

fn ours_for_ends() -> libc::sighandler_t {
    handle_end as extern "C" fn(_, _, _) as usize
}

/// Whether the memory is that of a box without the bytes of its file, and is there again.
fn is_mended(info: *mut libc::siginfo_t) -> bool {
    // SAFETY: with SA_SIGINFO the kernel gives a valid one, and nobody changes it meanwhile.
    let Some(info) = (unsafe { info.as_ref() }).filter(|info| info.si_code == libc::BUS_ADRERR) else { return false };
    // SAFETY: SIGBUS has the field.
    let address = unsafe { info.si_addr() }.addr();
    boxes().any(|shared| {
        let is_mended = shared.map.replace_page(address);
        if is_mended {
            shared.is_truncated.store(true, Ordering::Relaxed);
        }
        is_mended
    })
}

/// Whether this is what the notes say now.
fn note(signal: libc::c_int, info: *mut libc::siginfo_t) -> bool {
    // SAFETY: with SA_SIGINFO the kernel gives a valid one, and nobody changes it meanwhile.
    let info = unsafe { info.as_ref() };
    let of_fault = info.filter(|_| SIGNALS.contains(&signal));
    // SAFETY: all five signals have the field; it is zero where they have not been raised by the processor.
    let address = of_fault.map_or(0, |info| unsafe { info.si_addr() }.addr() as u64);
    let code = info.map_or(0, |info| u64::from_le_bytes(i64::from(info.si_code).to_le_bytes()));
    let death = Death {
        signal: u64::try_from(signal).unwrap_or(0),
        code,
        address,
        thread: crate::machine::thread(),
        unix_ns: now(),
    };
    let mut has_noted = false;
    for shared in boxes() {
        // Not again for the `abort` of another's handler: of the stack for handlers it has left little.
        if DeathNote::of(shared.map, shared.salt()).write(death) {
            shared.seal_now();
            has_noted = true;
        }
    }
    has_noted
}

/// The process has survived what this thread has noted.
fn withdraw() {
    for shared in boxes() {
        DeathNote::of(shared.map, shared.salt()).withdraw();
    }
}

fn boxes() -> impl Iterator<Item = &'static Shared> {
    // SAFETY: null, or a box that is never given back, stored in `watch`.
    BOXES.iter().filter_map(|shared| unsafe { shared.load(Ordering::Acquire).as_ref() })
}

/// The tracer's clock may be anybody's code, which must not run here.
fn now() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is to a place for the answer, which is zero if there is none.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, time.as_mut_ptr()) };
    // SAFETY: numbers, zero at first.
    let time = unsafe { time.assume_init() };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Ends the process as the signal would have without us.
fn die_of(signal: libc::c_int) {
    let action = default_action();
    // SAFETY: the default action is good for each of the signals.
    unsafe {
        libc::sigaction(signal, &raw const action, ptr::null_mut());
    }
    // SAFETY: any number is allowed. The signal is blocked while its handler runs, and comes when this returns.
    unsafe {
        libc::raise(signal);
    }
}
