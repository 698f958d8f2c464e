//! A sign of life shortly before a deadline. Who waits for something records nothing, and would be found dead with nothing
//! to say whether the host ended it at its deadline, or something else long before.

use std::sync::OnceLock;
use std::thread::{self, Thread};
use std::time::Duration;

use crate::shared::Shared;
use crate::status::Word;

/// How long before the deadline: a thread that is woken needs a while.
const EARLY_NS: u64 = 50_000_000;

/// The thread that gives it, once there was a deadline. In a forked child there is none.
#[derive(Debug, Default)]
pub(crate) struct Vigil(OnceLock<Option<Thread>>);

impl Vigil {
    /// There is another deadline; or nobody has the box any more.
    pub(crate) fn wake(&self) {
        if let Some(Some(thread)) = self.0.get() {
            thread.unpark();
        }
    }

    /// There is a deadline for the first time, or another.
    pub(crate) fn keep(&self, shared: &'static Shared) {
        let start = || {
            let keeper = thread::Builder::new().name("tracer-vigil".to_owned()).spawn(|| keep(shared));
            // Without one, a death at the deadline may be taken for another.
            keeper.ok().map(|keeper| keeper.thread().clone())
        };
        self.0.get_or_init(start);
        self.wake();
    }
}

fn keep(shared: &Shared) {
    while !shared.is_closed() {
        let deadline_ms = shared.status.get(Word::DeadlineMs);
        let now = shared.unix_ns();
        match deadline_ms.saturating_mul(1_000_000).saturating_sub(EARLY_NS).checked_sub(now) {
            _ if deadline_ms == 0 => thread::park(),
            Some(ahead) if ahead > 0 => thread::park_timeout(Duration::from_nanos(ahead)),
            _ => {
                shared.status.set(Word::AliveNs, now);
                thread::park();
            }
        }
    }
}
