//! What functions under test do, and futures polled by hand.

use std::fmt;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tracer::{EnvRecord, ErrorRecord, Record, StepRecord};

/// What a function under test is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Succeed,
    Fail,
    Panic,
    /// Asynchronous ones only: never be ready.
    Wait,
}

/// The error of functions under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bad;

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad luck")
    }
}

impl std::error::Error for Bad {}

pub(crate) const ANSWER: u32 = 42;

/// The body of functions under test.
pub(crate) fn go(way: Way) -> Result<u32, Bad> {
    match way {
        Way::Succeed => Ok(ANSWER),
        Way::Fail => Err(Bad),
        Way::Panic => panic!("as told"),
        Way::Wait => unreachable!("only futures wait"),
    }
}

/// The same, after having been pending once.
pub(crate) async fn go_later(way: Way) -> Result<u32, Bad> {
    once_pending().await;
    if way == Way::Wait {
        pending::<()>().await;
    }
    go(way)
}

pub(crate) async fn once_pending() {
    let mut polled = false;
    std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Polls up to so many times, then drops the future.
pub(crate) fn poll<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    (0..times).find_map(|_| poll_once(future.as_mut()))
}

pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Polls until it is ready, which no test takes long for.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    poll(future, 1000).expect("the future waits for nothing but polls")
}

/// What a panic said, if there was one.
pub(crate) fn panic_of<R>(work: impl FnOnce() -> R) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(work)).err()?;
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
}

pub(crate) fn steps(records: &[Record]) -> Vec<&StepRecord> {
    records.iter().filter_map(Record::as_step).collect()
}

pub(crate) fn envs(records: &[Record]) -> Vec<&EnvRecord> {
    records.iter().filter_map(Record::as_env).collect()
}

pub(crate) fn errors(records: &[Record]) -> Vec<&ErrorRecord> {
    steps(records).into_iter().filter_map(|step| step.error.as_ref()).collect()
}

/// Every env and its steps in one line: `Root a( b( b) a)`, `!` for an error, `~(` for an enter that goes on.
pub(crate) fn lines(records: &[Record]) -> Vec<String> {
    let line = |env: &EnvRecord| {
        let steps = steps(records).into_iter().filter(|step| step.env_id == env.env_id).map(|step| {
            let mark = match step.status {
                tracer::Status::Enter if step.resumed => "~(",
                tracer::Status::Enter => "(",
                tracer::Status::Exit => ")",
                tracer::Status::Error => "!",
            };
            format!(" {}{mark}", step.node)
        });
        format!("{:?}{}", env.cause, steps.collect::<String>())
    };
    envs(records).into_iter().map(line).collect()
}
