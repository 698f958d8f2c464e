//! Taking a position along to where it would not be found: other tasks, other threads.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll};

use pin_project_lite::pin_project;

use super::key;
use super::line::{Departure, Fork};
use super::scope::{self, Position, Scope};
use super::trace::Trace;
use super::within::Within;

/// Runs `future` in a forked env of the surrounding context, wherever it is polled.
///
/// For `tokio::spawn`, `FuturesUnordered`, `select!`: the shape of the trace then does not depend on the order of
/// polls. Without a surrounding context it is the future itself.
///
/// ```
/// # use tracer::{branch, traced_node};
/// #[traced_node]
/// async fn send(to: u32) {}
///
/// #[traced_node]
/// async fn notify_all() {
///     # /*
///     let sent: Vec<_> = (0..3).map(|to| tokio::spawn(branch(send(to)))).collect();
///     # */
///     # branch(send(1)).await;
/// }
/// ```
pub fn branch<F: Future>(future: F) -> Branch<F> {
    Branch { future: Some(future), line: Pinned::fork() }
}

/// Takes the surrounding context into a closure that runs once: `std::thread::spawn(carry(|| …))`,
/// `spawn_blocking(carry(|| …))`. It runs in a forked env.
pub fn carry<R>(work: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let line = Pinned::fork();
    move || {
        let _within = line.as_ref().map(Pinned::within);
        work()
    }
}

/// Takes the surrounding context into a closure that may run many times, on many threads at once:
/// `items.par_iter().map(carry_fn(|item| …))`. Each call runs in a forked env of its own.
pub fn carry_fn<A, R>(work: impl Fn(A) -> R) -> impl Fn(A) -> R {
    let hub = Hub::fork();
    move |argument| {
        let line = hub.as_ref().and_then(Hub::line);
        let _within = line.as_ref().map(Pinned::within);
        work(argument)
    }
}

/// A line that stays while this lives.
#[derive(Debug)]
pub(crate) struct Pinned(&'static super::cell::Cell);

impl Pinned {
    /// A fork of the surrounding context.
    fn fork() -> Option<Self> {
        scope::with(|scope| {
            let here = scope.here()?;
            let departure = scope.fork(here)?;
            Self::begin(scope, departure)
        })
        .flatten()
    }

    fn begin(scope: &mut Scope, departure: Departure) -> Option<Self> {
        let cell = scope.begin(departure)?;
        Some(Self::of_held(scope, cell))
    }

    /// Pins a line that was just begun, and lets go of it.
    pub(crate) fn of_held(scope: &mut Scope, cell: &'static super::cell::Cell) -> Self {
        scope.pin(cell);
        scope.let_go(cell);
        Self(cell)
    }

    pub(crate) fn at(&self) -> Position {
        Position { cell: self.0, frame: None }
    }

    fn within(&self) -> Within {
        Within::enter(self.at())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        scope::with_at_last(|scope| scope.unpin(self.0));
    }
}

/// The origin of many forks.
#[derive(Debug)]
struct Hub {
    trace: Arc<Trace>,
    departure: Departure,
    fork: Fork,
    calls: AtomicU64,
}

impl Hub {
    fn fork() -> Option<Self> {
        scope::with(|scope| {
            let departure = scope.fork(scope.here()?)?;
            let (trace, fork) = (departure.trace.clone()?, departure.fork?);
            trace.hold();
            Some(Self { trace, departure, fork, calls: AtomicU64::new(0) })
        })
        .flatten()
    }

    fn line(&self) -> Option<Pinned> {
        let number = key::carried(self.fork.number, self.calls.fetch_add(1, Ordering::Relaxed));
        let departure = Departure { fork: Some(self.fork.again(number)), ..self.departure.clone() };
        scope::with(|scope| Pinned::begin(scope, departure)).flatten()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        scope::with_at_last(|scope| scope.release(self.trace.clone(), self.departure.seq));
    }
}

pin_project! {
    /// The future of [`branch`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Branch<F> {
        #[pin]
        future: Option<F>,
        line: Option<Pinned>,
    }

    impl<F> PinnedDrop for Branch<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let line = this.line.take();
            let _within = line.as_ref().map(Pinned::within);
            this.future.set(None);
        }
    }
}

impl<F> Branch<F> {
    /// Runs `future` in `line`.
    pub(crate) fn along(future: F, line: Pinned) -> Self {
        Self { future: Some(future), line: Some(line) }
    }
}

impl<F> fmt::Debug for Branch<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Branch").field("line", &self.line).finish_non_exhaustive()
    }
}

impl<F: Future> Future for Branch<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _within = this.line.as_ref().map(Pinned::within);
        let future = this.future.as_mut().as_pin_mut().expect("a future is not polled after it is ready");
        let output = task::ready!(future.poll(cx));
        this.future.set(None);
        // While the line is held: so it is let go of once.
        this.line.take();
        Poll::Ready(output)
    }
}
