//! What a worker refuses to be told.

use std::time::Duration;

use tracer::execution::{Failure, NewExecution};
use tracer_workers::{Attempt, Schedule, Worker};

use crate::{SECOND, manager, run};

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
