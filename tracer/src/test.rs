//! Tracers for tests: one for each test, without any global state, so tests may run side by side.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;

use crate::lines::scope;
use crate::record::Record;
use crate::stats::Stats;
use crate::tracer::Tracer;
use crate::tree::{Pattern, Tree};

/// Runs `work` with a tracer of its own: every trace that this thread begins meanwhile goes there.
///
/// What `work` takes to other threads and tasks with [`branch`](crate::branch), [`carry`](crate::carry) or a
/// [`Context`](crate::Context) stays in its trace, and so with this tracer.
///
/// ```
/// let seen = tracer::test::record(|| {
///     let ctx = tracer::create_env((), "test");
///     ctx.step("parse", tracer::Status::Enter, ()).unwrap();
/// });
/// assert_eq!(seen.stats().total_records, 2);
/// ```
pub fn record<T>(work: impl FnOnce() -> T) -> Recording<T> {
    record_with(Tracer::builder().build(), work)
}

/// Likewise, with a tracer that was made otherwise: of another clock, another recorder, another bound.
pub fn record_with<T>(tracer: Tracer, work: impl FnOnce() -> T) -> Recording<T> {
    let output = Given::to(&tracer, work);
    Recording { output, tracer }
}

/// Runs `future` with a tracer of its own, as [`record`] does for a function: in an async test, on any runtime.
///
/// A traced function belongs to where it is called. If that is a trace already, `record_async(handle())` records nothing of
/// `handle`: call it inside, `record_async(async { handle().await })`.
///
/// ```
/// # use tracer::{assert_trace, traced_node};
/// #[traced_node]
/// async fn answer() -> u32 { 42 }
///
/// # async fn test() {
/// let recording = tracer::test::record_async(answer()).await;
/// assert_trace!(recording, "answer");
/// # }
/// ```
pub async fn record_async<F: Future>(future: F) -> Recording<F::Output> {
    let tracer = Tracer::builder().build();
    let mut future = pin!(future);
    let output = poll_fn(|cx| Given::to(&tracer, || future.as_mut().poll(cx))).await;
    Recording { output, tracer }
}

/// A tracer is given to this thread.
struct Given;

impl Given {
    fn to<T>(tracer: &Tracer, work: impl FnOnce() -> T) -> T {
        scope::with(|scope| scope.give(tracer.clone()));
        let _given = Self;
        work()
    }
}

/// Also when the work panics: the thread goes on to other tests.
impl Drop for Given {
    fn drop(&mut self) {
        scope::with(scope::Scope::take_back);
    }
}

/// What was recorded by [`record`].
#[derive(Debug)]
pub struct Recording<T> {
    /// What the work returned.
    pub output: T,
    tracer: Tracer,
}

impl<T> Recording<T> {
    /// Every record, by [`Record::seq`].
    pub fn records(&self) -> Vec<Record> {
        self.tracer.all_traces()
    }

    /// Counts, per trace and in all.
    pub fn stats(&self) -> Stats {
        self.tracer.stats()
    }

    /// The traces as trees, in the order in which they began.
    pub fn trees(&self) -> Vec<Tree> {
        self.tracer.trees()
    }

    /// Every trace in one line, as [`assert_trace!`](crate::assert_trace) takes it.
    pub fn line(&self) -> String {
        self.trees().iter().map(Tree::to_line).collect::<Vec<_>>().join(", ")
    }

    /// The tracer that recorded.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }
}

/// The traces as a drawing without ids and times: equal runs give equal texts, so it fits a snapshot.
impl<T> fmt::Display for Recording<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, tree) in self.trees().iter().enumerate() {
            write!(f, "{}{tree}", if nth > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

/// Asserts what was called: `assert_trace!(recording, "handle > parse, validate!(BadEvent)")`.
///
/// The pattern is described at [`Pattern`](crate::tree::Pattern). Several traces stand beside each other, as several
/// calls do.
///
/// # Panics
///
/// If something else was called, with both in words and the drawing of what was; or if the pattern cannot be read.
///
/// # Examples
///
/// ```
/// use tracer::{assert_trace, traced_node};
///
/// #[traced_node]
/// fn parse(text: &str) -> Result<u32, std::num::ParseIntError> {
///     text.parse()
/// }
///
/// #[traced_node]
/// fn handle(text: &str) -> u32 {
///     parse(text).unwrap_or(0)
/// }
///
/// let recording = tracer::test::record(|| handle("seven"));
/// assert_trace!(recording, "handle > parse!(ParseIntError)");
/// ```
#[macro_export]
macro_rules! assert_trace {
    ($recording:expr, $pattern:expr $(,)?) => {
        $crate::test::assert_matches(&$recording, $pattern)
    };
}

/// What [`assert_trace!`](crate::assert_trace) calls.
#[doc(hidden)]
#[track_caller]
pub fn assert_matches<T>(recording: &Recording<T>, pattern: &str) {
    let expected: Pattern = match pattern.parse() {
        Ok(expected) => expected,
        Err(error) => panic!("{error}: {pattern}"),
    };
    let trees = recording.trees();
    let spans: Vec<_> = trees.iter().flat_map(|tree| tree.spans.iter().cloned()).collect();
    assert!(
        expected.matches(&spans),
        "the trace is not the expected one\n  expected: {expected}\n  recorded: {}\n\n{recording}",
        recording.line()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create_env;

    #[test]
    fn recordings_nest_and_keep_apart() {
        let outer = record(|| {
            drop(create_env((), "before"));
            let inner = record(|| drop(create_env((), "inside")));
            drop(create_env((), "after"));
            inner.records()
        });
        let sources = |records: &[Record]| -> Vec<String> {
            records.iter().filter_map(|record| Some(record.as_env()?.source.clone())).collect()
        };
        assert_eq!(sources(&outer.records()), ["before", "after"]);
        assert_eq!(sources(&outer.output), ["inside"]);
    }

    #[test]
    fn a_panic_takes_the_tracer_back() {
        let outer = record(|| {
            let inner = std::panic::catch_unwind(|| record(|| std::panic::resume_unwind(Box::new(()))));
            assert!(inner.is_err());
            drop(create_env((), "after"));
        });
        assert_eq!(outer.stats().total_records, 1);
    }
}
