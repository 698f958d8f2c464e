//! One attempt: the handler runs until it returns, panics, takes too long, or is to stop.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinError;
use tracer::execution::{Command, Execution, Failure};

use crate::attempt::{Attempt, Writes};
use crate::handler::Handler;
use crate::held::Signal;

/// Runs the handler, and says how the attempt is to end; `None` if it is another's by now.
pub(crate) async fn run(
    execution: Arc<Execution>,
    handler: &Handler,
    writes: Arc<dyn Writes>,
    signal: watch::Receiver<Signal>,
    grace: Duration,
) -> Option<Command> {
    let attempt = Attempt::new(execution.clone(), writes, signal.clone());
    let handle = handler.clone();
    // A task of its own, so that a panic ends nothing else; what it does before its first await included.
    let mut task = tokio::spawn(async move { handle(attempt).await });
    let end = tokio::select! {
        // What is there already counts, however late it is.
        biased;
        ended = &mut task => return Some(command(ended)),
        end = must_stop(signal, grace) => end,
        () = overtime(execution.timeout) => Some(Command::Overtime { random: fastrand::u32(..) }),
    };
    task.abort();
    // Not before it has stopped may another attempt begin. If it returned just now, that is its outcome.
    match task.await {
        Err(error) if error.is_cancelled() => end,
        ended => end.map(|_| command(ended)),
    }
}

fn command(ended: Result<Result<serde_json::Value, Failure>, JoinError>) -> Command {
    let random = fastrand::u32(..);
    match ended {
        Ok(Ok(result)) => Command::Complete { result },
        Ok(Err(failure)) => Command::Fail { failure, random },
        Err(error) => {
            let message = match error.try_into_panic() {
                Ok(panic) => format!("the handler panicked: {}", text(&*panic)),
                // The runtime is shutting down.
                Err(_) => return Command::Release { delay: Duration::ZERO },
            };
            Command::Fail { failure: Failure::new(message).code(Failure::PANIC).retryable(true), random }
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
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
