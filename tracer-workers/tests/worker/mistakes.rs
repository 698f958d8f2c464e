//! What a worker refuses to be told.

use std::time::Duration;

use tracer::execution::{ExecutionStatus as S, Failure, NewExecution};
use tracer_workers::{Attempt, Schedule, Worker};

use crate::{SECOND, ended, manager, new, run};

#[test]
#[should_panic(expected = "a limit of \"wrok\", which has no handler yet: give the handler first")]
fn a_limit_of_nothing_is_a_mistake() {
    run(async {
        let handler = |_: Attempt, (): ()| async { Ok::<_, Failure>(()) };
        drop(Worker::new(manager()).handler("work", handler).limit("wrok", 2));
    });
}

#[test]
#[should_panic(expected = "expected a lease of at least 1 ms, found 999")]
fn a_lease_without_length_is_a_mistake() {
    run(async { drop(Worker::new(manager()).lease(Duration::from_micros(999))) });
}

#[test]
#[should_panic(expected = "expected at least 1 attempt at once, found 0")]
fn no_attempts_at_once_are_a_mistake() {
    run(async { drop(Worker::new(manager()).concurrency(0)) });
}

#[test]
#[should_panic(expected = "expected a worker's name of 1 to 255 bytes, found 0")]
fn no_name_is_a_mistake() {
    run(async { drop(Worker::new(manager()).name("")) });
}

#[test]
#[should_panic(expected = "expected a worker's name of 1 to 255 bytes, found 256")]
fn a_name_that_no_store_takes_is_a_mistake() {
    run(async { drop(Worker::new(manager()).name("n".repeat(256))) });
}

#[test]
#[should_panic(expected = "expected a type of 1 to 255 bytes, found 0")]
fn no_type_is_a_mistake() {
    let handler = |_: Attempt, (): ()| async { Ok::<_, Failure>(()) };
    run(async { drop(Worker::new(manager()).handler("", handler)) });
}

#[test]
fn the_longest_times_are_none() {
    run(async {
        let manager = manager();
        let handler = |_: Attempt, (): ()| async { Ok::<_, Failure>(()) };
        let worker = || Worker::new(manager.clone()).handler("work", handler);
        let by_id = manager.create(new(())).await.unwrap().id;
        let done = worker().run_by_id(&by_id, Duration::MAX).await.unwrap().unwrap();
        assert_eq!(done.status, S::Completed);
        let running = worker().lease(Duration::MAX).poll(Duration::MAX).grace(Duration::MAX).start();
        // One for each time it looks.
        for _ in 0..30 {
            let id = manager.create(new(()).timeout(Duration::MAX)).await.unwrap().id;
            assert_eq!(ended(&manager, &id).await.status, S::Completed);
        }
        assert!(!running.is_finished());
        running.shutdown(Duration::MAX).await;
    });
}

/// Rustc warns of it, which is expected here.
#[test]
fn a_worker_that_nobody_keeps_does_nothing() {
    run(async {
        let manager = manager();
        let id = manager.create(new(())).await.unwrap().id;
        let handler = |_: Attempt, (): ()| async { Ok::<_, Failure>(()) };
        #[expect(unused_must_use, reason = "it is the mistake")]
        Worker::new(manager.clone()).handler("work", handler).start();
        tokio::time::sleep(SECOND).await;
        assert_eq!(manager.get(&id).await.unwrap().status, S::Pending);
    });
}

fn catching_up(kept: Duration) {
    run(async move {
        let schedule = Schedule::new("nightly", "30 2 * * *", |_| NewExecution::new("work")).unwrap();
        let worker = Worker::new(manager()).retain(kept).schedule(schedule.catch_up(SECOND * 3600));
        worker.start().shutdown(SECOND).await;
    });
}

#[test]
#[should_panic(expected = "schedule \"nightly\" makes up for what was missed within 3600s")]
fn what_was_deleted_must_not_be_made_up_for() {
    catching_up(SECOND * 3599);
}

#[test]
fn what_is_kept_for_as_long_as_it_is_made_up_for_is_no_mistake() {
    catching_up(SECOND * 3600);
}
