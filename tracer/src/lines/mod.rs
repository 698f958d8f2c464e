//! The automatic API: frames and envs of traced functions, and where each thread is among them.

pub(crate) mod attempt;
mod blocks;
mod branch;
mod cell;
mod frame;
mod hot;
mod join;
pub(crate) mod key;
mod line;
#[cfg(all(test, loom))]
mod loom;
pub(crate) mod panics;
mod run;
pub(crate) mod scope;
mod thread;
mod trace;
mod traced;
mod within;

pub(crate) use branch::Pinned;
pub use branch::{Branch, branch, carry, carry_fn};
pub use frame::{OpenFrame, current_trace_id, enter};
pub use join::Join;
pub(crate) use line::{Ancestry, Departure, Fork, Opened, Said};
pub use thread::this_thread;
pub(crate) use trace::{SeqCounter, Source, ThreadLane, Trace};
pub use traced::{Prepared, Traced, prepare, traced};

/// Runs `work` without recording anything of it.
pub(crate) fn untraced<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            scope::with(|scope| scope.set_untraced(self.0));
        }
    }
    let _restore = Restore(scope::with(|scope| scope.set_untraced(true)).unwrap_or(false));
    work()
}
