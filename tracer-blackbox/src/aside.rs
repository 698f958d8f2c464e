//! Work of some length that the program need not wait for, unless it ends.

use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A program that ends waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much is under way, and which process does it: a forked child has none of these threads.
static UNDER_WAY: Mutex<UnderWay> = Mutex::new(UnderWay { pid: 0, count: 0 });
static DONE: Condvar = Condvar::new();

/// Does it on a thread of its own; where there can be none, at once.
pub(crate) fn run(work: impl FnOnce() + Send + 'static) {
    let (give, take) = std::sync::mpsc::channel();
    let begun = Begun::new();
    let other = thread::Builder::new().name("tracer-aside".to_owned()).spawn(move || {
        let _begun = begun;
        if let Ok(work) = take.recv() {
            let work: Box<dyn FnOnce() + Send> = work;
            work();
        }
    });
    match other {
        // It is there, so it takes it.
        Ok(_) => drop(give.send(Box::new(work))),
        Err(_) => work(),
    }
}

/// Waits until all is done, as a program ends.
pub(crate) fn wait() {
    let pid = process::id();
    let _over_or_not = DONE.wait_timeout_while(hold(), PATIENCE, |now| now.pid == pid && now.count > 0);
}

pub(crate) struct UnderWay {
    pid: u32,
    count: usize,
}

/// Lets nothing begin or end, as while the process is forked.
pub(crate) fn hold() -> MutexGuard<'static, UnderWay> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work that is under way until it is dropped.
struct Begun;

impl Begun {
    fn new() -> Self {
        let (mut now, pid) = (hold(), process::id());
        let before = if now.pid == pid { now.count } else { 0 };
        *now = UnderWay { pid, count: before + 1 };
        Self
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        hold().count -= 1;
        DONE.notify_all();
    }
}
