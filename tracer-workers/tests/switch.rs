//! Recording switched off at run time: for the whole process, so in one of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;
use tracer::execution::{
    Execution, ExecutionError, ExecutionManager, ExecutionStatus as S, Failure, MemoryStore, NewExecution,
};
use tracer::{ManualClock, traced_node};
use tracer_workers::{Attempt, Worker};

const SECOND: Duration = Duration::from_secs(1);

#[traced_node(checkpoint)]
async fn kept() -> u32 {
    7
}

async fn handle(_: Attempt, (): ()) -> Result<u32, Failure> {
    Ok(kept().await)
}

/// As long as there are attempts.
#[tokio::test(start_paused = true)]
async fn what_cannot_keep_its_nodes_is_tried_again_until_it_can() {
    let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
    let manager = ExecutionManager::new(MemoryStore::with_clock(clock.clone()));
    let told = Arc::new(Mutex::new(Vec::new()));
    let on_error = {
        let told = told.clone();
        move |error: &ExecutionError| told.lock().unwrap().push(error.code())
    };
    let id = manager.create(NewExecution::new("work").payload(()).max_attempts(5)).await.unwrap().id;
    tracer::set_enabled(false);
    let worker = || Worker::new(manager.clone()).handler("work", handle).on_error(on_error.clone());
    let is_to_wait = |execution: &Execution, times: u32| {
        assert_eq!((execution.status, execution.attempts), (S::Retrying, times));
        assert_eq!(execution.run_at.since(execution.updated_at), SECOND * 30);
    };
    is_to_wait(&worker().run_by_id(&id, SECOND).await.unwrap().unwrap(), 1);
    let running = worker().start();
    for times in 1..=3 {
        sleep(SECOND).await;
        is_to_wait(&manager.get(&id).await.unwrap(), times);
        clock.advance(SECOND * 30);
    }
    tracer::set_enabled(true);
    sleep(SECOND).await;
    let done = manager.get(&id).await.unwrap();
    assert_eq!((done.status, done.attempts, done.result), (S::Completed, 4, Some(7.into())));
    assert_eq!(*told.lock().unwrap(), ["NOT_TRACED"; 3]);
    running.shutdown(SECOND).await;
}
