//! One attempt: the handler runs until it returns, panics, takes too long, or is to stop.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tracer::execution::{Command, ExecutionError, ExecutionErrorKind, Failure, run_attempt};
use tracer::recorder::panic_text;

use crate::attempt::Attempt;
use crate::handler::Handler;
use crate::signal::{Signal, Told};
use crate::worker::OnError;

/// Runs the handler in a trace of its own, and says how the attempt is to end; `None` if it is another's by now.
pub(crate) async fn run(attempt: &Attempt, handler: &Handler, grace: Duration, on_error: &OnError) -> Option<Command> {
    let execution = attempt.execution();
    // What the handler does before its first await is in it, too.
    let running = pin!(Some(run_attempt(attempt.writes(), execution, || handler(attempt.clone()))));
    let mut running = Caught(running);
    let end = tokio::select! {
        // What is there already counts, however late it is.
        biased;
        ended = &mut running => return command(ended, attempt.told().has_heard(), on_error),
        end = must_stop(attempt.told(), grace) => end,
        () = overtime(execution.timeout) => Some(Command::Overtime { random: fastrand::u32(..) }),
    };
    // Not before it has stopped may another attempt begin.
    match running.stop() {
        Ok(()) => end,
        Err(panic) => end.map(|_| panicked("the handler", &panic)),
    }
}

/// How long an execution is left alone that comes to a node with `checkpoint` while recording is off.
const UNTRACED_DELAY: Duration = Duration::from_secs(30);

type Ended = Result<Result<Command, Failure>, ExecutionError>;
pub(crate) type Panic = Box<dyn Any + Send>;

/// A handler whose panics end nothing else.
struct Caught<'a, F>(Pin<&'a mut Option<F>>);

impl<F> Caught<'_, F> {
    /// Drops it where it is.
    fn stop(&mut self) -> Result<(), Panic> {
        // Nothing of it is left to be seen.
        catch_unwind(AssertUnwindSafe(|| self.0.set(None)))
    }
}

impl<F: Future<Output = Ended>> Future for Caught<'_, F> {
    type Output = Result<Ended, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(running) = self.0.as_mut().as_pin_mut() else { return Poll::Pending };
        let polled = catch_unwind(AssertUnwindSafe(|| running.poll(cx)));
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(ended)) => Ok(ended),
            Err(panic) => Err(panic),
        };
        let stopped = self.stop();
        Poll::Ready(ended.and_then(|ended| stopped.map(|()| ended)))
    }
}

fn command(ended: Result<Ended, Panic>, gives_back: bool, on_error: &OnError) -> Option<Command> {
    let failure = match ended {
        Ok(Ok(Ok(complete))) => return Some(complete),
        Ok(Ok(Err(failure))) if gives_back && failure.retryable && failure.retry_after.is_none() => {
            return Some(GIVE_BACK);
        }
        Ok(Ok(Err(failure))) => failure,
        Ok(Err(error)) if error.code() == Failure::LEASE_LOST => return None,
        // The work is as good as before, and nobody knows for how long recording is off. It counts: what the handler does before
        // that node is not to be done for ever.
        Ok(Err(error)) if matches!(error.kind(), ExecutionErrorKind::NotTraced { .. }) => {
            on_error(&error);
            error.failure().retry_after(UNTRACED_DELAY)
        }
        Ok(Err(error)) => error.failure(),
        Err(panic) => return Some(panicked("the handler", &panic)),
    };
    Some(fail(failure))
}

/// Another worker may have it at once.
pub(crate) const GIVE_BACK: Command = Command::Release { delay: Duration::ZERO };

pub(crate) fn fail(failure: Failure) -> Command {
    Command::Fail { failure, random: fastrand::u32(..) }
}

/// How an attempt ends in which `what` has panicked.
pub(crate) fn panicked(what: &str, panic: &Panic) -> Command {
    let message = format!("{what} panicked: {}", text_of(panic));
    fail(Failure::new(message).code(Failure::PANIC).retryable(true))
}

pub(crate) fn text_of(panic: &Panic) -> &str {
    panic_text(&**panic).unwrap_or("no text")
}

/// Waits until the handler is to be dropped, and says what the attempt comes to.
async fn must_stop(told: &Told, grace: Duration) -> Option<Command> {
    let mut signal = told.more_than(Signal::ShutDown).await;
    let is_cancelled = signal == Signal::Stop;
    if is_cancelled {
        tokio::select! {
            () = tokio::time::sleep(grace) => {}
            more = told.more_than(Signal::Stop) => signal = more,
        }
    }
    match signal {
        Signal::Lost => None,
        _ if is_cancelled => Some(Command::Cancel { reason: None }),
        _ => Some(GIVE_BACK),
    }
}

async fn overtime(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}
