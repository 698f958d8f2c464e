//! What was claimed, taken in hand: it runs, or waits for its turn, or is given back.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracer::execution::{Command, Execution, ExecutionError, ExecutionStore, Write};

use crate::attempt::Attempt;
use crate::batch;
use crate::held::{Limits, Turn};
use crate::patient::back_off;
use crate::run::{GIVE_BACK, Panic, panicked, run};
use crate::settle::{Unwinding, WHOLE_MAX};
use crate::signal::Signal;
use crate::worker::{Handled, Keyed, Shared, Worker};

/// What an execution counts under, and how many with that may run. The key is made by code of the user's.
fn key_of<S>(worker: &Worker<S>, execution: &Execution) -> Result<Option<(String, usize)>, Panic> {
    let keyed = worker.handlers.get(&execution.type_).and_then(|handled| handled.keyed.as_ref());
    let Some(Keyed { limit, key }) = keyed else { return Ok(None) };
    let key = catch_unwind(AssertUnwindSafe(|| key(execution)))?;
    Ok(key.map(|key| (key, *limit)))
}

/// Takes what was claimed or reserved in hand. The leases can be trusted until then.
pub(crate) fn all<S: ExecutionStore + Clone + 'static>(
    shared: &Arc<Shared<S>>,
    claimed: Vec<Execution>,
    until: Instant,
) {
    let taken: Vec<_> = claimed.into_iter().filter_map(|one| take(shared, one, until)).collect();
    let now = Instant::now();
    if until <= now {
        // The answer took longer than the leases in it last.
        shared.held.drop_untrusted(now);
    }
    let (reserved, claimed): (Vec<_>, _) = taken.into_iter().partition(|attempt| attempt.execution().reserved);
    attend_all(shared, claimed);
    if !reserved.is_empty() {
        tokio::spawn(begin_all(shared.clone(), reserved));
    }
}

/// Takes it in hand; `None` if it is not to begin now.
fn take<S: ExecutionStore + Clone + 'static>(
    shared: &Arc<Shared<S>>,
    execution: Execution,
    until: Instant,
) -> Option<Attempt> {
    let Shared { worker, held, .. } = &**shared;
    let key = key_of(worker, &execution);
    let (attempt, teller) = Attempt::new(execution, shared.writes.clone());
    let turn = match key {
        Ok(Some((key, of_key))) => {
            let limits = Limits { of_key, waiting: worker.concurrency, within: worker.poll * 2 };
            held.add_with_key(teller, key, limits, until)
        }
        Ok(None) => {
            held.add(teller, until);
            Turn::Now
        }
        Err(panic) => {
            held.add(teller, until);
            shared.ends(&attempt, Some(panicked("what gives its key", &panic)));
            return None;
        }
    };
    match turn {
        Turn::Now => return Some(attempt),
        Turn::Later(turn) => drop(tokio::spawn(await_turn(shared.clone(), attempt, turn))),
        Turn::Back(delay) => shared.ends(&attempt, Some(Command::Release { delay })),
    }
    None
}

/// Waits until there is a place for its key, and begins it.
async fn await_turn<S: ExecutionStore + Clone + 'static>(
    shared: Arc<Shared<S>>,
    attempt: Attempt,
    turn: oneshot::Receiver<()>,
) {
    tokio::select! {
        biased;
        signal = attempt.told().more_than(Signal::Go) => shared.ends(&attempt, not_begun(signal)),
        Ok(()) = turn => {
            if attempt.execution().reserved {
                begin_all(shared, vec![attempt]).await;
            } else {
                // A store that cannot reserve has claimed it.
                attend(shared, attempt).await;
            }
        }
    }
}

/// What becomes of an attempt that is told this before it has begun.
fn not_begun(signal: Signal) -> Option<Command> {
    (signal != Signal::Lost).then_some(GIVE_BACK)
}

/// Begins what was reserved, together, and runs it. What the store does not take is left to its lease: it is no attempt.
async fn begin_all<S: ExecutionStore + Clone + 'static>(shared: Arc<Shared<S>>, attempts: Vec<Attempt>) {
    let Shared { worker, held, writes, .. } = &*shared;
    let (mut batches, mut failed, began) = (VecDeque::from([attempts]), 0, Instant::now());
    while let Some(mut batch) = batches.pop_front() {
        batch.retain(|attempt| {
            let signal = attempt.told().last();
            if signal != Signal::Go {
                shared.ends(attempt, not_begun(signal));
            }
            signal == Signal::Go
        });
        if batch.is_empty() {
            continue;
        }
        let _leases = Unwinding { held, leases: batch.iter().map(Attempt::lease).collect() };
        let begin = |attempt: &Attempt| Write::under(attempt.lease(), Command::Begin);
        let outcomes = worker.manager.store().update(batch.iter().map(begin).collect()).await;
        match outcomes.map_err(ExecutionError::from) {
            Ok(outcomes) => {
                let begun = batch.into_iter().zip(outcomes).filter_map(|(attempt, outcome)| {
                    let Ok(execution) = outcome else {
                        shared.ends(&attempt, None);
                        return None;
                    };
                    let (attempt, teller) = Attempt::new(execution, writes.clone());
                    held.begin(teller);
                    Some(attempt)
                });
                attend_all(&shared, begun.collect());
            }
            Err(error) => {
                (worker.on_error)(&error);
                let may_be_taken = error.is_retryable() && began.elapsed() < worker.lease;
                if may_be_taken && (failed < WHOLE_MAX || batch.len() == 1) {
                    failed += 1;
                    tokio::time::sleep(back_off(failed)).await;
                    // Behind those that may have nothing wrong.
                    batches.push_back(batch);
                } else if batch.len() > 1 {
                    batches.extend(batch.into_iter().map(|attempt| vec![attempt]));
                } else {
                    shared.ends(&batch[0], None);
                }
            }
        }
    }
}

/// Runs these, by as many tasks as the runtime has threads.
fn attend_all<S: ExecutionStore + Clone + 'static>(shared: &Arc<Shared<S>>, attempts: Vec<Attempt>) {
    let shared = shared.clone();
    batch::begin(attempts, move |attempt| attend(shared.clone(), attempt));
}

/// Runs it to its end, and hands it over to the settler.
async fn attend<S: ExecutionStore + Clone + 'static>(shared: Arc<Shared<S>>, attempt: Attempt) {
    let worker = &shared.worker;
    let command = match (attempt.told().last(), worker.handlers.get(&attempt.execution().type_)) {
        // Too late to begin it; and only types with handlers are claimed.
        (Signal::Lost, _) | (_, None) => None,
        (Signal::GiveBack, _) => Some(GIVE_BACK),
        (_, Some(Handled { handler, .. })) => run(&attempt, handler, worker.grace, &worker.on_error).await,
    };
    shared.ends(&attempt, command);
}
