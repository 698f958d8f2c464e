//! One attempt: the handler runs until it returns, panics, takes too long, or is to stop.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tracer::execution::{Command, Execution, ExecutionError, Failure};
use tracer::recorder::panic_text;

use crate::attempt::{Attempt, Boxed, Writes};
use crate::handler::Handler;
use crate::held::Signal;

/// How long an execution is left alone whose store could not be reached in the midst of it.
const STORE_DELAY: Duration = Duration::from_secs(1);

/// Runs the handler, and says how the attempt is to end; `None` if it is another's by now.
pub(crate) async fn run(
    execution: Arc<Execution>,
    handler: &Handler,
    writes: Arc<dyn Writes>,
    signal: watch::Receiver<Signal>,
    grace: Duration,
) -> Option<Command> {
    let attempt = Attempt::new(execution.clone(), writes.clone(), signal.clone());
    let handle = handler.clone();
    // What the handler does before its first await is in it, too.
    let mut running = Caught(Some(writes.run(execution.clone(), Box::new(move || handle(attempt)))));
    let end = tokio::select! {
        // What is there already counts, however late it is.
        biased;
        ended = &mut running => return command(ended),
        end = must_stop(signal, grace) => end,
        () = overtime(execution.timeout) => Some(Command::Overtime { random: fastrand::u32(..) }),
    };
    // Not before it has stopped may another attempt begin.
    match running.stop() {
        Ok(()) => end,
        Err(panic) => end.map(|_| panicked("the handler", &panic)),
    }
}

type Ended = Result<Result<Value, Failure>, ExecutionError>;
pub(crate) type Panic = Box<dyn Any + Send>;

/// A handler whose panics end nothing else.
struct Caught(Option<Boxed<Ended>>);

impl Caught {
    /// Drops it where it is.
    fn stop(&mut self) -> Result<(), Panic> {
        // Nothing of it is left to be seen.
        catch_unwind(AssertUnwindSafe(|| drop(self.0.take())))
    }
}

impl Future for Caught {
    type Output = Result<Ended, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(running) = &mut self.0 else { return Poll::Pending };
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx)));
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(ended)) => Ok(ended),
            Err(panic) => Err(panic),
        };
        let stopped = self.stop();
        Poll::Ready(ended.and_then(|ended| stopped.map(|()| ended)))
    }
}

fn command(ended: Result<Ended, Panic>) -> Option<Command> {
    let failure = match ended {
        Ok(Ok(Ok(result))) => return Some(Command::Complete { result }),
        Ok(Ok(Err(failure))) => failure,
        Ok(Err(error)) if error.code() == Failure::LEASE_LOST => return None,
        // The store could not be reached for what a node keeps. That is no fault of the execution's.
        Ok(Err(error)) if error.is_retryable() => return Some(Command::Release { delay: STORE_DELAY }),
        Ok(Err(error)) => error.failure(),
        Err(panic) => return Some(panicked("the handler", &panic)),
    };
    Some(fail(failure))
}

fn fail(failure: Failure) -> Command {
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
async fn must_stop(mut signal: watch::Receiver<Signal>, grace: Duration) -> Option<Command> {
    let told = signal.wait_for(|signal| *signal != Signal::Go).await.map(|told| *told);
    let Ok(told) = told else {
        // Nobody is there to tell it anything: it goes on.
        return std::future::pending().await;
    };
    match told {
        Signal::Go | Signal::Lost => None,
        Signal::GiveBack => Some(Command::Release { delay: Duration::ZERO }),
        Signal::Stop => {
            let lost = async { drop(signal.wait_for(|signal| *signal == Signal::Lost).await) };
            tokio::select! {
                () = tokio::time::sleep(grace) => Some(Command::Cancel { reason: None }),
                () = lost => None,
            }
        }
    }
}

async fn overtime(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}
